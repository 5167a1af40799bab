"""`calibrate`: the threshold it finds, who uses it, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from facesearch import FaceSearch
from facesearch.demo.portraits import PEOPLE, STRANGER, draw_portrait, write_photo
from tests.cli.conftest import Command

ESTIMATE = ("--fpir", "0.1", "--confidence", "0.5")
"""Twelve people are too few for a limit."""


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FACESEARCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    path = tmp_path / "stranger.jpg"
    write_photo(path, draw_portrait(STRANGER, 2))
    return path


def threshold(command: Command) -> tuple[float, str]:
    (record,) = command("info", "--json").records
    return record["threshold"], record["threshold_basis"]


def test_a_threshold_is_put_in_force_for_query_and_info(command: Command, gallery: Path, stranger: Path) -> None:
    before = threshold(command)
    run = command("calibrate", *ESTIMATE, "--json")
    assert run.code == 0
    (record,) = run.records
    assert record["metric"] == "fpir"
    assert (record["subjects"], record["valid_up_to"], record["measured_subjects"]) == (12, 12, 11)
    assert (record["held_out"]["trials"], record["held_out"]["subjects"]) == (24, 12)
    assert record["missed"]["total"] == 48
    assert record["model_id"]
    value, basis = threshold(command)
    assert value == record["threshold"] != before[0]
    assert basis.startswith("calibrated for FPIR 0.1 in a gallery of up to 12 people: empirical, only")
    (found,) = command("query", stranger, "--json").records
    assert found["threshold"] == value
    assert found["threshold_basis"] == basis
    (given,) = command("query", stranger, "--json", "-t", "0.9").records
    assert (given["threshold"], given["threshold_basis"]) == (0.9, "given")


def test_the_summary_begins_with_the_threshold_and_dry_run_changes_nothing(command: Command, gallery: Path) -> None:
    before = threshold(command)
    run = command("calibrate", *ESTIMATE, "--no-split", "--dry-run")
    assert run.code == 0
    assert run.out.startswith("Threshold 0.")
    assert "for at most FPIR 0.1 in a gallery of 12 people." in run.out
    assert "48 searches against 11 people, 12 independent people" in run.out
    assert "left out of the fit" not in run.out
    assert threshold(command) == before


def test_at_most_is_meant_unless_the_estimate_is_asked_for(command: Command, gallery: Path) -> None:
    before = threshold(command)
    run = command("calibrate", "--fpir", "0.1")
    assert run.code == 2
    assert "Search for about 24 people" in run.err
    assert threshold(command) == before
    run = command("calibrate", "--fpir", "0.5", "--no-split", "--json")
    (sure,) = run.records
    (guess,) = command("calibrate", "--fpir", "0.5", "--no-split", "--confidence", "0.5", "--json").records
    assert sure["confidence"] == 0.9
    assert sure["estimate"] < sure["limit"] <= 0.5
    assert guess["limit"] == guess["estimate"]
    assert guess["threshold"] < sure["threshold"]
    assert command("calibrate", "--fpir", "0.1", "--confidence", "1").code == 2


def test_the_photos_that_decide_are_shown_and_can_be_left_out(command: Command, gallery: Path) -> None:
    run = command("calibrate", *ESTIMATE, "--no-split")
    assert "photos of different people decide it" in run.out
    assert "facesearch audit" in run.out
    (record,) = command("calibrate", *ESTIMATE, "--no-split", "--json").records
    first = record["tail"][0]
    assert first["photo_a"] in run.out
    assert first["subject_a"] != first["subject_b"]
    scores = [pair["score"] for pair in record["tail"]]
    assert scores == sorted(scores, reverse=True)
    left = ("--leave-out", first["photo_a"], "--leave-out", first["photo_b"])
    (less,) = command("calibrate", *ESTIMATE, "--no-split", "--json", *left).records
    assert less["trials"] == record["trials"] - 2
    assert less["tail"][0]["score"] < first["score"]
    run = command("calibrate", *ESTIMATE, "--leave-out", "elsewhere.jpg")
    assert run.code == 2
    assert "elsewhere.jpg" in run.err


def test_a_far_needs_no_gallery_size(command: Command, gallery: Path) -> None:
    run = command("calibrate", "--far", "0.01", "--confidence", "0.5")
    assert run.code == 0
    assert "any gallery size" in run.out
    assert threshold(command)[1].startswith("calibrated for FAR 0.01: empirical")
    assert command("calibrate", "--far", "0.01", "--subjects", "5").code == 2


def test_a_gallery_that_has_outgrown_its_threshold_is_told(
    command: Command, gallery: Path, stranger: Path, tmp_path: Path
) -> None:
    assert command("calibrate", *ESTIMATE).code == 0
    assert "Warning" not in command("query", stranger).err
    write_photo(tmp_path / "new.jpg", draw_portrait(STRANGER, 1))
    assert command("enroll", tmp_path / "new.jpg", "--as", "Newcomer").code == 0
    run = command("query", stranger)
    assert "calibrated for up to 12 people and the gallery has 13" in run.err
    assert "facesearch calibrate --fpir 0.1" in run.err
    (record,) = command("info", "--json").records
    assert "up to 12" in record["threshold_warning"]
    assert "Warning" not in command("query", stranger, "-t", "0.5").err
    assert command("calibrate", *ESTIMATE).code == 0
    assert "Warning" not in command("query", stranger).err


def test_what_the_gallery_cannot_support_is_refused_and_changes_nothing(command: Command, gallery: Path) -> None:
    before = threshold(command)
    run = command("calibrate", "--fpir", "0.001", "--confidence", "0.9")
    assert run.code == 2
    assert run.out == ""
    assert "FPIR 0.001 for 12 people" in run.err
    assert "Search for about" in run.err
    assert command("calibrate", "--far", "1e-6").code == 2
    assert threshold(command) == before


def test_labelled_photos_and_strangers_calibrate_too(
    command: Command, gallery: Path, people_folder: Path, tmp_path: Path
) -> None:
    run = command("calibrate", people_folder, *ESTIMATE, "--json", "--seed", "1")
    assert run.code == 0
    own = command("calibrate", *ESTIMATE, "--json", "--seed", "1").records[0]
    assert run.records[0]["threshold"] == pytest.approx(own["threshold"], abs=2e-6)
    unknown = tmp_path / "unknown"
    for shot in range(6):
        write_photo(unknown / f"{shot}.jpg", draw_portrait(STRANGER, shot))
    run = command("calibrate", "--unknown", unknown, "--fpir", "0.4", "--confidence", "0.5", "--json", "--no-split")
    assert run.code == 0
    (record,) = run.records
    assert (record["trials"], record["people"], record["measured_subjects"]) == (6, 6, 12)
    assert record["errors"] == 2
    assert record["missed"]["total"] == 48


def test_people_who_are_enrolled_are_not_unknown(
    command: Command, gallery: Path, people_folder: Path, tmp_path: Path
) -> None:
    run = command("calibrate", "--unknown", people_folder, "--fpir", "0.4")
    assert run.code == 2
    assert "12 in all" in run.err
    assert min(PEOPLE) in run.err
    shutil.copytree(people_folder / PEOPLE[0], tmp_path / "unknown" / "Somebody")
    run = command("calibrate", "--unknown", tmp_path / "unknown", "--fpir", "0.4")
    assert run.code == 2
    assert "Somebody/1.jpg" in run.err
    assert command("calibrate", "--unknown", tmp_path / "nowhere", "--fpir", "0.4").code == 2


def test_a_calibration_travels_as_a_file(command: Command, gallery: Path, tmp_path: Path) -> None:
    before = threshold(command)
    file = tmp_path / "calibration.json"
    assert command("calibrate", *ESTIMATE, "--out", file).code == 0
    made = threshold(command)
    assert command("calibrate", "--forget").code == 0
    assert threshold(command) == before
    assert command("calibrate", "--use", file).code == 0
    assert threshold(command) == made


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_id": "other-1"}, "another model: other-1"),
        ({"recognizer_sha256": "0" * 64}, "another model"),
        ({"detector_sha256": "0" * 64}, "another detector"),
        ({"settings": {"det_size": "320"}}, "det_size 320"),
    ],
)
def test_a_calibration_of_another_model_is_refused_by_name(
    command: Command, gallery: Path, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    file = tmp_path / "calibration.json"
    assert command("calibrate", *ESTIMATE, "--out", file).code == 0
    assert command("calibrate", "--forget").code == 0
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    before = threshold(command)
    run = command("calibrate", "--use", file)
    assert run.code == 4
    assert str(file) in run.err
    assert words in run.err
    assert threshold(command) == before


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 1}', '{"schema": 99}'])
def test_a_file_that_is_no_calibration_is_refused_by_name(
    command: Command, gallery: Path, tmp_path: Path, text: str
) -> None:
    (tmp_path / "c.json").write_text(text)
    run = command("calibrate", "--use", tmp_path / "c.json")
    assert run.code == 2
    assert "c.json" in run.err


def test_a_calibration_for_other_settings_is_not_used_in_silence(
    command: Command, gallery: Path, stranger: Path
) -> None:
    assert command("calibrate", *ESTIMATE).code == 0
    run = command("query", stranger, "--det-size", "320")
    assert run.code == 4
    assert "det_size" in run.err
    assert command("query", stranger, "--det-size", "320", "-t", "0.5").code in {0, 1}


def test_another_model_compares_photos_without_the_gallery_s_threshold(
    command: Command, gallery: Path, stranger: Path, standin_pack: Path, tmp_path: Path
) -> None:
    assert command("calibrate", *ESTIMATE).code == 0
    shutil.copytree(standin_pack, tmp_path / "other")
    settings = (tmp_path / "other" / "pack.toml").read_text()
    assert "mean = 127.5" in settings
    (tmp_path / "other" / "pack.toml").write_text(settings.replace("mean = 127.5", "mean = 127.0"))
    (record,) = command("verify", stranger, stranger, "--json", "--pack", tmp_path / "other").records
    assert "calibrated" not in record["threshold_basis"]
    run = command("query", stranger, "--pack", tmp_path / "other")
    assert run.code == 4
    assert "holds templates of" in run.err


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--fpir", "0.1", "--far", "0.1"),
        ("--fpir", "2"),
        ("--fpir", "0.1", "--forget"),
        ("--fpir", "0.1", "--subjects", "0"),
    ],
)
def test_usage_that_makes_no_sense_is_refused(command: Command, gallery: Path, arguments: tuple[str, ...]) -> None:
    assert command("calibrate", *arguments).code == 2


def test_a_program_sees_the_calibration(command: Command, gallery: Path) -> None:
    with FaceSearch.open(gallery) as engine:
        assert engine.calibration is None
        assert engine.threshold_warning is None
    assert command("calibrate", *ESTIMATE).code == 0
    with FaceSearch.open(gallery) as engine:
        assert engine.calibration is not None
        assert engine.threshold.value == engine.calibration.threshold


def test_without_a_gallery_there_is_nothing_to_calibrate(command: Command, tmp_path: Path, standin_pack: Path) -> None:
    run = command("calibrate", *ESTIMATE, "--gallery", tmp_path / "none", "--pack", standin_pack)
    assert run.code == 4
