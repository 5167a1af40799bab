"""`query`, `verify` and `detect`: records, exit codes, drawings."""

from __future__ import annotations

import csv
import io
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from facesearch.demo.portraits import PEOPLE, STRANGER, draw_portrait, write_photo
from facesearch.recognition.decoding import decode_guarded
from tests.cli.conftest import Command


@pytest.fixture
def probe(tmp_path: Path) -> Path:
    """A photo of the first person that is not enrolled."""
    path = tmp_path / "probe.jpg"
    write_photo(path, draw_portrait(0, 6))
    return path


def test_a_match_is_one_record_with_everything_to_judge_it(command: Command, gallery: Path, probe: Path) -> None:
    run = command("query", probe, "--json", "-k", "3")
    assert run.code == 0
    (record,) = run.records
    assert list(record) == [
        "photo", "face", "box", "landmarks", "detection_score", "decision", "reason", "detail", "subject", "score",
        "margin", "threshold", "threshold_basis", "expected_fpir", "expected_fpir_basis", "candidates",
    ]  # fmt: skip
    assert record["decision"] == "match"
    assert record["subject"] == PEOPLE[0]
    assert record["threshold"] <= record["score"] <= 1
    assert len(record["candidates"]) == 3
    assert record["candidates"][0]["subject"] == PEOPLE[0]
    assert record["candidates"][0]["score"] - record["candidates"][1]["score"] == pytest.approx(
        record["margin"], abs=1e-5
    )
    assert np.array(record["landmarks"]).shape == (5, 2)


def test_the_table_shows_who_and_the_threshold_s_basis(command: Command, gallery: Path, probe: Path) -> None:
    run = command("query", probe)
    assert run.code == 0
    assert PEOPLE[0] in run.out
    assert "synthetic portraits only" in run.err


@pytest.mark.parametrize(("name", "code"), [("stranger.jpg", 1), ("landscape.jpg", 3), ("group.jpg", 0)])
def test_the_exit_code_tells_match_no_match_and_no_face(
    command: Command, gallery: Path, scenes_folder: Path, name: str, code: int
) -> None:
    assert command("query", scenes_folder / name).code == code


@pytest.mark.parametrize("det_size", ["fast", "640"])
def test_another_detection_size_finds_the_same_person(
    command: Command, gallery: Path, probe: Path, det_size: str
) -> None:
    run = command("query", probe, "--json", "--det-size", det_size)
    assert [record["subject"] for record in run.records] == [PEOPLE[0]]


def test_a_detection_size_that_is_none_is_a_usage_error(command: Command, gallery: Path, probe: Path) -> None:
    run = command("query", probe, "--det-size", "faster")
    assert run.code == 2
    assert "Use auto, fast, insightface, or a multiple of 32" in run.err


def test_an_ambiguous_match_is_no_match_to_a_script(command: Command, gallery: Path, probe: Path) -> None:
    run = command("query", probe, "--margin", "2", "--json")
    assert run.records[0]["decision"] == "ambiguous"
    assert run.code == 1


def test_a_folder_of_photos_is_searched_whole(command: Command, gallery: Path, scenes_folder: Path) -> None:
    run = command("query", scenes_folder, "--json")
    assert run.code == 0
    decisions = [(Path(record["photo"]).name, record["decision"]) for record in run.records]
    assert decisions.count(("group.jpg", "match")) == 5
    assert ("landscape.jpg", "unusable") in decisions
    assert ("stranger.jpg", "unknown") in decisions


def test_csv_has_one_row_per_face(command: Command, gallery: Path, scenes_folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(command("query", scenes_folder, "--csv").out)))
    assert len(rows) == 7
    group = [row for row in rows if row["photo"].endswith("group.jpg")]
    assert all(float(row["x1"]) < float(row["x2"]) for row in group)
    assert {row["decision"] for row in rows} == {"match", "unknown", "unusable"}


def test_csv_and_json_together_are_refused(command: Command, gallery: Path, probe: Path) -> None:
    assert command("query", probe, "--csv", "--json").code == 2


def test_annotate_draws_into_a_file_or_a_folder(
    command: Command, gallery: Path, scenes_folder: Path, probe: Path, tmp_path: Path
) -> None:
    assert command("query", probe, "--annotate", tmp_path / "who.png").code == 0
    drawn, plain = (decode_guarded(path.read_bytes()) for path in (tmp_path / "who.png", probe))
    assert drawn.shape == plain.shape
    assert (drawn != plain).any()
    assert stat.S_IMODE((tmp_path / "who.png").stat().st_mode) == 0o600
    assert command("query", scenes_folder, "--annotate", tmp_path / "found").code == 0
    assert {path.name for path in (tmp_path / "found").iterdir()} == {"group.jpg", "stranger.jpg"}


def test_where_limits_the_search_and_a_wrong_filter_is_refused(command: Command, gallery: Path, probe: Path) -> None:
    assert command("people", "set", PEOPLE[1], "team=ink").code == 0
    run = command("query", probe, "--where", "team=ink", "--json")
    assert [candidate["subject"] for candidate in run.records[0]["candidates"]] == [PEOPLE[1]]
    assert command("query", probe, "--where", "team").code == 2


def test_a_person_with_a_hostile_name_cannot_break_the_output(command: Command, gallery: Path, probe: Path) -> None:
    name = "[red]'; DROP TABLE subjects; --<b>%_../é"
    assert command("people", "rename", PEOPLE[0], name).code == 0
    assert command("query", probe, "--json").records[0]["subject"] == name
    assert "[red]" in command("query", probe).out
    for unprintable in ("\x1b[2J", "\u202etxt.exe"):
        assert command("people", "rename", name, unprintable).code == 2


def test_verify_prints_a_verdict_and_a_record(
    command: Command, gallery: Path, probe: Path, people_folder: Path
) -> None:
    same, other = people_folder / PEOPLE[0] / "1.jpg", people_folder / PEOPLE[1] / "1.jpg"
    assert command("verify", probe, same).out.startswith("same person")
    run = command("verify", probe, other, "--json")
    assert run.code == 1
    (record,) = run.records
    assert set(record) == {"a", "b", "score", "threshold", "threshold_basis", "match", "notes"}
    assert record["match"] is False


def test_verify_of_a_photo_without_a_face_is_exit_3(
    command: Command, gallery: Path, probe: Path, scenes_folder: Path
) -> None:
    run = command("verify", probe, scenes_folder / "landscape.jpg")
    assert run.code == 3
    assert "No face" in run.err
    run = command("verify", probe, scenes_folder / "group.jpg")
    assert run.code == 3
    assert "--faces largest" in run.err


def test_detect_lists_faces_and_keeps_their_vectors(
    command: Command, standin_pack: Path, scenes_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "faces.npz"
    run = command(
        "detect", scenes_folder, "--pack", standin_pack, "--embeddings", out, "--annotate", tmp_path / "d", "--json"
    )
    assert run.code == 0
    assert len(run.records) == 7
    assert [record["reason"] for record in run.records if record["face"] is None] == ["face_not_found"]
    with np.load(out, allow_pickle=False) as kept:
        assert set(kept.files) == {"vectors", "photos", "boxes", "landmarks", "scores", "model_id"}
        assert kept["vectors"].shape == (6, 128)
        assert kept["boxes"].shape == (6, 4)
        assert kept["landmarks"].shape == (6, 5, 2)
        assert len(kept["photos"]) == len(kept["scores"]) == 6
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert command("detect", scenes_folder / "landscape.jpg", "--pack", standin_pack).code == 3


def test_a_stranger_is_named_in_no_column(command: Command, gallery: Path, tmp_path: Path) -> None:
    write_photo(tmp_path / "s.jpg", draw_portrait(STRANGER, 1))
    (record,) = command("query", tmp_path / "s.jpg", "--json").records
    assert record["decision"] == "unknown"
    assert record["subject"] is None


def test_drawings_keep_the_paths_of_their_photos_so_that_equal_names_do_not_meet(
    command: Command, gallery: Path, probe: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    for name in ("a/1.jpg", "b/1.jpg", "b/1.bmp"):
        path = photos / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(probe.read_bytes())
    assert command("query", photos, "--annotate", tmp_path / "of folder").code == 0
    assert command("query", photos / "a", photos / "b" / "1.jpg", "--annotate", tmp_path / "of both").code == 0
    for out, names in (("of folder", ["a/1.jpg", "b/1.bmp.jpg", "b/1.jpg"]), ("of both", ["a/1.jpg", "b/1.jpg"])):
        drawn = [path for path in (tmp_path / out).rglob("*") if path.is_file()]
        assert sorted(path.relative_to(tmp_path / out).as_posix() for path in drawn) == names
    run = command("query", photos, "--annotate", tmp_path / "of folder")
    assert (run.code, "--force" in run.err) == (2, True)
    assert command("query", photos, "--annotate", tmp_path / "of folder", "--force").code == 0


def test_a_file_where_drawings_need_a_folder_is_a_usage_error(
    command: Command, gallery: Path, probe: Path, scenes_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "there").write_bytes(b"there")
    for out in ("there", "new.jpg"):
        for given in ([scenes_folder], [probe, scenes_folder / "group.jpg"]):
            run = command("query", *given, "--annotate", tmp_path / out, "--force")
            assert (run.code, "folder" in run.err) == (2, True)
    assert command("query", probe, "--annotate", tmp_path / "new.gif").code == 2
    assert (tmp_path / "there").read_bytes() == b"there"


def test_drawings_of_photos_with_names_that_are_not_unicode(
    command: Command, gallery: Path, probe: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    name = os.fsdecode(b"caf\xe9.jpg")
    (photos / name).write_bytes(probe.read_bytes())
    assert command("query", photos, "--annotate", tmp_path / "found").code == 0
    assert [path.name for path in (tmp_path / "found").iterdir()] == [name]
