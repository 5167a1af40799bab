"""How often 95 % intervals of TAR at FAR cover the truth, on simulated people.

People are points in a space where some directions vary more than others and with a common mean, so that some look
alike; photos scatter around them, more for some people than for others. All photos are compared with each other. The
truth comes from millions of independent people.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from facesearch.evaluation.bootstrap import replicate, sample_of_summary
from facesearch.evaluation.pairwise import compare_all, curve_of_summary
from facesearch.evaluation.rates import bootstrap_interval, wilson
from facesearch.evaluation.verification import tar_at_far

if TYPE_CHECKING:
    import argparse

    from numpy.typing import NDArray

    from benchmarks.reporting import Report

DIMENSION = 24
SCENES = {"middling": (0.62, 150, 3), "good": (0.4, 150, 3), "few people": (0.62, 60, 4), "near 1": (0.3, 60, 3)}
"""Scatter of the photos, people, photos of each."""


def photos(rng: np.random.Generator, people: int, each: int, scatter: float) -> NDArray[np.float32]:
    """(people, each, d) unit vectors."""
    centres = rng.standard_normal((people, DIMENSION)) * np.linspace(1.3, 0.7, DIMENSION) + 0.25
    noise = scatter * np.exp(rng.normal(0, 0.35, people))[:, None, None]
    vectors = centres[:, None] + noise * rng.standard_normal((people, each, DIMENSION))
    unit: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=2, keepdims=True)).astype(np.float32)
    return unit


def true_tar(scatter: float, far: float, chunks: int) -> float:
    """TAR at FAR in the population, from chunks of 250,000 independent people."""
    rng = np.random.default_rng(99)
    mated, non_mated = [], []
    for _ in range(chunks):
        pair = photos(rng, 250_000, 2, scatter)
        mated.append(np.einsum("nd,nd->n", pair[:, 0], pair[:, 1]))
        non_mated += [np.einsum("nd,nd->n", pair[0::2, side], pair[1::2, side]) for side in (0, 1)]
    threshold = np.quantile(np.concatenate(non_mated), 1 - far)
    return float(np.mean(np.concatenate(mated) >= threshold))


def coverage(
    scatter: float, people: int, each: int, *, runs: int, replicates: int, far: float = 1e-3, chunks: int = 12
) -> dict[str, float]:
    """Share of runs in which each kind of interval covers the truth; also "truth" itself."""
    truth = true_tar(scatter, far, chunks)
    covered: dict[str, list[bool]] = {"subject bootstrap": [], "its percentiles": [], "naive (Wilson)": []}
    for run in range(runs):
        vectors = photos(np.random.default_rng(1000 + run), people, each, scatter).reshape(-1, DIMENSION)
        summary = compare_all(vectors, np.repeat(np.arange(people), each))
        tar = tar_at_far(curve_of_summary(summary), far).tar
        assert tar is not None
        drawn = replicate(sample_of_summary(summary), [far], 0.05, replicates=replicates, seed=run).tar[:, 0]
        interval = bootstrap_interval(tar.value, drawn, trials=tar.total, units=people)
        assert interval is not None
        low, high = np.nanquantile(drawn, [0.025, 0.975])
        covered["subject bootstrap"].append(interval.covers(truth))
        covered["its percentiles"].append(low <= truth <= high)
        covered["naive (Wilson)"].append(wilson(tar.count, tar.total).covers(truth))
    return {"truth": truth} | {name: float(np.mean(hits)) for name, hits in covered.items()}


def add_options(_: argparse.ArgumentParser) -> None:
    """None of its own."""


def run(asked: argparse.Namespace, report: Report) -> None:
    """400 runs of each scene; quick: 5 of one."""
    runs, scenes = (5, ["middling"]) if asked.quick else (400, list(SCENES))
    error = math.sqrt(0.95 * 0.05 / runs)
    report.facts["runs"] = f"{runs} of each, TAR at FAR 0.001; a true 95 % shows as 95 +- {196 * error:.1f}"
    for scene in scenes:
        scatter, people, each = SCENES[scene]
        found = coverage(scatter, people, each, runs=runs, replicates=500, chunks=1 if asked.quick else 12)
        for name, value in found.items():
            report.add(f"{scene}: {name}", 100 * value, "%")
