"""What an evaluation costs: the blocked product beside a bare one, and the subject bootstrap on a million scores.

Times are of the processor, for busy machines; the two products run in turn.
"""

from __future__ import annotations

import resource
import sys
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.timing import alternate, taken
from facesearch.evaluation.assessment import evaluate_pairs
from facesearch.evaluation.pairwise import BLOCK, blocks, compare_all
from facesearch.evaluation.trials.types import ScoredPairs

if TYPE_CHECKING:
    import argparse

    from benchmarks.reporting import Report
    from facesearch.types import Vectors

DIMENSION = 512


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


def add_options(_: argparse.ArgumentParser) -> None:
    """None of its own."""


def run(asked: argparse.Namespace, report: Report) -> None:
    """All pairs of 32,000 vectors and a million scores; quick: of 2,000 and a hundredth of them."""
    rows, scores = (2_000, 10_000) if asked.quick else (32_000, 1_000_000)
    _all_pairs(rows, 1 if asked.quick else 3, report)
    drawn = a_million_scores(scores)
    report.add(f"figures of {scores:,} scores", taken(lambda: evaluate_pairs(drawn, replicates=0)).processor, "s")
    report.add("with 1,000 replicates", taken(lambda: evaluate_pairs(drawn)).processor, "s")
    report.add("peak memory", peak_mebibytes(), "MB")


def _all_pairs(rows: int, rounds: int, report: Report) -> None:
    vectors = unit_vectors(rows)
    subject = np.repeat(np.arange(rows), 3)[:rows]
    report.facts["pairs"] = f"{rows * (rows - 1) // 2:,} of {DIMENSION}-d vectors"
    contenders = {
        "bare": lambda: taken(lambda: bare_product(vectors)),
        "full": lambda: taken(lambda: compare_all(vectors, subject)),
    }
    runs = alternate(contenders, rounds)
    bare, full = ([each.processor for each in runs[name]] for name in contenders)
    report.add_median("blocked product alone", bare, "s")
    report.add_median("mated scores, tail and histogram", full, "s")
    report.add_ratio("beside the product alone", full, bare)


def peak_mebibytes() -> float:
    """Of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
