"""What a process that only opens the files of a two-stage index and searches needs.

    python -m benchmarks.opened FOLDER DIMENSION

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
from facesearch.index.cache_file import CacheFile
from facesearch.index.two_stage import TwoStageIndex

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


def main(folder: Path, dimension: int) -> None:
    """Open, search, and say what that took."""
    started = time.perf_counter()
    files = CacheFile(folder).open()
    assert files is not None
    index = TwoStageIndex(dimension)
    index.load(*files)
    del files  # what was read, which the index has taken over
    opened = 1000 * (time.perf_counter() - started)
    _, peak = resident(folder)
    queries = np.random.default_rng(1).standard_normal((SEARCHES, dimension), dtype=np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    for query in queries:
        index.search(query[None], 10)
    print(json.dumps({"open": opened, "peak": peak, "searching": resident(folder)[0]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]))
