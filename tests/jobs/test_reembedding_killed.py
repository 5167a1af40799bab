"""A re-embedding that is killed goes on where it was: nothing is done again but what was under way."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from facesearch import FaceSearch
from facesearch.jobs.reembedding import COMMIT
from facesearch.recognition.extractor import MOST_WORKERS
from facesearch.recognition.pipeline import AHEAD
from facesearch.store.reembedding import gallery_models, lacking_photos

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL.")
DETECTOR = "041f73f47371333d1d17a6fee6c8ab4e6aecabefe398ff32cca4e2d5eaee0af9"
"""SHA-256 of the other real detector."""
UNDER_WAY = COMMIT + AHEAD + MOST_WORKERS + 1
"""Photos that were read and whose templates are not on disk: to be committed, to be embedded, decoded."""


def run_killed(gallery: Path, pack: Path, kills: int) -> int:
    """Kill a re-embedding `kills` times at random moments, then let it end; returns how many photos were read twice."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    read: list[str] = []
    for left in range(kills, -1, -1):
        with FaceSearch.open(gallery, pack=pack, provider="cpu") as engine:
            model_id = engine.extractor.info.model_id
            known = {each.info.model_id for each in engine.gallery.read(gallery_models)}
            wanting = {"after": 0, "limit": 10_000}
            lacking = engine.gallery.read(lacking_photos, model_id, **wanting) if model_id in known else None
            total = engine.model_change.total
        wanted = {str(photo.path) for photo in lacking} if lacking is not None else None
        kill_after = chance.randint(total // (2 * left) + 1, total // left) if left and total > 1 else None
        now, reported = run_once(gallery, pack, kill_after)
        print(f"seed {seed}: {total} lacking, {len(now)} read, {len(reported)} reported")  # noqa: T201
        assert wanted is None or set(now) <= wanted, "what was on disk is made again"
        assert len(set(now)) == len(now)
        assert len(set(now) - reported) <= UNDER_WAY
        read += now
    return len(read) - len(set(read))


def run_once(gallery: Path, pack: Path, kill_after: int | None) -> tuple[list[str], set[str]]:
    """The photos that a child read, and those that it reported, until it had reported so many and a moment passed."""
    command = [sys.executable, "-m", "tests.jobs.reembedding_child", str(gallery), str(pack)]
    read: list[str] = []
    reported: set[str] = set()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1) as child:
        assert child.stdout is not None
        for line in child.stdout:
            sign, photo = line.rstrip("\n").split(" ", 1)
            if sign == "?":
                read.append(photo)
            else:
                reported.add(photo)
            if kill_after is not None and len(read) >= kill_after:
                child.kill()
        ended = child.wait()
    assert kill_after is not None or ended == 0
    return read, reported


def test_a_killed_re_embedding_makes_nothing_twice(standin_pack: Path, people_folder: Path, tmp_path: Path) -> None:
    new_pack = shutil.copytree(standin_pack, tmp_path / "new")
    text = (new_pack / "pack.toml").read_text().replace("input_std = ", "input_std = 1")
    (new_pack / "pack.toml").write_text(text)
    with FaceSearch.open(tmp_path / "gallery", pack=standin_pack, provider="cpu") as engine:
        assert {outcome.status for outcome in engine.enroll(people_folder)} == {"enrolled"}
    run_killed(tmp_path / "gallery", new_pack, 1)
    with FaceSearch.open(tmp_path / "gallery", pack=new_pack, provider="cpu") as engine:
        assert engine.model_change.activate().missing == 0
        assert all(finding.ok for finding in engine.check())


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_807_photos_killed_five_times(assets: Path, testpack_dir: Path, tmp_path: Path) -> None:
    new_pack = shutil.copytree(testpack_dir, tmp_path / "new")
    shutil.copy(assets / "models" / "detectors" / "det_2.5g.onnx", new_pack)
    text = (new_pack / "pack.toml").read_text()
    text = text.replace("det_500m.onnx", "det_2.5g.onnx").replace("input_std = 127.5", "input_std = 128.5")
    text = re.sub('(file = "det_2.5g.onnx"\nsha256 = ")[0-9a-f]+', rf"\g<1>{DETECTOR}", text)
    (new_pack / "pack.toml").write_text(text)
    people = assets / "faces" / "lfw"
    probes = sorted(people.rglob("*.jpg"))[::40]
    with FaceSearch.open(tmp_path / "gallery", pack=testpack_dir, provider="cpu") as engine:
        assert sum(outcome.status == "enrolled" for outcome in engine.enroll(people, faces="largest")) == 807
        before = [engine.identify(probe) for probe in probes]
    again = run_killed(tmp_path / "gallery", new_pack, 5)
    print(f"{again} of 807 photos were read again, in five restarts")  # noqa: T201
    with FaceSearch.open(tmp_path / "gallery", pack=new_pack, provider="cpu") as engine:
        assert engine.model_change.activate().missing == 0
        assert all(finding.ok for finding in engine.check())
        engine.model_change.rollback()
    with FaceSearch.open(tmp_path / "gallery", provider="cpu") as engine:
        after = [engine.identify(probe) for probe in probes]
    assert [[each.candidates for each in found] for found in after] == [
        [each.candidates for each in found] for found in before
    ]
