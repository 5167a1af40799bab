"""A full disk and a limit on file sizes: a clear error, nothing lost, and people can still be removed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from facesearch.search.gallery import Gallery
from facesearch.store.opening import (
    RESERVED,
    RESERVED_NAME,
    release_reserved_space,
    reserve_space,
    shrink_reserved_space,
)
from tests.store.makers import enroll, make_gallery

if TYPE_CHECKING:
    from pathlib import Path


def namespace() -> list[str]:
    """The command that may mount something for itself alone."""
    for command in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        try:
            probe = [*command, "mount", "-t", "tmpfs", "none", "/mnt"]
            if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
                return command
        except OSError:
            break
    pytest.skip("Nothing can be mounted here: no small disk to fill.")


def test_on_a_full_disk_errors_are_clear_queries_work_and_people_can_be_removed(
    tmp_path: Path, people_folder: Path, standin_pack: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = [*namespace(), sys.executable, "-m", "tests.durability.full_disk"]
    done = subprocess.run(
        [*command, *map(os.fspath, (disk, people_folder, standin_pack))],
        stdout=subprocess.PIPE,
        check=True,
        timeout=200,
    )
    steps = {step: (code, output) for step, code, output in json.loads(done.stdout)}
    codes = {step: code for step, (code, _) in steps.items()}
    assert codes.pop("enroll, full") == codes.pop("backup, full") == codes.pop("limit: enroll") == 4
    assert codes.pop("query the removed, full") == 1  # nobody is found
    assert set(codes.values()) == {0}, codes
    for step in ("enroll, full", "backup, full"):
        assert "No space is left to write" in steps[step][1]
    assert "a limit on file sizes" in steps["limit: enroll"][1]
    people = sorted(folder.name for folder in people_folder.iterdir())
    for step in ("query, full", "query the other, full"):
        assert json.loads(steps[step][1].splitlines()[-1])["decision"] == "match", step
        assert people[0] in steps[step][1]
    searched = json.loads(steps["query the removed, full"][1].splitlines()[-1])
    assert people[1] not in {candidate["subject"] for candidate in searched["candidates"]}
    for step in steps:
        if "check" in step:
            assert "The gallery is sound." in steps[step][1], step


def test_the_reserved_comes_with_the_gallery_and_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "gallery"
    with make_gallery(folder) as gallery:
        enroll(gallery, "anna", 1)
    reserved = folder / RESERVED_NAME
    assert reserved.stat().st_size == RESERVED
    assert reserved.stat().st_blocks * 512 >= RESERVED
    assert shrink_reserved_space(folder)
    assert 0 < reserved.stat().st_size < RESERVED
    assert release_reserved_space(folder)
    assert not reserved.exists()
    assert not shrink_reserved_space(folder)
    assert not release_reserved_space(folder)
    Gallery.open(folder).close()
    assert reserved.stat().st_size == RESERVED


def test_no_reserved_is_made_where_little_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": RESERVED})())
    reserve_space(tmp_path)
    assert list(tmp_path.iterdir()) == []
