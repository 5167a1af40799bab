"""Pick the threshold that keeps false matches below a rate on a labelled folder, and verify two photos with it.

`facesearch calibrate` does more: it checks the threshold on other people and keeps it in the gallery.

python examples/calibrate_from_folder.py PEOPLE A B [FAR]
"""

import itertools
import sys
from pathlib import Path

import numpy as np

from facesearch import FaceSearch


def main(people: str, a: str, b: str, far: str = "0.01") -> None:
    """`people` holds one folder per person; `far` is the share of comparisons of two people that may match."""
    with FaceSearch.open() as engine:
        photos = [(photo.parent.name, engine.encode(photo)) for photo in sorted(Path(people).glob("*/*.jpg"))]
        usable = [(who, templates[0].vector) for who, templates in photos if templates]
        pairs = list(itertools.combinations(usable, 2))
        non_mated = sorted((float(x @ y) for (who, x), (other, y) in pairs if who != other), reverse=True)
        mated = [float(x @ y) for (who, x), (other, y) in pairs if who == other]
        allowed = int(float(far) * len(non_mated))
        if not allowed:
            sys.exit(f"{len(non_mated)} comparisons of two people cannot support a rate of {far}.")
        threshold = float(np.nextafter(non_mated[allowed], 2))  # `score >= threshold` matches
        missed = sum(score < threshold for score in mated)
    print(f"threshold {threshold:.3f}: {allowed} of {len(non_mated)} false matches, {missed} of {len(mated)} missed")
    with FaceSearch.open(threshold=threshold) as engine:
        print("same person" if engine.verify(a, b).is_match else "different people")


if __name__ == "__main__":
    main(*sys.argv[1:])
