"""The page of a 1:1 evaluation: the answer, the curves, the worst pairs, and what stands behind the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from facesearch.evaluation.assessment import TrialCounts, VerificationResult, recommended_point
from facesearch.evaluation.folds import FoldAccuracy, InsightFaceConvention
from facesearch.evaluation.markup import (
    Html,
    badge,
    card,
    cards,
    element,
    facts,
    join,
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
    Flag,
    Rate,
    counted,
    file_name,
    flag_text,
    format_rate,
    interval_text,
    rate_text,
    threshold_text,
)
from facesearch.evaluation.report import About, VerificationReport, WorstPair
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
    "roc": "TAR against FAR. Each step is a score that was observed; nothing is drawn below one false match. "
    "The TAR axis need not begin at 0.",
    "det": "Both error rates on normal-deviate axes: lower left is better. Where the line meets the dotted diagonal "
    "lies the equal error rate.",
    "scores": "How the scores of the two classes lie, each class adding up to 1, and where the threshold cuts.",
    "error_rates": "What moving the threshold costs: FMR falls and FNMR rises with it.",
    "groups": "Every group is judged at the same threshold; bars are 95 % intervals.",
}


def verification_figures(report: VerificationReport) -> dict[str, Figure]:
    """The plots by file name, in the order of the page."""
    result = report.result
    point = recommended_point(result)
    threshold = point.threshold if point else None
    basis = f"for FAR {point.target_far:g}" if point else ""
    figures = {
        "roc": roc(result.curve, result.band, result.points),
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
    return page(
        report.about.title,
        heading(report.about),
        _answer(result),
        _points(result),
        facts(_summary(result)),
        section("Curves", element("div", *drawn.values(), css="plots")),
        *([section("By group", element("div", *by_group, css="plots"), _groups(report))] if report.groups else []),
        *([section("The worst pairs", *_worst(worst, thumbnails or {}))] if worst else []),
        section("What stands behind these figures", verification_honesty(report)),
    )


def heading(about: About) -> Html:
    """Title and provenance."""
    model = f", model {about.model['model_id']}" if "model_id" in about.model else ""
    return element(
        "header",
        element("h1", text(about.title)),
        paragraph(f"{about.source}{model}; {about.created_at}, facesearch {about.facesearch}", css="sub"),
    )


def _answer(result: VerificationResult) -> Html:
    point = recommended_point(result)
    if point is None or point.tar is None or point.far is None:
        return element(
            "div",
            paragraph("These trials support none of the operating points that were asked for.", css="big"),
            paragraph(
                f"There are {result.counts.non_mated:,} non-mated comparisons; FAR f needs at least 1/f of them."
            ),
            css="answer warn",
        )
    known = interval_text(point.tar.best_interval)
    lines = [
        paragraph(
            f"At FAR up to {point.target_far:g} the true accept rate is {rate_text(point.tar)} "
            f"(95 % interval {known}).",
            css="big",
        ),
        paragraph(
            f"Recommended threshold: {threshold_text(point.threshold)}, the strictest these trials can "
            f"{'show' if point.flag else 'show well'}; FAR achieved there: {counted(point.far)}."
        ),
    ]
    if point.flag is Flag.LOW_SUPPORT:
        lines.append(_low_support(point, point.far.count))
    return element("div", *lines, css="answer")


def _low_support(point: OperatingPoint, errors: int) -> Html:
    needed = round(30 / point.target_far)
    return paragraph(
        f"It rests on {errors:,} false match{'' if errors == 1 else 'es'}. A figure to rely on takes 30, which "
        f"is about {needed:,} non-mated comparisons. For a gallery of many people set the threshold with "
        "`facesearch calibrate --fpir 0.001`.",
        css="warn",
    )


def _points(result: VerificationResult) -> Html:
    header = ("FAR up to", "TAR", "95 % interval", "FAR achieved", "threshold", "")
    rows = (
        (
            f"{point.target_far:g}",
            rate_text(point.tar),
            interval_text(point.tar.best_interval if point.tar else None),
            counted(point.far),
            threshold_text(point.threshold),
            badge(flag_text(point.flag)),
        )
        for point in result.points
    )
    return table(header, rows)


def _summary(result: VerificationResult) -> dict[str, str]:
    eer = result.eer
    spread = f" (95 %: {interval_text(eer.interval)})" if eer.interval else ""
    summary = {
        "Equal error rate": f"{format_rate(eer.midpoint)}{spread}",
        "AUC": format_rate(result.auc) + (f" +- {result.auc_error:.1g}" if result.auc_error else ""),
        "d'": NOTHING if result.d_prime is None else f"{result.d_prime:.3f}",
    }
    if result.folds is not None:
        folds = result.folds
        summary[f"Accuracy over {len(folds.accuracies)} folds"] = (
            f"{format_rate(folds.mean)} +- {folds.standard_error:.4f} (standard error)"
        )
    return summary


def _groups(report: VerificationReport) -> Html:
    header = ("Group", "TAR", "95 % interval", "FAR", "95 % interval")
    return table(
        header,
        (
            (
                group.group,
                counted(group.tar),
                interval_text(group.tar.best_interval if group.tar else None),
                counted(group.far),
                interval_text(group.far.best_interval if group.far else None),
            )
            for group in report.groups
        ),
    )


def _worst(worst: Sequence[WorstPair], thumbnails: Mapping[str, bytes]) -> list[Html]:
    parts = [paragraph("Look at these first: a wrong label looks exactly like a bad error.", css="note")]
    for mated, title in ((True, "Same person, lowest scores"), (False, "Different people, highest scores")):
        shown = [pair for pair in worst if pair.mated is mated]
        if shown:
            parts.append(element("h3", text(title)))
            parts.append(cards(_worst_card(pair, thumbnails) for pair in shown) if thumbnails else _worst_table(shown))
    return [join(parts)]


def _worst_card(pair: WorstPair, thumbnails: Mapping[str, bytes]) -> Html:
    return card(
        pair.a,
        pair.b,
        f"{pair.score:.4f}",
        (file_name(pair.a), file_name(pair.b), f"trial {pair.trial:,}"),
        thumbnails,
    )


def _worst_table(pairs: Sequence[WorstPair]) -> Html:
    rows = ((pair.a, pair.b, f"{pair.score:.4f}", f"{pair.trial:,}") for pair in pairs)
    return table(("a", "b", "score", "trial"), rows, words=2)


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
        parts += [_heading("Accuracy over folds"), _fold_text(result.folds, lfw=report.about.protocol == "lfw")]
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
    known = {name: counted(rate) for name, rate in rates.items() if rate is not None}
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
                        rate_text(point.gfrr),
                        rate_text(point.far),
                        rate_text(point.gfar),
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
    return NOTHING if tar is None else format_rate((tar.total - tar.count) / tar.total)


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
                        format_rate(bound.upper),
                        f"{bound.units:,}",
                        format_rate(bound.naive_upper),
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
        "Equal error rate between": f"{format_rate(result.eer.low)} and {format_rate(result.eer.high)}, "
        f"at {threshold_text(result.eer.threshold)}",
        f"minDCF (prior {cost.prior:g}, costs {cost.cost_miss:g} and {cost.cost_false_accept:g})": f"{cost.value:.4f}",
        "Best accuracy on the same data (optimistic)": f"{format_rate(result.best.accuracy)} at "
        f"{threshold_text(result.best.threshold)}",
    }


def _fold_text(folds: FoldAccuracy, *, lfw: bool) -> Html:
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
            ((f"{target:g}", format_rate(far), format_rate(tar)) for target, far, tar in convention.nearest_far),
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
