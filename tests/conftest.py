"""What all tests share: where models and photos lie, and an environment without settings of the developer's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.capabilities import describe_lacks, require, without_what_is_lacking
from tests.servers import describe_engines

pytest_plugins = [
    "tests.fixtures_standin",
    "tests.fixtures_engines",
    "tests.fixtures_postgres",
    "tests.fixtures_unreadable",
]

_ASSETS_VARIABLE = "FACESEARCH_TEST_ASSETS"

# The same examples in every run, and no time limit for one: a busy machine is no defect.
settings.register_profile("facesearch", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("facesearch")


def _find_assets() -> Path | None:
    """The folder of the variable, else `shared` beside the checkout; None where it has no models."""
    named = os.environ.get(_ASSETS_VARIABLE)
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared"
    return folder if (folder / "models").is_dir() else None


def _describe_assets() -> str:
    found = _find_assets()
    if found is not None:
        return f"shared assets: {found}"
    return f"shared assets: NOT FOUND, tests on real models and photos are skipped; set {_ASSETS_VARIABLE}"


def pytest_report_header() -> list[str]:
    return [_describe_assets(), describe_engines(), describe_lacks()]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(_describe_assets())


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked `needs(...)` where something of it is lacking, before their fixtures are made."""
    for mark in item.iter_markers("needs"):
        require(*mark.args)


@pytest.fixture(scope="session", autouse=True)
def _without_what_is_lacking() -> Iterator[None]:
    with without_what_is_lacking():
        yield


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("FACESEARCH_") and name != _ASSETS_VARIABLE:
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of models, photos and golden files; the test is skipped where it is absent."""
    found = _find_assets()
    if found is None:
        pytest.skip(_describe_assets())
    return found


@pytest.fixture(scope="session")
def testpack_dir(assets: Path) -> Path:
    """A small real model pack."""
    return assets / "models" / "testpack"
