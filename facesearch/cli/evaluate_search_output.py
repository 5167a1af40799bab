"""How 1:N evaluations and comparisons reach people and programs: as 1:1 ones do, see `evaluate_output`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facesearch.cli.evaluate_output import in_words, rate_record
from facesearch.cli.output import emit, print_table, say
from facesearch.evaluation.documents import to_json
from facesearch.evaluation.rates import (
    DECISION_RULE,
    counted,
    flag_text,
    format_rate,
    interval_text,
    rate_text,
    signed,
    threshold_text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from facesearch.evaluation.comparison import PairedDifference
    from facesearch.evaluation.identification import IdentificationResult


def emit_identification(source: str, result: IdentificationResult, failures: Mapping[str, Mapping[str, int]]) -> None:
    """One record for the whole, then one per operating point, rank and gallery size."""
    emit(
        {
            "kind": "identification",
            "source": source,
            "decision_rule": DECISION_RULE,
            "subjects": result.subjects,
            "mated": result.mated,
            "non_mated": result.non_mated,
            "failed_mated": result.failed_mated,
            "failed_non_mated": result.failed_non_mated,
            "failed_photos_by_reason": {name: dict(reasons) for name, reasons in failures.items()},
            "fte": rate_record(result.fte),
            "replicates": result.replicates,
            "seed": result.seed,
        }
    )
    for point in result.points:
        rates = {"fpir": rate_record(point.fpir), "fnir": rate_record(point.fnir)}
        emit({"kind": "fnir_at_fpir", **to_json(point), **rates})
    for rank, rate in enumerate(result.cmc, 1):
        emit({"kind": "cmc", "rank": rank, **(rate_record(rate) or {})})
    if result.by_size is not None:
        threshold = to_json(result.by_size.threshold)
        for row in result.by_size.rows:
            emit({"kind": "fpir_by_size", "threshold": threshold, **to_json(row)})


def print_identification(result: IdentificationResult, failures: Mapping[str, Mapping[str, int]]) -> None:
    """The answer, FNIR at FPIR, CMC, FPIR by gallery size, and what it rests on."""
    supported = [point for point in result.points if point.fnir is not None]
    best = min(supported, key=lambda point: (point.target_fpir, point.rank), default=None)
    if best is not None and best.fnir is not None:
        say(
            f"Among {result.subjects:,} people, at FPIR up to {best.target_fpir:g}: FNIR {rate_text(best.fnir)} "
            f"(95 % interval {interval_text(best.fnir.best_interval)}; R = {best.rank}), "
            f"threshold {threshold_text(best.threshold)}."
        )
    elif result.non_mated:
        say("These searches support none of the operating points that were asked for.")
    first = result.cmc[0]
    say(f"Rank 1: {counted(first)}, 95 % interval {interval_text(first.best_interval)}.")
    if result.points:
        rows = [
            (
                f"{point.target_fpir:g}",
                point.rank,
                rate_text(point.fnir),
                interval_text(point.fnir.best_interval if point.fnir else None),
                counted(point.fpir),
                threshold_text(point.threshold),
                flag_text(point.flag),
            )
            for point in result.points
        ]
        print_table(("FPIR up to", "R", "FNIR", "95 % interval", "FPIR achieved", "threshold", ""), rows)
    _print_sizes(result)
    say(
        f"{result.mated:,} mated searches ({result.failed_mated:,} failed, counted as misses), "
        f"{result.non_mated:,} non-mated ({result.failed_non_mated:,} failed, counted as silent)."
    )
    if result.fte is not None:
        say(f"Failure to enroll: {counted(result.fte)} people.")
    for name, reasons in failures.items():
        if reasons:
            say(f"{name.capitalize()} photos without a template{in_words(reasons)}")
    say(f"Decision rule: {DECISION_RULE}; a person's score is the best over their templates, R = rank looked at.")


def _print_sizes(result: IdentificationResult) -> None:
    if result.by_size is None:
        return
    rows = [
        (f"{row.size:,}", row.basis.value, format_rate(row.value), format_rate(row.upper))
        for row in result.by_size.rows
    ]
    say(f"FPIR as the gallery grows, at threshold {threshold_text(result.by_size.threshold)}:")
    print_table(("people", "basis", "FPIR", "95 % limit"), rows)


def emit_differences(a: str, b: str, rows: Sequence[PairedDifference], winners: Sequence[str | None]) -> None:
    """One record per figure; `better` is null where the interval covers 0."""
    for row, winner in zip(rows, winners, strict=True):
        emit({"kind": "difference", "a_report": a, "b_report": b, **to_json(row), "better": winner})


def print_differences(a: str, b: str, rows: Sequence[PairedDifference], winners: Sequence[str | None]) -> None:
    """The verdict, then every figure with the interval of its difference."""
    won = [f"{name} in {row.metric}" for row, name in zip(rows, winners, strict=True) if name is not None]
    say(f"{b} against {a}: {'; '.join(won) + ' better' if won else 'no winner, every interval covers 0'}.")
    cells = [
        (
            row.metric,
            format_rate(row.a),
            format_rate(row.b),
            signed(row.difference),
            f"{signed(row.interval.low)} to {signed(row.interval.high)}",
            winner or "no winner",
        )
        for row, winner in zip(rows, winners, strict=True)
    ]
    print_table(("figure", a, b, "difference", "95 % interval", "better"), cells)
