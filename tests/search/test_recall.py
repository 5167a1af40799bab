"""What searches remember between commits: nothing that a commit, of whomever, has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from facesearch.search import matching
from facesearch.search.gallery import Gallery
from facesearch.store import erasure, people, photos
from tests.store.makers import ROOT, best, commit, enroll, found_subject, moved_photo, unit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy.engine import Connection


def count_transactions(gallery: Gallery) -> list[Connection]:
    begun: list[Connection] = []
    event.listen(gallery.database.engine, "begin", begun.append)
    return begun


def test_while_nobody_commits_a_second_search_asks_the_database_nothing(gallery: Gallery) -> None:
    enroll(gallery, "Ada", 1, 2)
    enroll(gallery, "Bea", 3)
    first = gallery.search(unit(1)[None], 2)
    begun = count_transactions(gallery)
    assert gallery.search(unit(1)[None], 2) == first
    assert begun == []


def test_candidates_carry_the_ids_of_person_and_photo(gallery: Gallery) -> None:
    enroll(gallery, "Ada", 1)
    enroll(gallery, "Bea", 2)
    found = best(gallery, unit(2))
    assert found is not None
    assert gallery.read(people.find, found.subject_id).name == "Bea"
    assert [each.photo_id for each in gallery.read(photos.photos_of_subject, "Bea")] == [found.photo_id]


CHANGES: dict[str, tuple[Callable[[Gallery], object], str | None]] = {
    "rename": (lambda by: by.write(people.rename, "Ada", "Ada Byron"), "Ada Byron"),
    "merge": (lambda by: by.change(people.merge, "Ada", "Bea"), "Bea"),
    "removal": (lambda by: by.remove(people.remove, "Ada"), None),
    "erasure": (lambda by: by.remove(erasure.erase_subjects, by.erasure_list, ["Ada"]), None),
    "photo removed": (lambda by: by.remove(people.remove_photos, [ROOT / "1.jpg"]), None),
    "photo moved": (lambda by: commit(by, [moved_photo(by, "1.jpg", "new.jpg", "Cleo")]), "Cleo"),
}


@pytest.mark.parametrize("by_another", [False, True], ids=["by itself", "by another process"])
@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen_by_the_next_search(
    gallery: Gallery, folder: Path, change: str, *, by_another: bool
) -> None:
    act, expected = CHANGES[change]
    enroll(gallery, "Ada", 1)
    enroll(gallery, "Bea", 2)
    for _ in range(2):
        assert found_subject(gallery, 1) == "Ada"
    if by_another:
        with Gallery.open(folder) as other:
            act(other)
    else:
        act(gallery)
    assert found_subject(gallery, 1) == expected
    assert found_subject(gallery, 1) == expected


def test_another_active_model_is_seen_by_the_next_search(gallery: Gallery, folder: Path) -> None:
    enroll(gallery, "Ada", 1)
    for _ in range(2):
        assert found_subject(gallery, 1) == "Ada"
    with Gallery.open(folder) as other, other.database.write() as connection:
        connection.execute(sa.text("DELETE FROM models"))
    assert gallery.search(unit(1)[None], 1) == [()]


def test_what_is_remembered_is_bounded(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "MOST_KNOWN", 100)
    for number in range(200):
        enroll(gallery, f"person {number}", number)
    for number in range(0, 200, 7):  # each takes some 64 templates from the index
        assert found_subject(gallery, number) == f"person {number}"
        assert len(gallery.mirror._known) <= 100


def test_nobody_who_was_erased_stays_in_memory(gallery: Gallery) -> None:
    enroll(gallery, "Ada", 1)
    assert found_subject(gallery, 1) == "Ada"
    gallery.remove(erasure.erase_subjects, gallery.erasure_list, ["Ada"])
    assert gallery.mirror._known == {}
