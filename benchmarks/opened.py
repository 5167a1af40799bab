"""What a process that only opens the files of a two-stage index and searches needs.

    python -m benchmarks.opened FOLDER MODEL DIMENSION

Prints JSON: `open` (ms by the clock), `peak` and `searching` (MiB resident beyond the mapped vectors, at the most until
the files are open, and after 200 searches). Linux alone says how much of a process is which.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Final

import numpy as np

from facesearch.files import INDEX_VECTORS_NAME
from facesearch.index import row_index

SEARCHES: Final = 200


def resident(folder: Path) -> tuple[float, float]:
    """MiB resident beyond the mapped vectors: now, and at the most so far."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    now, peak = (int(re.findall(rf"{name}:\s+(\d+) kB", status)[0]) for name in ("VmRSS", "VmHWM"))
    mapped = 0
    for area in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(encoding="utf-8")):
        if area.split("\n", 1)[0].endswith(str(folder / INDEX_VECTORS_NAME)):
            mapped += int(re.findall(r"\nRss:\s+(\d+) kB", area)[0])
    return (now - mapped) / 1024, (peak - mapped) / 1024


def main(folder: Path, model: str, dimension: int) -> None:
    """Open, search, and say what that took."""
    started = time.perf_counter()
    loaded = row_index.load(folder, model, dimension)
    opened = 1000 * (time.perf_counter() - started)
    assert loaded is not None
    _, peak = resident(folder)
    queries = np.random.default_rng(1).standard_normal((SEARCHES, dimension), dtype=np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    for query in queries:
        loaded[0].search(query[None], 10)
    print(json.dumps({"open": opened, "peak": peak, "searching": resident(folder)[0]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2], int(sys.argv[3]))
