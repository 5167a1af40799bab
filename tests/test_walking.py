"""Which files of folders every command looks at, and what it says where it cannot look."""

from __future__ import annotations

from pathlib import Path

import pytest

from facesearch.walking import SYSTEM_NAMES, Unread, is_gone, walk
from tests.fixtures_unreadable import Refuse


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in walk(folder).files]


@pytest.mark.parametrize("name", ["@eaDir", ".thumbnails", "__MACOSX", "#recycle", "$RECYCLE.BIN", "lost+found"])
@pytest.mark.parametrize("depth", ["", "Ada/", "Ada/1843/"])
def test_folders_of_the_system_are_not_looked_into_at_any_depth(tmp_path: Path, name: str, depth: str) -> None:
    touch(tmp_path / depth / name / "1.jpg" / "SYNOPHOTO_THUMB_XL.jpg")
    touch(tmp_path / "Ada" / "1.jpg")
    assert names(tmp_path) == ["Ada/1.jpg"]


def test_files_of_the_system_are_no_files(tmp_path: Path) -> None:
    for name in ("._1.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", "1.jpg"):
        touch(tmp_path / "Ada" / name)
    assert names(tmp_path) == ["Ada/1.jpg"]


def test_names_of_the_system_are_compared_in_small_letters() -> None:
    assert {name.casefold() for name in SYSTEM_NAMES} == SYSTEM_NAMES


def test_a_hidden_folder_that_is_given_is_walked(tmp_path: Path) -> None:
    touch(tmp_path / ".photos" / "1.jpg")
    assert names(tmp_path / ".photos") == ["1.jpg"]


def test_links_in_circles_end(tmp_path: Path) -> None:
    touch(tmp_path / "Ada" / "1.jpg")
    (tmp_path / "Ada" / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "Ada" / "here").symlink_to(".", target_is_directory=True)
    assert names(tmp_path) == ["Ada/1.jpg"]


def test_a_file_is_found_where_it_lies_and_not_through_a_link(tmp_path: Path) -> None:
    touch(tmp_path / "Zoe" / "deep" / "1.jpg")
    (tmp_path / "Ada").symlink_to(tmp_path / "Zoe", target_is_directory=True)
    assert names(tmp_path) == ["Zoe/deep/1.jpg"]


def test_a_link_that_leads_out_is_followed(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere" / "1.jpg")
    (tmp_path / "people").mkdir()
    (tmp_path / "people" / "Ada").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert names(tmp_path / "people") == ["Ada/1.jpg"]


def test_a_link_to_a_folder_above_is_not_followed(tmp_path: Path) -> None:
    touch(tmp_path / "secret" / "1.jpg")
    touch(tmp_path / "people" / "Ada" / "1.jpg")
    (tmp_path / "people" / "Ada" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "people" / "up").symlink_to("..", target_is_directory=True)
    assert names(tmp_path / "people") == ["Ada/1.jpg"]


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "Ada").symlink_to(tmp_path / "disk", target_is_directory=True)
    (tmp_path / "1.jpg").symlink_to(tmp_path / "disk" / "1.jpg")
    found = walk(tmp_path)  # reading the photo says that it is not there
    assert (found.files, [each.path for each in found.unread]) == ([tmp_path / "1.jpg"], [tmp_path / "Ada"])


def test_a_link_to_itself_is_named(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert [each.path for each in walk(tmp_path).unread] == [tmp_path / "loop"]


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (FileNotFoundError(2, "No such file or directory"), "No such file or directory"),
        (OSError(5, "Input/output error"), "Input/output error"),
    ],
)
def test_a_folder_that_cannot_be_listed_is_named_and_the_others_are_walked(
    tmp_path: Path, refuse: Refuse, error: OSError, cause: str
) -> None:
    touch(tmp_path / "Ada" / "1.jpg")
    touch(tmp_path / "Bob" / "2.jpg")
    refuse(tmp_path / "Ada", error)
    found = walk(tmp_path)
    assert found.files == [tmp_path / "Bob" / "2.jpg"]
    assert found.unread == [Unread(tmp_path / "Ada", cause)]


def test_what_is_no_folder_is_named(tmp_path: Path) -> None:
    assert [each.path for each in walk(touch(tmp_path / "1.jpg")).unread] == [tmp_path / "1.jpg"]


def test_only_what_is_certainly_not_there_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = touch(tmp_path / "1.jpg")
    assert not is_gone(photo)
    assert is_gone(tmp_path / "2.jpg")
    assert is_gone(photo / "1.jpg")
    assert not is_gone(Path("a\0b"))

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", denied)
    assert not is_gone(tmp_path / "2.jpg")
