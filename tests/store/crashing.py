"""A child process that enrolls, removes and rebuilds its index, and is killed somewhere.

Run: python -m tests.store.crashing FOLDER SEED FIRST. People are numbered from FIRST on. One line per acknowledged
step: `+ NUMBER`, `- NUMBER`; `? NUMBER` before a removal.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from facesearch.search.gallery import Gallery
from facesearch.store import people, subjects
from tests.store.makers import enroll, found_subject, make_gallery


def work(gallery: Gallery, rng: random.Random, number: int) -> None:
    enrolled = [int(subject.name) for subject in gallery.read(subjects.list_subjects)]
    while True:
        if len(enrolled) > 5 and rng.random() < 0.3:
            gone = enrolled.pop(rng.randrange(len(enrolled)))
            print("?", gone, flush=True)  # noqa: T201  # from here on either outcome is right
            gallery.remove(people.remove, str(gone))
            print("-", gone, flush=True)  # noqa: T201
        else:
            number += 1
            enroll(gallery, str(number), number)
            print("+", number, flush=True)  # noqa: T201
            enrolled.append(number)
        if rng.random() < 0.3:
            found_subject(gallery, number)
            gallery.mirror.save()
        if rng.random() < 0.2:
            gallery.rebuild_index()


if __name__ == "__main__":
    with make_gallery(Path(sys.argv[1])) as opened:
        work(opened, random.Random(int(sys.argv[2])), int(sys.argv[3]))
