"""How evaluations reach people and programs: a summary that begins with the answer, and NDJSON records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from facesearch.cli.output import emit, print_table, say
from facesearch.evaluation import identification_page, verification_page
from facesearch.evaluation.calibration import Basis, Metric
from facesearch.evaluation.comparison import difference_table, verdict, winner
from facesearch.evaluation.documents import to_json
from facesearch.evaluation.rates import (
    DECISION_RULE,
    LOW_SUPPORT,
    Flag,
    Rate,
    counted,
    format_rate,
    interval_text,
    threshold_text,
)

if TYPE_CHECKING:
    from facesearch.evaluation.assessment import VerificationResult
    from facesearch.evaluation.comparison import PairedDifference
    from facesearch.evaluation.folds import FoldAccuracy
    from facesearch.evaluation.report import IdentificationReport
    from facesearch.jobs.calibrate import Calibrated
    from facesearch.jobs.embeddings import Embedded
    from facesearch.jobs.evaluate import Evaluation


def _record(rate: Rate | None) -> dict[str, Any] | None:
    """A rate with its count and its intervals; `interval` is the primary one and says by what method."""
    return None if rate is None else {"value": rate.value, **to_json(rate)}


def _in_words(reasons: Mapping[str, int]) -> str:
    """Reasons with their counts, as the end of a sentence."""
    return f": {', '.join(f'{count:,} {reason}' for reason, count in reasons.items())}" if reasons else ""


# -- 1:1


def emit_verification(evaluation: Evaluation, embedded: Embedded | None) -> None:
    """One record for the whole, then one per operating point, then one per group."""
    report, result = evaluation.report, evaluation.report.result
    emit(
        {
            "kind": "verification",
            "source": report.about.source,
            "decision_rule": DECISION_RULE,
            "counts": {**to_json(result.counts), "failed": result.counts.failed},
            "photos": _photos_record(embedded),
            "fte": _record(result.fte),
            "fta": _record(result.fta),
            "eer": {"value": result.eer.midpoint, **to_json(result.eer)},
            "auc": result.auc,
            "d_prime": result.d_prime,
            "min_dcf": to_json(result.min_dcf),
            "best_accuracy": to_json(result.best),
            "folds": _folds_record(result.folds),
            "insightface": to_json(result.insightface),
            "replicates": result.replicates,
            "seed": result.seed,
            "model": to_json(report.about.model),
        }
    )
    for point, flips in zip(result.points, result.flips, strict=True):
        rates = {name: _record(getattr(point, name)) for name in ("far", "tar", "gfar", "gfrr")}
        emit({"kind": "tar_at_far", **to_json(point), **rates, "decisions_within_1e-6": flips})
    for group in report.groups:
        threshold = to_json(report.group_threshold)
        rates = {"tar": _record(group.tar), "far": _record(group.far)}
        emit({"kind": "group", "group": group.group, "threshold": threshold, **rates})


def _photos_record(embedded: Embedded | None) -> dict[str, Any] | None:
    if embedded is None:
        return None
    return {
        "photos": len(embedded.photos),
        "embedded_now": embedded.computed,
        "failed_by_reason": embedded.reasons,
        "several_faces": embedded.several_faces,
    }


def _folds_record(folds: FoldAccuracy | None) -> dict[str, Any] | None:
    if folds is None:
        return None
    return {"accuracy": folds.mean, "standard_error": folds.standard_error, "std_ddof_0": folds.std, **to_json(folds)}


def print_verification(evaluation: Evaluation, embedded: Embedded | None) -> None:
    """The answer, the operating points, what else was measured, and what it rests on."""
    report, result = evaluation.report, evaluation.report.result
    for line in verification_page.answer(result):
        say(line)
    print_table(verification_page.POINT_COLUMNS, verification_page.point_rows(result.points))
    say(", ".join(f"{name} {value}" for name, value in verification_page.summary(result).items()))
    say(
        f"Accuracy at the best threshold {format_rate(result.best.accuracy)} "
        "(optimistic: the threshold was chosen on the same trials)"
    )
    if found := result.insightface:
        say(f"By InsightFace's convention. {verification_page.CONVENTION_NOTE}")
        say(verification_page.convention_accuracy(found))
        print_table(verification_page.CONVENTION_COLUMNS, verification_page.convention_rows(found))
    for line in _basis(result, embedded):
        say(line)
    if report.groups:
        say(f"\nBy group, all at threshold {threshold_text(report.group_threshold)}:")
        print_table(verification_page.GROUP_COLUMNS, verification_page.group_rows(report.groups))


def _basis(result: VerificationResult, embedded: Embedded | None) -> Iterator[str]:
    counts = result.counts
    planned = counts.planned_mated + counts.planned_non_mated
    yield (
        f"{planned:,} comparisons planned ({counts.planned_mated:,} mated, {counts.planned_non_mated:,} non-mated), "
        f"{planned - counts.failed:,} completed, {counts.failed:,} failed{_in_words(counts.reasons)}"
    )
    if embedded is not None and embedded.reasons:
        yield f"Photos without a template{_in_words(embedded.reasons)}"
    if embedded is not None and embedded.several_faces:
        yield f"Photos with several faces, of which one was chosen: {embedded.several_faces:,}"
    if counts.subjects is None:
        yield "Intervals assume independent comparisons: the input names no people. The true ones are wider."
    else:
        yield f"Intervals: subject bootstrap over {counts.subjects:,} people, {result.replicates:,} replicates."
    yield f"Decision rule: {DECISION_RULE}; score = cosine."


# -- 1:N


def emit_identification(report: IdentificationReport, failures: Mapping[str, Mapping[str, int]]) -> None:
    """One record for the whole, then one per operating point, rank and gallery size."""
    result = report.result
    counts = ("subjects", "mated", "non_mated", "failed_mated", "failed_non_mated")
    emit(
        {
            "kind": "identification",
            "source": report.about.source,
            "decision_rule": DECISION_RULE,
            **{name: getattr(result, name) for name in counts},
            "failed_photos_by_reason": {name: dict(reasons) for name, reasons in failures.items()},
            "fte": _record(result.fte),
            "replicates": result.replicates,
            "seed": result.seed,
        }
    )
    for point in result.points:
        emit({"kind": "fnir_at_fpir", **to_json(point), "fpir": _record(point.fpir), "fnir": _record(point.fnir)})
    for rank, rate in enumerate(result.cmc, 1):
        emit({"kind": "cmc", "rank": rank, **(_record(rate) or {})})
    for found in result.decisions:
        shares = {field.name: getattr(found, field.name) for field in fields(found)}
        emit(
            {
                "kind": "decisions",
                **{name: _record(x) if isinstance(x, Rate) else to_json(x) for name, x in shares.items()},
            }
        )
    if by_size := result.by_size:
        for row in by_size.rows:
            emit({"kind": "fpir_by_size", "threshold": to_json(by_size.threshold), **to_json(row)})


def print_identification(report: IdentificationReport, failures: Mapping[str, Mapping[str, int]]) -> None:
    """The answer, FNIR at FPIR, CMC, FPIR by gallery size, and what it rests on."""
    result = report.result
    for line in identification_page.answer(result):
        say(line)
    if result.points:
        print_table(identification_page.POINT_COLUMNS, identification_page.point_rows(result.points))
    if result.decisions:
        say("As a query decides: shares of mated searches, and of searches for strangers.")
        print_table(identification_page.DECISION_COLUMNS, identification_page.decision_rows(result))
    if result.by_size:
        say(f"FPIR as the gallery grows, at threshold {threshold_text(result.by_size.threshold)}:")
        print_table(identification_page.SIZE_COLUMNS, identification_page.size_rows(result.by_size))
    say(
        f"{result.mated:,} mated searches ({result.failed_mated:,} failed, counted as misses), "
        f"{result.non_mated:,} non-mated ({result.failed_non_mated:,} failed, counted as silent)."
    )
    if result.fte is not None:
        say(f"Failure to enroll: {counted(result.fte)} people.")
    for name, reasons in failures.items():
        if reasons:
            say(f"{name.capitalize()} photos without a template{_in_words(reasons)}")
    say(
        f"Decision rule: {DECISION_RULE}; a person's score is made of their templates' by --fusion; R = rank looked at."
    )


# -- comparison and calibration


def emit_differences(a: str, b: str, rows: Sequence[PairedDifference]) -> None:
    """One record per figure; `better` is null where the interval covers 0."""
    for row in rows:
        emit({"kind": "difference", "a_report": a, "b_report": b, **to_json(row), "better": winner(a, b, row)})


def print_differences(a: str, b: str, rows: Sequence[PairedDifference]) -> None:
    """The verdict, then every figure with the interval of its difference."""
    say(verdict(a, b, rows))
    print_table(*difference_table(a, b, rows))


def print_calibration(found: Calibrated) -> None:
    """The threshold, what it promises and to whom, what it costs, and which photos decide it."""
    each, held_out = found.calibration, found.held_out
    far = each.metric is Metric.FAR
    promise = f"FAR {each.target:g}" if far else f"FPIR {each.target:g} in a gallery of {each.subjects:,} people"
    say(f"Threshold {each.threshold:g} for at most {promise}.")
    kind = "comparisons" if far else f"searches against {each.measured_subjects:,} people"
    sure = "the estimate is kept, not a limit" if each.confidence <= 0.5 else f"{each.confidence:.0%} sure"
    rows = [
        ("basis", "EXTRAPOLATED" if each.basis is Basis.EXTRAPOLATED else each.basis.value),
        ("measured", f"{each.errors:,} errors in {each.trials:,} {kind}, {each.people:,} independent people"),
        ("expected", f"{format_rate(each.estimate)}, at most {format_rate(each.limit)} ({sure})"),
    ]
    if isinstance(held_out, Rate):
        rows.append(("on people left out of the fit", _with_interval(held_out)))
    elif held_out is not None:
        rows.append(
            (
                "on people left out of the fit",
                f"{format_rate(held_out.value)} for {held_out.subjects:,} people ({held_out.errors:,} errors in "
                f"{held_out.trials:,}), 95 % interval {interval_text(held_out.interval)}",
            )
        )
    kind = "mated comparisons" if far else "mated searches, one photo each left out"
    known = "not known: nobody has two photos" if found.missed is None else _with_interval(found.missed, f" {kind}")
    rows.append(("missed at this threshold", known))
    rows.append(("holds for", "any gallery size (1:1 comparisons)" if far else f"up to {each.valid_up_to:,} people"))
    for name, value in rows:
        say(f"  {name:30} {value}")
    if each.flag is Flag.LOW_SUPPORT:
        say(f"This rests on fewer than {LOW_SUPPORT} errors; the interval shows how far off it may be.")
    say("These photos of different people decide it. Check their labels: `facesearch audit` shows more, and")
    say("`facesearch calibrate --leave-out PHOTO` goes on without one.")
    columns = ("score", "person", "photo", "person", "photo")
    rows_of_pairs = [
        (f"{pair.score:.4f}", pair.subject_a, pair.photo_a, pair.subject_b, pair.photo_b) for pair in found.tail
    ]
    print_table(columns, rows_of_pairs)
    if not far:
        say("To plan for a gallery that grows: --subjects N.")


def _with_interval(rate: Rate, what: str = "") -> str:
    return f"{counted(rate)}{what}, 95 % interval {interval_text(rate)}"
