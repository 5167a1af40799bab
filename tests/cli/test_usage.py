"""What a command was told has an effect or is refused: galleries, thresholds, options; and what Ctrl-C says."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from facesearch import ConfigError, EvaluationError, FaceSearch, GalleryNotFoundError, Threshold
from facesearch.cli.root import new_app
from facesearch.demo.portraits import PEOPLE
from facesearch.evaluation.calibration import Calibration
from tests.cli.conftest import Command
from tests.servers import new_database

# A gallery that is named is read or missed


@pytest.fixture
def photo(people_folder: Path) -> Path:
    return people_folder / PEOPLE[0] / "1.jpg"


READING = (
    ("query", "PHOTO"),
    ("verify", "PHOTO", "PHOTO"),
    ("detect", "PHOTO"),
    ("eval", "PEOPLE"),
    ("eval", "search", "PEOPLE", "--split"),
    ("calibrate", "--fpir", "0.1"),
    ("calibrate", "PEOPLE", "--fpir", "0.1"),
    ("audit",),
    ("check",),
    ("info",),
    ("reindex",),
    ("log",),
    ("reembed",),
    ("backup", "OUT"),
    ("export", "OUT"),
    ("people", "list"),
    ("people", "expire"),
    ("keys", "list"),
    ("keys", "revoke", "shop"),
    ("models", "retire", "old"),
    ("db", "upgrade"),
)


@pytest.mark.parametrize("by_flag", [True, False], ids=["flag", "variable"])
@pytest.mark.parametrize("args", READING, ids=" ".join)
def test_a_named_gallery_that_is_not_there_is_missed_by_whatever_reads_one(
    args: tuple[str, ...],
    by_flag: bool,
    command: Command,
    standin_pack: Path,
    people_folder: Path,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FACESEARCH_PACK", str(standin_pack))
    monkeypatch.setenv("FACESEARCH_CACHE", str(tmp_path / "cache"))
    typo = tmp_path / "typo"
    named = {"PHOTO": photo, "PEOPLE": people_folder, "OUT": tmp_path / "out"}
    typed = [named.get(arg, arg) for arg in args]
    if by_flag:
        typed += ["-g", typo]
    else:
        monkeypatch.setenv("FACESEARCH_GALLERY", str(typo))
    run = command(*typed)
    assert (run.code, run.out) == (4, "")
    assert f"There is no gallery in {typo}." in run.err
    assert not typo.exists()


def test_python_misses_a_named_gallery_too(standin_pack: Path, photo: Path, tmp_path: Path) -> None:
    with FaceSearch.open(tmp_path / "typo", pack=standin_pack) as engine:
        calls: tuple[Callable[[], Any], ...] = (
            lambda: engine.verify(photo, photo),
            lambda: engine.detect(photo),
            lambda: engine.encode(photo),
            lambda: engine.identify(photo),
            engine.photo_embedder,
        )
        for call in calls:
            with pytest.raises(GalleryNotFoundError, match="typo"):
                call()
        assert next(iter(engine.enroll(photo, subject="Mira"))).status == "enrolled"
        assert engine.verify(photo, photo).is_match


def test_without_a_named_gallery_two_photos_compare_by_the_pack_alone(
    command: Command, standin_pack: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("verify", photo, photo, "--pack", standin_pack).code == 0
    assert list(tmp_path.iterdir()) == []


# A threshold is a cosine at every way in


@pytest.mark.parametrize("value", ["2", "-5", "nan", "inf", "-1.0001"])
def test_no_way_in_takes_a_threshold_that_is_no_cosine(
    value: str, command: Command, gallery: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("verify", photo, photo, "--threshold", value).code == 2
    monkeypatch.setenv("FACESEARCH_THRESHOLD", value)
    assert command("verify", photo, photo).code == 2
    monkeypatch.delenv("FACESEARCH_THRESHOLD")
    with pytest.raises(ConfigError, match="not a cosine"):
        FaceSearch.open(gallery, threshold=float(value))
    with pytest.raises(ConfigError, match="not a cosine"):
        Threshold(float(value), "given")


@pytest.mark.parametrize("value", [2.0, -5.0])
def test_a_calibration_whose_threshold_is_no_cosine_is_refused(
    value: float, command: Command, gallery: Path, tmp_path: Path
) -> None:
    file = tmp_path / "calibration.json"
    assert command("calibrate", "--fpir", "0.1", "--confidence", "0.5", "--dry-run", "--out", file).code == 0
    sound = Calibration.from_json(file.read_text(encoding="utf-8"))
    (before,) = command("info", "--json").records
    with pytest.raises(EvaluationError, match="not a cosine"):
        replace(sound, threshold=value)
    file.write_text(json.dumps({**json.loads(file.read_text()), "threshold": value}))
    run = command("calibrate", "--use", file)
    assert run.code == 2
    assert "not a cosine" in run.err
    (after,) = command("info", "--json").records
    assert after["threshold"] == before["threshold"]


def test_an_attribute_is_given_once(command: Command, gallery: Path) -> None:
    for arguments in (
        ("people", "set", "Mira Quill", "team=a", "team=b"),
        ("people", "list", "--where", "a=1", "--where", "a=2"),
    ):
        run = command(*arguments)
        assert (run.code, "is given twice" in run.err) == (2, True), run


# What would do nothing is refused


IDLE = (
    (("calibrate", "--forget", "--subjects", "5"), "--subjects"),
    (("calibrate", "--use", "FILE", "--no-split"), "--split"),
    (("calibrate", "--use", "FILE", "--provider", "cpu"), "--provider"),
    (("calibrate", "PEOPLE", "--forget"), "PEOPLE"),
    (("calibrate", "--fpir", "0.1", "--faces", "single"), "--faces"),
    (("calibrate", "--fpir", "0.1", "--no-cache"), "--no-cache"),
    (("calibrate", "--fpir", "0.1", "--provider", "cpu"), "--provider"),
    (("eval", "SCORES", "--faces", "single"), "--faces"),
    (("eval", "SCORES", "--flip"), "--flip"),
    (("eval", "SCORES", "--pack", "buffalo_l"), "--pack"),
    (("eval", "SCORES", "--det-size", "320"), "--det-size"),
    (("eval", "SCORES", "--provider", "cpu"), "--provider"),
    (("eval", "SCORES", "--gallery", "typo"), "--gallery"),
    (("eval", "SCORES", "--plots", "png"), "--plots"),
    (("eval", "PEOPLE", "--aligned", "--det-size", "320"), "--det-size"),
    (("eval", "PEOPLE", "--aligned", "--faces", "single"), "--faces"),
    (("eval", "search", "PEOPLE", "--split", "--photos", "PEOPLE"), "--photos"),
    (("audit", "--limit", "5"), "--limit"),
    (("reembed", "--rollback", "--det-size", "320"), "--det-size"),
    (("reembed", "--rollback", "--precision", "fp32"), "--precision"),
    (("reembed", "--allow-missing"), "--allow-missing"),
    (("people", "expire", "--dry-run", "--receipt", "FILE"), "--receipt"),
)


@pytest.mark.parametrize(("args", "option"), IDLE, ids=[" ".join(args) for args, _ in IDLE])
def test_an_option_that_would_do_nothing_is_refused(
    args: tuple[str, ...], option: str, command: Command, gallery: Path, people_folder: Path, tmp_path: Path
) -> None:
    scores = tmp_path / "scores.csv"
    scores.write_text("score,mated\n0.9,1\n0.1,0\n")
    named = {"SCORES": scores, "PEOPLE": people_folder, "FILE": tmp_path / "file"}
    run = command(*(named.get(arg, arg) for arg in args))
    assert (run.code, run.out) == (2, "")
    assert f"{option} would do nothing" in run.err


@pytest.mark.parametrize("option", ["--pack", "--provider", "--det-size", "--precision"])
def test_audit_embeds_nothing_and_has_no_options_for_it(option: str, command: Command, gallery: Path) -> None:
    assert command("audit", option, "auto").code == 2


# Faces are counted from 1


def test_faces_are_counted_from_1_in_tables_and_records(command: Command, gallery: Path, scenes_folder: Path) -> None:
    group = scenes_folder / "group.jpg"
    numbers = [1, 2, 3, 4, 5]
    for name in ("query", "detect"):
        table = [row.split() for row in command(name, group).out.splitlines()]
        assert [int(row[1]) for row in table if row[:1] == [str(group)]] == numbers
        assert [record["face"] for record in command(name, group, "--json").records] == numbers
    rows = list(csv.DictReader(io.StringIO(command("query", group, "--csv").out)))
    assert [int(row["face"]) for row in rows] == numbers


# The table shows as many candidates as were asked for


def test_a_given_k_is_a_row_for_each_candidate(command: Command, gallery: Path, photo: Path) -> None:
    run = command("query", photo, "-k", "3")
    assert run.code == 0
    rows = run.out.splitlines()
    first = next(at for at, row in enumerate(rows) if PEOPLE[0] in row and "match" in row)
    ranks = [row.split()[0] for row in rows[first + 1 : first + 3]]
    assert ranks == ["2", "3"]
    assert "next" not in run.out
    assert not any("4" in row.split()[:1] for row in rows)


def test_a_search_among_nobody_says_why(command: Command, gallery: Path, photo: Path) -> None:
    for options in ((), ("-k", "2")):
        run = command("query", photo, "--where", "team=design", *options)
        assert run.code == 1
        assert "nobody has team=design" in run.out


# Ctrl-C


@pytest.mark.parametrize(("name", "on_disk"), [("enroll", True), ("reembed", True), ("query", False), ("eval", False)])
def test_only_commands_that_commit_say_that_something_is_on_disk(
    name: str, on_disk: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stopped:
        @staticmethod
        def register(app: typer.Typer) -> None:
            @app.command(name)
            def stopped() -> None:
                raise KeyboardInterrupt

            @app.command("other")
            def other() -> None: ...

    with pytest.raises(SystemExit) as ended:
        new_app(Stopped)([name])  # type: ignore[arg-type]
    assert ended.value.code == 130
    said = capsys.readouterr().err
    assert said.startswith("\nStopped.")
    assert ("on disk" in said) is on_disk


def test_the_index_of_a_gallery_in_a_vector_database_is_not_chosen_here(
    command: Command, pgvector: str, standin_pack: Path, people_folder: Path, tmp_path: Path
) -> None:
    photo = people_folder / PEOPLE[0] / "1.jpg"
    with new_database(pgvector) as url:
        place = ("--gallery", url, "--pack", standin_pack)
        assert command("enroll", people_folder / PEOPLE[0], "--as", PEOPLE[0], *place).code == 0
        assert command("reindex", "--index", "pgvector", "--gallery", url).code == 0
        assert command("query", photo, *place).code == 0
        for name in ("query", "enroll"):
            run = command(name, photo, "--index", "flat", *place)
            assert (run.code, "--index would do nothing" in run.err, "pgvector" in run.err) == (2, True, True), run
