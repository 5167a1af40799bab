"""`FaceSearch` and `Client` have the operations of one base, with equal signatures.

Both are subclasses of it, so mypy compares the types of parameters; what it allows beyond that is looked at here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

import pytest

from facesearch import FaceSearch
from facesearch.client import Client
from facesearch.operations import Operations

SHARED = sorted(name for name in vars(Operations) if not name.startswith("_"))


def function(kind: type, name: str) -> Callable[..., Any]:
    found = inspect.getattr_static(kind, name)
    return cast(Callable[..., Any], found.fget if isinstance(found, property) else found)


@pytest.mark.parametrize("kind", [FaceSearch, Client])
@pytest.mark.parametrize("name", SHARED)
def test_each_operation_is_there_as_the_base_describes_it(kind: type, name: str) -> None:
    ours, base = function(kind, name), function(Operations, name)
    assert ours is not base, "not implemented"
    assert isinstance(inspect.getattr_static(kind, name), property) == isinstance(vars(Operations)[name], property)
    signature, wanted = inspect.signature(ours), inspect.signature(base)
    assert signature.return_annotation == wanted.return_annotation
    for parameter in wanted.parameters.values():
        if parameter.name == "self":
            continue
        own = signature.parameters[parameter.name]
        assert own.kind == parameter.kind
        if parameter.default is not inspect.Parameter.empty:
            assert own.default == parameter.default
    for added in signature.parameters.keys() - wanted.parameters.keys():
        assert signature.parameters[added].default is not inspect.Parameter.empty, "a caller of the base cannot know it"
    assert inspect.getdoc(getattr(kind, name)), "without help"


def test_what_people_need_most_is_shared() -> None:
    needed = {"enroll", "identify", "verify", "detect", "subjects", "rename_subject", "move_photo", "forget", "undo"}
    assert needed <= set(SHARED)
