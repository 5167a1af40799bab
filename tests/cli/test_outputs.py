"""No command changes or deletes a file that it was given, or one that exists: all outputs at all inputs."""

from __future__ import annotations

import os
import shutil
import stat
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

from facesearch import FaceSearch
from facesearch.cli.app import app
from facesearch.demo.portraits import PEOPLE
from facesearch.demo.standin import build_standin_pack
from facesearch.errors import DiskFullError
from facesearch.store import people
from tests.cli.conftest import Command
from tests.recognition.scrfd_models import scrfd

ANNA, BEN = PEOPLE[:2]
REFUSALS = (
    "is there already",
    "is one of the inputs",
    "a file of a gallery",
    "a folder of inputs",
    "holds the input",
    "in the folder of a gallery",
    "is an enrolled photo",
    "is not empty",
    "is a folder",
    "is not a folder",
    "is a file, and",
    "is not a regular file",
)
"""What the guard says: another error would prove nothing."""

INPUTS = {
    ("", "key_file"),
    ("calibrate", "people"),
    ("calibrate", "unknown"),
    ("calibrate", "use"),
    ("detect", "photos"),
    ("enroll", "photos"),
    ("eval compare", "reports"),
    ("eval pairs", "groups"),
    ("eval pairs", "path"),
    ("eval pairs", "photos"),
    ("eval search", "enrolled"),
    ("eval search", "photos"),
    ("eval search", "probes"),
    ("export", "sign_key"),
    ("import", "file"),
    ("import", "verify_key"),
    ("models quantize", "pairs"),
    ("models quantize", "photos"),
    ("query", "photos"),
    ("rekey", "new_key_file"),
    ("restore", "file"),
    ("serve", "config"),
    ("verify", "a"),
    ("verify", "b"),
}


@dataclass(frozen=True)
class Case:
    """A command with an output: its arguments without the output, the option, and the files that it reads."""

    arguments: Sequence[str]
    option: str | None
    """None where the output is the last argument."""
    inputs: Sequence[str]
    suffix: str = ""
    """What the output has to end in."""
    has_force: bool = True

    def at(self, place: Path | str, *, force: bool = False) -> list[str]:
        """The whole command line."""
        output = [str(place)] if self.option is None else [self.option, str(place)]
        return [*self.arguments, *output, *(["--force"] if force else [])]


PHOTO = f"people/{ANNA}/1.jpg"
PAIRS = ["lists/pairs.csv", "--photos", "people", "--groups", "lists/groups.csv"]
FILES = {
    ("query", "annotate"): Case(["query", "new.jpg"], "--annotate", ["new.jpg"], ".jpg"),
    ("detect", "annotate"): Case(["detect", "new.jpg"], "--annotate", ["new.jpg"], ".jpg"),
    ("detect", "embeddings"): Case(["detect", "new.jpg"], "--embeddings", ["new.jpg"]),
    ("people forget", "receipt"): Case(["people", "forget", ANNA, "--yes"], "--receipt", []),
    ("people expire", "receipt"): Case(["people", "expire", "--yes"], "--receipt", []),
    ("audit", "html"): Case(["audit"], "--html", []),
    ("calibrate", "out"): Case(["calibrate", "people", "--fpir", "0.5"], "--out", [PHOTO]),
    ("eval compare", "out"): Case(
        ["eval", "compare", "report/report.json", "report/report.json"],
        "--out",
        ["report/report.json", "report/scores.csv"],
    ),
    ("models repair", "out"): Case(["models", "repair", "det.onnx"], "--out", ["det.onnx"]),
    ("backup", "file"): Case(["backup"], None, []),
    ("export", "file"): Case(["export", "--sign-key", "key.pem"], None, ["key.pem"]),
}
FOLDERS = {
    ("query", "annotate"): Case(["query", "people"], "--annotate", ["people", f"people/{ANNA}"]),
    ("detect", "annotate"): Case(["detect", "people"], "--annotate", ["people", f"people/{ANNA}"]),
    ("eval pairs", "out"): Case(["eval", "pairs", *PAIRS], "--out", ["lists"]),
    ("eval search", "out"): Case(["eval", "search", "people", "--split"], "--out", ["people", f"people/{ANNA}"]),
    ("demo", "folder"): Case(["demo"], "--keep", ["people", "gallery", "report"], has_force=False),
}
GALLERY_FILES = [
    f"gallery/{name}" for name in ("gallery.db", "gallery.db-wal", "index.cache", "gallery.erased", "gallery.reserved")
]
"""Some of which are not there, and will be."""
KEPT = [f"people/{BEN}/2.jpg", "pack/pack.toml"]


def path_parameters() -> Iterator[tuple[str, str]]:
    """(command, parameter) of everything on the command line that is a path."""

    def holds_path(hint: object) -> bool:
        return hint is Path or any(holds_path(each) for each in typing.get_args(hint))

    def commands(group: typer.Typer, above: tuple[str, ...]) -> Iterator[tuple[str, Callable[..., object]]]:
        for each in group.registered_commands:
            assert each.callback is not None
            yield " ".join((*above, each.name or each.callback.__name__)), each.callback
        for inner in group.registered_groups:
            assert inner.typer_instance is not None
            yield from commands(inner.typer_instance, (*above, str(inner.name)))

    assert app.registered_callback is not None
    assert app.registered_callback.callback is not None
    for name, callback in [("", app.registered_callback.callback), *commands(app, ())]:
        for parameter, hint in typing.get_type_hints(callback).items():
            if holds_path(hint):
                yield name, parameter


def test_every_path_on_the_command_line_is_a_known_input_or_an_output_that_is_tested_here() -> None:
    assert set(path_parameters()) == INPUTS | FILES.keys() | FOLDERS.keys()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, people_folder: Path) -> Path:
    """A folder with inputs of all commands and a gallery of some of them."""
    folder = tmp_path_factory.mktemp("world")
    for name in (ANNA, BEN):
        shutil.copytree(people_folder / name, folder / "people" / name)
    shutil.copyfile(people_folder / PEOPLE[2] / "1.jpg", folder / "new.jpg")
    with FaceSearch.open(folder / "gallery", pack=build_standin_pack(folder / "pack"), provider="cpu") as engine:
        assert all(outcome.status == "enrolled" for outcome in engine.enroll(folder / "people"))
        engine.gallery.write(people.set_attributes, ANNA, {"retain_until": "2001-01-31"})
    pairs = [f"{ANNA}/1.jpg,{ANNA}/2.jpg,yes", f"{ANNA}/1.jpg,{BEN}/1.jpg,no"]
    texts = {
        "lists/pairs.csv": "\n".join(["a,b,same", *pairs]),
        "lists/groups.csv": f"subject_id,group\n{ANNA},1\n{BEN},2",
        "key.pem": "a private key",
        "key file": "a key",
        "report/report.json": "{}",
        "report/scores.csv": "score,mated",
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text + "\n", encoding="utf-8")
    (folder / "det.onnx").write_bytes(scrfd())
    return folder


@pytest.fixture
def here(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The world, in which commands run with its gallery and pack."""
    monkeypatch.chdir(world)
    for name, value in {"GALLERY": "gallery", "PACK": "pack", "PROVIDER": "cpu"}.items():
        monkeypatch.setenv(f"FACESEARCH_{name}", value)
    monkeypatch.setenv("FACESEARCH_CACHE", str(tmp_path / "cache"))
    return world


def snapshot(folder: Path) -> dict[str, tuple[int, object]]:
    """Kind and content of everything below a folder."""
    found: dict[str, tuple[int, object]] = {}
    for path in folder.rglob("*"):
        kind = stat.S_IFMT(path.lstat().st_mode)
        content = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(folder))] = (kind, content)
    return found


@pytest.fixture
def ways(here: Path) -> Iterator[Callable[[str, str], list[Path]]]:
    """A function that names a file or folder directly, by a linked folder above it, by a symlink and by a hard link.

    The links end in the suffix that it is given.
    """
    links = here / "links"
    links.mkdir()

    def name(target: str, suffix: str) -> list[Path]:
        shutil.rmtree(links)
        links.mkdir()
        (links / "above").symlink_to((here / target).parent)
        named = [Path(target), links / "above" / Path(target).name, links / f"soft{suffix}"]
        named[-1].symlink_to(here / target)
        if (here / target).is_file():
            named.append(links / f"hard{suffix}")
            os.link(here / target, named[-1])
        return named

    yield name
    shutil.rmtree(links)


def try_all(
    command: Command, here: Path, case: Case, targets: Sequence[str], ways: Callable[[str, str], list[Path]]
) -> None:
    """The command with its output at each target by each way: refused by the guard, and nothing has changed."""
    for target in targets:
        for place in ways(target, case.suffix):
            if not place.name.endswith(case.suffix):
                continue  # refused whatever it is
            before = snapshot(here)
            for force in (False, True) if case.has_force else (False,):
                run = command(*case.at(place, force=force))
                assert run.code == 2, (target, place, force, run)
                assert any(words in run.err for words in REFUSALS), (target, place, force, run)
            assert snapshot(here) == before, (target, place)


@pytest.mark.parametrize("key", FILES, ids=" ".join)
def test_no_file_that_a_command_reads_can_be_its_output(
    key: tuple[str, str], command: Command, here: Path, ways: Callable[[str, str], list[Path]]
) -> None:
    case = FILES[key]
    try_all(command, here, case, [*case.inputs, *GALLERY_FILES, *KEPT], ways)


@pytest.mark.parametrize("key", FOLDERS, ids=" ".join)
def test_no_folder_that_a_command_reads_can_be_its_output(
    key: tuple[str, str], command: Command, here: Path, ways: Callable[[str, str], list[Path]]
) -> None:
    case = FOLDERS[key]
    try_all(command, here, case, [*case.inputs, "new.jpg", "gallery", "gallery/new"], ways)
    if "people" in case.inputs and case.has_force:
        before = snapshot(here)
        run = command(*case.at(f"people/{ANNA}/new/report", force=True))
        assert (run.code, "a folder of inputs" in run.err) == (2, True), run
        assert snapshot(here) == before


@pytest.mark.parametrize("key", FILES, ids=" ".join)
def test_nothing_is_added_to_the_folder_of_a_gallery(
    key: tuple[str, str], command: Command, here: Path, ways: Callable[[str, str], list[Path]]
) -> None:
    case = FILES[key]
    (here / "gallery" / "below").mkdir()
    try:
        try_all(command, here, case, [f"gallery/{place}{case.suffix}" for place in ("new", "below/new")], ways)
    finally:
        (here / "gallery" / "below").rmdir()


@pytest.mark.parametrize("name", ["query", "detect"])
def test_drawings_do_not_go_among_the_folders_of_people(name: str, command: Command, here: Path) -> None:
    before = snapshot(here)
    for inputs in ([f"people/{ANNA}"], [f"people/{ANNA}/1.jpg", f"people/{ANNA}/2.jpg"], [f"people/{ANNA}/1.jpg"]):
        run = command(name, *inputs, "--annotate", "people", "--force")
        assert (run.code, "holds the input" in run.err) == (2, True), run
    assert snapshot(here) == before


@pytest.mark.parametrize("name", ["query", "detect"])
def test_a_link_to_a_folder_above_makes_no_inputs_of_what_lies_there(
    name: str, command: Command, here: Path, tmp_path: Path
) -> None:
    for place in ("more", f"more/{ANNA}"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "up").symlink_to("..")
    shutil.copyfile(here / PHOTO, tmp_path / "more" / ANNA / "1.jpg")
    shutil.copyfile(here / PHOTO, tmp_path / "beside.jpg")
    run = command(name, tmp_path / "more", "--annotate", tmp_path / "drawn", "--json")
    assert (run.code, [Path(each["photo"]) for each in run.records]) == (0, [tmp_path / "more" / ANNA / "1.jpg"])
    assert [path.name for path in (tmp_path / "drawn").rglob("*.*")] == ["1.jpg"]


def test_the_key_of_a_gallery_can_be_no_output(command: Command, here: Path, tmp_path: Path) -> None:
    secret = str(tmp_path / "secret")
    assert command("--key-file", "key file", "init", "--encrypted", "--gallery", secret).code == 0
    before = snapshot(here)
    for force in ([], ["--force"]):
        run = command("--key-file", "key file", "audit", "--gallery", secret, "--html", "key file", *force)
        assert (run.code, any(words in run.err for words in REFUSALS)) == (2, True), run
    assert snapshot(here) == before


@pytest.fixture
def others(here: Path) -> Iterator[None]:
    """A file, a dangling link and a folder that no command has anything to do with."""
    (here / "other.jpg").write_bytes(b"other")
    (here / "dangling.jpg").symlink_to("nowhere")
    (here / "folder.jpg").mkdir()
    yield
    (here / "other.jpg").unlink()
    (here / "dangling.jpg").unlink()
    (here / "folder.jpg").rmdir()


@pytest.mark.parametrize("key", FILES, ids=" ".join)
def test_nothing_else_that_exists_is_replaced_without_force(
    key: tuple[str, str], command: Command, here: Path, others: None
) -> None:
    case, before = FILES[key], snapshot(here)
    for name in ("other.jpg", "dangling.jpg", *(() if case.option == "--annotate" else ("folder.jpg",))):
        run = command(*case.at(name))
        assert run.code == 2, run
        assert any(words in run.err for words in REFUSALS), run
    assert snapshot(here) == before


GALLERY_WRITERS: dict[str, Sequence[str]] = {
    "enroll": ["enroll"],
    "query": ["query"],
    "detect": ["detect"],
    "restore": ["restore", "--force"],
    "import": ["import"],
    "verify": ["verify", "new.jpg"],
}


@pytest.mark.parametrize("name", GALLERY_WRITERS)
@pytest.mark.parametrize("used", ["index.cache", "gallery.erased", "gallery.db-wal"])
def test_an_input_that_lies_where_the_gallery_writes_is_refused(
    name: str, used: str, command: Command, here: Path
) -> None:
    if name == "import":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'facesearch[export]'")
    gallery = here / "another"
    gallery.mkdir()
    shutil.copyfile(here / "new.jpg", gallery / used)
    (here / "link").symlink_to(gallery / used)
    before = snapshot(here)
    try:
        for place in (f"another/{used}", "link"):
            run = command(*GALLERY_WRITERS[name], place, "--gallery", "another")
            assert (run.code, "uses for its own files" in run.err) == (2, True), run
            assert snapshot(here) == before
    finally:
        (here / "link").unlink()
        shutil.rmtree(gallery)


def test_int8_files_of_a_pack_are_replaced_by_force_only_and_come_back_where_that_fails(
    command: Command, here: Path
) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: pip install 'facesearch[quantize]'")
    pack = here / "other pack"
    shutil.copytree(here / "pack", pack)
    (pack / "int8").mkdir()
    (pack / "int8" / "record.json").write_text("precious")
    before = snapshot(here)
    try:
        run = command("models", "quantize", pack, "people")
        assert (run.code, "--force" in run.err) == (2, True)
        run = command("models", "quantize", pack, "people", "--force")
        assert (run.code, "calibration needs" in run.err) == (2, True)
        assert snapshot(here) == before
    finally:
        shutil.rmtree(pack)


@pytest.mark.parametrize("there", [False, True], ids=["no folder", "an empty folder"])
@pytest.mark.parametrize("name", ["restore", "import", "init"])
def test_a_gallery_that_cannot_be_made_leaves_nothing(
    name: str, there: bool, command: Command, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise DiskFullError("No space is left.")

    if name == "import":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'facesearch[export]'")
    place = tmp_path / "above" / "made"
    if there:
        place.mkdir(parents=True)
    before = snapshot(tmp_path)
    monkeypatch.setattr("facesearch.search.gallery.Gallery.write", full)  # init has nothing to read that is damaged
    run = command(name, *([] if name == "init" else ["lists/pairs.csv"]), "--gallery", place)
    assert run.code == 4, run
    assert snapshot(tmp_path) == before
