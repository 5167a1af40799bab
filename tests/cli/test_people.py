"""`people`, `info`, `check`, `reindex`, `db`, `models`, `demo`."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from facesearch.demo.portraits import PEOPLE, draw_portrait, write_photo
from tests.cli.conftest import Command


def test_people_are_listed_shown_and_changed(command: Command, gallery: Path) -> None:
    assert len(command("people", "list", "--json").records) == 12
    assert command("people", "set", PEOPLE[0], "team=ink", "born=1815").code == 0
    assert command("people", "set", PEOPLE[0], "born=").code == 0
    assert f"facesearch people set '{PEOPLE[0]}' team=design" in command("people", "set", PEOPLE[0], "x").err
    (record,) = command("people", "list", "--where", "team=ink", "--json").records
    assert (record["subject"], record["attributes"], record["photos"]) == (PEOPLE[0], {"team": "ink"}, 4)
    (shown,) = command("people", "show", PEOPLE[0], "--json").records
    assert len(shown["enrolled_photos"]) == 4
    assert PEOPLE[0] in command("people", "show", PEOPLE[0]).out
    assert PEOPLE[11] in command("people", "list").out


def test_people_are_renamed_merged_and_removed(command: Command, gallery: Path) -> None:
    assert command("people", "rename", PEOPLE[0], "Ada B.").out.strip().endswith("is now called Ada B.")
    assert command("people", "rename", "Ada B.", "Ada").code == 0
    run = command("people", "rename", "Ada", PEOPLE[1])
    assert run.code == 4
    assert "people merge" in run.err
    assert command("people", "merge", PEOPLE[1], "Ada").code == 0
    assert command("people", "show", "Ada", "--json").records[0]["photos"] == 8
    assert command("people", "remove", "Ada", "--yes").code == 0
    assert len(command("people", "list", "--json").records) == 10
    assert command("people", "show", "Ada").code == 4


def test_removing_asks_first_and_is_refused_where_nobody_can_answer(command: Command, gallery: Path) -> None:
    run = command("people", "remove", PEOPLE[0])
    assert run.code == 2
    assert "--yes" in run.err
    assert len(command("people", "list", "--json").records) == 12


def test_a_mistyped_name_gets_a_proposal(command: Command, gallery: Path) -> None:
    run = command("people", "show", PEOPLE[0].lower())
    assert run.code == 4
    assert PEOPLE[0] in run.err


def test_info_tells_counts_model_and_threshold(command: Command, gallery: Path) -> None:
    (record,) = command("info", "--json").records
    assert (record["subjects"], record["photos"], record["templates"]) == (12, 48, 48)
    assert record["provider"] == "cpu"
    assert record["model"] in command("info").out


def test_check_says_sound_and_finds_damage_that_fix_repairs(command: Command, gallery: Path) -> None:
    assert command("check").out.endswith("The gallery is sound.\n")
    cache = gallery / "index.cache"
    data = bytearray(cache.read_bytes())
    data[len(data) // 2] ^= 1
    cache.write_bytes(bytes(data))
    run = command("check")
    assert run.code == 1
    assert "FAULT  index" in run.out
    run = command("check", "--fix", "--json")
    assert run.code == 0
    assert [record["subject"] for record in run.records if record["fixed"]] == ["index"]
    assert command("check").code == 0


def test_check_names_a_damaged_template_with_its_photo(command: Command, gallery: Path, tmp_path: Path) -> None:
    with sqlite3.connect(gallery / "gallery.db") as connection:
        named = "name = 'templates_token_update'"
        (trigger,) = connection.execute(f"SELECT sql FROM sqlite_master WHERE {named}").fetchone()
        connection.execute("DROP TRIGGER templates_token_update")  # a failing disk tells nobody what it changed
        connection.execute("UPDATE templates SET vector = zeroblob(length(vector)) WHERE id = 3")
        connection.execute(trigger)
    connection.close()
    run = command("check")
    assert run.code == 1
    assert "template 3" in run.out
    assert "3.jpg" in run.out
    write_photo(tmp_path / "p.jpg", draw_portrait(0, 6))
    assert command("query", tmp_path / "p.jpg").code == 0  # the verified cache holds the vector as it was enrolled
    (gallery / "index.cache").unlink()
    run = command("query", tmp_path / "p.jpg")
    assert run.code == 4
    assert "facesearch check" in run.err


def test_reindex_counts_the_templates(command: Command, gallery: Path) -> None:
    (gallery / "index.cache").unlink()
    assert command("reindex", "--json").records == [{"templates": 48}]
    assert (gallery / "index.cache").is_file()


def test_an_outdated_schema_is_refused_with_the_command_that_helps(command: Command, gallery: Path) -> None:
    assert "current" in command("db", "upgrade").err
    with sqlite3.connect(gallery / "gallery.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    connection.close()
    run = command("people", "list")
    assert run.code == 4
    assert "facesearch db upgrade" in run.err


def test_models_are_listed_described_and_verified(
    command: Command, standin_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACESEARCH_MODELS", str(tmp_path))
    assert "buffalo_l" in {record["pack"] for record in command("models", "list", "--json").records}
    assert "antelopev2" in command("models", "list").out
    (record,) = command("models", "info", standin_pack, "--json").records
    assert record["dimension"] == 128
    assert all(each["ok"] for each in command("models", "verify", standin_pack, "--json").records)
    assert command("models", "verify", "buffalo_l").code == 4


def test_the_demo_shows_matches_unknowns_and_the_real_commands(command: Command, tmp_path: Path) -> None:
    run = command("demo", "--keep", tmp_path / "kept")
    assert run.code == 0
    for words in ("48 enrolled", "48 unchanged", "match", "unknown", "unusable", "drawn faces only", "same person"):
        assert words in run.out
    assert "facesearch enroll people/" in run.out
    assert (tmp_path / "kept" / "found" / "2-group.jpg").is_file()
    assert command("query", tmp_path / "kept" / "new", "--gallery", tmp_path / "kept" / "gallery").code == 0
    assert command("demo", "--keep", tmp_path / "kept").code == 2
