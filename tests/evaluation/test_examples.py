"""The examples in the docstrings of the statistics run as written."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = {
    "assessment": 1,
    "bootstrap": 1,
    "calibrating": 4,
    "groups": 1,
    "identification": 4,
    "pairwise": 2,
    "scaling": 2,
    "selfsearch": 1,
    "summaries": 2,
    "tail": 1,
    "uncertainty": 8,
    "verification": 11,
}


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    module = importlib.import_module(f"facesearch.evaluation.{name}")
    with_examples = [test for test in doctest.DocTestFinder().find(module) if test.examples]
    assert len(with_examples) >= MODULES[name]
    assert doctest.testmod(module).failed == 0
