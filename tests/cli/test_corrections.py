"""Correcting who is who: aliases, moves, confirmations, the history of them, and taking them back."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from facesearch.demo.portraits import PEOPLE, draw_portrait, write_photo
from tests.cli.conftest import Command

MIRA, RAVI = PEOPLE[0], PEOPLE[1]


@pytest.fixture
def again(command: Command, gallery: Path, people_folder: Path) -> list[object]:
    """The command that enrolls the same folders again."""
    return ["enroll", people_folder, "--json"]


def test_a_rename_leaves_an_alias_that_show_lists_and_enroll_follows(command: Command, again: list[object]) -> None:
    assert command("people", "rename", MIRA, "M. Q.").code == 0
    assert {each["status"] for each in command(*again).records} == {"unchanged"}
    (shown,) = command("people", "show", "M. Q.", "--json").records
    assert (shown["subject"], shown["aliases"], shown["photos"]) == ("M. Q.", [MIRA], 4)
    assert {each["origin"] for each in shown["enrolled_photos"]} == {"enrolled"}
    assert f"also called: {MIRA}" in command("people", "show", MIRA).out


def test_aliases_are_added_listed_and_removed(command: Command, gallery: Path) -> None:
    assert "Em" in command("people", "alias", "add", MIRA, "Em").out
    assert command("people", "alias", "add", MIRA, "Em", "--json").records[0]["aliases"] == ["Em"]
    assert command("people", "alias", "list", "--json").records == [{"subject": MIRA, "alias": "Em"}]
    assert "Em" in command("people", "alias", "list", "Em").out
    taken = command("people", "alias", "add", RAVI, "Em")
    assert (taken.code, f"facesearch people merge {shlex.quote(RAVI)} {shlex.quote(MIRA)}" in taken.err) == (4, True)
    assert command("people", "alias", "remove", MIRA, "Em").out == f"{MIRA} is no longer called Em.\n"
    assert command("people", "alias", "list", "--json").records == []
    wrong = command("people", "alias", "remove", MIRA, "Em")
    assert (wrong.code, "none" in wrong.err) == (2, True)


def test_an_alias_can_be_removed_by_that_alias(command: Command, gallery: Path) -> None:
    command("people", "alias", "add", MIRA, "Em")
    assert command("people", "alias", "remove", "Em", "Em").code == 0


def test_a_moved_photo_stays_moved(
    command: Command, again: list[object], people_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(people_folder)
    photo = Path(MIRA, "1.jpg")
    unknown = command("people", "move", photo, "--to", "Zoe")
    assert (unknown.code, "--new" in unknown.err or "Zoe" in unknown.err) == (4, True)
    assert command("people", "move", photo, "--to", "Zoe", "--new").code == 0
    assert command("people", "move", people_folder / MIRA / "2.jpg", "--to", "Zoe", "--json").records[0]["photos"] == 2
    assert {each["status"] for each in command(*again).records} == {"unchanged"}
    (shown,) = command("people", "show", "Zoe", "--json").records
    assert [each["origin"] for each in shown["enrolled_photos"]] == ["moved", "moved"]
    assert "moved" in command("people", "show", "Zoe").out
    missing = command("people", "move", "no.jpg", "--to", "Zoe")
    assert (missing.code, "no.jpg is not enrolled" in missing.err) == (4, True)


def test_a_confirmed_photo_says_so(command: Command, gallery: Path, people_folder: Path) -> None:
    run = command("people", "confirm", people_folder / MIRA / "1.jpg", people_folder / MIRA / "2.jpg")
    assert (run.code, run.out) == (0, "2 photos confirmed.\n")
    (shown,) = command("people", "show", MIRA, "--json").records
    assert [each["origin"] for each in shown["enrolled_photos"]] == ["confirmed", "confirmed", "enrolled", "enrolled"]
    assert command("people", "confirm", people_folder / MIRA / "3.jpg", "--json").records == [{"confirmed": 1}]
    assert command("people", "confirm", "no.jpg").code == 4


def test_a_photo_is_named_by_the_text_form_that_show_prints(command: Command, gallery: Path, tmp_path: Path) -> None:
    write_photo(tmp_path / "Zoe" / "a\nb.jpg", draw_portrait(0, 8))
    assert command("enroll", tmp_path / "Zoe" / "a\nb.jpg", "--as", "Zoe").code == 0
    (shown,) = command("people", "show", "Zoe", "--json").records
    assert command("people", "move", shown["enrolled_photos"][0]["photo"], "--to", MIRA).code == 0
    assert command("people", "show", MIRA, "--json").records[0]["photos"] == 5


def test_history_says_what_was_done_in_plain_words(command: Command, gallery: Path, people_folder: Path) -> None:
    command("people", "rename", MIRA, "M. Q.")
    command("people", "set", RAVI, "team=ink", "consent=yes")
    command("people", "alias", "add", RAVI, "Rav")
    command("people", "alias", "remove", RAVI, "Rav")
    command("people", "merge", PEOPLE[2], RAVI)
    command("people", "move", people_folder / MIRA / "1.jpg", "--to", RAVI)
    command("people", "confirm", people_folder / MIRA / "2.jpg", people_folder / MIRA / "3.jpg")
    command("people", "remove", PEOPLE[3], "--yes")
    command("undo", "1")
    found = command("history", "--json").records
    assert [each["what"] for each in reversed(found)] == [
        f"renamed {MIRA} to M. Q.",
        f"set consent, team of {RAVI}",
        f"let {RAVI} be called Rav as well",
        f"took the name Rav from {RAVI}",
        f"merged {PEOPLE[2]} into {RAVI}",
        f"moved 1 photo to {RAVI}",
        "confirmed 2 photos",
        f"removed {PEOPLE[3]}",
        f"undid 1: renamed {MIRA} to M. Q.",
    ]
    assert [each["undone_by"] for each in reversed(found)] == [9, *[None] * 8]
    assert all(each["undoable"] and each["actor"] and each["at"].endswith("+00:00") for each in found)
    assert [each["id"] for each in command("history", "--last", "2", "--json").records] == [9, 8]
    assert [each["id"] for each in command("history", "--person", MIRA, "--json").records] == [9, 7, 6, 1]
    assert [each["id"] for each in command("history", "--person", PEOPLE[3], "--json").records] == [8], "is removed"
    table = command("history").out
    assert "undone by 9" in table
    assert command("history", "--person", "Nobody").code == 4


def test_every_correction_can_be_taken_back(command: Command, gallery: Path, people_folder: Path) -> None:
    def state() -> list[object]:
        return [
            command("people", "show", name, "--json").records
            for name in sorted(each["subject"] for each in command("people", "list", "--json").records)
        ]

    corrections: list[tuple[object, ...]] = [
        ("rename", MIRA, "M. Q."),
        ("merge", MIRA, RAVI),
        ("set", MIRA, "team=ink"),
        ("alias", "add", MIRA, "Em"),
        ("move", people_folder / MIRA / "1.jpg", "--to", "Zoe", "--new"),
        ("confirm", people_folder / MIRA / "1.jpg"),
        ("remove", MIRA, "--yes"),
    ]
    before = state()
    for correction in corrections:
        assert command("people", *correction).code == 0, correction
        changed = state()
        assert changed != before, correction
        assert command("undo").code == 0, correction
        assert state() == before, correction
        undo = command("history", "--last", "1", "--json").records[0]["id"]
        assert command("undo", str(undo)).code == 0, "an undo is undone"
        assert state() == changed, correction
        assert "which was" in command("history").out or "an undo" in command("history").out
        assert command("undo").code == 0
        assert state() == before, correction
    assert command("check").code == 0


def test_undo_says_what_it_put_back_and_why_it_cannot(command: Command, gallery: Path) -> None:
    assert "nothing to undo" in command("undo").err
    command("people", "rename", MIRA, "M. Q.")
    run = command("undo")
    assert run.out == f"Entry 1 is undone: renamed {MIRA} to M. Q.\n"
    assert "facesearch undo 2" in run.err
    again = command("undo", "1")
    assert (again.code, "undone by entry 2 already" in again.err) == (4, True)
    assert command("undo", "99").code == 4
    command("people", "rename", MIRA, "M. Q.")
    command("people", "rename", "M. Q.", "Mira")
    late = command("undo", "3")
    assert (late.code, "changed again since" in late.err) == (4, True)
    assert command("undo", "4", "--json").records[0]["undone_by"] == 5


@pytest.mark.parametrize("remedy", ["reembed", "enroll"])
def test_undo_says_so_where_what_comes_back_was_made_by_another_model(
    command: Command, people_folder: Path, standin_pack: Path, new_pack: Path, tmp_path: Path, remedy: str
) -> None:
    first, second = (people_folder / name for name in PEOPLE[:2])
    old, new = (("--gallery", tmp_path / "g", "--pack", pack) for pack in (standin_pack, new_pack))
    assert command("enroll", first, "--as", PEOPLE[0], *old).code == 0
    assert command("people", "remove", PEOPLE[0], "--yes", *old[:2]).code == 0
    assert command("enroll", second, "--as", PEOPLE[1], *new).code == 0
    (removal,) = [each for each in command("history", "--json", *old[:2]).records if each["action"] == "remove"]
    run = command("undo", str(removal["id"]), *old[:2])
    assert (run.code, "4 faces have no template" in run.err) == (0, True), run
    assert "4 faces have no template" in command("check", *old[:2]).out
    again = ("reembed",) if remedy == "reembed" else ("enroll", first, "--as", PEOPLE[0])
    assert command(*again, *new).code == 0
    assert "no template" not in command("check", *old[:2]).out
    assert command("query", first / "1.jpg", "--json", *new).records[0]["subject"] == PEOPLE[0]


def test_a_removal_prints_the_command_that_takes_it_back(command: Command, gallery: Path) -> None:
    run = command("people", "remove", MIRA, "--yes")
    assert "For 30 days you can undo that: facesearch undo 1" in run.err
    assert command("people", "show", MIRA).code == 4
    assert command("undo", "1").code == 0
    assert command("people", "show", MIRA, "--json").records[0]["photos"] == 4
