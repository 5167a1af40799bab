"""What a person decided outlives every re-run: names, merges, attributes, moves, removals, erasure."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from facesearch import EnrollOutcome, FaceSearch
from facesearch.demo.portraits import STRANGER, draw_portrait, write_photo
from facesearch.errors import GalleryError, UndoError, UnknownSubjectError
from facesearch.store import audit, photos, subjects, templates, undo
from facesearch.store import people as stored_people
from facesearch.store.schema import JournalChangeRow
from tests.jobs.test_enrolment import reasons, run, statuses

MIRA, OTTO = "Mira Quill", "Otto Bramble"


def state(engine: FaceSearch) -> list[Any]:
    """All that people see of a gallery: subjects, aliases, attributes, photos, ids and templates."""
    gallery = engine.gallery
    return [
        (subject, gallery.read(photos.photos_of_subject, subject.name))
        for subject in gallery.read(subjects.list_subjects)
    ]


def of(outcomes: list[EnrollOutcome], status: str) -> list[EnrollOutcome]:
    return [outcome for outcome in outcomes if outcome.status == status]


# -- names


def test_a_renamed_person_stays_renamed(engine: FaceSearch, people: Path) -> None:
    run(engine, people)
    engine.gallery.write(stored_people.rename, MIRA, "M. Q.")
    engine.gallery.write(stored_people.set_attributes, "M. Q.", {"consent": "signed", "retain_until": "2020-12-31"})
    before = state(engine)
    assert statuses(run(engine, people)) == {"unchanged": 12}
    assert state(engine) == before
    assert [subject.name for subject in engine.gallery.read(stored_people.overdue)] == ["M. Q."]


def test_new_photos_in_the_folder_of_a_renamed_person_are_hers(engine: FaceSearch, people: Path) -> None:
    late = people / MIRA / "1.jpg"
    kept = late.rename(people.parent / "late.jpg")
    run(engine, people)
    engine.gallery.write(stored_people.rename, MIRA, "M. Q.")
    kept.rename(late)
    (outcome,) = of(run(engine, people), "enrolled")
    assert outcome.subject == "M. Q."
    assert engine.gallery.read(stored_people.find, "M. Q.").photos == 4
    assert engine.gallery.read(stored_people.find, MIRA).name == "M. Q."  # found by the other name


def test_merged_people_stay_one(engine: FaceSearch, people: Path) -> None:
    run(engine, people)
    engine.gallery.change(stored_people.merge, MIRA, OTTO)
    before = state(engine)
    assert statuses(run(engine, people)) == {"unchanged": 12}
    assert state(engine) == before
    assert engine.gallery.read(stored_people.find, OTTO).aliases == (MIRA,)


def test_a_removed_alias_makes_the_name_anybody_s(engine: FaceSearch, people: Path) -> None:
    run(engine, people / MIRA, subject=MIRA)
    engine.gallery.write(stored_people.rename, MIRA, "M. Q.")
    engine.gallery.write(stored_people.remove_alias, "M. Q.", MIRA)
    write_photo(people / MIRA / "9.jpg", draw_portrait(STRANGER, 1))
    assert statuses(run(engine, people / MIRA, subject=MIRA)) == {"unchanged": 4, "enrolled": 1}
    assert engine.gallery.read(stored_people.find, MIRA).photos == 1


# -- sources


def manifest(people: Path, *rows: str) -> Path:
    path = people / "list.csv"
    path.write_text("\n".join(["photo,subject,team", *rows]) + "\n")
    return path


def test_a_manifest_s_value_counts_when_it_changes(engine: FaceSearch, people: Path) -> None:
    row = f"{MIRA}/1.jpg,{MIRA}"
    run(engine, manifest(people, f"{row},red"))
    engine.gallery.write(stored_people.set_attributes, MIRA, {"team": "blue"})
    (outcome,) = run(engine, manifest(people, f"{row},red"))
    assert (outcome.status, outcome.note) == ("unchanged", None)
    assert engine.gallery.read(stored_people.find, MIRA).attributes == {"team": "blue"}
    (outcome,) = run(engine, manifest(people, f"{row},green"))
    assert "team" in (outcome.note or "")
    assert engine.gallery.read(stored_people.find, MIRA).attributes == {"team": "blue"}
    engine.gallery.write(stored_people.set_attributes, MIRA, {"team": "green"})
    run(engine, manifest(people, f"{row},yellow"))
    assert engine.gallery.read(stored_people.find, MIRA).attributes == {"team": "yellow"}


def test_a_manifest_s_other_person_is_a_new_statement(engine: FaceSearch, people: Path) -> None:
    run(engine, manifest(people, f"{MIRA}/1.jpg,{MIRA},", f"{MIRA}/2.jpg,{MIRA},"))
    outcomes = run(engine, manifest(people, f"{MIRA}/1.jpg,{OTTO},", f"{MIRA}/2.jpg,{MIRA},"))
    assert [(outcome.status, outcome.subject) for outcome in outcomes] == [("moved", OTTO), ("unchanged", MIRA)]


def test_a_loose_photo_stays_whose_it_is(engine: FaceSearch, people: Path) -> None:
    photo = people / MIRA / "1.jpg"
    run(engine, photo, subject="Al Pacino")
    (outcome,) = run(engine, photo)
    assert (outcome.status, outcome.subject) == ("unchanged", "Al Pacino")
    assert [subject.name for subject in engine.gallery.read(subjects.list_subjects)] == ["Al Pacino"]


# -- moves


def test_a_photo_moved_by_hand_stays_until_its_source_says_something_else(engine: FaceSearch, people: Path) -> None:
    run(engine, people)
    photo = people / MIRA / "1.jpg"
    engine.gallery.change(stored_people.move_photos, [photo], OTTO)
    assert statuses(run(engine, people)) == {"unchanged": 12}
    assert engine.gallery.read(stored_people.find, OTTO).photos == 5
    (moved,) = [each for each in engine.gallery.read(photos.photos_of_subject, OTTO) if each.photo == photo]
    assert moved.origin == "moved"
    (people / "Juno Wren" / "new.jpg").write_bytes(photo.read_bytes())
    photo.unlink()
    (outcome,) = of(run(engine, people), "moved")
    assert (outcome.subject, outcome.note) == ("Juno Wren", f"It moved from {OTTO} to Juno Wren.")


def test_a_photo_moved_by_hand_comes_back_as_decided(engine: FaceSearch, people: Path) -> None:
    run(engine, people)
    photo = people / MIRA / "1.jpg"
    engine.gallery.change(stored_people.move_photos, [photo], "Nora", create=True)
    away = photo.rename(people.parent / "away.jpg")
    assert statuses(run(engine, people, sync=True)) == {"unchanged": 11, "removed": 1}
    away.rename(photo)
    (outcome,) = of(run(engine, people), "enrolled")
    assert outcome.subject == "Nora"


def test_the_moves_of_a_run_can_be_undone(engine: FaceSearch, people: Path) -> None:
    run(engine, people)
    before = state(engine)
    shutil.move(people / MIRA / "1.jpg", people / OTTO / "m.jpg")
    assert statuses(run(engine, people)) == {"unchanged": 11, "moved": 1}
    assert engine.gallery.read(stored_people.find, MIRA).photos == 3
    (entry, *_) = engine.gallery.read(stored_people.history)
    assert (entry.action, entry.detail["moved"]) == ("enroll", 1)
    engine.gallery.change(undo.undo)
    assert engine.gallery.read(stored_people.find, MIRA).photos == 4
    assert [subject.subject_id for subject in engine.gallery.read(subjects.list_subjects)] == [
        each[0].subject_id for each in before
    ]
    assert statuses(run(engine, people)) == {"unchanged": 12}
    assert engine.gallery.read(stored_people.find, MIRA).photos == 4


# -- removal and erasure


def test_a_removed_person_stays_out_and_undo_brings_all_back(engine: FaceSearch, people: Path) -> None:
    run(engine, people)
    engine.gallery.write(stored_people.rename, MIRA, "M. Q.")
    engine.gallery.write(stored_people.set_attributes, "M. Q.", {"consent": "signed"})
    before, found = state(engine), engine.identify(people / MIRA / "1.jpg")
    engine.gallery.remove(stored_people.remove, "M. Q.")
    assert engine.identify(people / MIRA / "1.jpg")[0].decision == "unknown"
    outcomes = run(engine, people)
    assert statuses(outcomes) == {"unchanged": 8, "rejected": 4}
    assert set(reasons(outcomes)) == {"removed"}
    engine.gallery.change(undo.undo)
    assert state(engine) == before
    assert engine.identify(people / MIRA / "1.jpg")[0].candidates == found[0].candidates
    assert statuses(run(engine, people)) == {"unchanged": 12}


def test_removed_photos_come_back_when_that_is_asked_for(engine: FaceSearch, people: Path) -> None:
    run(engine, people)
    engine.gallery.remove(stored_people.remove, MIRA)
    assert statuses(run(engine, people, bring_back_removed=True)) == {"unchanged": 8, "enrolled": 4}


def test_an_erased_person_stays_out_of_every_run(engine: FaceSearch, people: Path) -> None:
    late = people / MIRA / "1.jpg"
    kept = late.rename(people.parent / "late.jpg")
    run(engine, people)
    engine.gallery.write(stored_people.rename, MIRA, "M. Q.")
    receipt = engine.forget(["M. Q."])
    assert receipt["clean"]
    assert len(receipt["photo_files_on_disk"]) == 3
    kept.rename(late)
    shutil.copy(late, people / "M. Q..jpg")
    for _ in range(2):
        outcomes = run(engine, people)
        assert statuses(outcomes) == {"unchanged": 8, "rejected": 5}
        assert reasons(outcomes) == ["erased"] * 5
    (upload,) = engine.enroll_uploads([(people / MIRA / "2.jpg").read_bytes()], "Somebody")
    assert reasons([upload]) == ["erased"]
    assert engine.forget([OTTO])["clean"]
    assert not [
        entry
        for entry in engine.gallery.read(stored_people.history)
        if MIRA in str(entry.detail) or OTTO in str(entry.detail)
    ]


def test_an_erased_person_comes_back_when_that_is_asked_for(engine: FaceSearch, people: Path) -> None:
    run(engine, people)
    engine.forget([MIRA])
    assert statuses(run(engine, people, bring_back_erased=True)) == {"unchanged": 8, "enrolled": 4}
    assert [event.action for event in engine.gallery.read(audit.events, action="people.bring_back")] == [
        "people.bring_back"
    ]
    assert statuses(run(engine, people)) == {"unchanged": 12}
    (people / MIRA / "1.jpg").rename(people / MIRA / "9.jpg")
    assert statuses(run(engine, people)) == {"unchanged": 12}


def test_a_removed_photo_of_the_same_content_stays_somebody_else_s(engine: FaceSearch, people: Path) -> None:
    run(engine, people)
    shared = people / OTTO / "same.jpg"
    shutil.copyfile(people / MIRA / "1.jpg", shared)
    run(engine, people)
    engine.gallery.remove(stored_people.remove_photos, [shared])
    assert engine.forget([MIRA])["clean"]
    assert [finding for finding in engine.check() if not finding.ok and finding.subject == "erased"] == []
    assert reasons(run(engine, people / MIRA, subject="Ada")) == ["erased"] * 4
    engine.gallery.change(undo.undo)
    assert shared in [Path(photo.photo) for photo in engine.gallery.read(photos.photos_of_subject, OTTO)]


def test_what_others_can_have_back_does_not_say_the_name_of_the_erased(engine: FaceSearch, people: Path) -> None:
    run(engine, people)
    photo = people / MIRA / "1.jpg"
    engine.gallery.change(stored_people.move_photos, [photo], OTTO)
    engine.gallery.remove(stored_people.remove_photos, [photo])
    assert engine.forget([MIRA])["clean"]
    with engine.gallery.database.read() as connection:
        images = connection.execute(sa.select(JournalChangeRow.before, JournalChangeRow.after)).all()
    assert not [each for each in images if f'"{MIRA}"'.encode() in b"".join(filter(None, each))]
    assert engine.gallery.change(undo.undo).action == "remove photos"
    assert photo in [each.photo for each in engine.gallery.read(photos.photos_of_subject, OTTO)]


def test_a_path_that_was_two_people_s_leaves_a_clean_receipt(engine: FaceSearch, people: Path) -> None:
    run(engine, people)
    first, second = people / MIRA / "1.jpg", people / MIRA / "2.jpg"
    engine.gallery.change(stored_people.move_photos, [first], OTTO)
    engine.gallery.remove(stored_people.remove_photos, [first])
    second.replace(first)
    run(engine, people)
    assert engine.forget([MIRA])["clean"]


def test_undoing_a_removal_says_what_to_do_where_its_photos_are_somebody_else_s(
    engine: FaceSearch, people: Path
) -> None:
    run(engine, people)
    engine.gallery.remove(stored_people.remove, MIRA)
    (removal,) = [entry for entry in engine.history() if entry.action == "remove"]
    run(engine, people / MIRA, subject="Ada", bring_back_removed=True)
    with pytest.raises(UndoError, match="enrolled again since, as Ada") as caught:
        engine.undo(removal.entry_id)
    assert "facesearch people move" in str(caught.value.hint)
    assert "`facesearch people remove Ada`" in str(caught.value.hint)
    engine.gallery.remove(stored_people.remove, "Ada")
    engine.undo(removal.entry_id)
    assert engine.gallery.read(stored_people.find, MIRA).photos == 4


def test_a_removed_person_can_be_erased(engine: FaceSearch, people: Path) -> None:
    run(engine, people)
    engine.gallery.remove(stored_people.remove, MIRA)
    assert engine.forget([MIRA])["clean"]
    with pytest.raises(GalleryError, match="no longer has"):
        engine.gallery.change(
            undo.undo,
            next(entry.entry_id for entry in engine.gallery.read(stored_people.history) if entry.action == "remove"),
        )
    with pytest.raises(UnknownSubjectError):
        engine.forget([MIRA])
    assert set(reasons(run(engine, people))) == {"erased"}


def test_photos_of_the_same_bytes_stay_for_others_and_the_receipt_is_clean(engine: FaceSearch, people: Path) -> None:
    (people / OTTO / "both.jpg").write_bytes((people / MIRA / "1.jpg").read_bytes())
    run(engine, people)
    receipt = engine.forget([MIRA])
    assert receipt["photos_that_stay_for_others"] == 1
    assert "other people" in receipt["explained"]
    assert receipt["clean"]
    assert statuses(run(engine, people)) == {"unchanged": 9, "rejected": 4}


# -- contents and names


def contents(engine: FaceSearch) -> dict[str, tuple[str, int]]:
    """Whose photo each content is, and its template, by SHA-256."""
    return {
        photo.sha256: (subject.name, photo.template_ids[0])
        for subject in engine.gallery.read(subjects.list_subjects)
        for photo in engine.gallery.read(photos.photos_of_subject, subject.name)
    }


def swap(folder: Path) -> None:
    (folder / "1.jpg").rename(folder / "x")
    (folder / "2.jpg").rename(folder / "1.jpg")
    (folder / "x").rename(folder / "2.jpg")


def rotate(folder: Path) -> None:
    (folder / "4.jpg").rename(folder / "x")
    for number in (3, 2, 1):
        (folder / f"{number}.jpg").rename(folder / f"{number + 1}.jpg")
    (folder / "x").rename(folder / "1.jpg")


def rename_all(folder: Path) -> None:
    for number in range(1, 5):
        (folder / f"{number}.jpg").rename(folder / f"portrait-{number}.jpg")


@pytest.mark.parametrize("change", [swap, rotate, rename_all])
def test_templates_follow_contents(engine: FaceSearch, people: Path, change: Any) -> None:
    run(engine, people)
    engine.gallery.change(stored_people.move_photos, [people / MIRA / "2.jpg"], OTTO)
    before = contents(engine)
    change(people / MIRA)
    assert statuses(run(engine, people)) == {"unchanged": 12}
    assert contents(engine) == before
    assert statuses(run(engine, people)) == {"unchanged": 12}
    assert all(finding.ok for finding in engine.check())


def test_a_shift_loses_the_photo_that_is_gone_and_no_other(engine: FaceSearch, people: Path) -> None:
    run(engine, people)
    before = contents(engine)
    folder = people / MIRA
    for number in (2, 3, 4):
        (folder / f"{number}.jpg").replace(folder / f"{number - 1}.jpg")
    assert statuses(run(engine, people)) == {"unchanged": 11}
    after = contents(engine)
    assert len(after) == 11
    assert after.items() <= before.items()


def test_a_new_photo_may_take_the_name_of_a_renamed_one(engine: FaceSearch, people: Path) -> None:
    folder = people / MIRA
    (folder / "2.jpg").unlink()
    run(engine, people)
    (folder / "1.jpg").rename(folder / "2.jpg")
    write_photo(folder / "1.jpg", draw_portrait(0, 9))
    assert statuses(run(engine, people)) == {"unchanged": 11, "enrolled": 1}
    assert engine.gallery.read(stored_people.find, MIRA).photos == 4
    assert statuses(run(engine, people)) == {"unchanged": 12}


def test_a_photo_that_shows_nobody_now_takes_the_old_template_along(
    engine: FaceSearch, people: Path, scenes_folder: Path
) -> None:
    run(engine, people)
    shutil.copy(scenes_folder / "landscape.jpg", people / MIRA / "1.jpg")
    assert statuses(run(engine, people)) == {"unchanged": 11, "rejected": 1}
    assert engine.gallery.read(stored_people.find, MIRA).photos == 3


def test_two_enrolments_at_once_end_as_one_after_the_other(people: Path, standin_pack: Path, tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    shutil.copytree(people, copies)
    gallery = tmp_path / "gallery"
    FaceSearch.open(gallery, pack=standin_pack, provider="cpu").ensure_gallery().close()

    def enroll(folder: Path) -> list[EnrollOutcome]:
        with FaceSearch.open(gallery, pack=standin_pack, provider="cpu") as engine:
            return run(engine, folder)

    with ThreadPoolExecutor(3) as pool:
        outcomes = [each for found in pool.map(enroll, [people, copies, people]) for each in found]
    assert len(of(outcomes, "enrolled")) == 12
    with FaceSearch.open(gallery, provider="cpu") as engine:
        assert engine.gallery.read(templates.counts)["templates"] == 12
        assert all(finding.ok for finding in engine.check())


# -- sync


def test_a_surviving_copy_takes_the_place_of_the_photo_that_vanished(engine: FaceSearch, people: Path) -> None:
    folder = people / MIRA
    for number in (2, 3, 4):
        (folder / f"{number}.jpg").unlink()
    shutil.copy(folder / "1.jpg", folder / "copy.jpg")
    run(engine, people)
    engine.gallery.write(stored_people.set_attributes, MIRA, {"consent": "signed"})
    before = engine.gallery.read(stored_people.find, MIRA)
    (folder / "1.jpg").unlink()
    assert statuses(run(engine, people, sync=True)) == {"unchanged": 9}
    assert engine.gallery.read(stored_people.find, MIRA) == before


def test_sync_names_people_who_lose_their_last_photo_and_keeps_what_was_said(engine: FaceSearch, people: Path) -> None:
    run(engine, people)
    engine.gallery.write(stored_people.set_attributes, MIRA, {"consent": "signed"})
    before = state(engine)
    for name in (MIRA, OTTO):
        shutil.rmtree(people / name)
    notes = [outcome.note for outcome in of(run(engine, people, sync=True), "removed") if outcome.note]
    assert sorted(notes) == [f"No photo of {name} is left." for name in (MIRA, OTTO)]
    assert engine.gallery.read(stored_people.find, MIRA).photos == 0
    with pytest.raises(UnknownSubjectError):
        engine.gallery.read(stored_people.find, OTTO)
    engine.gallery.change(undo.undo)
    assert state(engine) == before


def test_nobody_is_compared_with_a_person_who_goes(engine: FaceSearch, people: Path) -> None:
    run(engine, people)
    (people / MIRA).rename(people / "Mira")
    (people / "Mira" / "1.jpg").unlink()
    write_photo(people / "Mira" / "new.jpg", draw_portrait(0, 9))
    outcomes = run(engine, people, sync=True, strict=True)
    assert statuses(outcomes) == {"unchanged": 8, "moved": 3, "removed": 1, "enrolled": 1}
    assert reasons(outcomes) == []


@pytest.mark.parametrize("together", [True, False])
def test_strict_says_which_enrolled_photos_are_conflicts(engine: FaceSearch, people: Path, together: bool) -> None:
    if not together:
        run(engine, people)
    (people / "Twin").mkdir()
    write_photo(people / "Twin" / "1.jpg", draw_portrait(0, 9))
    assert reasons(run(engine, people)) == ["identity_conflict"]
    assert reasons(run(engine, people)) == []
    outcomes = run(engine, people, strict=True)
    assert statuses(outcomes) == {"unchanged": 13}
    assert reasons(outcomes) == ["identity_conflict"]
    engine.gallery.write(stored_people.confirm_photos, [people / "Twin" / "1.jpg"])
    assert reasons(run(engine, people, strict=True)) == []


def test_a_photo_of_two_people_becomes_one_when_a_source_says_so(engine: FaceSearch, people: Path) -> None:
    shutil.copy(people / MIRA / "1.jpg", people / OTTO / "9.jpg")
    run(engine, people)
    outcomes = run(engine, people, subject="Everybody")
    assert statuses(outcomes) == {"moved": 12, "rejected": 1}
    assert reasons(outcomes) == ["duplicate"]
    # A photo that changes hands takes what was told of copies with it, so that it is told again.
    assert statuses(run(engine, people, subject="Everybody")) == {"unchanged": 12, "rejected": 1}
    assert statuses(run(engine, people, subject="Everybody")) == {"unchanged": 13}


def test_another_name_of_the_same_person_says_nothing_new(engine: FaceSearch, people: Path) -> None:
    run(engine, people)
    engine.gallery.change(stored_people.move_photos, [people / MIRA / "1.jpg"], OTTO)
    engine.gallery.remove(stored_people.remove_photos, [people / MIRA / "2.jpg"])
    engine.gallery.write(stored_people.rename, MIRA, "M. Q.")
    (people / MIRA).rename(people / "M. Q.")
    for _ in range(2):
        outcomes = run(engine, people)
        assert statuses(outcomes) == {"unchanged": 11, "rejected": 1}
        assert reasons(outcomes) == ["removed"]
        assert (
            engine.gallery.read(stored_people.find, "M. Q.").photos,
            engine.gallery.read(stored_people.find, OTTO).photos,
        ) == (2, 5)


def test_a_decision_holds_after_a_detour(engine: FaceSearch, people: Path) -> None:
    run(engine, people)
    engine.gallery.change(stored_people.move_photos, [people / MIRA / "1.jpg"], OTTO)
    run(engine, people, subject="Everybody")
    run(engine, people)
    assert engine.gallery.read(stored_people.find, OTTO).photos == 5


def test_the_name_of_somebody_forgotten_is_nobody_s_by_a_detour(engine: FaceSearch, people: Path) -> None:
    run(engine, people)
    engine.gallery.change(stored_people.move_photos, [people / MIRA / "1.jpg"], OTTO)
    assert engine.forget([MIRA])["clean"]
    assert statuses(run(engine, people)) == {"unchanged": 9, "rejected": 3}
    (people / MIRA / "1.jpg").rename(people / MIRA / "m.jpg")
    assert statuses(run(engine, people)) == {"unchanged": 9, "rejected": 3}
    assert engine.gallery.read(stored_people.find, OTTO).photos == 5
    photo = people.parent / "new.jpg"
    write_photo(photo, draw_portrait(STRANGER, 1))
    assert statuses(run(engine, photo, subject="Guest")) == {"enrolled": 1}
    for name in (MIRA, "mira quill", "MIRA  QUILL", "Mira_Quill"):
        (outcome,) = run(engine, photo, subject=name)
        assert (outcome.status, outcome.subject) == ("unchanged", "Guest")


def test_what_is_committed_after_somebody_was_forgotten_is_kept(engine: FaceSearch, people: Path) -> None:
    """Reading the database's files must not drop the locks that SQLite has on them in this process."""
    run(engine, people)
    engine.forget([MIRA])
    look = "import sys; from facesearch import FaceSearch; e = FaceSearch.open(sys.argv[1]); e.subjects(); "
    close = [sys.executable, "-c", look + "e.close()", engine.settings.gallery]
    subprocess.run([*map(str, close)], check=True)  # the last process to close deletes the write-ahead log
    engine.gallery.write(stored_people.set_attributes, OTTO, {"consent": "withdrawn"})
    code = look + f"print(dict(e.subject({OTTO!r}).attributes))"
    told = subprocess.run([sys.executable, "-c", code, str(engine.settings.gallery)], capture_output=True, check=True)
    assert told.stdout.decode().strip() == "{'consent': 'withdrawn'}"
