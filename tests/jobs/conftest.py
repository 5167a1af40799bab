"""An engine over the drawn people."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from facesearch import FaceSearch


@pytest.fixture
def people(people_folder: Path, tmp_path: Path) -> Path:
    """Three people, four photos each, to be changed at will."""
    folder = tmp_path / "people"
    for name in ("Mira Quill", "Otto Bramble", "Juno Wren"):
        shutil.copytree(people_folder / name, folder / name)
    return folder


@pytest.fixture
def engine(tmp_path: Path, standin_pack: Path) -> Iterator[FaceSearch]:
    """An engine with an empty gallery."""
    with FaceSearch.open(tmp_path / "gallery", pack=standin_pack, provider="cpu") as opened:
        yield opened


@pytest.fixture
def enrolled(enrolled_folder: Path, standin_pack: Path, tmp_path: Path) -> Iterator[FaceSearch]:
    """An engine over a copy of the gallery of all the drawn people."""
    folder = tmp_path / "enrolled"
    shutil.copytree(enrolled_folder, folder)
    with FaceSearch.open(folder, provider="cpu") as opened:
        yield opened
