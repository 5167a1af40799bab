"""Kills at every named point between the first statement and the last sync."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from facesearch.errors import GalleryNotFoundError
from facesearch.files import INDEX_CACHE_NAME, INDEX_VECTORS_NAME
from facesearch.search.checks import check_gallery
from facesearch.search.gallery import Gallery
from facesearch.store import people, subjects
from facesearch.store.sqlite import DATABASE_NAME
from facesearch.types import IndexKind
from tests.store.makers import MODEL, enroll, found_subject, make_gallery, unit

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither SIGKILL nor fork.")
PEOPLE = 5


@pytest.mark.parametrize("kind", [IndexKind.FLAT, IndexKind.TWO_STAGE])
def test_a_kill_at_any_named_point_loses_nothing_and_revives_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: IndexKind
) -> None:
    from tests.durability.killed import POINTS, always

    monkeypatch.setattr("facesearch.search.mirror.TWO_STAGE_FROM", always(kind))

    base = tmp_path / "base"
    with make_gallery(base) as gallery:
        for seed in range(PEOPLE):
            enroll(gallery, str(seed), seed)
        found_subject(gallery, 0)
    command = [sys.executable, "-m", "tests.durability.killed", os.fspath(base), os.fspath(tmp_path), kind]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=200)
    statuses = [int(line) for line in done.stdout.split()]
    for number, (point, status) in enumerate(zip(POINTS[kind], statuses, strict=True)):
        assert os.WIFSIGNALED(status), f"never reached: {point}"
        assert os.WTERMSIG(status) == signal.SIGKILL, point
        said = (tmp_path / f"{number}.said").read_text().splitlines()
        look(point, tmp_path / str(number), said)
    print(f"{len(statuses)} points")  # noqa: T201


def look(point: str, folder: Path, said: list[str]) -> None:
    with Gallery.open(folder) as gallery:
        assert not [each for each in folder.iterdir() if each.name.startswith(".")], point
        names = {subject.name for subject in gallery.read(subjects.list_subjects)}
        kept = {str(seed) for seed in range(PEOPLE)} | {line[2:] for line in said if line[0] == "+"}
        unsure = {line[2:] for line in said if line[0] == "?"}
        gone = {line[2:] for line in said if line[0] == "-"}
        assert kept - unsure <= names <= (kept | {"100"}) - gone, point
        for name in unsure - names:
            assert not in_cache(folder, int(name)), point
        assert [finding for finding in check_gallery(gallery) if not finding.ok] == [], point
        assert all(found_subject(gallery, int(name)) == name for name in names), point
        assert all(found_subject(gallery, int(name)) is None for name in unsure - names), point
        for name in names & {"1", "100"}:
            gallery.remove(people.remove, name)
            assert not in_cache(folder, int(name)), f"{point}: what was half written is out of reach"
    look_at_new(point, folder / "new")
    if point.startswith("create encrypted"):
        from tests.durability.killed import KEY

        look_at_new(point, folder / "locked", KEY)


def in_cache(folder: Path, seed: int) -> bool:
    files = [folder / name for name in (INDEX_CACHE_NAME, INDEX_VECTORS_NAME)]
    return any(unit(seed).tobytes() in file.read_bytes() for file in files if file.exists())


def look_at_new(point: str, folder: Path, key: str | None = None) -> None:
    """A gallery that was being made is there as a whole or not at all, and the same command goes on."""
    database = folder / DATABASE_NAME
    was_there = database.exists()
    try:
        Gallery.open(folder, passphrase=key).close()
    except GalleryNotFoundError:
        assert not was_there, point
    else:
        assert was_there, point
    with Gallery.open(folder, create=True, passphrase=key, encrypted=key is not None) as gallery:
        assert gallery.is_encrypted == (key is not None), point
        left = [each for each in folder.iterdir() if each.name.startswith(".")]
        assert left == [] or "no lock" in point, point  # what never had a lock goes after a minute
        assert database.stat().st_nlink == 1, point
        gallery.adopt(MODEL)
        enroll(gallery, "new", 7)
        assert found_subject(gallery, 7) == "new", point
        assert [finding for finding in check_gallery(gallery) if not finding.ok] == [], point
