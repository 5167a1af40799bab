"""What an evaluation costs: the blocked product beside a bare one, and the subject bootstrap on a million scores.

    python benchmarks/evaluate.py [--quick]

Prints wall and processor seconds and the peak memory; processor seconds are what to compare on a busy machine.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from facesearch.evaluation.assessment import evaluate_pairs
from facesearch.evaluation.pairwise import BLOCK, blocks, compare_all
from facesearch.evaluation.results import ScoredPairs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from facesearch.types import Vectors

DIMENSION = 512


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Print what the block took."""
    wall, processor = time.perf_counter(), time.process_time()
    yield
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    print(f"{name:32} {wall:6.2f} s wall  {processor:6.2f} s processor  {peak:5.0f} MiB peak so far")


def unit_vectors(rows: int) -> Vectors:
    """Random directions, made in place."""
    vectors = np.random.default_rng(0).standard_normal((rows, DIMENSION), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def bare_product(vectors: Vectors) -> None:
    """The same blocks, multiplied and forgotten."""
    buffer = np.empty(BLOCK * BLOCK, dtype=np.float32)
    for rows, columns in blocks(len(vectors), BLOCK):
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        np.matmul(vectors[rows], vectors[columns].T, out=buffer[: shape[0] * shape[1]].reshape(shape))


def a_million_scores(count: int, people: int = 5000) -> ScoredPairs:
    """Half mated, half not."""
    rng = np.random.default_rng(0)
    id_a = rng.integers(people, size=count)
    mated = np.arange(count) < count // 2
    id_b = np.where(mated, id_a, (id_a + 1 + rng.integers(people - 1, size=count)) % people)
    return ScoredPairs(rng.normal(np.where(mated, 0.6, 0.1), 0.1), mated, id_a, id_b)


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the pairs and of the scores")
    quick = parser.parse_args().quick
    rows = 10_000 if quick else 32_000
    vectors = unit_vectors(rows)
    subject = np.repeat(np.arange(rows), 3)[:rows]
    print(f"{rows * (rows - 1) // 2:,} pairs of {DIMENSION}-d")
    with timed("bare blocked product"):
        bare_product(vectors)
    with timed("mated, tail and histogram"):
        compare_all(vectors, subject)
    with timed("bare blocked product"):
        bare_product(vectors)
    del vectors
    scores = a_million_scores(100_000 if quick else 1_000_000)
    with timed(f"{scores.score.size:,} scores, figures only"):
        evaluate_pairs(scores, replicates=0)
    with timed("with 1,000 replicates"):
        evaluate_pairs(scores)


if __name__ == "__main__":
    main()
