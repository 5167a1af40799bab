"""The examples in the docstrings of the statistics run as written."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = {
    "assessment": 1,
    "bootstrap": 2,
    "calibrating": 5,
    "comparison": 1,
    "folds": 3,
    "groups": 1,
    "identification": 3,
    "pairwise": 2,
    "rates": 4,
    "searches": 5,
    "verification": 8,
}


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    module = importlib.import_module(f"facesearch.evaluation.{name}")
    with_examples = [test for test in doctest.DocTestFinder().find(module) if test.examples]
    assert len(with_examples) >= MODULES[name]
    assert doctest.testmod(module).failed == 0
