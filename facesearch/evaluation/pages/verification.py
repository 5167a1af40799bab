"""The page of a 1:1 evaluation: the answer, the curves, the worst pairs, and what stands behind the figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facesearch.evaluation import plots
from facesearch.evaluation.pages import words
from facesearch.evaluation.pages.honesty import verification_honesty
from facesearch.evaluation.pages.shell import (
    Html,
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
from facesearch.evaluation.report import recommended_point
from facesearch.evaluation.results.rates import Flag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

    from facesearch.evaluation.report import About, VerificationReport
    from facesearch.evaluation.results.verification import OperatingPoint, VerificationResult
    from facesearch.evaluation.tables import WorstPair

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
        "roc": plots.roc(result.curve, result.band, result.points),
        "scores": plots.score_histograms(result.curve, threshold, basis),
        "error_rates": plots.error_rates_against_threshold(result.curve, threshold),
        "det": plots.det(result.curve),
    }
    if report.groups and report.group_threshold is not None:
        figures["groups"] = plots.tar_by_group(report.groups, report.group_threshold)
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
    known = words.interval(point.tar.best_interval)
    lines = [
        paragraph(
            f"At FAR up to {point.target_far:g} the true accept rate is {words.rate(point.tar)} "
            f"(95 % interval {known}).",
            css="big",
        ),
        paragraph(
            f"Recommended threshold: {words.threshold(point.threshold)}, the strictest these trials can "
            f"{'show' if point.flag else 'show well'}; FAR achieved there: {words.counted(point.far)}."
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
            words.rate(point.tar),
            words.interval(point.tar.best_interval if point.tar else None),
            words.counted(point.far),
            words.threshold(point.threshold),
            words.flag(point.flag),
        )
        for point in result.points
    )
    return table(header, rows)


def _summary(result: VerificationResult) -> dict[str, str]:
    eer = result.eer
    spread = f" (95 %: {words.interval(eer.interval)})" if eer.interval else ""
    summary = {
        "Equal error rate": f"{words.format_rate(eer.midpoint)}{spread}",
        "AUC": words.format_rate(result.auc) + (f" +- {result.auc_error:.1g}" if result.auc_error else ""),
        "d'": words.NOTHING if result.d_prime is None else f"{result.d_prime:.3f}",
    }
    if result.folds is not None:
        folds = result.folds
        summary[f"Accuracy over {len(folds.accuracies)} folds"] = (
            f"{words.format_rate(folds.mean)} +- {folds.standard_error:.4f} (standard error)"
        )
    return summary


def _groups(report: VerificationReport) -> Html:
    header = ("Group", "TAR", "95 % interval", "FAR", "95 % interval")
    return table(
        header,
        (
            (
                group.group,
                words.counted(group.tar),
                words.interval(group.tar.best_interval if group.tar else None),
                words.counted(group.far),
                words.interval(group.far.best_interval if group.far else None),
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
        (words.file_name(pair.a), words.file_name(pair.b), f"trial {pair.trial:,}"),
        thumbnails,
    )


def _worst_table(pairs: Sequence[WorstPair]) -> Html:
    rows = ((pair.a, pair.b, f"{pair.score:.4f}", f"{pair.trial:,}") for pair in pairs)
    return table(("a", "b", "score", "trial"), rows, words=2)
