"""Models and photos to measure with: what the command names, else real ones beside the checkout, else drawn ones."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


@dataclass(frozen=True, slots=True)
class Inputs:
    """A model pack, and a folder with one folder of photos per person."""

    pack: Path
    photos: Path

    def paths(self, count: int | None = None) -> list[Path]:
        """The photos in a stable order, or the first `count`."""
        return sorted(path for path in self.photos.rglob("*.jpg"))[:count]


def add_input_options(parser: argparse.ArgumentParser) -> None:
    """`--pack` and `--photos`."""
    parser.add_argument("--pack", type=Path, metavar="DIR", help="folder of a model pack")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="folder with a folder per person")


def find_inputs(asked: argparse.Namespace, work: Path) -> Inputs:
    """What `--pack` and `--photos` name; missing ones from the test assets, else drawn into `work`.

    Test assets lie in FACESEARCH_TEST_ASSETS, or in `shared` beside the checkout.
    """
    assets = Path(os.environ.get("FACESEARCH_TEST_ASSETS") or Path(__file__).resolve().parents[2] / "shared")
    drawn = not (assets / "models" / "testpack").is_dir()
    pack: Path = asked.pack or (_drawn_pack(work) if drawn else assets / "models" / "testpack")
    photos: Path = asked.photos or (_drawn_people(work) if drawn else assets / "faces" / "lfw")
    return Inputs(pack, photos)


def _drawn_pack(work: Path) -> Path:
    from facesearch.demo.standin import build_standin_pack

    return build_standin_pack(work / "standin")


def _drawn_people(work: Path) -> Path:
    from facesearch.demo.portraits import write_people

    write_people(work / "people")
    return work / "people"
