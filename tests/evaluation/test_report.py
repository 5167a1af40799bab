"""Reports: what is written reads back, and nothing of the user's becomes markup."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import numpy as np
import pytest

from facesearch.errors import ConfigError, EvaluationError
from facesearch.evaluation.assessment import evaluate_pairs, headline_point
from facesearch.evaluation.audit import Audit, Finding, Kind, LabelledTemplates, audit_page
from facesearch.evaluation.charts import kept_rows, save
from facesearch.evaluation.comparison import PairedDifference, comparison_page, winner
from facesearch.evaluation.decisions import Decisions
from facesearch.evaluation.documents import to_json
from facesearch.evaluation.groups import GroupRates
from facesearch.evaluation.identification import FpirAtSize, FpirBySize, IdentificationResult, SizeBasis
from facesearch.evaluation.rates import Flag, Interval, Rate
from facesearch.evaluation.report import (
    About,
    IdentificationReport,
    VerificationReport,
    WorstPair,
    read_report_scores,
    read_verification_report,
    worst_pairs,
)
from facesearch.evaluation.report_files import write_identification_report, write_roc, write_verification_report
from facesearch.evaluation.searches import SearchPoint
from facesearch.evaluation.trials.pairs import read_scores_csv, write_scores_csv
from facesearch.evaluation.trials.types import ScoredPairs
from facesearch.evaluation.verification import ErrorCurve
from facesearch.evaluation.verification_page import answer, verification_figures

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOSTILE = '<script>alert(1)</script><span class="flag">&"\''
JPEG = b"\xff\xd8\xff\xe0 not a whole photo"


def _trials(n: int = 200, seed: int = 0) -> ScoredPairs:
    rng = np.random.default_rng(seed)
    mated = np.arange(n) % 2 == 0
    id_a = rng.integers(0, 40, n)
    id_b = np.where(mated, id_a, (id_a + 1 + rng.integers(0, 38, n)) % 40)
    scores = rng.normal(0.6 * mated, 0.15)
    scores[[3, 8]] = np.nan
    people = (HOSTILE, *(f"person {i:02}" for i in range(39)))
    return ScoredPairs(scores, mated, id_a, id_b, None, "trials.csv", people, {3: "blurred"})


def _report(trials: ScoredPairs) -> VerificationReport:
    result = evaluate_pairs(trials, targets=(0.1, 0.01, 1e-4), replicates=50, insightface=True)
    groups = (GroupRates(HOSTILE, Rate(9, 10), None),)
    about = About(HOSTILE, "trials.csv", "2026-01-01T00:00:00Z", "0.1.0", {"model_id": HOSTILE}, "lfw")
    return VerificationReport(about, result, groups, 0.3)


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def said(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def _assert_self_contained(text: str) -> _Page:
    page = _Page(text)
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/jpeg;base64,", "#"))
    assert not re.search(r"url\((?!#)|@import", text)
    return page


def test_a_report_reads_back_as_it_was_written(tmp_path: Path) -> None:
    trials = _trials()
    written = write_verification_report(tmp_path / "out", _report(trials), scores=trials)
    read = read_verification_report(tmp_path / "out" / "report.json")
    assert to_json(replace(read, result=replace(read.result, curve=written.result.curve))) == to_json(written)
    assert set(read.result.curve.threshold) <= set(written.result.curve.threshold)
    scores = read_report_scores(tmp_path / "out" / "report.json", read)
    assert np.array_equal(scores.score, trials.score, equal_nan=True)


@pytest.mark.parametrize("there", ["a file in it", "a file", "a dangling link"])
def test_a_report_replaces_nothing(tmp_path: Path, there: str) -> None:
    out, trials = tmp_path / "out", _trials()
    match there:
        case "a file in it":
            out.mkdir()
            (out / "notes.txt").write_text("precious")
        case "a file":
            out.write_text("precious")
        case _:
            out.symlink_to("nowhere")
    with pytest.raises(ConfigError, match=r"is not empty|is not a folder"):
        write_verification_report(out, _report(trials), scores=trials)
    with pytest.raises(ConfigError, match=r"is not empty|is not a folder"):
        write_identification_report(out, _identification())
    assert [path.name for path in tmp_path.rglob("*")] == (["out", "notes.txt"] if out.is_dir() else ["out"])


def test_tables_and_plots_replace_nothing(tmp_path: Path) -> None:
    trials = _trials()
    figure = verification_figures(_report(trials))["roc"]
    writers: dict[str, Callable[[Path], None]] = {
        "roc.csv": lambda path: write_roc(path, _report(trials).result),
        "scores.csv": lambda path: write_scores_csv(path, trials),
        "roc.svg": lambda path: save(figure, path),
    }
    for name, write in writers.items():
        (tmp_path / name).write_bytes(b"precious")
        (tmp_path / f"link of {name}").symlink_to(tmp_path / name)
        for path in (tmp_path / name, tmp_path / f"link of {name}"):
            with pytest.raises(ConfigError, match="is there already"):
                write(path)
        assert (tmp_path / name).read_bytes() == b"precious"


def test_the_scores_of_a_report_give_its_roc_byte_for_byte(tmp_path: Path) -> None:
    trials = _trials()
    write_verification_report(tmp_path / "a", _report(trials), scores=trials)
    again = read_scores_csv(tmp_path / "a" / "scores.csv")
    write_verification_report(tmp_path / "b", _report(again), scores=again)
    for name in ("roc.csv", "tar_at_far.csv", "scores.csv", "roc.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_roc_rows_are_exact_and_bound_fnmr(tmp_path: Path) -> None:
    trials = _trials()
    write_verification_report(tmp_path, _report(trials))
    with (tmp_path / "roc.csv").open() as file:
        rows = list(csv.DictReader(file))
    done = ~trials.failed
    for row in rows[:: len(rows) // 20]:
        accepted = trials.score[done] >= float(row["threshold"])
        assert int(row["false_matches"]) == int((accepted & ~trials.mated[done]).sum())
        assert int(row["true_matches"]) == int((accepted & trials.mated[done]).sum())
        assert float(row["fnmr"]) == (int(row["mated"]) - int(row["true_matches"])) / int(row["mated"])
        errors = int(row["false_matches"])
        assert row["flag"] == ("" if errors >= 30 else "low_support" if errors else "unsupported")
    assert rows[-1]["flag"] == "unsupported"
    inner = [row for row in rows if row["lo"]]
    assert all(float(row["lo"]) <= float(row["hi"]) for row in inner)
    assert sum(float(row["lo"]) <= float(row["fnmr"]) <= float(row["hi"]) for row in inner) > 0.9 * len(inner)


def test_thinning_keeps_the_ends_and_every_small_count() -> None:
    errors = np.arange(100_000, -1, -1)
    rows = kept_rows(errors, steps=100)
    assert {0, errors.size - 1} <= set(rows.tolist())
    assert set(range(50)) <= set(errors[rows].tolist())
    assert rows.size < 2_000
    assert np.max(-np.diff(np.log(errors[rows][:-1]))) < 0.02 + np.log(2)
    assert kept_rows(errors, steps=100, whole=errors.size).size == errors.size


def test_the_page_escapes_everything_and_loads_nothing(tmp_path: Path) -> None:
    trials = _trials()
    worst = [replace(pair, a=HOSTILE) for pair in worst_pairs(trials, count=3)]
    write_verification_report(tmp_path, _report(trials), worst=worst, thumbnails={HOSTILE: JPEG, worst[0].b: b"<svg>"})
    page = _assert_self_contained((tmp_path / "report.html").read_text())
    assert HOSTILE in "".join(page.words)
    assert sum(tag == "img" for tag, _ in page.tags) == len(worst)
    for words in ("score >= threshold", "blurred", "missing_score", "rule of 30", "Independent units", "About LFW"):
        assert words in page.said
    assert page.said.index("threshold") < page.said.index("Curves") < page.said.index("worst pairs")
    assert page.said.index("worst pairs") < page.said.index("What stands behind")


def test_without_people_the_page_says_that_intervals_assume_independence(tmp_path: Path) -> None:
    trials = replace(_trials(), id_a=None, id_b=None, subjects=())
    write_verification_report(tmp_path, _report(trials))
    assert "assume independent comparisons" in _Page((tmp_path / "report.html").read_text()).said


def test_worst_pairs_are_the_lowest_mated_and_the_highest_non_mated() -> None:
    scores = np.array([0.9, 0.1, np.nan, 0.5, 0.5, 0.7])
    mated = np.array([True, True, True, False, False, False])
    worst = worst_pairs(ScoredPairs(scores, mated), count=2)
    assert [(pair.mated, pair.rank, pair.trial) for pair in worst] == [
        (True, 1, 2),
        (True, 2, 1),
        (False, 1, 6),
        (False, 2, 4),
    ]


def test_the_headline_point_is_firm_where_one_at_1e_3_is() -> None:
    rng = np.random.default_rng(0)
    mated = np.arange(120_000) % 6 == 0
    result = evaluate_pairs(ScoredPairs(rng.normal(0.6 * mated, 0.1), mated))
    point = headline_point(result)
    assert point is not None
    assert (point.target_far, point.flag) == (1e-3, None)
    weak = headline_point(_report(_trials()).result)
    assert weak is not None
    assert (weak.target_far, weak.flag) == (0.1, Flag.LOW_SUPPORT)
    assert answer(_report(_trials()).result)[0].startswith("Fewer than 30 errors")
    assert answer(result)[0].startswith("TAR")
    assert "facesearch calibrate" in answer(result)[-1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": "other"}, "schema is other"),
        ({"version": 99}, "version 99"),
        ({"report": {}}, "damaged"),
        (None, "is not JSON"),
    ],
)
def test_a_report_of_another_kind_is_refused(tmp_path: Path, change: dict[str, object] | None, said: str) -> None:
    write_verification_report(tmp_path, _report(_trials()))
    path = tmp_path / "report.json"
    path.write_text("{" if change is None else json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(EvaluationError, match=r"report\.json") as caught:
        read_verification_report(path)
    assert said in caught.value.message


def test_scores_that_changed_or_are_missing_are_refused(tmp_path: Path) -> None:
    trials = _trials()
    report = write_verification_report(tmp_path, _report(trials), scores=trials)
    (tmp_path / "scores.csv").write_text("score,mated\n1,1\n")
    with pytest.raises(EvaluationError, match="not the file"):
        read_report_scores(tmp_path / "report.json", report)
    (tmp_path / "scores.csv").unlink()
    with pytest.raises(EvaluationError, match="not there"):
        read_report_scores(tmp_path / "report.json", report)
    with pytest.raises(EvaluationError, match="without a score file"):
        read_report_scores(tmp_path / "report.json", replace(report, scores=None))


def _identification() -> IdentificationReport:
    threshold = np.linspace(0.1, 0.9, 9)
    alarms = np.arange(8, -1, -1)
    curves = {rank: ErrorCurve(threshold, alarms, 30 - np.arange(9) // rank, 20, 30) for rank in (1, 2)}
    interval = Interval(0.0, 0.4, "subject bootstrap", assumes_independence=False)
    point = SearchPoint(0.1, 1, 50, 0.7, Rate(2, 20, interval), Rate(6, 30, interval))
    sizes = tuple(
        FpirAtSize(n, 0.001 * n, SizeBasis.EXACT if n <= 50 else SizeBasis.BOUND, 0.002 * n, 0.0015 * n)
        for n in (10, 50, 100)
    )
    right, unsure, wrong, both, unknown, unusable = (Rate(count, 30, interval) for count in (20, 2, 1, 0, 6, 1))
    alarm = Rate(1, 20, interval)
    decided = Decisions(0.7, 0.05, right, unsure, wrong, both, unknown, unusable, alarm, alarm)
    result = IdentificationResult(
        50, 30, 20, 1, 0, tuple(Rate(20 + r, 30, interval) for r in range(5)), curves, (point,), (decided,),
        FpirBySize(0.7, 50, sizes), Rate(1, 50), 100,
    )  # fmt: skip
    return IdentificationReport(About(HOSTILE, "gallery", "2026-01-01T00:00:00Z", "0.1.0"), result)


def test_a_search_report_is_complete_and_reads_back(tmp_path: Path) -> None:
    report = _identification()
    write_identification_report(tmp_path, report, plots="png")
    names = {path.name for path in tmp_path.iterdir()}
    assert {
        "report.json",
        "report.html",
        "cmc.csv",
        "fnir_fpir.csv",
        "fpir_vs_n.csv",
        "decisions.csv",
        "cmc.png",
    } <= names
    assert json.loads((tmp_path / "report.json").read_text())["report"] == to_json(report)
    page = _assert_self_contained((tmp_path / "report.html").read_text())
    assert "R = 1" in page.said
    assert "As a query decides" in page.said
    assert (tmp_path / "decisions.csv").read_text().splitlines()[1] == "0.7,0.05,30,20,20,2,1,0,6,1,1,1"
    assert (tmp_path / "fnir_fpir.csv").read_text().splitlines()[1] == "1,0.1,8,20,0,30,0.4,0.0,low_support"


def test_a_closed_set_has_no_fpir(tmp_path: Path) -> None:
    report = _identification()
    closed = replace(report.result, curves={}, points=(), decisions=(), by_size=None, non_mated=0)
    write_identification_report(tmp_path, replace(report, result=closed))
    assert not (tmp_path / "fnir_fpir.csv").exists()
    assert "Rank 1" in _Page((tmp_path / "report.html").read_text()).said


@pytest.mark.parametrize(
    ("metric", "low", "high", "named"),
    [
        ("TAR at FAR 0.01", 0.01, 0.03, "b"),
        ("TAR at FAR 0.01", -0.03, -0.01, "a"),
        ("EER", 0.01, 0.03, "a"),
        ("EER", -0.03, -0.01, "b"),
        ("EER", -0.01, 0.03, None),
        ("TAR at FAR 0.01", 0.0, 0.03, None),
    ],
)
def test_a_winner_is_named_only_where_the_interval_leaves_out_zero(
    metric: str, low: float, high: float, named: str | None
) -> None:
    middle = (low + high) / 2
    interval = Interval(low, high, "subject bootstrap", assumes_independence=False)
    difference = PairedDifference(metric, 0.5, 0.5 + middle, middle, interval)
    assert winner("a", "b", difference) == named


@pytest.mark.parametrize("low", [-0.01, 0.01])
def test_the_comparison_page_names_no_winner_that_is_none(low: float) -> None:
    interval = Interval(low, 0.03, "subject bootstrap", assumes_independence=False)
    difference = PairedDifference("TAR at FAR 0.01", 0.5, 0.51, 0.01, interval)
    report = _report(_trials())
    text = comparison_page([("a", report), (HOSTILE, report)], [("a", HOSTILE, [difference])])
    page = _assert_self_contained(text)
    assert ("no winner: every" in page.said) == (low < 0)


def test_the_audit_page_shows_each_pair_and_says_when_there_is_none() -> None:
    vectors = np.eye(3, 8, dtype=np.float32)
    photos = ("x/1.jpg", "x/2.jpg", "x/2.jpg")
    known = LabelledTemplates(vectors, np.array([0, 1, 0]), (HOSTILE, "Bo"), photos, np.arange(3), {})
    alike = Finding(Kind.LOOK_ALIKE, 0.71, 0, 1, HOSTILE)
    found = Audit(0.30001, 0.2, (alike, alike), (), (Finding(Kind.DUPLICATE, 0.99, 0, 2),), complete=True)
    page = _assert_self_contained(audit_page(HOSTILE, HOSTILE, known, found, {"x/1.jpg": JPEG}, 1))
    assert "Threshold 0.3001" in page.said
    assert "The first 1 of 2" in page.said
    assert "2.jpg (template 1)" in page.said
    assert "closer to its own person" in page.said
    assert sum(tag == "article" for tag, _ in page.tags) == 2


def test_scores_alone_need_neither_matplotlib_nor_scipy_plots() -> None:
    code = (
        "import sys; import facesearch.evaluation.report, facesearch.evaluation.trials;"
        "assert 'matplotlib' not in sys.modules; import facesearch.evaluation.report_files; "
        "assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_worst_pair_without_photos_carries_the_people() -> None:
    pair = worst_pairs(_trials(), count=1)[0]
    assert isinstance(pair, WorstPair)
    assert pair.a == pair.id_a
