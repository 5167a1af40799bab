"""Photo folders without sub-folders given to `enroll`: one person, one person per file, or an error that asks."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from facesearch import ConfigError, EnrollOutcome, FaceSearch
from facesearch.demo.portraits import PEOPLE, draw_group, draw_landscape, draw_portrait, write_photo
from facesearch.jobs.folders import SAMPLE
from facesearch.recognition.pipeline import Pipeline
from facesearch.search.gallery import Gallery
from facesearch.store import people as stored_people
from facesearch.store import subjects


def run(engine: FaceSearch, *paths: Path, **options: object) -> list[EnrollOutcome]:
    return list(engine.enroll(paths, **options))  # type: ignore[arg-type]  # tests pass what enroll takes


def statuses(outcomes: list[EnrollOutcome]) -> dict[str, int]:
    return dict(Counter(outcome.status.value for outcome in outcomes))


def photos_of(gallery: Gallery) -> dict[str, int]:
    return {subject.name: subject.photos for subject in gallery.read(subjects.list_subjects)}


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Photos of four people, named after them, in one folder."""
    folder = tmp_path / "portraits"
    for person in range(4):
        write_photo(folder / f"{PEOPLE[person]}.jpg", draw_portrait(person, 0))
    return folder


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The photos that went through the models."""
    seen: list[object] = []
    original = Pipeline.put

    def counting(self: Pipeline[Any, Any, Any, Any, Any], source: object) -> None:
        seen.append(source)
        original(self, source)

    monkeypatch.setattr(Pipeline, "put", counting)
    return seen


def test_the_folder_above_a_folder_of_people_is_refused(engine: FaceSearch, people: Path) -> None:
    with pytest.raises(ConfigError, match="show several people") as caught:
        run(engine, people.parent)
    assert str(people) in str(caught.value.hint)
    assert not engine.has_gallery
    assert statuses(run(engine, people)) == {"enrolled": 12}
    with pytest.raises(ConfigError, match="show several people"):
        run(engine, people.parent)
    assert len(photos_of(engine.gallery)) == 3
    assert statuses(run(engine, people.parent, subject="Everybody"))["moved"] == 12


def test_the_albums_of_one_person_are_that_person(engine: FaceSearch, tmp_path: Path) -> None:
    for album in range(2):
        for number in range(2):
            write_photo(tmp_path / PEOPLE[0] / str(album) / f"{number}.jpg", draw_portrait(0, 2 * album + number))
    assert statuses(run(engine, tmp_path)) == {"enrolled": 4}
    assert photos_of(engine.gallery) == {PEOPLE[0]: 4}


def test_the_folder_of_somebody_enrolled_stays_theirs(
    engine: FaceSearch, people: Path, looked_at: list[object]
) -> None:
    run(engine, people)
    before = photos_of(engine.gallery)
    looked_at.clear()
    again = run(engine, people / "Mira Quill")
    assert statuses(again) == {"unchanged": 4}
    assert {outcome.subject for outcome in again} == {"Mira Quill"}
    assert photos_of(engine.gallery) == before
    assert looked_at == []


def test_the_folder_of_somebody_who_was_renamed_stays_theirs(engine: FaceSearch, people: Path) -> None:
    run(engine, people / "Mira Quill")
    engine.gallery.write(stored_people.rename, "Mira Quill", "M. Q.")
    write_photo(people / "Mira Quill" / "new.jpg", draw_portrait(PEOPLE.index("Mira Quill"), 9))
    assert statuses(run(engine, people / "Mira Quill")) == {"unchanged": 4, "enrolled": 1}
    assert photos_of(engine.gallery) == {"M. Q.": 5}


def test_a_new_photo_in_the_folder_of_somebody_enrolled_is_theirs(engine: FaceSearch, people: Path) -> None:
    run(engine, people)
    write_photo(people / "Mira Quill" / "new.jpg", draw_portrait(PEOPLE.index("Mira Quill"), 9))
    assert statuses(run(engine, people / "Mira Quill")) == {"unchanged": 4, "enrolled": 1}
    assert photos_of(engine.gallery)["Mira Quill"] == 5


def test_the_name_of_a_folder_may_be_decomposed_as_macos_writes_it(engine: FaceSearch, tmp_path: Path) -> None:
    write_photo(tmp_path / "people" / "Ren\u00e9" / "1.jpg", draw_portrait(0, 0))
    run(engine, tmp_path / "people")
    write_photo(tmp_path / "new" / "Rene\u0301" / "2.jpg", draw_portrait(0, 1))
    assert statuses(run(engine, tmp_path / "new" / "Rene\u0301")) == {"enrolled": 1}
    assert photos_of(engine.gallery) == {"Ren\u00e9": 2}


def test_photos_that_agree_are_one_person_named_after_the_folder(engine: FaceSearch, people: Path) -> None:
    assert statuses(run(engine, people / "Mira Quill")) == {"enrolled": 4}
    assert photos_of(engine.gallery) == {"Mira Quill": 4}


def test_one_photo_of_somebody_else_is_told(engine: FaceSearch, tmp_path: Path) -> None:
    for variation in range(8):
        write_photo(tmp_path / "Mira" / f"{variation}.jpg", draw_portrait(0, variation))
    write_photo(tmp_path / "Mira" / "guest.jpg", draw_portrait(5, 0))
    with pytest.raises(ConfigError, match="they fall into 2 groups"):
        run(engine, tmp_path / "Mira")
    run(engine, tmp_path / "Mira", subject="Mira")
    assert photos_of(engine.gallery) == {"Mira": 9}


def test_photos_of_different_people_are_an_error_that_makes_nothing(engine: FaceSearch, mixed: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"portraits do not agree on one person: at 0\.48 they fall into 4 groups"
    ) as said:
        run(engine, mixed)
    assert said.value.hint is not None
    assert "--as NAME" in said.value.hint
    assert "--one-per-file" in said.value.hint
    assert not engine.has_gallery


def test_one_person_per_file_where_that_is_said(engine: FaceSearch, mixed: Path) -> None:
    assert statuses(run(engine, mixed, one_per_file=True)) == {"enrolled": 4}
    assert photos_of(engine.gallery) == dict.fromkeys(PEOPLE[:4], 1)
    assert statuses(run(engine, mixed, one_per_file=True)) == {"unchanged": 4}


def test_one_person_where_a_name_is_given(engine: FaceSearch, mixed: Path) -> None:
    run(engine, mixed, subject="Everybody")
    assert photos_of(engine.gallery) == {"Everybody": 4}
    with pytest.raises(ConfigError, match="exclude each other"):
        run(engine, mixed, subject="Everybody", one_per_file=True)


@pytest.mark.parametrize("usable", [0, 1])
def test_too_few_usable_photos_are_an_error(engine: FaceSearch, tmp_path: Path, usable: int) -> None:
    write_photo(tmp_path / "Mira" / "landscape.jpg", draw_landscape())
    write_photo(tmp_path / "Mira" / "group.jpg", draw_group((0, 1)))
    for variation in range(usable):
        write_photo(tmp_path / "Mira" / f"{variation}.jpg", draw_portrait(0, variation))
    with pytest.raises(ConfigError, match="too few photos"):
        run(engine, tmp_path / "Mira")


def test_a_single_photo_is_an_error_without_models(engine: FaceSearch, tmp_path: Path, looked_at: list[object]) -> None:
    write_photo(tmp_path / "Mira" / "1.jpg", draw_portrait(0, 0))
    with pytest.raises(ConfigError, match="too few photos"):
        run(engine, tmp_path / "Mira")
    assert looked_at == []


def test_a_hidden_folder_is_nobodys_name(engine: FaceSearch, people: Path) -> None:
    folder = (people / "Mira Quill").rename(people.parent / ".photos")
    with pytest.raises(ConfigError, match="cannot be a person's name"):
        run(engine, folder)
    assert statuses(run(engine, folder, subject="Mira Quill")) == {"enrolled": 4}


def test_of_a_large_folder_a_sample_is_compared(
    engine: FaceSearch, tmp_path: Path, looked_at: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variation in range(3):
        write_photo(tmp_path / "Mira" / f"{variation}.jpg", draw_portrait(0, variation))
    for copy in range(3, 40):
        os.link(tmp_path / "Mira" / f"{copy % 3}.jpg", tmp_path / "Mira" / f"{copy:02}.jpg")
    monkeypatch.setattr(FaceSearch, "ensure_gallery", stop)
    with pytest.raises(StopHereError):
        run(engine, tmp_path / "Mira")
    assert len(looked_at) == SAMPLE
    assert {looked_at[0], looked_at[-1]} == {tmp_path / "Mira" / "0.jpg", tmp_path / "Mira" / "39.jpg"}


class StopHereError(Exception):
    """The decision was made."""


def stop(_: FaceSearch) -> None:
    raise StopHereError


def test_all_folders_of_a_parent_are_people_as_if_the_parent_was_given(
    engine: FaceSearch, people: Path, looked_at: list[object]
) -> None:
    write_photo(people / "Ada" / "1.jpg", draw_portrait(7, 0))
    (people / "@eaDir").mkdir()
    (people / "Empty").mkdir()
    write_photo(people / "loose.jpg", draw_portrait(8, 0))
    outcomes = run(engine, *sorted(people.iterdir()))  # people/* of a shell
    assert statuses(outcomes) == {"enrolled": 14, "passed_over": 1}
    assert photos_of(engine.gallery) == {"Ada": 1, "Juno Wren": 4, "Mira Quill": 4, "Otto Bramble": 4, "loose": 1}
    assert len(looked_at) == 14


def test_some_folders_of_a_parent_are_people_unless_their_photos_disagree(
    engine: FaceSearch, people: Path, mixed: Path
) -> None:
    write_photo(people / "Ada" / "1.jpg", draw_portrait(7, 0))
    run(engine, people / "Ada", people / "Mira Quill")
    assert photos_of(engine.gallery) == {"Ada": 1, "Mira Quill": 4}
    shutil.move(mixed, people / "portraits")
    with pytest.raises(ConfigError, match="portraits do not agree"):
        run(engine, people / "Juno Wren", people / "portraits")
    assert photos_of(engine.gallery) == {"Ada": 1, "Mira Quill": 4}


def test_each_of_several_folders_is_judged_by_itself(engine: FaceSearch, people: Path, mixed: Path) -> None:
    with pytest.raises(ConfigError, match="portraits do not agree"):
        run(engine, people / "Mira Quill", mixed)
    assert not engine.has_gallery


def test_loose_photos_beside_folders_stay_people_of_their_own(engine: FaceSearch, people: Path) -> None:
    write_photo(people / "Ada.jpg", draw_portrait(7, 0))
    run(engine, people)
    assert photos_of(engine.gallery) == {"Ada": 1, "Juno Wren": 4, "Mira Quill": 4, "Otto Bramble": 4}


def test_a_folder_whose_photos_a_manifest_names_needs_no_decision(engine: FaceSearch, people: Path) -> None:
    manifest = people / "people.csv"
    manifest.write_text("\n".join(["photo,subject", *(f"Mira Quill/{number}.jpg,M. Q." for number in range(1, 5))]))
    run(engine, manifest, people / "Mira Quill")
    assert photos_of(engine.gallery) == {"M. Q.": 4}


def test_sync_of_a_persons_folder_removes_what_vanished_from_it(engine: FaceSearch, people: Path) -> None:
    run(engine, people)
    (people / "Mira Quill" / "1.jpg").unlink()
    assert statuses(run(engine, people / "Mira Quill", sync=True)) == {"unchanged": 3, "removed": 1}
