"""The guard of outputs: what it refuses, and that files come whole or not at all."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from facesearch.errors import ConfigError, FaceSearchError
from facesearch.files import is_gallery_name
from facesearch.outputs import Outputs
from facesearch.search.gallery import Gallery, create_gallery
from facesearch.store import erasure
from tests.store.makers import enroll, make_gallery


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_half(file: Path) -> None:
    file.write_bytes(b"half")
    raise OverflowError


def test_a_file_is_written_whole_for_its_owner_alone(tmp_path: Path) -> None:
    with Outputs().file(tmp_path / "a") as output:
        assert not (tmp_path / "a").exists()
        output.write(b"whole")
    assert (tmp_path / "a").read_bytes() == b"whole"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("force", [False, True])
def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path, force: bool) -> None:
    old = tmp_path / "old"
    if force:
        old.write_bytes(b"old")
    with pytest.raises(OverflowError), Outputs(force=force).file(old) as output, output.unfinished() as file:
        write_half(file)
    assert names(tmp_path) == (["old"] if force else [])
    assert not force or old.read_bytes() == b"old"


def test_what_came_meanwhile_stays(tmp_path: Path) -> None:
    with Outputs().file(tmp_path / "a") as output:
        (tmp_path / "a").write_bytes(b"another's")
        with pytest.raises(ConfigError, match="there already"):
            output.write(b"mine")
    assert (tmp_path / "a").read_bytes() == b"another's"
    assert names(tmp_path) == ["a"]


def test_a_dangling_link_exists_and_force_replaces_the_link_alone(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="there already"):
        Outputs().check(link)
    with Outputs(force=True).file(link) as output:
        output.write(b"new")
    assert not link.is_symlink()
    assert names(tmp_path) == ["link"]
    link.unlink()
    (tmp_path / "other").write_bytes(b"other")
    link.symlink_to(tmp_path / "other")
    with Outputs(force=True).file(link) as output:
        output.write(b"new")
    assert (link.read_bytes(), (tmp_path / "other").read_bytes()) == (b"new", b"other")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_what_is_no_regular_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / "pipe", tmp_path / "folder", tmp_path / "pipe" / "a", tmp_path / "missing" / "a"):
        for force in (False, True):
            with pytest.raises(ConfigError):
                Outputs(force=force).check(place)


@pytest.mark.needs("permissions")
def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ConfigError, match="cannot be written"), Outputs().file(tmp_path / "a"):
            raise AssertionError("the work has begun")
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_comes_whole_or_not_at_all(tmp_path: Path) -> None:
    place = tmp_path / "new" / "report"
    with pytest.raises(OverflowError), Outputs().folder(place) as output, output.unfinished() as folder:
        write_half(folder / "a")
    assert names(tmp_path) == []
    for force in (False, True):
        with Outputs(force=force).folder(place) as output, output.unfinished() as folder:
            (folder / "a").write_bytes(b"%d" % force)
        assert (place / "a").read_bytes() == b"%d" % force
    with pytest.raises(ConfigError, match="not empty"), Outputs().folder(place):
        pass
    assert names(tmp_path) == ["new"]
    assert names(place) == ["a"]


def test_a_folder_that_holds_an_input_is_not_filled(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_bytes(b"scores")
    outputs = Outputs(inputs=[tmp_path / "scores.csv"], force=True)
    with pytest.raises(ConfigError, match="holds the input"):
        outputs.check_folder(tmp_path)


def test_a_place_in_a_folder_of_inputs_is_refused_through_links_too(tmp_path: Path) -> None:
    people, elsewhere = tmp_path / "people", tmp_path / "elsewhere"
    (people / "Ada").mkdir(parents=True)
    elsewhere.mkdir()
    (people / "link").symlink_to(elsewhere)
    (tmp_path / "way").symlink_to(people)
    outputs = Outputs(inputs=[people], force=True)
    for place in (people, people / "Ada", elsewhere, tmp_path / "way", tmp_path / "way" / "Ada", people / "link"):
        with pytest.raises(ConfigError, match="a folder of inputs"):
            outputs.check(place / "a.json")
        with pytest.raises(ConfigError, match="a folder of inputs"):
            outputs.check_folder(place / "new" / "report")
    outputs.check(tmp_path / "a.json")


def test_every_file_of_a_gallery_is_known_as_such(tmp_path: Path) -> None:
    folder = tmp_path / "gallery"
    gallery = make_gallery(folder)
    enroll(gallery, "Ada", 1, 2)
    gallery.remove(erasure.erase_subjects, gallery.erasure_list, ["Ada"])  # makes the list of the erased
    enroll(gallery, "Ben", 3)
    gallery.mirror.open()
    while_open = names(folder)
    assert "gallery.db-wal" in while_open
    gallery.close()
    held = {*while_open, *names(folder)}
    assert {"gallery.db", "gallery.erased", "index.cache"} <= held
    assert all(is_gallery_name(name) for name in held)
    for name in (*held, "GALLERY.DB"):
        with pytest.raises(FaceSearchError, match="file of a gallery"):
            Outputs(force=True).check(folder / name)
    with pytest.raises(FaceSearchError, match="in the folder of a gallery"):
        Outputs().check(folder / "people.bundle")
    Outputs().check(tmp_path / "index.cache")  # no gallery is there


def test_names_that_a_gallery_will_use_are_refused_before_there_is_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="file of a gallery"):
        Outputs(gallery=tmp_path).check(tmp_path / "gallery.db")
    (tmp_path / "way").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="file of a gallery"):
        Outputs(gallery=tmp_path).check(tmp_path / "way" / "index.cache")


def test_an_input_with_a_name_of_the_gallery_is_refused_where_the_gallery_is_written(tmp_path: Path) -> None:
    gallery = tmp_path / "gallery"
    gallery.mkdir()
    (gallery / "index.cache").write_bytes(b"a bundle")
    os.link(gallery / "index.cache", tmp_path / "hard")
    (tmp_path / "soft").symlink_to(gallery / "index.cache")
    for given in (gallery / "index.cache", tmp_path / "hard", tmp_path / "soft"):
        with pytest.raises(ConfigError, match="uses for its own files"):
            Outputs(inputs=[given], gallery=gallery).check_gallery()
    (gallery / "people.bundle").write_bytes(b"a bundle")
    Outputs(inputs=[gallery / "people.bundle"], gallery=gallery).check_gallery()


def test_a_gallery_that_is_made_when_the_process_is_killed_is_not_there_and_its_rest_goes(tmp_path: Path) -> None:
    killed = f"""
import os, pathlib, signal
from facesearch.files import unfinished_gallery
with unfinished_gallery(pathlib.Path({str(tmp_path / "new" / "gallery")!r})) as folder:
    (folder / "gallery.db").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", killed], check=False).returncode == -signal.SIGKILL
    assert [name.startswith(".facesearch-") for name in names(tmp_path)] == [True]
    create_gallery(tmp_path / "gallery")
    assert names(tmp_path) == ["gallery"]


def test_a_new_gallery_in_a_folder_that_exists_keeps_its_list_of_the_erased(tmp_path: Path) -> None:
    with make_gallery(tmp_path / "old") as old:
        enroll(old, "Ada", 1)
        old.remove(erasure.erase_subjects, old.erasure_list, ["Ada"])
    (tmp_path / "new").mkdir()
    shutil.copy(tmp_path / "old" / "gallery.erased", tmp_path / "new")
    (tmp_path / "new" / "notes.txt").write_text("mine")
    create_gallery(tmp_path / "new")
    with Gallery.open(tmp_path / "new") as gallery:
        assert len(gallery.read(gallery.erasure_list.read))
    assert (tmp_path / "new" / "notes.txt").read_text() == "mine"
