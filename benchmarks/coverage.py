"""How often 95 % intervals of TAR at FAR cover the truth, on simulated people.

People are points in a space where some directions vary more than others and with a common mean, so that some look
alike; photos scatter around them, more for some people than for others. All photos are compared with each other. The
truth comes from millions of independent people.

Lists of pairs, the EER and paired differences are tried on scores that are sums of normal effects of both people and of
the pair: their truth is a normal integral.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from facesearch.evaluation.assessment import evaluate_pairs
from facesearch.evaluation.bootstrap import replicate, sample_of_summary
from facesearch.evaluation.comparison import compare
from facesearch.evaluation.pairwise import compare_all, curve_of_summary
from facesearch.evaluation.rates import bootstrap_interval, wilson
from facesearch.evaluation.trials.types import ScoredPairs
from facesearch.evaluation.verification import tar_at_far

if TYPE_CHECKING:
    import argparse

    from numpy.typing import NDArray

    from benchmarks.reporting import Report
    from facesearch.evaluation.rates import Counts

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


OWN, PAIR = 0.05, 0.1
"""Standard deviations of a person's and of a pair's effect on a score."""


def drawn_design(rng: np.random.Generator, people: int, mated: int, *, listed: bool) -> tuple[Counts, Counts]:
    """Both sides of as many listed pairs of either class, or of all pairs and `mated` of each person."""
    if listed:
        same, one = rng.integers(people, size=mated), rng.integers(people, size=mated)
        return np.append(same, one), np.append(same, (one + 1 + rng.integers(people - 1, size=mated)) % people)
    one, two = np.triu_indices(people, 1)
    same = np.repeat(np.arange(people), mated)
    return np.append(same, one), np.append(same, two)


def true_rates(gap: float, far: float) -> tuple[float, float]:
    """TAR at FAR, and the EER, of normal scores whose classes lie `gap` apart."""
    mated, non_mated = (NormalDist(mean, spread) for mean, spread in zip((gap, 0.0), SPREADS, strict=True))
    low, high = -1.0, 2.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if 1 - non_mated.cdf(middle) > mated.cdf(middle) else (low, middle)
    return 1 - mated.cdf(non_mated.inv_cdf(1 - far)), mated.cdf(low)


SPREADS = math.hypot(2 * OWN, PAIR), math.hypot(OWN, OWN, PAIR)
DESIGNS = {"list, 1,000 people": (1000, 1500, True), "list, 200 people": (200, 1500, True), "all pairs": (80, 3, False)}


def listed_coverage(
    people: int, mated: int, *, listed: bool, gaps: tuple[float, float], runs: int, replicates: int, far: float = 1e-2
) -> dict[str, float]:
    """Coverage of TAR and EER at the first gap, and of their differences to a system with the second."""
    truths = [true_rates(gap, far) for gap in gaps]
    covered: dict[str, list[bool]] = {"TAR": [], "EER": [], "difference in TAR": [], "difference in EER": []}
    for run in range(runs):
        rng = np.random.default_rng(run)
        a, b = drawn_design(rng, people, mated, listed=listed)
        effect, common = rng.normal(0, OWN, people), rng.standard_normal(a.size)
        sides = []
        for gap in gaps:
            pair = PAIR * (math.sqrt(0.7) * common + math.sqrt(0.3) * rng.standard_normal(a.size))
            sides.append(ScoredPairs(effect[a] + effect[b] + pair + gap * (a == b), a == b, a, b))
        first = evaluate_pairs(sides[0], targets=[far], replicates=replicates, seed=run)
        tar = first.points[0].tar
        assert tar is not None
        pairs = zip(compare(sides[0], sides[1], (far,), replicates=replicates, seed=run), *truths, strict=True)
        differences = [found.interval.covers(theirs - ours) for found, ours, theirs in pairs]
        single = zip((tar.interval, first.eer.interval), truths[0], strict=True)
        hits = [*(interval is not None and interval.covers(truth) for interval, truth in single), *differences]
        for name, hit in zip(covered, hits, strict=True):
            covered[name].append(hit)
    return {name: float(np.mean(hits)) for name, hits in covered.items()}


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
    for gaps in ((0.35, 0.4),) if asked.quick else ((0.35, 0.4), (0.6, 0.63)):
        for design, (people, each, listed) in DESIGNS.items():
            rates = listed_coverage(people, each, listed=listed, gaps=gaps, runs=runs, replicates=300)
            for name, value in rates.items():
                report.add(f"{design}, {gaps[0]:g} apart: {name}", 100 * value, "%")
