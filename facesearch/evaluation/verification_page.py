"""The page of a 1:1 evaluation: the answer, the curves, the worst pairs, and what the figures rest on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from facesearch.evaluation.assessment import TrialCounts, VerificationResult, headline_point
from facesearch.evaluation.folds import FoldAccuracy, InsightFaceConvention
from facesearch.evaluation.groups import GroupRates
from facesearch.evaluation.markup import (
    RULE_OF_30,
    TOO_FEW,
    Html,
    answer_box,
    badged,
    card,
    cards,
    counts_table,
    element,
    facts,
    flat,
    heading,
    page,
    paragraph,
    plot,
    section,
    table,
    text,
)
from facesearch.evaluation.rates import (
    DECISION_RULE,
    LOW_SUPPORT,
    NOTHING,
    counted,
    file_name,
    flag_text,
    format_rate,
    interval_text,
    rate_text,
    threshold_text,
)
from facesearch.evaluation.report import VerificationReport, WorstPair
from facesearch.evaluation.verification import OperatingPoint
from facesearch.evaluation.verification_plots import (
    det,
    error_rates_against_threshold,
    roc,
    score_histograms,
    tar_by_group,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTIONS = {
    "roc": "TAR against FAR. Each step is an observed score. The curve begins at one false match, and the TAR axis "
    "need not begin at 0.",
    "det": "Both error rates on normal-deviate axes. Lower left is better. The line meets the dotted diagonal at the "
    "equal error rate.",
    "scores": "Distribution of the scores of each class (sum 1), and the threshold.",
    "error_rates": "A higher threshold lowers FMR and raises FNMR.",
    "groups": "TAR of every group at the same threshold. Bars are 95 % intervals.",
}
POINT_COLUMNS = ("FAR up to", "TAR", "95 % interval", "1 - GFRR", "FAR achieved", "GFAR", "threshold", "")
GROUP_COLUMNS = ("group", "TAR", "95 % interval", "FAR", "95 % interval")
UNSUPPORTED = "These trials support none of the requested operating points."


def verification_figures(report: VerificationReport) -> dict[str, Figure]:
    """The plots by file name, in the order of the page."""
    result = report.result
    point = headline_point(result)
    threshold = point.threshold if point else None
    basis = f"for FAR {point.target_far:g}" if point else ""
    figures = {
        "roc": roc([("", result.curve, result.band)], result.points),
        "scores": score_histograms(result.curve, threshold, basis),
        "error_rates": error_rates_against_threshold(result.curve, threshold),
        "det": det(result.curve),
    }
    if report.groups and report.group_threshold is not None:
        figures["groups"] = tar_by_group(report.groups, report.group_threshold)
    return figures


def verification_page(
    report: VerificationReport,
    figures: Mapping[str, Figure],
    worst: Sequence[WorstPair] = (),
    thumbnails: Mapping[str, bytes] | None = None,
) -> str:
    """The HTML; `thumbnails` holds JPEG bytes by the photo names in `worst`."""
    result = report.result
    drawn = {name: plot(figure, CAPTIONS[name]) for name, figure in figures.items()}
    by_group = [drawn.pop("groups")] if "groups" in drawn else []
    groups = element("div", *by_group, css="plots"), table(GROUP_COLUMNS, group_rows(report.groups))
    return page(
        report.about.title,
        heading(report.about),
        answer_box(answer(result)),
        table(POINT_COLUMNS, badged(point_rows(result.points))),
        facts(summary(result)),
        section("Curves", element("div", *drawn.values(), css="plots")),
        *([section("By group", *groups)] if report.groups else []),
        *([section("The worst pairs", *_worst(worst, thumbnails or {}))] if worst else []),
        section("What stands behind these figures", *_basis(report)),
    )


def point_rows(points: Sequence[OperatingPoint]) -> list[tuple[str, ...]]:
    """The rows under `POINT_COLUMNS`."""
    return [
        (
            f"{point.target_far:g}",
            rate_text(point.tar),
            interval_text(point.tar),
            rate_text(point.gfrr and point.gfrr.complement),
            counted(point.far),
            rate_text(point.gfar),
            threshold_text(point.threshold),
            flag_text(point.flag),
        )
        for point in points
    ]


def group_rows(groups: Sequence[GroupRates]) -> list[tuple[str, ...]]:
    """The rows under `GROUP_COLUMNS`."""
    return [
        (each.group, counted(each.tar), interval_text(each.tar), counted(each.far), interval_text(each.far))
        for each in groups
    ]


def answer(result: VerificationResult) -> list[str]:
    """What to quote and what it rests on, the first sentence first."""
    point = headline_point(result)
    if point is None or point.tar is None or point.far is None:
        needs = f"FAR f needs at least 1/f non-mated comparisons; there are {result.counts.non_mated:,}."
        return [UNSUPPORTED, needs]
    lines = [] if point.flag is None else [TOO_FEW]
    lines.append(
        f"TAR {rate_text(point.tar)} at FAR up to {point.target_far:g} (95 % interval {interval_text(point.tar)}), "
        f"threshold {threshold_text(point.threshold)}."
    )
    if result.counts.failed:
        generalised = point.gfrr and point.gfrr.complement
        lines.append(f"With failed comparisons counted as rejected: 1 - GFRR {rate_text(generalised)}.")
    finer = [each.target_far for each in result.points if each.target_far < point.target_far]
    if point.flag is not None or finer:
        wanted = point.target_far if point.flag is not None else max(finer)
        needed = math.ceil(LOW_SUPPORT / wanted)
        lines.append(f"FAR {wanted:g} takes about {needed:,} non-mated comparisons; there are {point.far.total:,}.")
    lines.append(
        "A threshold for two photos is too low for a search: find one with `facesearch calibrate --fpir 0.01`."
    )
    return lines


def summary(result: VerificationResult) -> dict[str, str]:
    """Figures without an operating point, by name."""
    eer, folds = result.eer, result.folds
    found = {
        "EER": format_rate(eer.midpoint) + (f" ({interval_text(eer.interval)})" if eer.interval else ""),
        "AUC": format_rate(result.auc) + (f" +- {result.auc_error:.1g}" if result.auc_error else ""),
        "d'": NOTHING if result.d_prime is None else f"{result.d_prime:.3f}",
    }
    if folds is not None:
        spread = f"{folds.standard_error:.4f} (standard error; np.std {folds.std:.4f})"
        found[f"accuracy over {len(folds.accuracies)} folds"] = f"{format_rate(folds.mean)} +- {spread}"
    return found


def _worst(worst: Sequence[WorstPair], thumbnails: Mapping[str, bytes]) -> Iterator[Html]:
    yield paragraph("Look at these first: a wrong label looks like an error of the model.", css="note")
    for mated, title in ((True, "Same person, lowest scores"), (False, "Different people, highest scores")):
        shown = [pair for pair in worst if pair.mated is mated]
        if not shown:
            continue
        yield element("h3", text(title))
        if thumbnails:
            yield cards(_card(pair, thumbnails) for pair in shown)
        else:
            rows = ((pair.a, pair.b, f"{pair.score:.4f}", f"{pair.trial:,}") for pair in shown)
            yield table(("a", "b", "score", "trial"), rows, words=2)


def _card(pair: WorstPair, thumbnails: Mapping[str, bytes]) -> Html:
    lines = (file_name(pair.a), file_name(pair.b), f"trial {pair.trial:,}")
    return card(pair.a, pair.b, f"{pair.score:.4f}", lines, thumbnails)


def _basis(report: VerificationReport) -> Iterator[Html]:
    """Counts, failures, independence, intervals, rules and what is particular to LFW."""
    result, about = report.result, report.about
    counts = result.counts
    rows = (
        ("mated (same person)", counts.planned_mated, counts.mated),
        ("non-mated (different people)", counts.planned_non_mated, counts.non_mated),
        ("all", counts.planned_mated + counts.planned_non_mated, counts.mated + counts.non_mated),
    )
    yield paragraph(f"Decision rule: {DECISION_RULE}. The score is the cosine of two templates; higher is more alike.")
    yield from (_heading("Every planned comparison"), counts_table("Comparisons", rows), *_failures(result))
    yield from (_heading("How sure"), _intervals(result), paragraph(RULE_OF_30), *_zero_errors(result))
    if result.flips:
        yield paragraph(
            f"Moving the threshold by 0.000001, about the rounding error of a score, changes at most "
            f"{max(result.flips):,} decisions at any operating point."
        )
    yield from (_heading("Further figures"), facts(_details(result)))
    if result.folds is not None:
        yield from (_heading("Accuracy over folds"), _folds(result.folds))
    if result.insightface is not None:
        yield from (_heading("By the field's convention"), paragraph(CONVENTION_NOTE, css="warn"))
        yield paragraph(convention_accuracy(result.insightface))
        yield table(CONVENTION_COLUMNS, convention_rows(result.insightface))
    if about.protocol == "lfw":
        yield from (_heading("About LFW"), paragraph(_lfw(result.counts)))
    if about.model:
        yield from (_heading("Model and settings"), facts(flat(about.model)))


def _heading(title: str) -> Html:
    return element("h3", text(title))


def _failures(result: VerificationResult) -> Iterator[Html]:
    reasons = result.counts.reasons
    if reasons:
        yield table(("Failed because", "comparisons"), ((reason, f"{count:,}") for reason, count in reasons.items()))
    rates = {"Failure to enroll (FTE)": result.fte, "Failure to acquire a probe (FTA)": result.fta}
    if known := {name: counted(rate) for name, rate in rates.items() if rate is not None}:
        yield facts(known)
    if not result.counts.failed:
        yield paragraph("No comparison failed: rates over completed and over planned comparisons are the same.")
        return
    rows = [
        (
            f"{point.target_far:g}",
            format_rate((point.tar.total - point.tar.count) / point.tar.total),
            rate_text(point.gfrr),
            rate_text(point.far),
            rate_text(point.gfar),
        )
        for point in result.points
        if point.tar and point.gfrr and point.gfar
    ]
    if rows:
        yield table(("FAR up to", "FRR, completed", "GFRR, planned", "FAR, completed", "GFAR, planned"), rows)
        yield paragraph(
            "The generalised rates (GFRR, GFAR) count a failed comparison as a rejection. Failures lower GFAR, so read "
            "it together with GFRR.",
            css="note",
        )


def _intervals(result: VerificationResult) -> Html:
    counts = result.counts
    if counts.subjects is None:
        return paragraph(
            "The input names no people, so the intervals are Wilson's and assume independent comparisons. Comparisons "
            "that share people are not independent: the true intervals are wider.",
            css="warn",
        )
    units = [f"{counts.subjects:,} people"]
    if counts.mated_subjects is not None:
        units.append(f"{counts.mated_subjects:,} of them with a mated comparison")
    if counts.subject_pairs is not None:
        units.append(f"{counts.subject_pairs:,} pairs of people that share nobody among the non-mated ones")
    return paragraph(
        f"Independent units: {', '.join(units)}. Intervals are 95 %: 95 of 100 such studies would contain the true "
        "value for new people like these. They say nothing about new photos of the same people. They come from a "
        f"bootstrap over people ({result.replicates:,} replicates, seed {result.seed}), because comparisons that share "
        "people are not independent. Every replicate derives its own threshold."
    )


def _zero_errors(result: VerificationResult) -> Iterator[Html]:
    rows = []
    for point in result.points:
        for name, rate in (("FAR", point.far), ("1 - TAR", point.tar)):
            if bound := rate and rate.zero_errors:
                rows.append(
                    (
                        f"{name} at FAR up to {point.target_far:g}",
                        format_rate(bound.upper),
                        f"{bound.units:,}",
                        format_rate(bound.naive_upper),
                        f"{bound.trials:,}",
                    )
                )
    if rows:
        yield paragraph("Zero observed errors do not prove a rate of 0. The rate may be as high as:")
        header = ("Rate", "95 % bound", "independent units", "bound if comparisons were independent", "comparisons")
        yield table(header, rows)


def _details(result: VerificationResult) -> dict[str, str]:
    cost, eer, best = result.min_dcf, result.eer, result.best
    return {
        "Equal error rate between": f"{format_rate(eer.low)} and {format_rate(eer.high)}, "
        f"at {threshold_text(eer.threshold)}",
        f"minDCF (prior {cost.prior:g}, costs {cost.cost_miss:g} and {cost.cost_false_accept:g})": f"{cost.value:.4f}",
        "Best accuracy on the same data (optimistic)": f"{format_rate(best.accuracy)} at "
        f"{threshold_text(best.threshold)}",
    }


def _folds(folds: FoldAccuracy) -> Html:
    count = len(folds.accuracies)
    return paragraph(
        f"{folds.mean:.5f} +- {folds.standard_error:.5f}, the standard error of {count} folds: s / sqrt({count}), ddof "
        f"1, as LFW defines it. Others quote the standard deviation with ddof 0: {folds.std:.5f}. Each fold is judged "
        "at the threshold that is best on the other folds. Failed comparisons count as wrong."
    )


CONVENTION_NOTE = (
    "Use these figures only to compare with published tables. The nearest FAR exceeds its target about half the time, "
    "and failures are left out."
)
CONVENTION_COLUMNS = ("target FAR", "nearest FAR", "TAR there")


def convention_rows(convention: InsightFaceConvention) -> list[tuple[str, ...]]:
    """The rows under `CONVENTION_COLUMNS`."""
    return [(f"{target:g}", format_rate(far), format_rate(tar)) for target, far, tar in convention.nearest_far]


def convention_accuracy(convention: InsightFaceConvention) -> str:
    """The accuracy over ten folds of distances, where there are enough pairs."""
    folds = convention.folds
    return "" if folds is None else f"10-fold accuracy on distances: {folds.mean:.5f} +- {folds.std:.5f} (ddof 0)."


def _lfw(counts: TrialCounts) -> str:
    allowed = int(counts.non_mated * 1e-3 + 1e-12)
    errors = f"{allowed:,} false match{'' if allowed == 1 else 'es'}" if allowed else "less than one false match"
    return (
        f"FAR 1e-3 on these {counts.non_mated:,} non-mated pairs means {errors}: LFW cannot separate good models at "
        "low FAR. One detector found all of its photos, which show celebrities in news pictures. Many training sets "
        "contain its people."
    )
