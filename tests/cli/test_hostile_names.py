"""Hostile names on the command line: an exact round trip, or a clear refusal."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest

from facesearch.demo.portraits import PEOPLE, draw_portrait, write_photo
from tests.cli.conftest import Command
from tests.hostile_names import hostile_names, visible


def rename_through(command: Command, names: list[str]) -> tuple[int, int]:
    """(kept, refused): each name in its turn is given to one person."""
    now, kept, refused = PEOPLE[0], 0, 0
    for name in names:
        run = command("people", "rename", "--", now, name)
        if run.code == 2:
            assert run.err.startswith("Error: ")
            refused += 1
            continue
        assert run.code == 0, (name, run.err)
        now = visible(name)
        kept += 1
        assert "\x1b" not in run.out
        if kept % 10 == 0:
            (shown,) = command("people", "show", "--json", "--", now).records
            assert shown["subject"] == now
            assert command("people", "show", "--", now).code == 0
    assert now in [each["subject"] for each in command("people", "list", "--json").records]
    assert command("check").code == 0
    return kept, refused


def test_hostile_names_on_the_command_line(command: Command, gallery: Path) -> None:
    kept, refused = rename_through(command, hostile_names(11, 60))
    assert kept > 10
    assert refused > 10


@pytest.mark.soak
def test_a_thousand_hostile_names_on_the_command_line(command: Command, gallery: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print("\nseed", seed)  # noqa: T201
    kept, refused = rename_through(command, hostile_names(seed, 1000))
    print(f"{kept} kept exactly, {refused} refused with a reason")  # noqa: T201
    assert kept + refused == 1000


def test_hostile_names_in_a_manifest(command: Command, gallery: Path, tmp_path: Path) -> None:
    write_photo(tmp_path / "p.jpg", draw_portrait(0, 6))
    names = [name for name in hostile_names(12, 40) if not any(0xD800 <= ord(each) < 0xE000 for each in name)]
    for number, name in enumerate(names):
        with (tmp_path / "people.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("photo", "subject", "purpose"), ("p.jpg", name, "door")])
        run = command("enroll", tmp_path / "people.csv", "--json")
        expected = visible(name)
        if run.code == 0:
            people = {each["subject"]: each for each in command("people", "list", "--json").records}
            assert people[expected]["attributes"] == {"purpose": "door"}, number
        else:
            assert run.code in {2, 3}
            assert run.err or run.records[0]["detail"]
    assert command("check").code == 0
