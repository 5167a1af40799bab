"""Libraries that are missing or too old are named with the fix, where they are first used."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facesearch import FaceSearch, InstallationError, versions
from facesearch.recognition.decoding import PhotoDecoder
from facesearch.recognition.embedder import ARCFACE_TEMPLATE, align
from facesearch.recognition.runtime import choose_provider
from facesearch.versions import LIBRARIES, SQLITE_MINIMUM, parse_version, require, require_sqlite

ROOT = Path(__file__).resolve().parents[1]
FACE = ARCFACE_TEMPLATE.copy()


@pytest.fixture(autouse=True)
def _unchecked() -> Iterator[None]:
    require.cache_clear()
    yield
    require.cache_clear()


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Lets an environment hold these packages and no others."""

    def pretend(packages: dict[str, str]) -> None:
        def version(name: str) -> str:
            if name in packages:
                return packages[name]
            raise versions_error(name)

        from importlib import metadata

        versions_error = metadata.PackageNotFoundError
        monkeypatch.setattr(metadata, "version", version)

    return pretend


@pytest.mark.parametrize("module", LIBRARIES)
def test_the_minimum_is_the_lower_bound_of_pyproject(module: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    bounds = dict(re.findall(r"([\w-]+)>=([\d.]+)", "\n".join(declared)))
    library = LIBRARIES[module]
    assert bounds[library.distributions[0]] == library.minimum


@pytest.mark.parametrize("module", LIBRARIES)
def test_what_is_installed_here_is_new_enough(module: str) -> None:
    require(module)


@pytest.mark.parametrize(
    ("packages", "message", "hint"),
    [
        ({"faiss-cpu": "1.14.9"}, "FAISS is 1.14.9, and facesearch needs 1.15 or newer.", "'faiss-cpu>=1.15'"),
        ({"faiss-gpu": "1.7.2"}, "FAISS is 1.7.2", "'faiss-gpu>=1.15'"),
        ({"faiss-cpu": "1.15"}, None, None),
        ({"faiss-cpu": "1.15.0.post1"}, None, None),
        ({"faiss-cpu": "2.0.0rc1"}, None, None),
        ({"faiss": "1.15.1"}, None, None),
    ],
)
def test_a_version_is_compared_by_number(
    installed: Callable[[dict[str, str]], None], packages: dict[str, str], message: str | None, hint: str
) -> None:
    installed(packages)
    if message is None:
        require("faiss")
        return
    with pytest.raises(InstallationError) as caught:
        require("faiss")
    assert caught.value.message.startswith(message)
    assert caught.value.hint == f"Run: pip install --upgrade {hint}"


def test_a_missing_library_is_named_with_the_command_that_installs_it(
    installed: Callable[[dict[str, str]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed({})
    monkeypatch.setattr(versions, "find_spec", lambda _: None)
    with pytest.raises(InstallationError, match=r"ONNX Runtime is not installed\.") as caught:
        require("onnxruntime")
    assert caught.value.hint == "Run: pip install --upgrade 'onnxruntime>=1.23'"


@pytest.mark.parametrize("module", LIBRARIES)
def test_what_only_an_extra_brings_is_named_with_that_extra(
    installed: Callable[[dict[str, str]], None], monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    package = LIBRARIES[module].distributions[0]
    extras = [
        name
        for name, needed in project["optional-dependencies"].items()
        if name != "dev" and package in [re.split(r"[^\w-]", each)[0] for each in needed]
    ]
    assert [LIBRARIES[module].extra] == (extras or [None])
    installed({})
    monkeypatch.setattr(versions, "find_spec", lambda _: None)
    with pytest.raises(InstallationError) as caught:
        require(module)
    assert not extras or caught.value.hint == f"Run: pip install 'facesearch[{extras[0]}]'"


@pytest.mark.parametrize("packages", [{}, {"opencv-python": "4.9.0", "opencv-python-headless": "4.12.0"}])
def test_the_module_itself_is_asked_where_packages_do_not_tell(
    installed: Callable[[dict[str, str]], None], monkeypatch: pytest.MonkeyPatch, packages: dict[str, str]
) -> None:
    import cv2

    installed(packages)
    require("cv2")
    require.cache_clear()
    monkeypatch.setattr(cv2, "__version__", "4.5.1")
    with pytest.raises(InstallationError, match=r"OpenCV is 4\.5\.1"):
        require("cv2")


OLD = {"pillow": "9.0", "opencv-python-headless": "4.5.1", "onnxruntime": "1.10.0", "faiss-cpu": "1.7.4"}


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("Pillow", lambda _: PhotoDecoder().decode(b"a photo")),
        ("OpenCV", lambda _: align(np.zeros((200, 200, 3), np.uint8), FACE)),
        ("ONNX Runtime", lambda _: choose_provider("cpu")),
        ("FAISS", lambda folder: FaceSearch.open(folder).gallery),
    ],
)
def test_each_is_named_at_its_first_use(
    installed: Callable[[dict[str, str]], None], tmp_path: Path, name: str, use: Callable[[Path], Any]
) -> None:
    installed(OLD)
    with pytest.raises(InstallationError, match=f"^{name} is "):
        use(tmp_path)


def test_an_sqlite_without_strict_tables_is_refused_and_newer_ones_are_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    require_sqlite(SQLITE_MINIMUM)
    with pytest.raises(InstallationError, match=r"SQLite is 3\.36\.0, and facesearch needs 3\.37\.0") as caught:
        require_sqlite((3, 36, 0))
    assert "pysqlite3" in (caught.value.hint or "")

    from facesearch.store import drivers

    class Old:
        sqlite_version_info = (3, 31, 1)

    monkeypatch.setattr(drivers, "sqlite_module", lambda: Old)
    with pytest.raises(InstallationError, match=r"SQLite is 3\.31\.1"):
        FaceSearch.open(tmp_path).gallery  # noqa: B018


def test_versions_are_numbers_up_to_the_first_other_sign() -> None:
    assert parse_version("1.23.0rc1") == (1, 23, 0)
    assert parse_version("4.12.0.88") == (4, 12, 0, 88)
    assert parse_version("5.0.0-dev") == (5, 0, 0)
    assert parse_version("unknown") == ()


def test_the_engine_is_imported_without_any_of_them() -> None:
    code = f"import sys, facesearch.api; print(sorted({set(LIBRARIES)!r} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_listing_people_starts_no_decoder_and_opens_no_model(tmp_path: Path) -> None:
    FaceSearch.open(tmp_path / "gallery").ensure_gallery().close()
    code = (
        "import sys; from facesearch.cli.app import app\n"
        "try: app(['people', 'list'])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "decoding = sys.modules.get('facesearch.recognition.decoding')\n"
        "assert decoding is None or not decoding._shared.cache_info().currsize\n"
        "print(sorted({'PIL', 'cv2', 'onnxruntime'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env={"FACESEARCH_GALLERY": str(tmp_path / "gallery"), "PATH": "", "HOME": str(tmp_path)},
    )
    assert run.stdout.strip().endswith("[]"), run.stdout + run.stderr
