"""`facesearch demo`: everything once, on drawn portraits, with a model that anybody can build in a second."""

from __future__ import annotations

import shlex
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from facesearch.api import FaceSearch
from facesearch.config import Settings
from facesearch.demo import portraits
from facesearch.demo.portraits import PEOPLE, STRANGER, draw_portrait, write_photo
from facesearch.demo.standin import build_standin_pack
from facesearch.files import make_folder
from facesearch.jobs.probes import draw_results
from facesearch.names import path_text
from facesearch.outputs import Outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from facesearch.types import SearchResult

ENROLLED_PHOTOS = 4
"""Per person; the photo asked about is another one."""
SOMEBODY = "1-somebody.jpg"
"""A new photo of the first person."""
GROUP = (0, 3, STRANGER, 8, 7)
"""Who stands in the group photo, from left to right: four enrolled people and one who is not."""

OPENING = """\
This demo draws portraits of made-up people and builds a small stand-in model that recognises them.
The stand-in knows these drawings only, so its scores say nothing about photos of real people."""

CLOSING = """\
With real photos (the first command downloads InsightFace's buffalo_l models, 289 MB, once; they are for
non-commercial research only):

    facesearch enroll people/               # one folder per person: people/Ada Lovelace/1.jpg ...
    facesearch query photo.jpg --annotate who.jpg
    facesearch verify a.jpg b.jpg
    facesearch people list"""


def run_tour(keep: Path | None, say: Callable[[str], object]) -> None:
    """Draw, build, enroll, query and verify in `keep`, or in a folder that is gone afterwards, telling `say` about it.

    Raises `ConfigError` where `keep` holds something already.
    """
    if keep is not None:
        with Outputs(force=None).renewed_folder(keep):
            make_folder(keep)
            _tour(keep, say)
        say(f"Everything is kept in {path_text(keep)}. To go on with it:\n")
        for command in _commands(keep.absolute()):
            say(f"    {command}")
        return
    with tempfile.TemporaryDirectory(prefix="facesearch-demo-") as folder:
        _tour(Path(folder), say)
    say("The drawings and their gallery are gone again; facesearch demo --keep DIR keeps them.")


def _commands(folder: Path) -> Iterator[str]:
    """What the tour did, as commands that a shell takes in whatever folder it is."""
    gallery, somebody = folder / "gallery", folder / "new" / SOMEBODY
    done: tuple[tuple[Path | str, ...], ...] = (
        ("enroll", folder / "people"),
        ("query", folder / "new", "--annotate", folder / "drawn"),
        ("verify", somebody, folder / "people" / PEOPLE[0] / "1.jpg"),
        ("people", "list"),
    )
    for words in done:
        yield shlex.join(["facesearch", *map(path_text, words), "--gallery", path_text(gallery)])


def _tour(folder: Path, say: Callable[[str], object]) -> None:
    started = time.monotonic()
    say(OPENING)
    _draw(folder)
    say(f"\nDrawn: {len(PEOPLE)} people, {ENROLLED_PHOTOS} portraits each, a group photo, a stranger, a landscape.")
    settings = Settings.load(gallery=folder / "gallery", pack=build_standin_pack(folder / "standin"), provider="cpu")
    with FaceSearch(replace(settings, key=None)) as engine:  # nobody has to protect drawings
        _enroll(engine, folder, say)
        _query(engine, folder, say)
        _verify(engine, folder, say)
    say(f"\nThat took {time.monotonic() - started:.1f} s.\n\n{CLOSING}\n")


def _draw(folder: Path) -> None:
    portraits.write_people(folder / "people", photos_each=ENROLLED_PHOTOS)
    new = folder / "new"
    new.mkdir()
    write_photo(new / SOMEBODY, draw_portrait(0, ENROLLED_PHOTOS))
    write_photo(new / "2-group.jpg", portraits.draw_group(GROUP))
    write_photo(new / "3-stranger.jpg", draw_portrait(STRANGER, 0))
    write_photo(new / "4-landscape.jpg", portraits.draw_landscape())


def _enroll(engine: FaceSearch, folder: Path, say: Callable[[str], object]) -> None:
    say("\nEnrolling the folder people/, twice:")
    for attempt in ("first run", "again"):
        started = time.monotonic()
        counts = Counter(outcome.status.value for outcome in engine.enroll(folder / "people"))
        what = ", ".join(f"{count} {status}" for status, count in counts.items())
        say(f"  {attempt:10} {what} in {time.monotonic() - started:.1f} s")


def _query(engine: FaceSearch, folder: Path, say: Callable[[str], object]) -> None:
    say("\nAsking who is in the photos of new/, and drawing the answers into found/:")
    photos = sorted((folder / "new").iterdir())
    with Outputs().files({photo: folder / "found" / photo.name for photo in photos}) as drawings:
        for photo in photos:
            results = engine.identify(photo)
            for result in results:
                say(f"  {photo.name:18} {_describe(result)}")
            draw_results(photo, results, drawings[photo])
    threshold = engine.threshold
    say(f"  A face matches at a score (cosine) of {threshold.value:g} or more ({threshold.basis}).")


def _describe(result: SearchResult) -> str:
    if result.rejection is not None:
        return f"{result.decision.value:10} {result.rejection.detail}"
    best = result.best
    who = f"{best.subject}, score {best.score:.3f}" if best else "nobody"
    return f"{result.decision.value:10} {who if result.decision.value == 'match' else f'(nearest: {who})'}"


def _verify(engine: FaceSearch, folder: Path, say: Callable[[str], object]) -> None:
    first, second = (folder / "people" / name / "1.jpg" for name in PEOPLE[:2])
    say(f"\nComparing new/{SOMEBODY} with one photo of two people:")
    for photo in (first, second):
        comparison = engine.verify(folder / "new" / SOMEBODY, photo)
        verdict = "same person" if comparison.is_match else "different people"
        say(f"  {photo.parent.name:18} {verdict}: score {comparison.score:.3f}")
