"""A gallery on a medium that cannot be written to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from facesearch.demo.portraits import PEOPLE

MOUNT = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'


def read_only(folder: Path, *args: str | Path) -> subprocess.CompletedProcess[str]:
    """`facesearch ARGS...` where `folder` is mounted read-only, for that process alone."""
    for namespace in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        try:
            probe = subprocess.run([*namespace, "sh", "-c", MOUNT, "sh", folder, "true"], capture_output=True)
        except OSError:
            break
        if probe.returncode == 0:
            command = [*namespace, "sh", "-c", MOUNT, "sh", folder, sys.executable, "-m", "facesearch", *args]
            return subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=False)
    pytest.skip("Nothing can be mounted here.")


def test_a_read_only_gallery_answers_and_says_that_it_keeps_no_log(gallery: Path, people_folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in gallery.iterdir()}
    probe = people_folder / PEOPLE[0] / "1.jpg"
    done = read_only(gallery, "query", probe, "--json", "--gallery", gallery)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["subject"] == PEOPLE[0]
    assert "This query is not in the audit log" in done.stderr
    assert {path.name: path.read_bytes() for path in gallery.iterdir()} == before
    done = read_only(gallery, "people", "forget", PEOPLE[0], "--yes", "--gallery", gallery)
    assert done.returncode == 4
    assert "permissions" in done.stderr
    assert read_only(gallery, "people", "list", "--gallery", gallery).returncode == 0
