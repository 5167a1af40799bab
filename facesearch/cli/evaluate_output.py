"""How evaluations reach people and programs: a summary that begins with the answer, and NDJSON records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from facesearch.cli.output import emit, print_table, say
from facesearch.evaluation.assessment import recommended_point
from facesearch.evaluation.calibration import Basis, Metric
from facesearch.evaluation.documents import to_json
from facesearch.evaluation.rates import (
    DECISION_RULE,
    LOW_SUPPORT,
    NOTHING,
    Flag,
    counted,
    flag_text,
    format_rate,
    interval_text,
    rate_text,
    threshold_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from facesearch.evaluation.assessment import VerificationResult
    from facesearch.evaluation.rates import Rate
    from facesearch.jobs.calibrate import Calibrated
    from facesearch.jobs.embeddings import Embedded
    from facesearch.jobs.evaluate import Evaluation


def rate_record(rate: Rate | None) -> dict[str, Any] | None:
    """A rate with its count and its intervals; `interval` is the primary one and says by what method."""
    if rate is None:
        return None
    return {"value": rate.value, **to_json(rate)}


# -- 1:1


def emit_verification(evaluation: Evaluation, embedded: Embedded | None) -> None:
    """One record for the whole, then one per operating point, then one per group."""
    result = evaluation.report.result
    emit(
        {
            "kind": "verification",
            "source": evaluation.report.about.source,
            "decision_rule": DECISION_RULE,
            "counts": {**to_json(result.counts), "failed": result.counts.failed},
            "photos": _photos_record(embedded),
            "fte": rate_record(result.fte),
            "fta": rate_record(result.fta),
            "eer": {"value": result.eer.midpoint, **to_json(result.eer)},
            "auc": result.auc,
            "d_prime": result.d_prime,
            "min_dcf": to_json(result.min_dcf),
            "best_accuracy": to_json(result.best),
            "folds": _folds_record(result),
            "insightface": to_json(result.insightface),
            "replicates": result.replicates,
            "seed": result.seed,
            "model": to_json(evaluation.report.about.model),
        }
    )
    for point, flips in zip(result.points, result.flips, strict=True):
        emit(
            {
                "kind": "tar_at_far",
                **to_json(point),
                **{name: rate_record(getattr(point, name)) for name in ("far", "tar", "gfar", "gfrr")},
                "decisions_within_1e-6": flips,
            }
        )
    for group in evaluation.report.groups:
        emit(
            {
                "kind": "group",
                "group": group.group,
                "threshold": to_json(evaluation.report.group_threshold),
                "tar": rate_record(group.tar),
                "far": rate_record(group.far),
            }
        )


def _photos_record(embedded: Embedded | None) -> dict[str, Any] | None:
    if embedded is None:
        return None
    return {
        "photos": len(embedded.photos),
        "embedded_now": embedded.computed,
        "failed_by_reason": embedded.reasons,
        "several_faces": embedded.several_faces,
    }


def _folds_record(result: VerificationResult) -> dict[str, Any] | None:
    if result.folds is None:
        return None
    folds = result.folds
    return {"accuracy": folds.mean, "standard_error": folds.standard_error, "std_ddof_0": folds.std, **to_json(folds)}


def print_verification(evaluation: Evaluation, embedded: Embedded | None) -> None:
    """The answer, the operating points, what else was measured, and what it rests on."""
    report = evaluation.report
    result = report.result
    for line in _verification_answer(result):
        say(line)
    rows = [
        (
            f"{point.target_far:g}",
            rate_text(point.tar),
            interval_text(point.tar.best_interval if point.tar else None),
            counted(point.far),
            threshold_text(point.threshold),
            flag_text(point.flag),
        )
        for point in result.points
    ]
    print_table(("FAR up to", "TAR", "95 % interval", "FAR achieved", "threshold", ""), rows)
    for line in [*_further(result), *_basis(result, embedded)]:
        say(line)
    if report.groups:
        group_rows = [
            (
                group.group,
                counted(group.tar),
                interval_text(group.tar.best_interval if group.tar else None),
                counted(group.far),
            )
            for group in report.groups
        ]
        say("")
        say(f"By group, all at threshold {threshold_text(report.group_threshold)}:")
        print_table(("group", "TAR", "95 % interval", "FAR"), group_rows)


def _verification_answer(result: VerificationResult) -> Iterator[str]:
    point = recommended_point(result)
    if point is None or point.tar is None:
        yield "These trials support none of the operating points that were asked for."
        yield f"FAR f needs at least 1/f non-mated comparisons; there are {result.counts.non_mated:,}."
        return
    yield (
        f"TAR {rate_text(point.tar)} at FAR up to {point.target_far:g} "
        f"(95 % interval {interval_text(point.tar.best_interval)}), threshold {threshold_text(point.threshold)}."
    )
    if point.far is not None and point.flag is Flag.LOW_SUPPORT:
        errors = f"{point.far.count:,} false match{'' if point.far.count == 1 else 'es'}"
        yield f"It rests on {errors}; a figure to rely on takes {LOW_SUPPORT}."


def _further(result: VerificationResult) -> Iterator[str]:
    eer = result.eer
    known = f" ({interval_text(eer.interval)})" if eer.interval else ""
    spread = f" +- {result.auc_error:.1g}" if result.auc_error else ""
    d_prime = NOTHING if result.d_prime is None else f"{result.d_prime:.3f}"
    yield f"EER {format_rate(eer.midpoint)}{known}, AUC {format_rate(result.auc)}{spread}, d' {d_prime}"
    if result.folds is not None:
        folds = result.folds
        yield (
            f"Accuracy over {len(folds.accuracies)} folds {format_rate(folds.mean)} +- "
            f"{folds.standard_error:.4f} (standard error; np.std {folds.std:.4f})"
        )
    yield (
        f"Accuracy at the best threshold {format_rate(result.best.accuracy)} "
        "(optimistic: the threshold was chosen on the same trials)"
    )
    if result.insightface is not None:
        yield from _convention(result)


def _convention(result: VerificationResult) -> Iterator[str]:
    assert result.insightface is not None
    yield "By InsightFace's convention, for comparison with published tables only:"
    if result.insightface.folds is not None:
        folds = result.insightface.folds
        yield f"  accuracy {format_rate(folds.mean)} +- {folds.std:.4f} (np.std)"
    for target, taken, tar in result.insightface.nearest_far:
        over = ", over the target" if taken > target else ""
        yield f"  TAR {format_rate(tar)} at the FAR nearest to {target:g}: {format_rate(taken)}{over}"


def _basis(result: VerificationResult, embedded: Embedded | None) -> Iterator[str]:
    counts = result.counts
    planned = counts.planned_mated + counts.planned_non_mated
    yield (
        f"{planned:,} comparisons planned ({counts.planned_mated:,} mated, {counts.planned_non_mated:,} non-mated), "
        f"{planned - counts.failed:,} completed, {counts.failed:,} failed{in_words(counts.reasons)}"
    )
    if embedded is not None and embedded.reasons:
        yield f"Photos without a template{in_words(embedded.reasons)}"
    if embedded is not None and embedded.several_faces:
        yield f"In {embedded.several_faces:,} photos with several faces the policy chose one."
    if counts.subjects is None:
        yield "Intervals assume independent comparisons: the input names no people. The true ones are wider."
    else:
        yield f"Intervals: subject bootstrap over {counts.subjects:,} people, {result.replicates:,} replicates."
    yield f"Decision rule: {DECISION_RULE}; score = cosine."


def in_words(reasons: Mapping[str, int]) -> str:
    """Reasons with their counts, as the end of a sentence."""
    return f": {', '.join(f'{count:,} {reason}' for reason, count in reasons.items())}" if reasons else ""


# -- calibration


def print_calibration(found: Calibrated) -> None:
    """The threshold, what it promises and to whom, and what it costs."""
    each = found.calibration
    far = each.metric is Metric.FAR
    promise = f"FAR {each.target:g}" if far else f"FPIR {each.target:g} in a gallery of {each.subjects:,} people"
    say(f"Threshold {each.threshold:g} for {promise}.")
    label = "EXTRAPOLATED" if each.basis is Basis.EXTRAPOLATED else each.basis.value
    kind = "comparisons" if far else f"searches against {each.measured_subjects:,} people"
    rows = [
        ("basis", label),
        ("measured", f"{each.errors:,} errors in {each.trials:,} {kind}, {each.people:,} independent people"),
        ("expected", f"{format_rate(each.estimate)}, 95 % interval {interval_text(each.interval)}"),
    ]
    if found.held_out is not None:
        shown = f"{counted(found.held_out)}, 95 % interval {interval_text(found.held_out.best_interval)}"
        rows.append(("on people left out of the fit", shown))
    if found.missed is not None:
        kind = "mated comparisons" if far else "mated searches, one photo each left out"
        known = f"95 % interval {interval_text(found.missed.best_interval)}"
        rows.append(("missed at this threshold", f"{counted(found.missed)} {kind}, {known}"))
    valid = "any gallery size: it speaks of single comparisons" if far else f"up to {each.valid_up_to:,} people"
    rows.append(("holds for", valid))
    for name, value in rows:
        say(f"  {name:30} {value}")
    if each.flag is Flag.LOW_SUPPORT:
        say(f"It rests on fewer than {LOW_SUPPORT} errors: the interval says how far off it may be.")
    if not far:
        say("To plan for a gallery that grows: --subjects N.")
