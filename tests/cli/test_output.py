"""Tables: as wide as COLUMNS says, and paths in one piece."""

from __future__ import annotations

from pathlib import Path

import pytest

from facesearch.cli.output import print_table

PHOTO = Path("holiday photos/a long way from home") / ("x" * 60) / "the last one.jpg"
WORDS = "a face was found that is too small to be told from others " * 3


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]


@pytest.mark.parametrize("photo", [PHOTO, str(PHOTO)], ids=["path", "text"])
@pytest.mark.parametrize("columns", ["80", "40", "200", None])
def test_a_path_is_never_broken(
    photo: object, columns: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", columns)
    print_table(("photo", "face", "why"), [(photo, 1, WORDS)])
    assert any(str(PHOTO) in line for line in lines(capsys))


def test_a_pipe_has_no_edge(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    print_table(("photo", "why"), [(PHOTO, WORDS)])
    assert any(line.endswith(WORDS.strip()) for line in lines(capsys))


def test_columns_is_honoured_and_words_stay_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    print_table(("photo", "why", "sha256"), [("a.jpg", WORDS, "f" * 30)])
    printed = lines(capsys)
    assert max(map(len, printed)) <= 80
    assert len(printed) > 4
    assert any("f" * 30 in line for line in printed)
    assert {word for line in printed for word in line.split()} >= set(WORDS.split())


def test_an_empty_table_has_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("photo", "face"), [])
    assert lines(capsys)[0].split() == ["photo", "face"]
