"""One rule for exit codes: 0 done, 1 no or look, 2 usage, 3 no photo, 4 gallery or model, 130 stopped."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
import typer.testing

from facesearch.cli.app import app
from facesearch.demo.portraits import PEOPLE
from tests.cli.conftest import Command
from tests.cli.test_commands import all_commands

MISSING = {
    ("audit",): ("--html", "none/a.html"),
    ("backup",): ("none/gallery.bak",),
    ("calibrate",): ("none", "--fpir", "0.1"),
    ("detect",): ("none.jpg",),
    ("enroll",): ("none.jpg",),
    ("eval", "compare"): ("none.json", "none.json"),
    ("eval", "pairs"): ("none.csv",),
    ("eval", "search"): ("none", "none"),
    ("export",): ("none/out.bundle",),
    ("import",): ("none.bundle",),
    ("models", "quantize"): ("PACK", "none"),
    ("models", "repair"): ("none.onnx",),
    ("query",): ("none.jpg",),
    ("rekey",): ("--new-key-file", "none.key"),
    ("restore",): ("none.bak",),
    ("verify",): ("none.jpg", "none.jpg"),
}
"""Commands that take paths, with one that is not there."""
PATHLESS = {
    "check", "db", "demo", "doctor", "history", "info", "init", "keys", "log", "reembed", "reindex", "serve", "undo",
    "models list", "models pull", "models verify", "models info", "models retire", "people list", "people show",
    "people rename", "people merge", "people set", "people remove", "people forget", "people expire", "people move",
    "people confirm", "people alias add", "people alias remove", "people alias list",
}  # fmt: skip
"""Commands whose only path is the gallery, what they make, or an enrolled photo, whose file may be gone."""


def test_every_command_that_takes_a_path_is_tried_with_one_that_is_not_there() -> None:
    untold = [path for path in all_commands() if path not in MISSING and not {path[0], " ".join(path)} & PATHLESS]
    assert untold == []


@pytest.mark.parametrize("path", MISSING, ids=" ".join)
def test_a_path_that_is_not_there_is_wrong_usage(
    path: tuple[str, ...], command: Command, gallery: Path, standin_pack: Path, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    if path == ("restore",):
        monkeypatch.setenv("FACESEARCH_GALLERY", "restored")
    run = command(*path, *(standin_pack if arg == "PACK" else arg for arg in MISSING[path]))
    assert (run.code, run.out) == (2, "")
    assert "none" in run.err


@pytest.mark.parametrize(
    "args",
    [
        ("query", "PHOTO", "-k", "0"),
        ("query", "PHOTO", "--margin", "-1"),
        ("query", "PHOTO", "-t", "2"),
        ("query", "PHOTO", "--where", "team"),
        ("query", "PHOTO", "--index", "best"),
        ("query", "PHOTO", "--provider", "abacus"),
        ("query", "PHOTO", "--precision", "fp64"),
        ("query", "PHOTO", "--det-size", "100"),
        ("query", "PHOTO", "--pack", "no-such-pack"),
        ("query", "PHOTO", "--csv", "--json"),
        ("verify", "PHOTO", "PHOTO", "--faces", "all"),
        ("verify", "PHOTO", "PHOTO", "--faces", "some"),
        ("enroll", "PHOTO", "--workers", "0"),
        ("enroll", "PHOTO", "--batch", "0"),
        ("enroll", "PHOTO", "--faces", "some"),
        ("enroll", "PHOTO", "--sync"),
        ("enroll", "BAD.csv"),
        ("eval", "PEOPLE", "--far", "2"),
        ("eval", "PEOPLE", "--plots", "gif"),
        ("eval", "PEOPLE", "--convention", "ours"),
        ("eval", "PEOPLE", "--faces", "all"),
        ("eval", "search", "PEOPLE", "--split", "-k", "0"),
        ("calibrate",),
        ("calibrate", "--fpir", "2"),
        ("calibrate", "--far", "0"),
        ("audit", "--duplicates", "2"),
        ("audit", "-t", "2"),
        ("log", "--since", "yesterday"),
        ("log", "-n", "0"),
        ("people", "set", "PERSON", "team"),
        ("people", "remove", "PERSON"),
        ("reindex", "--index", "best"),
        ("reembed", "--rollback", "--activate"),
        ("serve", "--port", "70000"),
        ("keys", "create", "shop", "--scope", "all"),
        ("keys", "create", "no name"),
        ("models", "pull", "no-such-pack"),
        ("models", "quantize", "PACK", "PEOPLE", "--precision", "fp64"),
        ("restore",),
    ],
    ids=" ".join,
)
def test_a_wrong_value_is_wrong_usage(
    args: tuple[str, ...], command: Command, gallery: Path, standin_pack: Path, people_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.csv").write_text("name,file\n")
    named = {
        "PHOTO": people_folder / PEOPLE[0] / "1.jpg",
        "PEOPLE": people_folder,
        "PERSON": PEOPLE[0],
        "PACK": standin_pack,
        "BAD.csv": tmp_path / "bad.csv",
    }
    run = command(*(named.get(arg, arg) for arg in args))
    assert (run.code, run.out) == (2, "")
    assert run.err


@pytest.mark.parametrize(
    "args",
    [
        ("people", "show", "Nobody"),
        ("people", "rename", "Nobody", "Somebody"),
        ("people", "merge", "Nobody", PEOPLE[0]),
        ("people", "set", "Nobody", "team=design"),
        ("people", "remove", "Nobody", "--yes"),
        ("people", "forget", "Nobody", "--yes"),
        ("people", "rename", PEOPLE[0], PEOPLE[1]),
        ("keys", "revoke", "nobody"),
        ("models", "retire", "no-such-model"),
        ("reembed", "--rollback"),
        ("init",),
        ("rekey", "--new-key-file", "KEY"),
        ("models", "info", "buffalo_l"),
        ("models", "verify", "buffalo_l"),
        ("reembed", "--pack", "buffalo_l"),
    ],
    ids=" ".join,
)
def test_what_the_gallery_or_the_models_cannot_do_is_their_error(
    args: tuple[str, ...], command: Command, gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACESEARCH_OFFLINE", "1")
    monkeypatch.setenv("FACESEARCH_MODELS", str(tmp_path / "models"))
    (tmp_path / "key").write_text("new")
    run = command(*(tmp_path / "key" if arg == "KEY" else arg for arg in args))
    assert (run.code, run.out) == (4, "")
    assert run.err.startswith("Error: ")


def test_done_with_something_to_look_at_is_1(
    command: Command, gallery: Path, standin_pack: Path, people_folder: Path, scenes_folder: Path, tmp_path: Path
) -> None:
    mira = people_folder / PEOPLE[0] / "1.jpg"
    assert command("query", scenes_folder / "stranger.jpg").code == 1
    assert command("query", mira, "--margin", "2").code == 1
    assert command("verify", mira, scenes_folder / "stranger.jpg").code == 1
    assert command("audit", "--duplicates", "0.5").code == 1
    people = tmp_path / "few"
    for name in PEOPLE[:2]:
        shutil.copytree(people_folder / name, people / name)
    assert command("eval", people, "--far", "1e-6", "--strict", "--no-cache").code == 1
    pack = Path(shutil.copytree(standin_pack, tmp_path / "pack"))
    text = (pack / "pack.toml").read_text()
    (pack / "pack.toml").write_text(text.replace("input_std = ", "input_std = 1"))
    gone = (people / PEOPLE[0] / "1.jpg").resolve()
    other = tmp_path / "other"
    assert command("enroll", people, "--pack", standin_pack, "--gallery", other).code == 0
    gone.unlink()
    assert command("reembed", "--pack", pack, "--gallery", other).code == 1
    with sqlite3.connect(other / "gallery.db") as database:
        database.execute("UPDATE templates SET crc = crc + 1")
    assert command("check", "--gallery", other).code == 1


def test_a_photo_that_vanishes_is_told_by_the_exit_code(
    command: Command, gallery: Path, people_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_text(
        f"photo,subject\n{people_folder / PEOPLE[0] / '1.jpg'},{PEOPLE[0]}\ngone.jpg,X\n"
    )
    assert command("enroll", tmp_path / "list.csv").code == 1
    (tmp_path / "list.csv").write_text("photo,subject\ngone.jpg,X\n")
    assert command("enroll", tmp_path / "list.csv").code == 3


def test_no_usable_photo_is_3(command: Command, gallery: Path, scenes_folder: Path, tmp_path: Path) -> None:
    empty, noise = scenes_folder / "landscape.jpg", tmp_path / "noise.jpg"
    noise.write_bytes(b"no photo")
    for photo in (empty, noise):
        for args in (("query", photo), ("detect", photo), ("verify", photo, photo), ("enroll", photo)):
            assert command(*args).code == 3


def test_rejected_photos_among_others_are_no_fault(
    command: Command, gallery: Path, people_folder: Path, scenes_folder: Path
) -> None:
    mira, empty = people_folder / PEOPLE[0] / "1.jpg", scenes_folder / "landscape.jpg"
    for name in ("query", "detect", "enroll"):
        assert command(name, mira, empty, *(("--as", PEOPLE[0]) if name == "enroll" else ())).code == 0


def test_a_no_to_a_question_stops_the_command(gallery: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    import facesearch.cli.erasing
    import facesearch.cli.people

    class Terminal:
        @staticmethod
        def isatty() -> bool:
            return True

    for name, module in (("remove", facesearch.cli.people), ("forget", facesearch.cli.erasing)):
        monkeypatch.setattr(module, "sys", type("sys", (), {"stdin": Terminal}))
        result = typer.testing.CliRunner().invoke(app, ["people", name, PEOPLE[0]], input="n\n")
        assert result.exit_code == 130
        assert "Nothing was changed" in result.stderr
    assert len(command("people", "list", "--json").records) == len(PEOPLE)


# --json


TALKING = {("demo",)}
"""Commands for people alone: the tour prints what other commands would."""


@pytest.mark.parametrize("path", [path for path in all_commands() if path not in TALKING], ids=" ".join)
def test_every_command_has_json(path: tuple[str, ...], command: Command) -> None:
    assert "--json" in command(*path, "--help").out


def test_what_changes_something_prints_one_record_of_it(command: Command, gallery: Path, tmp_path: Path) -> None:
    file, key = tmp_path / "calibration.json", tmp_path / "key"
    key.write_text("secret")
    first, second, third = PEOPLE[:3]
    for args, part in (
        (("people", "rename", first, "M. Q."), {"subject": "M. Q.", "photos": 4}),
        (("people", "merge", second, "M. Q."), {"subject": "M. Q.", "photos": 8}),
        (("people", "set", "M. Q.", "team=ink"), {"subject": "M. Q.", "attributes": {"team": "ink"}}),
        (("people", "remove", third, "--yes"), {"subject": third, "photos": 4}),
        (("keys", "create", "shop"), {"name": "shop"}),
        (("keys", "revoke", "shop"), {"revoked": "shop"}),
        (("calibrate", "--fpir", "0.1", "--confidence", "0.5", "--out", file), {"metric": "fpir"}),
        (("calibrate", "--use", file), {}),
        (("calibrate", "--forget"), {"removed": 2, "threshold": 0.48}),
        (("db", "upgrade"), {"gallery": str(gallery)}),
        (("init", "--gallery", tmp_path / "plain"), {"encrypted": False}),
        (("reindex",), {"templates": 44}),
    ):
        run = command(*args, "--json")
        assert run.code == 0, args
        (record,) = run.records
        assert part.items() <= record.items(), args
    assert json.loads(file.read_text())["metric"] == "fpir"
