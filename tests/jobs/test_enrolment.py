"""Enrolment: each photo exactly once, whatever happens to files and processes in between."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from facesearch import ConfigError, EnrollOutcome, FaceSearch, ModelMismatchError
from facesearch.demo.portraits import draw_group, draw_portrait, write_photo
from facesearch.recognition.pipeline import Pipeline
from facesearch.store import people as stored_people
from facesearch.store import photos, subjects, templates


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The photos that went through the models."""
    seen: list[object] = []
    original = Pipeline.put

    def counting(self: Pipeline[Any, Any, Any, Any, Any], source: object) -> None:
        seen.append(source)
        original(self, source)

    monkeypatch.setattr(Pipeline, "put", counting)
    return seen


def run(engine: FaceSearch, *paths: Path, **options: object) -> list[EnrollOutcome]:
    return list(engine.enroll(paths, **options))  # type: ignore[arg-type]  # tests pass what enroll takes


def statuses(outcomes: list[EnrollOutcome]) -> dict[str, int]:
    return dict(Counter(outcome.status.value for outcome in outcomes))


def reasons(outcomes: list[EnrollOutcome]) -> list[str]:
    return [outcome.rejection.reason.value for outcome in outcomes if outcome.rejection]


def test_each_photo_is_enrolled_with_its_template_ids(engine: FaceSearch, people: Path) -> None:
    outcomes = run(engine, people)
    assert statuses(outcomes) == {"enrolled": 12}
    ids = [template_id for outcome in outcomes for template_id in outcome.template_ids]
    assert len(set(ids)) == 12
    assert {outcome.subject for outcome in outcomes} == {"Mira Quill", "Otto Bramble", "Juno Wren"}
    assert all(outcome.detection_score and outcome.detection_score > 0.5 for outcome in outcomes)
    assert engine.gallery.read(templates.counts)["templates"] == 12


def test_a_second_run_embeds_nothing(engine: FaceSearch, people: Path, encoded: list[object]) -> None:
    first = run(engine, people)
    encoded.clear()
    second = run(engine, people)
    assert statuses(second) == {"unchanged": 12}
    assert encoded == []
    assert [outcome.template_ids for outcome in second] == [outcome.template_ids for outcome in first]


def test_a_touched_photo_costs_a_hash_and_then_a_stat(engine: FaceSearch, people: Path, encoded: list[object]) -> None:
    run(engine, people)
    encoded.clear()
    os.utime(people / "Juno Wren" / "1.jpg", (1, 1))
    assert statuses(run(engine, people)) == {"unchanged": 12}
    assert encoded == []
    (stored,) = engine.gallery.read(photos.find_photos, [people / "Juno Wren" / "1.jpg"]).values()
    assert stored.file.mtime_ns == 1_000_000_000


def test_a_changed_photo_replaces_its_template(engine: FaceSearch, people: Path, encoded: list[object]) -> None:
    before = {outcome.photo: outcome.template_ids for outcome in run(engine, people)}
    encoded.clear()
    photo = people / "Mira Quill" / "1.jpg"
    write_photo(photo, draw_portrait(0, 9))
    after = {outcome.photo: outcome for outcome in run(engine, people)}
    assert len(encoded) == 1
    assert after[str(photo)].status == "enrolled"
    assert after[str(photo)].template_ids != before[str(photo)]
    assert engine.gallery.read(templates.counts)["templates"] == 12


def test_a_changed_photo_that_is_unusable_now_keeps_what_was_enrolled(engine: FaceSearch, people: Path) -> None:
    run(engine, people)
    photo = people / "Mira Quill" / "1.jpg"
    photo.write_bytes(photo.read_bytes()[:2000])
    for _ in range(2):
        outcomes = run(engine, people)
        assert statuses(outcomes) == {"unchanged": 11, "rejected": 1}
        assert reasons(outcomes) == ["unreadable"]
    assert engine.gallery.read(templates.counts)["templates"] == 12


def test_photos_on_a_disk_that_is_gone_stay_enrolled_through_a_link_to_it(
    engine: FaceSearch, people: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    (people / "Mira Quill").rename(disk)
    (people / "Mira Quill").symlink_to(disk, target_is_directory=True)
    assert statuses(run(engine, people)) == {"enrolled": 12}
    disk.rename(tmp_path / "elsewhere")
    outcomes = list(engine.enroll(people, sync=True))
    assert (statuses(outcomes), reasons(outcomes)) == ({"unchanged": 8, "rejected": 1}, ["inaccessible"])
    assert engine.gallery.read(templates.counts)["templates"] == 12


def test_a_renamed_photo_keeps_its_template(engine: FaceSearch, people: Path, encoded: list[object]) -> None:
    run(engine, people)
    encoded.clear()
    (people / "Mira Quill" / "1.jpg").rename(people / "Mira Quill" / "portrait.jpg")
    assert statuses(run(engine, people)) == {"unchanged": 12}
    assert encoded == []
    names = {photo.photo.name for photo in engine.gallery.read(photos.photos_of_subject, "Mira Quill")}
    assert names == {"portrait.jpg", "2.jpg", "3.jpg", "4.jpg"}


def test_a_photo_moved_to_another_folder_changes_its_subject(
    engine: FaceSearch, people: Path, encoded: list[object]
) -> None:
    run(engine, people)
    encoded.clear()
    (people / "Mira").mkdir()
    (people / "Mira Quill" / "1.jpg").rename(people / "Mira" / "1.jpg")
    assert statuses(run(engine, people)) == {"unchanged": 11, "moved": 1}
    assert encoded == []
    assert engine.gallery.read(stored_people.find, "Mira").templates == 1
    assert engine.gallery.read(stored_people.find, "Mira Quill").templates == 3


def test_a_copy_of_a_photo_is_a_duplicate(engine: FaceSearch, people: Path, encoded: list[object]) -> None:
    shutil.copy(people / "Mira Quill" / "1.jpg", people / "Mira Quill" / "copy.jpg")
    for expected in ({"enrolled": 12, "rejected": 1}, {"unchanged": 13}, {"unchanged": 13}):
        outcomes = run(engine, people)
        assert statuses(outcomes) == expected
        assert reasons(outcomes) == ["duplicate"]
    shutil.copy(people / "Mira Quill" / "2.jpg", people / "Mira Quill" / "copy.jpg")
    assert statuses(run(engine, people)) == {"unchanged": 12, "rejected": 1}
    assert len(encoded) == 12
    assert engine.gallery.read(templates.counts)["templates"] == 12


def test_a_photo_of_somebody_else_is_reported_as_identity_conflict(engine: FaceSearch, people: Path) -> None:
    run(engine, people)
    write_photo(people / "Otto Bramble" / "wrong.jpg", draw_portrait(0, 8))
    outcomes = [outcome for outcome in run(engine, people) if outcome.status != "unchanged"]
    assert statuses(outcomes) == {"enrolled": 1}
    assert reasons(outcomes) == ["identity_conflict"]
    assert outcomes[0].rejection is not None
    assert "Mira Quill" in outcomes[0].rejection.detail


def test_strict_rejects_identity_conflicts_also_within_one_run(engine: FaceSearch, people: Path) -> None:
    write_photo(people / "Zoe Other" / "wrong.jpg", draw_portrait(0, 8))
    for _ in range(2):
        outcomes = run(engine, people, strict=True)
        assert [Path(outcome.photo).name for outcome in outcomes if outcome.status == "rejected"] == ["wrong.jpg"]
        assert reasons(outcomes) == ["identity_conflict"]
    assert engine.gallery.read(templates.counts)["subjects"] == 3


def test_a_refusal_holds_until_the_policy_or_the_file_changes(
    engine: FaceSearch, people: Path, encoded: list[object]
) -> None:
    write_photo(people / "Mira Quill" / "group.jpg", draw_group((0, 3)))
    assert reasons(run(engine, people)) == ["multiple_faces"]
    encoded.clear()
    assert reasons(run(engine, people)) == ["multiple_faces"]
    assert encoded == []
    outcomes = run(engine, people, faces="largest")
    assert statuses(outcomes) == {"unchanged": 12, "enrolled": 1}
    assert len(encoded) == 1


def test_all_faces_of_a_photo_can_be_enrolled(engine: FaceSearch, tmp_path: Path) -> None:
    write_photo(tmp_path / "Trio" / "group.jpg", draw_group((0, 3, 5)))
    (outcome,) = run(engine, tmp_path / "Trio" / "group.jpg", subject="Trio", faces="all")
    assert (outcome.status, outcome.faces, len(outcome.template_ids)) == ("enrolled", 3, 3)


def test_sync_removes_what_vanished(engine: FaceSearch, people: Path) -> None:
    run(engine, people)
    (people / "Mira Quill" / "1.jpg").unlink()
    shutil.rmtree(people / "Otto Bramble")
    assert statuses(run(engine, people)) == {"unchanged": 7}
    outcomes = run(engine, people, sync=True)
    assert statuses(outcomes) == {"unchanged": 7, "removed": 5}
    assert engine.gallery.read(templates.counts)["templates"] == 7
    assert [subject.name for subject in engine.gallery.read(subjects.list_subjects)] == ["Juno Wren", "Mira Quill"]


def test_sync_does_not_touch_what_was_enrolled_from_elsewhere(engine: FaceSearch, people: Path, tmp_path: Path) -> None:
    write_photo(tmp_path / "elsewhere" / "Kofi" / "1.jpg", draw_portrait(7, 0))
    write_photo(tmp_path / "people-old" / "Lotte" / "1.jpg", draw_portrait(8, 0))
    run(engine, people, tmp_path / "elsewhere", tmp_path / "people-old")
    shutil.rmtree(tmp_path / "people-old")
    assert statuses(run(engine, people, sync=True)) == {"unchanged": 12}


def test_sync_of_an_empty_folder_is_refused(engine: FaceSearch, people: Path, tmp_path: Path) -> None:
    run(engine, people)
    (tmp_path / "unmounted").mkdir()
    with pytest.raises(ConfigError, match="photos in it"):
        run(engine, tmp_path / "unmounted", sync=True)
    assert engine.gallery.read(templates.counts)["templates"] == 12


def test_a_manifest_sets_attributes_also_on_unchanged_photos(engine: FaceSearch, people: Path) -> None:
    manifest = people / "people.csv"
    manifest.write_text("photo,subject,team\nMira Quill/1.jpg,Mira Quill,ink\nJuno Wren/1.jpg,Juno Wren,sky\n")
    assert statuses(run(engine, manifest)) == {"enrolled": 2}
    manifest.write_text("photo,subject,team\nMira Quill/1.jpg,Mira Quill,paper\nJuno Wren/1.jpg,Juno Wren,sky\n")
    assert statuses(run(engine, manifest)) == {"unchanged": 2}
    assert engine.gallery.read(stored_people.find, "Mira Quill").attributes == {"team": "paper"}
    assert [subject.name for subject in engine.gallery.read(subjects.list_subjects, {"team": "sky"})] == ["Juno Wren"]


def test_every_bad_photo_is_rejected_with_a_reason_and_none_stops_the_run(
    engine: FaceSearch, people: Path, scenes_folder: Path
) -> None:
    ada = people / "Ada"
    ada.mkdir()
    (ada / "empty.jpg").write_bytes(b"")
    (ada / "text.png").write_text("not a photo")
    (ada / "cut.jpg").write_bytes((people / "Mira Quill" / "1.jpg").read_bytes()[:3000])
    shutil.copy(scenes_folder / "landscape.jpg", ada / "landscape.jpg")
    shutil.copy(scenes_folder / "group.jpg", ada / "group.jpg")
    (ada / "gone.jpg").symlink_to(ada / "nowhere.jpg")
    os.mkfifo(ada / "pipe.jpg")
    outcomes = {Path(outcome.photo).name: outcome for outcome in run(engine, people) if outcome.subject == "Ada"}
    found = {name: outcome.rejection.reason.value for name, outcome in outcomes.items() if outcome.rejection}
    assert found == {
        "empty.jpg": "unreadable",
        "text.png": "unsupported_format",
        "cut.jpg": "unreadable",
        "landscape.jpg": "face_not_found",
        "group.jpg": "multiple_faces",
        "gone.jpg": "inaccessible",
        "pipe.jpg": "unreadable",
    }
    assert engine.gallery.read(templates.counts)["templates"] == 12


def test_stopping_in_the_middle_keeps_what_was_reported(engine: FaceSearch, people_folder: Path) -> None:
    outcomes = engine.enroll(people_folder)
    reported = [next(outcomes) for _ in range(20)]
    outcomes.close()  # type: ignore[attr-defined]  # it is a generator
    stored = engine.gallery.read(photos.find_photos, [Path(outcome.photo) for outcome in reported])
    assert len(stored) == 20
    before = engine.gallery.read(templates.counts)["templates"]
    assert 20 <= before < 48
    assert statuses(list(engine.enroll(people_folder))) == {"unchanged": before, "enrolled": 48 - before}


def test_a_photo_of_an_unusable_subject_name_is_rejected(engine: FaceSearch, people: Path) -> None:
    write_photo(people / "x" / "1.jpg", draw_portrait(7, 0))
    manifest = people / "people.csv"
    manifest.write_text(f"photo,subject\nx/1.jpg,{'x' * 300}\n")
    (outcome,) = run(engine, manifest)
    assert outcome.status == "rejected"
    assert outcome.rejection is not None
    assert outcome.rejection.reason == "unusable_name"
    assert "200 characters" in outcome.rejection.detail


def test_a_failed_first_enrolment_leaves_a_gallery_that_any_pack_may_use(
    engine: FaceSearch, people: Path, scenes_folder: Path, new_pack: Path
) -> None:
    assert reasons(run(engine, scenes_folder / "landscape.jpg")) == ["face_not_found"]
    assert reasons(engine.enroll_uploads([b"no photo"], "Nobody")) == ["unsupported_format"]
    gallery = engine.settings.gallery
    with FaceSearch.open(gallery) as undecided:
        assert undecided.pack_reference == "buffalo_l"
    with FaceSearch.open(gallery, pack=new_pack, provider="cpu") as other:
        assert statuses(run(other, people)) == {"enrolled": 12}
        model = other.gallery.model()
        assert model is not None
        assert model.model_id == other.model.model_id != engine.model.model_id
    with pytest.raises(ModelMismatchError, match="holds templates"):
        run(engine, people)


def test_a_gallery_that_lost_everybody_keeps_its_pack_as_the_default_and_takes_any(
    engine: FaceSearch, people: Path, standin_pack: Path, new_pack: Path
) -> None:
    photo = people / "Mira Quill" / "1.jpg"
    run(engine, photo)
    engine.forget(["1"])
    gallery = engine.settings.gallery
    with FaceSearch.open(gallery, provider="cpu") as undecided:
        assert undecided.pack_reference == str(standin_pack)
    with FaceSearch.open(gallery, pack=new_pack, provider="cpu") as other:
        assert [result.decision for result in other.identify(photo)] == ["unknown"]
        assert statuses(run(other, people, bring_back_erased=True)) == {"enrolled": 12}
        assert other.identify(photo)[0].decision == "match"
