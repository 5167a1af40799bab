"""Laws fitted to what was measured, and the hardware that follows from them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import scale, sizing
from benchmarks.laws import fit
from benchmarks.reporting import Report
from benchmarks.scale_table import index_table, law_table

SIZES = [10_000, 100_000, 1_000_000]


@given(st.floats(0.01, 100), st.floats(1e-9, 1e-2))
def test_a_line_is_found_and_carried_on(fixed: float, each: float) -> None:
    law = fit(SIZES, [fixed + each * size for size in SIZES])
    assert law.residual < 1e-6
    assert law.at(10**9) == pytest.approx(fixed + each * 10**9, rel=1e-3)


def test_a_small_size_counts_as_much_as_a_large_one() -> None:
    # Of absolute squares, the largest would decide alone, and the law would miss the smallest cost by half.
    law = fit(SIZES, [1.0, 1.9, 12.0])
    assert law.residual < 0.1


def test_a_cost_that_falls_is_held_to_be_constant() -> None:
    law = fit(SIZES, [1.1, 1.0, 0.9])
    assert law.each == 0
    assert law.at(10**9) == pytest.approx(1.0, rel=0.05)
    assert law.residual == pytest.approx(0.1, abs=0.02)


def test_what_no_line_fits_shows_its_residual() -> None:
    assert fit(SIZES, [1.0, 10.0, 1_000.0]).residual > 0.5
    assert "off by up to" in fit(SIZES, [1.0, 2.0, 3.0]).words("ms")


def test_nodes_follow_from_memory_and_from_the_time_of_a_search() -> None:
    assert sizing.size("milvus", 8_000, 1e3).nodes == 1
    assert sizing.size("milvus", 8_000, 3.5 * sizing.MEMORY).nodes == 4
    assert sizing.size("two-stage", 2_500, 1e3).nodes == 3
    assert not sizing.size("two-stage", 2_500, 1e3).possible
    assert sizing.size("milvus", 8_000, 3.5 * sizing.MEMORY).possible


def test_shares_of_a_gallery_are_searched_quicker() -> None:
    alone, spread = sizing.size("milvus", 8_000, 1e3), sizing.size("milvus", 8_000, 3.5 * sizing.MEMORY)
    assert alone.queries == pytest.approx(1.0)
    assert spread.queries == pytest.approx(4 * alone.queries)
    assert sizing.core_hours(1e6, 36) == 10


def test_the_table_tells_measured_from_extrapolated_and_names_what_an_index_cannot_do() -> None:
    report = Report("scale", "scale", quick=True)
    costs = {"search": [1.0, 10.0, 100.0], "add 16": [1.0] * 3, "remove 4": [1.0] * 3, "memory": [20.0, 200.0, 2000.0]}
    scale.report_index(report, "flat", SIZES, costs)
    figures = report.as_json()["figures"]
    assert index_table(figures).splitlines()[2:] == [
        "| flat | 1,000,000 | 100 ms | 1 ms | 1 ms | 2 GB | 1 |  | measured |",
        "| flat | 10 million | 1 s | 1 ms | 1 ms | 20 GB | 1 | 8.0 | extrapolated |",
        "| flat | 100 million | 10 s | 1 ms | 1 ms | 200 GB | (3) |  | extrapolated |",
        "| flat | 1,000 million | 100 s | 1 ms | 1 ms | 2 TB | (21) |  | extrapolated |",
    ]
    assert "| flat | 10,000 to 1,000,000 | 0 + 0.1 N/1000 ms, off by up to 0 % |" in law_table(figures, report.facts)
