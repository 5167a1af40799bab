"""Files and folders whose names are no text: every command keeps them or refuses them with a reason.

One folder with such a name holds everything that commands read and write: photos, people, packs, galleries, outputs.
The commands are those of the command tree; one that is missing here fails.
"""

from __future__ import annotations

import csv
import inspect
import json
import os
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import typer.main
from typer.testing import CliRunner

from facesearch.cli.app import app
from facesearch.names import path_text, text_path
from tests.hostile_names import AFTER_A_LINE_BREAK, FILE_NAMES, UNDECODABLE

HOSTILE = os.fsdecode(UNDECODABLE + f"\n{AFTER_A_LINE_BREAK}\x1b[2J\u202e'\"<b>".encode())
CONTROLS = {chr(code) for code in (*range(32), *range(0x7F, 0xA0), 0x2028, 0x2029, 0x202E)} - {"\n"}

pytestmark = pytest.mark.skipif(os.name == "nt" or os.uname().sysname == "Darwin", reason="Names are Unicode here")


def all_commands() -> dict[str, Any]:
    def walk(group: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        for name, child in group.commands.items():
            if getattr(child, "commands", None):
                yield from walk(child, (*path, name))
            else:
                yield " ".join((*path, name)), child

    return dict(walk(typer.main.get_command(app), ()))


def require_clean(text: str) -> None:
    """Text that people or programs get: valid Unicode, nothing lost, no line or terminal broken by a name."""
    text.encode()
    assert "\N{REPLACEMENT CHARACTER}" not in text
    assert "Q?Q" not in text
    assert "Traceback" not in text
    assert not CONTROLS & set(text), CONTROLS & set(text)
    assert not any(line.startswith(AFTER_A_LINE_BREAK) for line in text.split("\n"))


@dataclass
class World:
    """Everything below one folder with a hostile name."""

    root: Path
    used: dict[str, set[str]] = field(default_factory=dict)
    """The arguments that each command was given."""

    def __getattr__(self, name: str) -> Path:
        """A place in the folder, its name hostile as well."""
        return self.root / f"{name}{HOSTILE}"

    def run(self, command: str, *args: str | Path, json_too: bool = False, codes: tuple[int, ...] = (0,)) -> str:
        """What the command prints on stdout, proven clean; with `json_too` it is run again with `--json`."""
        words = [str(each) for each in args]
        self.used.setdefault(command, set()).update(words)
        result = CliRunner().invoke(app, [*command.split(), *words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code in codes, (command, result.exit_code, result.stderr)
        require_clean(result.stdout + result.stderr)
        if "--json" in words:
            for line in result.stdout.splitlines():
                require_clean(json.dumps(json.loads(line), ensure_ascii=False))
        if json_too:
            self.run(command, "--json", *args, codes=codes)
        return result.stdout

    def records(self, command: str, *args: str | Path, codes: tuple[int, ...] = (0,)) -> list[dict[str, Any]]:
        """The JSON lines of a command."""
        return [json.loads(line) for line in self.run(command, "--json", *args, codes=codes).splitlines()]


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, standin_pack: Path, people_folder: Path, scenes_folder: Path
) -> Iterator[World]:
    """Twelve people, each folder and each photo with another hostile name, and an enrolled gallery."""
    world = World(tmp_path_factory.mktemp("files") / HOSTILE)
    world.root.mkdir()
    shutil.copytree(standin_pack, world.pack)
    names = [os.fsdecode(name) for name in FILE_NAMES]
    for number, person in enumerate(sorted(people_folder.iterdir())):
        folder = world.people / names[number * 2 % len(names)]
        folder.mkdir(parents=True)
        for photo, name in zip(sorted(person.iterdir()), names[number * 2 :] + names, strict=False):
            shutil.copy(photo, folder / f"{name}.jpg")
    world.scenes.mkdir()
    for scene in scenes_folder.iterdir():
        shutil.copy(scene, world.scenes / f"{scene.stem}{HOSTILE}.jpg")
    world.empty.mkdir()
    broken = world.broken / "Nobody" / f"{HOSTILE}.jpg"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no photo")
    with pytest.MonkeyPatch.context() as patch:
        for name in [each for each in os.environ if each.startswith("FACESEARCH_")]:
            if name != "FACESEARCH_TEST_ASSETS":
                patch.delenv(name)
        patch.chdir(world.root)
        for name in ("USER", "LOGNAME", "LNAME", "USERNAME"):
            patch.setenv(name, HOSTILE)
        patch.setenv("FACESEARCH_GALLERY", str(world.gallery))
        patch.setenv("FACESEARCH_CACHE", str(world.cache))
        patch.setenv("FACESEARCH_MODELS", str(world.models))
        patch.setenv("FACESEARCH_OFFLINE", "1")
        enroll(world)
        yield world


@pytest.fixture(autouse=True)
def _clean_environment() -> None:
    """Keep the environment of `world`, in the place of the fixture of all tests."""


def photo_of(world: World, subject: str) -> Path:
    (record,) = world.records("people show", "--", subject)
    return text_path(record["enrolled_photos"][0]["photo"])


def enroll(world: World) -> None:
    found = world.records("enroll", world.people, world.broken, "--pack", world.pack)
    photos = {path for folder in (world.people, world.broken) for path in folder.rglob("*.jpg")}
    assert {text_path(each["photo"]) for each in found} == photos
    enrolled = {each["subject"] for each in found if each["status"] == "enrolled"}
    assert len(enrolled) > 6
    assert all(unicodedata.is_normalized("NFC", name) for name in enrolled)
    refused = [each["detail"] for each in found if each["status"] == "rejected"]
    assert refused
    assert all(refused)
    twin = shutil.copy(
        sorted(photo for photo in photos if photo.stat().st_size > 100)[0], world.root / f"{HOSTILE}.jpg"
    )
    world.run("enroll", world.people, world.broken, twin)


def people(world: World) -> None:
    names = [each["subject"] for each in world.records("people list")]
    world.run("people list")
    for name in names[:3]:
        world.run("people show", "--", name)
    first, second, third, *_ = names
    world.run("people rename", "--", first, f"{first} again")
    world.run("people rename", "--", second, HOSTILE, codes=(2,))
    world.run("people set", "--", third, "team=design")
    world.run("people set", "--", third, f"team={HOSTILE}", codes=(2,))
    world.run("people set", "--", HOSTILE, "a=b", codes=(2, 4))
    world.run("people show", "--", HOSTILE, codes=(2, 4))
    world.run("people merge", "--", f"{first} again", second)
    world.run("people remove", "--yes", "--", third)
    world.run("people forget", "--yes", "--receipt", world.receipt, "--", names[3])
    require_clean(json.dumps(json.loads(world.receipt.read_text(encoding="utf-8")), ensure_ascii=False))
    world.run("people set", "--", names[4], "retain_until=2020-01-01")
    world.run("people expire", "--dry-run", json_too=True)
    world.run("people expire", "--yes", "--json", "--receipt", world.receipts)
    world.run("enroll", world.people, codes=(0, 3))
    (listed,) = (photo for photo in world.scenes.iterdir() if "stranger" in photo.name)
    manifest = world.root / f"manifest{HOSTILE}.csv"
    with manifest.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("photo", "subject"), (path_text(listed.relative_to(world.root)), "Stranger")])
    world.run("enroll", manifest)
    assert photo_of(world, "Stranger") == listed


def probes(world: World) -> None:
    photos = sorted(world.scenes.iterdir())
    known = photo_of(world, world.records("people list")[0]["subject"])
    found = world.records("query", known, *photos, "--annotate", world.drawn, codes=(0, 1))
    assert {text_path(each["photo"]) for each in found} == {known, *photos}
    drawn = list(world.drawn.rglob("*.jpg"))
    assert len(drawn) == 3
    world.run("query", world.scenes, "--csv", codes=(0, 1))
    world.run("query", known, world.broken)
    world.run("query", world.nowhere, codes=(2, 3))
    world.run("query", "n" * 300, codes=(2, 3))
    world.run("verify", known, photos[0], json_too=True, codes=(0, 1, 3))
    world.run("verify", known, world.nowhere, codes=(2, 3))
    world.run("detect", world.scenes, "--annotate", world.boxes, "--embeddings", Path(f"{world.vectors}.npz"))
    world.run("detect", world.scenes, "--json")


def evaluations(world: World) -> None:
    folders = sorted(folder for folder in world.people.iterdir())[:8]
    for folder in folders:
        shutil.copytree(folder, world.labelled / folder.name)
    common = ("--pack", world.pack, "--no-record")
    groups = world.root / f"{HOSTILE}.csv"
    groups.write_text("subject_id,group\nnobody,1\n", encoding="utf-8")
    world.run("eval pairs", world.labelled, "--groups", groups, *common, codes=(2,))
    world.run("eval pairs", world.labelled, "--json", *common)
    world.run("eval pairs", world.labelled, "--photos", world.labelled, *common, codes=(2,))
    photos = [photo for folder in folders[:4] for photo in sorted(folder.iterdir())[:2]]
    names = [each["photo"] for each in world.records("detect", *photos)]
    people = [path_text(folder.name) for folder in folders]
    listed = world.root / f"pairs{HOSTILE}.csv"
    with listed.open("w", encoding="utf-8", newline="") as file:
        pairs = [(i, j) for i in range(8) for j in range(i)]
        rows = [(names[i], names[j], i // 2 == j // 2, people[i // 2], people[j // 2]) for i, j in pairs]
        csv.writer(file).writerows([("a", "b", "same", "id_a", "id_b"), *rows])
    world.run("eval pairs", listed, "--out", world.report, *common)
    world.run("eval search", world.labelled, "--split", "--out", world.search, *common)
    world.run("eval search", world.labelled, "--split", "--photos", world.labelled, *common, codes=(2,))
    world.run("eval search", world.labelled, world.scenes, codes=(2,))
    report = world.report / "report.json"
    world.run("eval compare", report, report, "--out", world.comparison)
    world.run("eval compare", report, world.nowhere, "--out", world.comparison2, codes=(2,))
    for written in [*world.report.iterdir(), *world.search.iterdir(), world.comparison]:
        text = written.read_text(encoding="utf-8")
        require_clean(text.replace("\n", "").replace(AFTER_A_LINE_BREAK, ""))
        if written.suffix not in {".json", ".csv"}:
            assert "<b>" not in text
            assert "<img src=x" not in text
    with (world.report / "worst.csv").open(encoding="utf-8", newline="") as file:
        shown = {text_path(row[name]) for row in csv.DictReader(file) for name in ("a", "b")}
    assert shown <= set(photos)
    world.run("calibrate", world.labelled, "--fpir", "0.5", "--no-split", "--out", world.calibration, codes=(0, 2))
    world.run("calibrate", "--unknown", world.scenes, "--fpir", "0.5", codes=(0, 2))
    world.run("calibrate", "--use", world.nowhere, codes=(2,))
    world.run("audit", "--html", world.page, codes=(0, 1))
    world.run("audit", "--json", "--duplicates", "0.5", codes=(0, 1))
    require_clean(world.page.read_text(encoding="utf-8"))


def copies(world: World) -> None:
    def held(*gallery: str | Path) -> set[Path]:
        return {
            text_path(photo["photo"])
            for each in world.records("people list", *gallery)
            for photo in world.records("people show", *gallery, "--", each["subject"])[0]["enrolled_photos"]
        }

    before = held()
    world.run("backup", world.backup)
    world.run("restore", world.backup, "--gallery", world.restored)
    assert held("--gallery", world.restored) == before
    world.run("restore", world.nowhere, "--gallery", world.restored2, codes=(2, 4))
    world.run("export", world.bundle)
    world.run("export", world.bundle2, "--sign-key", world.nowhere, codes=(2,))
    world.run("import", world.bundle, "--gallery", world.imported)
    assert held("--gallery", world.imported) == before
    world.run("import", world.bundle, "--verify-key", world.nowhere, "--gallery", world.imported, codes=(2, 4))
    for gallery in (world.restored, world.imported):
        assert "sound" in world.run("check", "--gallery", gallery)


def galleries(world: World) -> None:
    world.run("info", json_too=True)
    world.run("check", json_too=True)
    world.run("reindex", json_too=True)
    world.run("log", json_too=True)
    world.run("db upgrade")
    world.run("info", "--gallery", world.nowhere, codes=(4,))
    world.run("db upgrade", "--gallery", world.nowhere, codes=(4,))
    world.run("init", "--gallery", world.new)
    world.run("init", "--gallery", world.new, codes=(4,))
    world.run("init", "--gallery", "n" * 300, codes=(4,))
    world.run("rekey", "--new-key-file", world.nowhere, codes=(2, 4))
    world.run("keys create", HOSTILE, codes=(0, 2))
    world.run("keys create", "web")
    world.run("keys list", json_too=True)
    world.run("keys revoke", HOSTILE, codes=(0, 2, 4))
    world.run("keys revoke", "web")
    world.run("serve", "--host", HOSTILE, codes=(2,))
    world.run("serve", "--host", "localhost", "--gallery", world.broken / "Nobody" / f"{HOSTILE}.jpg", codes=(2, 4))


def models(world: World) -> None:
    for folder in (world.models / "mine", world.models / HOSTILE):
        shutil.copytree(world.pack, folder)
    world.run("models list", json_too=True)
    world.run("models pull", HOSTILE, codes=(2,))
    world.run("models info", world.pack, json_too=True)
    world.run("models info", HOSTILE, json_too=True)
    world.run("models info", world.nowhere, codes=(2, 4))
    world.run("models info", "n" * 300, codes=(2, 4))
    world.run("models verify", world.pack, json_too=True)
    world.run("doctor", "--pack", world.pack, "--seconds", "0", json_too=True)
    world.run("doctor", "--pack", world.nowhere, codes=(2, 4))
    world.run("serve", "--config", world.nowhere, codes=(2,))
    (world.root / f"{HOSTILE}.onnx").write_bytes(b"no model")
    world.run("models repair", world.root / f"{HOSTILE}.onnx", "--out", world.repaired, codes=(2, 4))
    world.run("models quantize", world.pack, world.empty, "--pairs", world.nowhere, codes=(2, 4))
    text = (world.models / "mine" / "pack.toml").read_text(encoding="utf-8")
    (world.models / "mine" / "pack.toml").write_text(text.replace("input_std = ", "input_std = 1"), encoding="utf-8")
    world.run("reembed", "--pack", world.models / "mine", json_too=True, codes=(0, 1))
    world.run("reembed", codes=(0, 1))
    world.run("models retire", world.models / "mine", codes=(0, 4))
    world.run("models retire", HOSTILE, codes=(4,))
    world.run("demo", "--keep", world.demo)


def corrections(world: World) -> None:
    first, second, *_ = [each["subject"] for each in world.records("people list")]
    photo = photo_of(world, first)
    world.run("people confirm", "--", photo)
    world.run("people move", "--to", second, "--", photo)
    world.run("people move", "--to", HOSTILE, "--", photo, codes=(2, 4))
    world.run("people confirm", "--", world.nowhere, codes=(2, 4))
    world.run("people alias add", "--", second, "somebody")
    world.run("people alias add", "--", second, HOSTILE, codes=(2,))
    world.run("people alias list")
    world.run("people alias remove", "--", second, "somebody")
    world.run("people alias remove", "--", second, HOSTILE, codes=(2,))
    world.run("history", json_too=True)
    for _ in range(3):
        world.run("undo")


STEPS: tuple[Callable[[World], None], ...] = (people, corrections, probes, evaluations, copies, galleries, models)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_names_that_are_no_text(world: World, step: Callable[[World], None]) -> None:
    step(world)


def test_every_command_has_met_such_names_in_every_place_for_a_path(world: World) -> None:
    lacking = {
        f"{name} {flag}".strip()
        for name, command in all_commands().items()
        for flag in ["", *_path_flags(command)]
        if name not in world.used or flag not in world.used[name] | {""}
    }
    assert lacking == set()


def _path_flags(command: Any) -> list[str]:
    """The longest spelling of each option that takes a path."""
    kinds = get_type_hints(inspect.unwrap(command.callback))
    return [
        max(each.opts, key=len)
        for each in command.params
        if each.opts[0].startswith("-") and "Path" in str(kinds.get(each.name))
    ]
