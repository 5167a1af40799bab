"""`eval`, `eval search`, `eval compare`: the figures, the files, the cache, and what is refused."""

from __future__ import annotations

import csv
import json
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facesearch import FaceSearch
from facesearch.demo.portraits import PEOPLE, draw_portrait, write_photo
from facesearch.recognition.embedder import align
from facesearch.recognition.extractor import Extractor
from facesearch.store import audit
from tests.cli.conftest import Command

MIRA, RAVI, OTTO = PEOPLE[0], PEOPLE[1], PEOPLE[2]


@pytest.fixture(scope="session")
def embeddings_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by the run: every drawn photo is embedded once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, embeddings_cache: Path, standin_pack: Path, tmp_path: Path) -> None:
    monkeypatch.setenv("FACESEARCH_CACHE", str(embeddings_cache))
    monkeypatch.setenv("FACESEARCH_PACK", str(standin_pack))
    monkeypatch.setenv("FACESEARCH_PROVIDER", "cpu")
    monkeypatch.chdir(tmp_path)  # where there is no gallery


def write_pairs(path: Path, rows: list[tuple[object, ...]], header: str = "a,b,same,id_a,id_b") -> Path:
    lines = [header, *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Six people: each one's first photo with the second one, and with the next person's first."""
    rows: list[tuple[object, ...]] = []
    for number, name in enumerate(PEOPLE[:6]):
        other = PEOPLE[(number + 1) % 6]
        rows.append((f"{name}/1.jpg", f"{name}/2.jpg", "yes", name, name))
        rows.append((f"{name}/1.jpg", f"{other}/1.jpg", "no", name, other))
        rows.append((f"{name}/2.jpg", f"{other}/2.jpg", "no", name, other))
    return write_pairs(tmp_path / "pairs.csv", rows)


# -- 1:1


def test_the_summary_begins_with_the_answer_and_the_folder_holds_the_report(
    command: Command, pairs: Path, people_folder: Path, tmp_path: Path
) -> None:
    run = command("eval", pairs, "--photos", people_folder, "--out", tmp_path / "out", "--far", "0.5,1e-1")
    assert run.code == 0
    first, headline, *rest = run.out.splitlines()
    assert first.startswith("Fewer than 30 errors stand behind every point")
    assert headline.startswith("TAR 1 at FAR up to 0.5 (95 % interval")
    assert "facesearch calibrate --fpir" in rest[1]
    assert {"1 - GFRR", "GFAR"} <= {cell for line in rest for cell in re.split(r"  +", line.strip())}
    assert "18 comparisons planned (6 mated, 12 non-mated), 18 completed, 0 failed" in run.out
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"report.json", "report.html", "roc.csv", "tar_at_far.csv", "worst.csv", "scores.csv", "roc.svg"} <= written
    html = (tmp_path / "out" / "report.html").read_text()
    assert html.count("data:image/jpeg") >= 12
    assert (tmp_path / "out").stat().st_mode & 0o077 == 0


def test_records_carry_every_count_and_interval(command: Command, pairs: Path, people_folder: Path) -> None:
    run = command("eval", "pairs", pairs, "--photos", people_folder, "--json", "--far", "0.5,1e-3")
    assert run.code == 0
    whole, point, unsupported = run.records
    assert whole["kind"] == "verification"
    assert whole["counts"]["planned_mated"] == 6
    assert whole["photos"]["photos"] == 12
    assert whole["model"]["faces"] == "single"
    assert whole["eer"]["value"] == 0
    assert (point["kind"], point["target_far"], point["tar"]["value"]) == ("tar_at_far", 0.5, 1.0)
    assert point["tar"]["interval"]["method"] == "subject bootstrap"
    assert point["far"]["count"] <= 6
    assert (unsupported["flag"], unsupported["tar"], unsupported["threshold"]) == ("unsupported", None, None)


def test_scores_are_those_of_verify(command: Command, pairs: Path, people_folder: Path, tmp_path: Path) -> None:
    assert command("eval", pairs, "--photos", people_folder, "--out", tmp_path / "out").code == 0
    with (tmp_path / "out" / "scores.csv").open(newline="") as file:
        scores = [float(row["score"]) for row in csv.DictReader(file)]
    with pairs.open(encoding="utf-8", newline="") as file:
        for score, row in list(zip(scores, csv.DictReader(file), strict=True))[:4]:
            (record,) = command("verify", people_folder / row["a"], people_folder / row["b"], "--json").records
            assert record["score"] == pytest.approx(score, abs=1e-6)


def test_the_score_file_gives_the_same_roc_byte_for_byte(
    command: Command, pairs: Path, people_folder: Path, tmp_path: Path
) -> None:
    assert command("eval", pairs, "--photos", people_folder, "--out", tmp_path / "photos").code == 0
    assert command("eval", tmp_path / "photos" / "scores.csv", "--out", tmp_path / "scores").code == 0
    for name in ("roc.csv", "tar_at_far.csv"):
        assert (tmp_path / "photos" / name).read_bytes() == (tmp_path / "scores" / name).read_bytes()


def test_a_second_run_embeds_nothing(
    command: Command, pairs: Path, people_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACESEARCH_CACHE", str(tmp_path / "cache"))
    first = command("eval", pairs, "--photos", people_folder, "--json")
    assert "12 photos: 12 embedded now" in first.err
    monkeypatch.setattr(Extractor, "detector", None)
    monkeypatch.setattr(Extractor, "embedder", None)
    second = command("eval", pairs, "--photos", people_folder, "--json")
    assert "12 photos: 0 embedded now" in second.err
    assert first.records[1:] == second.records[1:]
    with pytest.raises(AttributeError):
        command("eval", pairs, "--photos", people_folder, "--no-cache")


def test_failures_are_counted_by_reason_and_stay_in_the_denominator(
    command: Command, people_folder: Path, scenes_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(people_folder, tmp_path / "p")
    shutil.copy(scenes_folder / "landscape.jpg", tmp_path / "p" / MIRA / "9.jpg")
    rows: list[tuple[object, ...]] = [
        (f"{MIRA}/1.jpg", f"{MIRA}/9.jpg", 1, MIRA, MIRA),
        (f"{MIRA}/1.jpg", f"{MIRA}/2.jpg", 1, MIRA, MIRA),
        (f"{MIRA}/1.jpg", f"{RAVI}/2.jpg", 0, MIRA, RAVI),
    ]
    path = write_pairs(tmp_path / "pairs.csv", rows)
    whole, point = command("eval", path, "--photos", tmp_path / "p", "--json", "--far", "1").records
    assert whole["counts"]["failed"] == 1
    assert whole["counts"]["reasons"] == {"face_not_found": 1}
    assert (whole["fta"]["count"], whole["fta"]["total"]) == (1, 3)
    assert (point["gfrr"]["count"], point["gfrr"]["total"]) == (1, 2)


def test_a_folder_is_all_its_pairs(command: Command, people_folder: Path) -> None:
    run = command("eval", people_folder, "--json", "--far", "1e-2", "--convention", "insightface")
    whole, point = run.records
    assert whole["counts"]["planned_mated"] == 12 * 6
    assert whole["counts"]["planned_non_mated"] == 48 * 47 // 2 - 72
    assert point["tar"]["value"] > 0.9
    assert whole["insightface"] is not None


def test_vectors_of_other_programs_are_evaluated(command: Command, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    centres = random.normal(size=(30, 16))
    vectors = (np.repeat(centres, 3, axis=0) + 0.3 * random.normal(size=(90, 16))).astype(np.float32)
    np.savez(tmp_path / "v.npz", vectors=vectors, subject_id=np.repeat([f"p{i}" for i in range(30)], 3))
    whole, point = command("eval", tmp_path / "v.npz", "--json", "--far", "1e-2").records
    assert whole["counts"]["planned_mated"] == 90
    assert point["tar"]["value"] > 0.9
    assert command("eval", tmp_path / "v.npz", "--flip").code == 2


def test_many_pairs_go_through_the_blocked_product(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    vectors = (np.repeat(random.normal(size=(30, 16)), 3, axis=0) + 0.6 * random.normal(size=(90, 16))).astype("f4")
    np.savez(tmp_path / "v.npz", vectors=vectors, subject_id=np.repeat([f"p{i}" for i in range(30)], 3))
    few = command("eval", tmp_path / "v.npz", "--json", "--far", "1e-2").records
    monkeypatch.setattr("facesearch.jobs.evaluate.KEPT_PAIRS", 100)
    run = command("eval", tmp_path / "v.npz", "--json", "--far", "1e-2", "--out", tmp_path / "out")
    assert run.records[1]["tar"]["count"] == few[1]["tar"]["count"]
    assert run.records[1]["threshold"] == pytest.approx(few[1]["threshold"], abs=1e-6)
    with (tmp_path / "out" / "worst.csv").open(newline="") as file:
        worst = list(csv.DictReader(file))
    assert {row["kind"] for row in worst} == {"non_mated"}
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    first, second = np.triu_indices(90, 1)
    trial = int(worst[0]["trial"]) - 1
    assert float(unit[first[trial]] @ unit[second[trial]]) == pytest.approx(float(worst[0]["score"]), abs=1e-5)
    refused = command("eval", tmp_path / "v.npz", "--convention", "insightface")
    assert refused.code == 2
    assert "CSV" in refused.err


def test_aligned_crops_skip_the_detector(
    command: Command, people_folder: Path, tmp_path: Path, standin_pack: Path
) -> None:
    crops: list[bytes] = []
    with FaceSearch.open(pack=standin_pack, provider="cpu") as engine:
        for name in (MIRA, MIRA, RAVI, RAVI):
            photo = np.asarray(Image.open(people_folder / name / f"{len(crops) % 2 + 1}.jpg").convert("RGB"))
            (face,) = engine.detect(photo)
            Image.fromarray(align(photo, face.landmarks)).save(tmp_path / "crop.png")
            crops.append((tmp_path / "crop.png").read_bytes())
    photos = [crops[0], crops[1], crops[2], crops[3], crops[0], crops[2], crops[1], crops[3]]
    (tmp_path / "set.bin").write_bytes(pickle.dumps((photos, [True, True, False, False])))
    run = command("eval", tmp_path / "set.bin", "--aligned", "--json", "--far", "0.5", "--no-cache")
    assert run.code == 0
    whole, point = run.records
    assert whole["model"]["faces"] == "aligned crops"
    assert point["tar"]["value"] == 1.0
    assert "assume" in command("eval", tmp_path / "set.bin", "--aligned").out


def test_groups_are_judged_at_one_threshold(command: Command, pairs: Path, people_folder: Path, tmp_path: Path) -> None:
    groups = tmp_path / "groups.csv"
    groups.write_text(
        "subject_id,group\n" + "".join(f"{name},{'odd' if i % 2 else 'even'}\n" for i, name in enumerate(PEOPLE[:6]))
    )
    run = command("eval", pairs, "--photos", people_folder, "--groups", groups, "--json", "--far", "0.1")
    found = [record for record in run.records if record["kind"] == "group"]
    assert [record["group"] for record in found] == ["even", "odd"]
    assert found[0]["threshold"] == found[1]["threshold"] == run.records[1]["threshold"]
    assert [record["tar"]["total"] for record in found] == [3, 3]
    groups.write_text(f"subject_id,group\n{MIRA},a\n{MIRA},b\n")
    refused = command("eval", pairs, "--photos", people_folder, "--groups", groups)
    assert refused.code == 2
    assert "row 3" in refused.err
    groups.write_text("subject_id,group\nNobody,a\n")
    assert "nobody in it takes part" in command("eval", pairs, "--photos", people_folder, "--groups", groups).err


def test_strict_tells_unsupported_points_by_the_exit_code(command: Command, pairs: Path, people_folder: Path) -> None:
    assert command("eval", pairs, "--photos", people_folder, "--far", "1e-6").code == 0
    assert command("eval", pairs, "--photos", people_folder, "--far", "1e-6", "--strict").code == 1
    assert command("eval", pairs, "--photos", people_folder, "--far", "0.5", "--strict").code == 0


@pytest.mark.parametrize(
    ("header", "rows", "words"),
    [
        ("a,b,same", [("1.jpg", "2.jpg", 1), ("2.jpg", "1.jpg", 0)], ["both same and different", "row 3"]),
        ("a,b,same", [("1.jpg", "1.jpg", 1)], ["compared with itself", "row 2"]),
        ("a,b,same", [("1.jpg", "2.jpg", 1), ("1.jpg", "2.jpg", 1)], ["listed twice", "row 3"]),
        ("a,b,same", [("1.jpg", "nowhere.jpg", 1)], ["not there", "row 2: nowhere.jpg", "--photos"]),
        ("a,b,same", [("1.jpg", "copy.jpg", 1), ("1.jpg", "3.jpg", 0)], ["copy of itself", "1.jpg and copy.jpg"]),
        ("a,b,same", [("1.jpg", "2.jpg", "maybe")], ["'same'", "row 2"]),
        ("a,b,label", [("1.jpg", "2.jpg", 1)], ["a,b,label", "a,b,same"]),
        ("left,right", [("1.jpg", "2.jpg")], ["not a header of a known format"]),
        ("score,mated", [("high", 1)], ["not numbers", "row 2: 'high'"]),
        ("score,mated", [(0.5, 1)], ["non-mated"]),
    ],
)
def test_bad_input_is_an_error_that_names_the_rows(
    command: Command,
    people_folder: Path,
    tmp_path: Path,
    header: str,
    rows: list[tuple[object, ...]],
    words: list[str],
) -> None:
    for number in (1, 2, 3):
        shutil.copy(people_folder / MIRA / f"{number}.jpg", tmp_path / f"{number}.jpg")
    shutil.copy(tmp_path / "1.jpg", tmp_path / "copy.jpg")
    run = command("eval", write_pairs(tmp_path / "bad.csv", rows, header))
    assert run.code == 2
    assert run.out == ""
    for word in words:
        assert word in run.err


class Foreign:
    """What no .bin may hold."""

    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("unpickled",))


def test_a_pickle_with_foreign_classes_is_refused_and_not_run(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "set.bin").write_bytes(pickle.dumps(([b"x", b"y"], [Foreign()])))
    run = command("eval", tmp_path / "set.bin")
    assert run.code == 2
    assert "set.bin" in run.err
    assert "print" in run.err
    assert "unpickled" not in run.out + capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [("--far", "0"), ("--far", "x"), ("--convention", "mine"), ("--plots", "gif"), ("--faces", "all")]
)
def test_wrong_options_are_refused(
    command: Command, pairs: Path, people_folder: Path, arguments: tuple[str, str]
) -> None:
    run = command("eval", pairs, "--photos", people_folder, *arguments)
    assert run.code == 2
    assert run.out == ""


def test_the_group_has_help_and_falls_back_to_pairs(command: Command, pairs: Path, people_folder: Path) -> None:
    help_text = command("eval", "--help")
    assert help_text.code == 0
    assert "Example: facesearch eval" in help_text.out
    assert "compare" in help_text.out
    assert command("eval", "--photos", people_folder, pairs).code == 0
    assert command("eval", "no-such-file").code == 2


def test_figures_of_the_gallerys_model_are_kept_in_the_gallery(
    command: Command, pairs: Path, people_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACESEARCH_GALLERY", str(tmp_path / "gallery"))
    with FaceSearch.open() as engine:
        list(engine.enroll(people_folder / PEOPLE[0] / "1.jpg", subject="Somebody"))
    asked = ("eval", pairs, "--photos", people_folder, "--far", "0.5")
    assert "kept in the gallery" not in command(*asked, "--no-record").err
    assert "kept in the gallery" not in command(*asked, "--flip").err, "another model made these scores"
    with FaceSearch.open() as engine:
        assert engine.evaluations == {}
    assert "kept in the gallery" in command(*asked, "--out", tmp_path / "out").err
    assert command("eval", "search", people_folder, "--split", "--fpir", "0.5").code == 0
    with FaceSearch.open() as engine:
        found = engine.evaluations
        assert [event.action for event in engine.gallery.read(audit.events)][-2:] == ["evaluate", "evaluate"]
    assert found["verification"]["report"] == str(tmp_path / "out" / "report.html")
    assert found["verification"]["counts"]["mated"] == 6
    assert found["identification"]["counts"]["subjects"] == 6
    assert not any(name in str(found) for name in PEOPLE)


# -- 1:N


def test_a_seeded_split_is_searched(command: Command, people_folder: Path, tmp_path: Path) -> None:
    run = command("eval", "search", people_folder, "--split", "--out", tmp_path / "out", "--fpir", "0.5,0.1")
    assert run.code == 0
    first, headline, *_ = run.out.splitlines()
    assert first.startswith("Fewer than 30 errors stand behind every point")
    assert headline.startswith("Among 6 people, at FPIR up to 0.5: FNIR")
    assert "As a query decides" in run.out
    assert (tmp_path / "out" / "decisions.csv").is_file()
    assert "18 mated searches (0 failed" in run.out
    assert "24 non-mated" in run.out
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"report.json", "report.html", "cmc.csv", "fnir_fpir.csv", "fpir_vs_n.csv"} <= written
    again = command("eval", "search", people_folder, "--split", "--json", "--fpir", "0.5")
    assert again.records == command("eval", "search", people_folder, "--split", "--json", "--fpir", "0.5").records
    other = command("eval", "search", people_folder, "--split", "--json", "--fpir", "0.5", "--seed", "3")
    assert other.records != again.records


def test_failures_to_enroll_and_failed_probes_are_counted(
    command: Command, people_folder: Path, scenes_folder: Path, tmp_path: Path
) -> None:
    root = tmp_path / "search"
    for name in (MIRA, RAVI):
        for folder, photo in (("gallery", "1.jpg"), ("probe", "2.jpg")):
            (root / folder / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(people_folder / name / photo, root / folder / name / photo)
    shutil.copy(scenes_folder / "landscape.jpg", root / "probe" / MIRA / "3.jpg")
    (root / "gallery" / OTTO).mkdir()
    (root / "probe" / OTTO).mkdir()
    shutil.copy(scenes_folder / "landscape.jpg", tmp_path / "l.jpg")
    Image.open(tmp_path / "l.jpg").save(root / "gallery" / OTTO / "1.png")
    shutil.copy(people_folder / OTTO / "2.jpg", root / "probe" / OTTO / "2.jpg")
    (root / "unknown").mkdir()
    shutil.copy(scenes_folder / "stranger.jpg", root / "unknown")
    run = command("eval", "search", root, "--json", "--fpir", "1", "--strict")
    whole = run.records[0]
    assert (whole["subjects"], whole["mated"], whole["failed_mated"]) == (2, 4, 2)
    assert (whole["non_mated"], whole["failed_non_mated"]) == (1, 0)
    assert (whole["fte"]["count"], whole["fte"]["total"]) == (1, 3)
    assert whole["failed_photos_by_reason"] == {"gallery": {"face_not_found": 1}, "probe": {"face_not_found": 1}}
    point = next(record for record in run.records if record["kind"] == "fnir_at_fpir")
    assert (point["fnir"]["count"], point["fnir"]["total"]) == (2, 4)


def test_margins_are_swept_as_asked(command: Command, people_folder: Path) -> None:
    run = command("eval", "search", people_folder, "--split", "--json", "--fpir", "0.5", "--margin", "0,0.3")
    found = [record for record in run.records if record["kind"] == "decisions"]
    assert [record["margin"] for record in found] == [0, 0.3]
    (point,) = (record for record in run.records if record["kind"] == "fnir_at_fpir" and record["rank"] == 1)
    for record in found:
        assert record["threshold"] == point["threshold"]
        assert record["false_match"]["count"] + record["false_ambiguous"]["count"] == point["fpir"]["count"]
    assert found[0]["right"]["count"] >= found[1]["right"]["count"]
    assert command("eval", "search", people_folder, "--split", "--margin", "-1").code == 2


def test_two_manifests_make_a_search(command: Command, people_folder: Path, tmp_path: Path) -> None:
    gallery, probes = tmp_path / "gallery.csv", tmp_path / "probes.csv"
    gallery.write_text("image,subject_id\n" + "".join(f"{name}/1.jpg,{name}\n" for name in PEOPLE[:4]))
    probes.write_text("image,subject_id\n" + "".join(f"{name}/2.jpg,{name}\n" for name in PEOPLE[:8]))
    run = command("eval", "search", gallery, probes, "--photos", people_folder, "--json", "--fpir", "0.5", "-k", "2")
    whole = run.records[0]
    assert (whole["subjects"], whole["mated"], whole["non_mated"]) == (4, 4, 4)
    assert {record["rank"] for record in run.records if record["kind"] == "fnir_at_fpir"} == {1, 2}
    assert next(record["value"] for record in run.records if record["kind"] == "cmc") == 1.0


def test_probes_that_are_enrolled_are_refused(command: Command, people_folder: Path, tmp_path: Path) -> None:
    gallery, probes = tmp_path / "g", tmp_path / "p"
    for folder in (gallery, probes):
        (folder / MIRA).mkdir(parents=True)
    shutil.copy(people_folder / MIRA / "1.jpg", gallery / MIRA / "1.jpg")
    shutil.copy(people_folder / MIRA / "1.jpg", probes / MIRA / "again.jpg")
    run = command("eval", "search", gallery, probes)
    assert run.code == 2
    assert "again.jpg is" in run.err
    assert command("eval", "search", gallery, gallery).code == 2
    assert command("eval", "search", gallery, probes, "--split").code == 2
    assert "--split" in command("eval", "search", tmp_path / "g").err
    assert "none: there is no such folder" in command("eval", "search", tmp_path / "none").err


# -- comparison


def test_reports_are_compared_on_the_same_people(
    command: Command, pairs: Path, people_folder: Path, tmp_path: Path
) -> None:
    for name, options in (("plain", []), ("flip", ["--flip"])):
        arguments = ("--photos", people_folder, "--out", tmp_path / name, "--far", "0.5", *options)
        assert command("eval", pairs, *arguments).code == 0
    reports = [tmp_path / name / "report.json" for name in ("plain", "flip")]
    run = command("eval", "compare", *reports, "--out", tmp_path / "compare.html")
    assert run.code == 0
    assert run.out.startswith("flip against plain: no winner")
    assert "flip against plain" in (tmp_path / "compare.html").read_text()
    records = command("eval", "compare", *reports, "--json").records
    assert [record["metric"] for record in records] == ["TAR at FAR 0.5", "EER"]
    assert all(record["better"] is None for record in records)


def test_reports_that_do_not_fit_are_refused(
    command: Command, pairs: Path, people_folder: Path, tmp_path: Path
) -> None:
    assert command("eval", pairs, "--photos", people_folder, "--out", tmp_path / "a", "--far", "0.5").code == 0
    lines = pairs.read_text(encoding="utf-8").splitlines()
    pairs.write_text("\n".join(lines[:7]) + "\n", encoding="utf-8")
    assert command("eval", pairs, "--photos", people_folder, "--out", tmp_path / "b", "--far", "0.5").code == 0
    first, second = tmp_path / "a" / "report.json", tmp_path / "b" / "report.json"
    assert "same people" in command("eval", "compare", first, second).err
    assert command("eval", "compare", first).code == 2
    assert "not supported by both" in command("eval", "compare", first, first, "--far", "1e-6").err
    (tmp_path / "b" / "report.json").write_text(json.dumps({"schema": "other"}))
    assert "report.json" in command("eval", "compare", first, second).err


def test_a_drawn_photo_of_another_size_is_another_photo(command: Command, tmp_path: Path) -> None:
    """The cache goes by content: a new photo under an old name is embedded."""
    folder = tmp_path / "people"
    for person in (0, 1):
        for shot in (1, 2):
            write_photo(folder / PEOPLE[person] / f"{shot}.jpg", draw_portrait(person, 20 + shot))
    assert "4 embedded now" in command("eval", folder, "--far", "0.5").err
    write_photo(folder / MIRA / "1.jpg", draw_portrait(0, 30))
    assert "1 embedded now" in command("eval", folder, "--far", "0.5").err
