"""Drawn people and a model pack that knows them, for tests of anything above vision without a download.

The fixtures are shared by the whole run: a test that changes a photo or the pack copies it first.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from facesearch.api import FaceSearch
from facesearch.demo.portraits import STRANGER, draw_group, draw_landscape, draw_portrait, write_people, write_photo
from facesearch.demo.standin import build_standin_pack

GROUP = (0, 3, 5, 8, 7)
"""Who stands in the group photo, from left to right: positions in `PEOPLE`."""


@pytest.fixture(scope="session")
def standin_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the stand-in model pack; `--models` and `PackStore.find` take it."""
    return build_standin_pack(tmp_path_factory.mktemp("models") / "standin")


@pytest.fixture(scope="session")
def new_pack(standin_pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack whose templates do not compare with the stand-in's: its recogniser gets another input."""
    folder = Path(shutil.copytree(standin_pack, tmp_path_factory.mktemp("models") / "new"))
    text = (folder / "pack.toml").read_text().replace("input_std = ", "input_std = 1")
    (folder / "pack.toml").write_text(text)
    return folder


@pytest.fixture(scope="session")
def people_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`<name>/<n>.jpg`: the twelve people of `PEOPLE`, four photos each."""
    folder = tmp_path_factory.mktemp("photos") / "people"
    write_people(folder)
    return folder


@pytest.fixture(scope="session")
def enrolled_folder(tmp_path_factory: pytest.TempPathFactory, standin_pack: Path, people_folder: Path) -> Path:
    """A gallery of all the drawn people, for the whole run: whoever opens it copies it first."""
    folder = tmp_path_factory.mktemp("enrolled") / "gallery"
    with FaceSearch.open(folder, pack=standin_pack, provider="cpu") as opened:
        assert all(outcome.status == "enrolled" for outcome in opened.enroll(people_folder))
    return folder


@pytest.fixture(scope="session")
def scenes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`group.jpg` (the people of `GROUP`), `stranger.jpg` (nobody of `PEOPLE`), `landscape.jpg` (no face)."""
    folder = tmp_path_factory.mktemp("scenes")
    write_photo(folder / "group.jpg", draw_group(GROUP))
    write_photo(folder / "stranger.jpg", draw_portrait(STRANGER, 0))
    write_photo(folder / "landscape.jpg", draw_landscape())
    return folder
