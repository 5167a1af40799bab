"""The oldest versions of native libraries that facesearch works with, and the check of them where each is first used.

Versions are those of pyproject.toml. pip sees to them at installation and never again: an environment that others share
drifts, and what is too old then fails far from its cause, or computes something else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from facesearch.errors import InstallationError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Library:
    """A library, the oldest version that will do, and where it comes from."""

    name: str
    """As people call it."""
    minimum: str
    distributions: tuple[str, ...]
    """Packages that bring the module; the first is the one that facesearch depends on."""
    extra: str | None = None
    """Which extra of facesearch brings it; None where every installation has it."""


LIBRARIES: Final[Mapping[str, Library]] = MappingProxyType(
    {
        "PIL": Library("Pillow", "12.0", ("pillow",)),
        "cv2": Library(
            "OpenCV",
            "4.12",
            (
                "opencv-python-headless",
                "opencv-python",
                "opencv-contrib-python",
                "opencv-contrib-python-headless",
            ),
        ),
        "cryptography": Library("cryptography", "44.0", ("cryptography",), "export"),
        "faiss": Library("FAISS", "1.15", ("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs", "faiss")),
        # Older ones read files outside of their folder (CVE-2026-27489).
        "onnx": Library("ONNX", "1.21", ("onnx",), "quantize"),
        "onnxruntime": Library(
            "ONNX Runtime",
            "1.23",
            ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml"),
        ),
        "openvino": Library("OpenVINO", "2026.1", ("openvino",), "openvino"),
        "pyarrow": Library("PyArrow", "21.0", ("pyarrow",), "export"),
    }
)
"""By the name under which Python imports them."""
SQLITE_MINIMUM: Final = (3, 37, 0)
"""The first with STRICT tables (sqlite.org/stricttables.html). The WAL-reset bug of later ones is met by the choice of
the journal mode."""


@cache
def require(module: str) -> None:
    """Check the library behind `module` before its first use, as a rule without importing it.

    Raises:
        InstallationError: it is missing or too old; the hint is the command that mends it.
    """
    library = LIBRARIES[module]
    found = _installed(module, library)
    if found is None:
        hint = f"Run: pip install 'facesearch[{library.extra}]'" if library.extra else _upgrade(library)
        raise InstallationError(f"{library.name} is not installed.", hint)
    distribution, number = found
    if parse_version(number) < parse_version(library.minimum):
        raise InstallationError(
            f"{library.name} is {number}, and facesearch needs {library.minimum} or newer.",
            _upgrade(library, distribution),
        )


def require_sqlite(number: tuple[int, ...]) -> None:
    """Check the version of the SQLite library in use.

    Raises:
        InstallationError: it is too old for facesearch's tables.
    """
    if number < SQLITE_MINIMUM:
        raise InstallationError(
            f"SQLite is {_dotted(number)}, and facesearch needs {_dotted(SQLITE_MINIMUM)} or newer.",
            "Run: pip install pysqlite3, or use a newer Python.",
        )


def parse_version(text: str) -> tuple[int, ...]:
    """The leading numbers: 1.23.0rc1 is (1, 23, 0)."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def _installed(module: str, library: Library) -> tuple[str, str] | None:
    """(package, version); asks the module itself where its package is unknown or there are several."""
    from importlib.metadata import PackageNotFoundError, version  # takes longer than all else here

    packages: list[tuple[str, str]] = []
    for name in library.distributions:
        try:
            packages.append((name, version(name)))
        except PackageNotFoundError:
            continue
    if len(packages) == 1:
        return packages[0]
    if find_spec(module) is None:
        return None
    name = packages[0][0] if packages else library.distributions[0]
    return name, str(getattr(import_module(module), "__version__", library.minimum))


def _upgrade(library: Library, distribution: str | None = None) -> str:
    return f"Run: pip install --upgrade '{distribution or library.distributions[0]}>={library.minimum}'"


def _dotted(number: tuple[int, ...]) -> str:
    return ".".join(map(str, number))
