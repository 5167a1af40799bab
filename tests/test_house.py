"""The house stays one that a person can keep in mind: no import circle, small folders, short walks.

The walks print what they meet: pytest -s tests/test_house.py
"""

from __future__ import annotations

import graphlib
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

import grimp
import pytest

import facesearch
from facesearch import EnrollOutcome, FaceSearch, SearchResult
from facesearch.demo.portraits import draw_portrait, write_photo

HOME = Path(facesearch.__file__).parent
FILES_OF_A_FOLDER = 25
LINES_OF_A_FILE = 425
PHOTO_WALK = (50, 27)
"""Calls and files of one new photo in a run, at most."""
QUERY_WALK = (41, 25)

Walk: TypeAlias = dict[tuple[str, str], set[str]]
"""(file, function) of the package, in the order of their first calls, and the files that called it."""


def test_no_module_imports_itself_through_others() -> None:
    graph = grimp.build_graph("facesearch", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"A circle, with imports for types: {' <- '.join(error.args[1])}")


def test_folders_and_files_are_small() -> None:
    files = list(HOME.rglob("*.py"))
    folders = Counter(path.parent for path in files)
    assert {str(folder): count for folder, count in folders.items() if count > FILES_OF_A_FOLDER} == {}
    lines = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {path: count for path, count in lines.items() if count > LINES_OF_A_FILE} == {}


def walk(work: Callable[[], object]) -> Walk:
    """What `work` calls of the package, in all threads that it starts."""
    found: Walk = {}

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or code.co_name.startswith("<") or not code.co_filename.startswith(str(HOME)):
            return
        above = frame.f_back
        while above is not None and not above.f_code.co_filename.startswith(str(HOME)):
            above = above.f_back
        place = (str(Path(code.co_filename).relative_to(HOME)), code.co_qualname)
        found.setdefault(place, set()).add("" if above is None else above.f_code.co_filename)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return found


def entered(found: Walk) -> list[tuple[str, str]]:
    """The functions that another file called, once each; how a file goes about its work is its own."""
    return [place for place, callers in found.items() if any(each != str(HOME / place[0]) for each in callers)]


def told(places: list[tuple[str, str]]) -> tuple[int, int]:
    """Print a walk; how many calls and files it has."""
    files = len({file for file, _ in places})
    lines = [f"{number:3} {file}: {name}" for number, (file, name) in enumerate(places, 1)]
    sys.stdout.write("\n".join([*lines, f"{len(places)} calls across {files} files", ""]))
    return len(places), files


@pytest.fixture
def engine(tmp_path: Path, standin_pack: Path) -> Iterator[FaceSearch]:
    """Three people enrolled, and everything warm."""
    for number in range(3):
        write_photo(tmp_path / "people" / str(number) / "1.jpg", draw_portrait(number, 0))
    with FaceSearch.open(tmp_path / "gallery", pack=standin_pack, provider="cpu") as opened:
        assert len(list(opened.enroll(tmp_path / "people"))) == 3
        opened.identify(tmp_path / "people" / "1" / "1.jpg")
        yield opened


def test_a_new_photo_goes_a_short_way(engine: FaceSearch, tmp_path: Path) -> None:
    """The way of a new photo is what a run calls because of it, and not for photos that it knows."""
    people = tmp_path / "people"
    unchanged = walk(lambda: list(engine.enroll(people)))
    write_photo(people / "0" / "2.jpg", draw_portrait(0, 1))
    outcomes: list[EnrollOutcome] = []
    found = walk(lambda: outcomes.extend(engine.enroll(people)))
    assert Counter(outcome.status.value for outcome in outcomes) == {"unchanged": 3, "enrolled": 1}
    calls, files = told(entered({place: callers for place, callers in found.items() if place not in unchanged}))
    assert calls <= PHOTO_WALK[0]
    assert files <= PHOTO_WALK[1]


def test_a_query_goes_a_short_way(engine: FaceSearch, tmp_path: Path) -> None:
    results: list[SearchResult] = []
    found = walk(lambda: results.extend(engine.identify(tmp_path / "people" / "1" / "1.jpg")))
    assert [result.decision for result in results] == ["match"]
    calls, files = told(entered(found))
    assert calls <= QUERY_WALK[0]
    assert files <= QUERY_WALK[1]
