"""The section that says how far the figures of a page can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facesearch.evaluation.pages import words
from facesearch.evaluation.pages.shell import Html, element, facts, join, paragraph, table, text
from facesearch.evaluation.results.rates import DECISION_RULE, LOW_SUPPORT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from facesearch.evaluation.report import VerificationReport
    from facesearch.evaluation.results.rates import Rate
    from facesearch.evaluation.results.verification import (
        FoldAccuracy,
        InsightFaceConvention,
        TrialCounts,
        VerificationResult,
    )

RULE_OF_30 = (
    f"Fewer than {LOW_SUPPORT} errors are flagged (Doddington's rule of 30): with {LOW_SUPPORT} errors the true "
    f"rate lies "
    "within about 30 % of the measured one, at 90 % confidence. A point the data hold less than one expected "
    "error for is "
    "unsupported and has no value; nothing is interpolated or extrapolated."
)


def verification_honesty(report: VerificationReport) -> Html:
    """Counts, failures, independence, intervals, rules and what is particular to LFW."""
    result = report.result
    parts = [
        paragraph(f"Decision rule: {DECISION_RULE}. The score is the cosine of two templates; higher is more alike."),
        _heading("Every planned comparison"),
        _counts(result.counts),
        _reasons(result.counts.reasons),
        _failures(result),
        _heading("How sure"),
        _intervals(result),
        paragraph(RULE_OF_30),
        _zero_errors(result),
        _flips(result),
        _heading("Further figures"),
        facts(_details(result)),
    ]
    if result.folds is not None:
        parts += [_heading("Accuracy over folds"), _folds(result.folds, lfw=report.about.protocol == "lfw")]
    if result.insightface is not None:
        parts += [_heading("By the field's convention"), _convention(result.insightface)]
    if report.about.protocol == "lfw":
        parts += [_heading("About LFW"), paragraph(_lfw(result.counts))]
    if report.about.model:
        parts += [_heading("Model and settings"), facts(flat(report.about.model))]
    return join(part for part in parts if part)


def _heading(title: str) -> Html:
    return element("h3", text(title))


def _counts(counts: TrialCounts) -> Html:
    rows = (
        ("mated (same person)", counts.planned_mated, counts.mated),
        ("non-mated (different people)", counts.planned_non_mated, counts.non_mated),
        ("all", counts.planned_mated + counts.planned_non_mated, counts.mated + counts.non_mated),
    )
    return table(
        ("Comparisons", "planned", "completed", "failed"),
        ((name, f"{planned:,}", f"{done:,}", f"{planned - done:,}") for name, planned, done in rows),
    )


def _reasons(reasons: Mapping[str, int]) -> Html:
    if not reasons:
        return Html("")
    return table(("Failed because", "comparisons"), ((reason, f"{count:,}") for reason, count in reasons.items()))


def _failures(result: VerificationResult) -> Html:
    rates = {"Failure to enroll (FTE)": result.fte, "Failure to acquire a probe (FTA)": result.fta}
    known = {name: words.counted(rate) for name, rate in rates.items() if rate is not None}
    generalised = [point for point in result.points if point.gfrr and point.gfar]
    parts = [facts(known)] if known else []
    if generalised and result.counts.failed:
        parts.append(
            table(
                ("FAR up to", "FRR, completed", "GFRR, planned", "FAR, completed", "GFAR, planned"),
                (
                    (
                        f"{point.target_far:g}",
                        _rejected(point.tar),
                        words.rate(point.gfrr),
                        words.rate(point.far),
                        words.rate(point.gfar),
                    )
                    for point in generalised
                ),
            )
        )
        parts.append(
            paragraph(
                "The generalised rates count a failed comparison as a rejection. That lowers GFAR, so it never "
                "stands alone.",
                css="note",
            )
        )
    elif not result.counts.failed:
        parts.append(paragraph("No comparison failed: rates over completed and over planned comparisons are the same."))
    return join(parts)


def _rejected(tar: Rate | None) -> str:
    return words.NOTHING if tar is None else words.format_rate((tar.total - tar.count) / tar.total)


def _intervals(result: VerificationResult) -> Html:
    counts = result.counts
    if counts.subjects is None:
        return paragraph(
            "The input names no people, so the intervals are Wilson's and assume independent comparisons. "
            "Comparisons that "
            "share people are not independent: the true intervals are wider.",
            css="warn",
        )
    units = [f"{counts.subjects:,} people"]
    if counts.mated_subjects is not None:
        units.append(f"{counts.mated_subjects:,} of them with a mated comparison")
    if counts.subject_pairs is not None:
        units.append(f"{counts.subject_pairs:,} pairs of people that share nobody among the non-mated ones")
    return paragraph(
        f"Independent units: {', '.join(units)}. Intervals are 95 %: in 95 of 100 studies of this kind they hold "
        f"the true "
        "value for new people like these, not for new photos of the same people. They come from a bootstrap over "
        "people "
        f"({result.replicates:,} replicates, seed {result.seed}) that derives the threshold again in every replicate, "
        "since comparisons that share people are not independent."
    )


def _zero_errors(result: VerificationResult) -> Html:
    rows = []
    for point in result.points:
        for name, rate in (("FAR", point.far), ("1 - TAR", point.tar)):
            bound = rate.zero_errors if rate else None
            if bound is not None:
                rows.append(
                    (
                        f"{name} at FAR up to {point.target_far:g}",
                        words.format_rate(bound.upper),
                        f"{bound.units:,}",
                        words.format_rate(bound.naive_upper),
                        f"{bound.trials:,}",
                    )
                )
    if not rows:
        return Html("")
    return join(
        [
            paragraph("No error was seen here; that is no proof of 0. The rate may be as high as:"),
            table(
                ("Rate", "95 % bound", "independent units", "bound if every comparison were one", "comparisons"), rows
            ),
        ]
    )


def _flips(result: VerificationResult) -> Html:
    if not result.flips:
        return Html("")
    most = max(result.flips)
    return paragraph(
        "Moving the threshold by 0.000001, about the rounding of the scores, changes "
        + ("no decision at any operating point." if most == 0 else f"at most {most:,} decisions at an operating point.")
    )


def _details(result: VerificationResult) -> dict[str, str]:
    cost = result.min_dcf
    return {
        "Equal error rate between": f"{words.format_rate(result.eer.low)} and {words.format_rate(result.eer.high)}, "
        f"at {words.threshold(result.eer.threshold)}",
        f"minDCF (prior {cost.prior:g}, costs {cost.cost_miss:g} and {cost.cost_false_accept:g})": f"{cost.value:.4f}",
        "Best accuracy on the same data (optimistic)": f"{words.format_rate(result.best.accuracy)} at "
        f"{words.threshold(result.best.threshold)}",
    }


def _folds(folds: FoldAccuracy, *, lfw: bool) -> Html:
    lead = "LFW's +- is the standard error" if lfw else "The +- is the standard error"
    return paragraph(
        f"{lead} of {len(folds.accuracies)} folds, s / sqrt({len(folds.accuracies)}) with ddof 1: "
        f"{folds.mean:.5f} +- {folds.standard_error:.5f}. Others quote the standard deviation with ddof 0: "
        f"{folds.std:.5f}. Each fold is judged at the threshold that is best on the others; failed comparisons "
        f"count as "
        "wrong."
    )


def _convention(convention: InsightFaceConvention) -> Html:
    parts = [
        paragraph(
            "For comparison with published tables only. The nearest FAR overshoots its target as often as not, and "
            "failures are left out.",
            css="warn",
        )
    ]
    if convention.folds is not None:
        folds = convention.folds
        parts.append(paragraph(f"10-fold accuracy on distances: {folds.mean:.5f} +- {folds.std:.5f} (ddof 0)."))
    parts.append(
        table(
            ("Target FAR", "nearest FAR", "TAR there"),
            (
                (f"{target:g}", words.format_rate(far), words.format_rate(tar))
                for target, far, tar in convention.nearest_far
            ),
        )
    )
    return join(parts)


def _lfw(counts: TrialCounts) -> str:
    allowed = int(counts.non_mated * 1e-3 + 1e-12)
    if allowed:
        errors = f"{allowed:,} false match{'' if allowed == 1 else 'es'}"
        support = f"FAR 1e-3 on these {counts.non_mated:,} non-mated pairs means {errors}"
    else:
        support = f"FAR 1e-3 is less than one false match on these {counts.non_mated:,} non-mated pairs"
    return (
        f"{support}: LFW cannot tell good models apart at low FAR. Its photos were found by one detector, of "
        f"celebrities "
        "in news pictures, and its people are in many training sets."
    )


def flat(values: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Nested settings as names with dots and text."""
    rows: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            rows |= flat(value, f"{prefix}{name}.")
        else:
            rows[f"{prefix}{name}"] = str(value)
    return rows
