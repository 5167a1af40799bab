"""What a newcomer meets first: `facesearch` alone, completion, -q and -v, a photo from a pipe."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from facesearch.cli.app import app
from facesearch.demo.portraits import PEOPLE
from tests.cli.conftest import Command


def test_the_command_alone_shows_the_five_commands_one_needs_first(command: Command) -> None:
    run = command()
    assert run.code == 0
    shown = [line.split("facesearch ")[1].split()[0] for line in run.out.splitlines() if line.startswith("  ")]
    assert shown == ["demo", "enroll", "query", "verify", "people"]
    assert "facesearch --help" in run.out


@pytest.mark.parametrize("args", [("-q", "query", "PHOTO"), ("query", "PHOTO", "--quiet")], ids=" ".join)
def test_quiet_leaves_results_and_errors(args: tuple[str, ...], command: Command, gallery: Path, photo: Path) -> None:
    typed = [str(photo) if arg == "PHOTO" else arg for arg in args]
    run = command(*typed)
    assert (run.code, run.err) == (0, "")
    assert PEOPLE[0] in run.out
    assert command("query", photo).err != ""
    assert "There is no nowhere.jpg." in command("-q", "query", "nowhere.jpg").err


def test_what_follows_two_dashes_is_no_option(command: Command, gallery: Path) -> None:
    run = command("query", "--", "-q")
    assert (run.code, run.out) == (2, "")
    assert "There is no -q." in run.err


def test_verbose_says_where_an_error_comes_from(command: Command) -> None:
    assert (
        "Traceback"
        in subprocess.run(
            [sys.executable, "-m", "facesearch", "query", "nowhere.jpg", "-v"],
            capture_output=True,
            text=True,
            check=False,
        ).stderr
    )
    assert "Traceback" not in command("query", "nowhere.jpg").err


@pytest.fixture
def photo(people_folder: Path) -> Path:
    return people_folder / PEOPLE[0] / "1.jpg"


def completed(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch, shell: str = "bash") -> list[str]:
    """What a shell is told when the tab key is pressed at the end of the line."""
    words = len(shlex.split(line)) - (not line.endswith(" "))
    monkeypatch.setenv("_FACESEARCH_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(words))
    program = "import sys; sys.argv[0] = 'facesearch'; from facesearch.cli import main; main()"
    run = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert run.stderr == ""
    return [line for line in run.stdout.splitlines() if line]


def test_a_shell_completes_packs_people_and_galleries(
    gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACESEARCH_MODELS", str(tmp_path / "models"))
    (tmp_path / "galerie").mkdir()
    assert "buffalo_l" in completed("facesearch query x.jpg --pack b", tmp_path, monkeypatch)
    assert completed("facesearch query x.jpg --gallery gal", tmp_path, monkeypatch) == ["galerie/", "gallery"]
    first, second = PEOPLE[0].split()
    assert completed(f"facesearch people show {first}", tmp_path, monkeypatch) == [f"{first}\\ {second}"]
    monkeypatch.delenv("FACESEARCH_GALLERY")
    line = "facesearch people show --gallery gallery "
    assert len(completed(line, tmp_path, monkeypatch)) == len(PEOPLE)
    assert completed(line.replace("gallery ", "galerie "), tmp_path, monkeypatch) == []


def piped(photo: Path, *args: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(arg) for arg in args], input=photo.read_bytes())
    return result.exit_code, result.stdout


def test_a_photo_comes_from_a_pipe(gallery: Path, photo: Path, tmp_path: Path) -> None:
    code, out = piped(photo, "query", "-", "--json", "--annotate", tmp_path / "who.jpg")
    record = json.loads(out)
    assert (code, record["photo"], record["subject"]) == (0, "-", PEOPLE[0])
    assert (tmp_path / "who.jpg").stat().st_size > 0
    code, out = piped(photo, "query", "-", photo, "--csv")
    assert (code, [line.split(",")[0] for line in out.splitlines()[1:]]) == (0, ["-", str(photo)])
    assert piped(photo, "verify", "-", photo)[0] == 0
    assert piped(photo, "verify", "-", "-")[0] == 2
    code, out = piped(photo, "detect", "-", "--json", "--embeddings", tmp_path / "faces.npz")
    assert (code, json.loads(out)["photo"], json.loads(out)["face"]) == (0, "-", 1)


def test_a_search_says_that_nobody_is_enrolled_only_where_nobody_is(
    command: Command, gallery: Path, photo: Path, tmp_path: Path, standin_pack: Path
) -> None:
    assert "nobody has team=x" in command("query", photo, "--where", "team=x").out
    assert "Nobody has team=x." in command("people", "list", "--where", "team=x").err
    empty = tmp_path / "empty"
    assert command("init", "--gallery", empty).code == 0
    for options in ((), ("--where", "team=x")):
        run = command("query", photo, "--gallery", empty, "--pack", standin_pack, *options)
        assert (run.code, "nobody is enrolled" in run.out) == (1, True)
    assert "Nobody is enrolled." in command("people", "list", "--gallery", empty).err
