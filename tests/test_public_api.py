"""What `import facesearch` promises."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import facesearch
from facesearch import errors


def test_every_exported_name_exists_and_the_list_is_sorted() -> None:
    assert facesearch.__all__ == sorted(facesearch.__all__)
    for name in facesearch.__all__:
        assert getattr(facesearch, name).__name__ == name
    assert set(dir(facesearch)) == {*facesearch.__all__, "__version__"}


def test_the_version_is_the_projects_and_costs_nothing_until_it_is_asked_for() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert facesearch.__version__ == project["version"] == version("facesearch")
    assert printed_by("import sys, facesearch; print('importlib.metadata' in sys.modules)") == "False"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Recognizer"):
        facesearch.Recognizer  # noqa: B018


def test_every_error_is_a_facesearch_error_and_exported() -> None:
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]
    assert len(kinds) > 10
    for kind in kinds:
        assert issubclass(kind, facesearch.FaceSearchError)
        assert kind.__name__ in facesearch.__all__


def test_importing_the_package_and_the_command_line_loads_nothing_heavy() -> None:
    code = (
        "import sys, facesearch, facesearch.cli.app;"
        "heavy = {'numpy', 'cv2', 'faiss', 'onnxruntime', 'sqlalchemy', 'scipy', 'matplotlib', 'httpx', 'PIL', 'rich'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert printed_by(code) == "[]"


def test_a_gallery_in_sqlite_loads_neither_evaluation_nor_another_database() -> None:
    code = (
        "import sys, facesearch.api, facesearch.search.gallery;"
        "print([each for each in sys.modules if each in ('facesearch.evaluation', 'sqlalchemy.dialects.postgresql')])"
    )
    assert printed_by(code) == "[]"


def printed_by(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.strip()
