"""The OpenAPI document is what the server does: schemathesis makes requests from it, right ones and wrong ones."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings

from facesearch import FaceSearch
from tests.server.conftest import serve_here

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own imports
    import schemathesis
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_headers_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 5
QUIET = list(HealthCheck)

PLAIN = {
    ("GET", "/v1/audit"),
    ("GET", "/v1/calibration"),
    ("GET", "/v1/check"),
    ("GET", "/v1/evaluation"),
    ("GET", "/v1/info"),
    ("GET", "/v1/health/live"),
    ("GET", "/v1/health/ready"),
    ("GET", "/v1/metrics"),
}
"""Without parameters and body: nothing can be wrong in a request."""
ENDPOINTS = PLAIN | {
    ("POST", "/v1/detect"),
    ("POST", "/v1/identify"),
    ("POST", "/v1/verify"),
    ("POST", "/v1/preview"),
    ("GET", "/v1/subjects"),
    ("POST", "/v1/subjects"),
    ("GET", "/v1/subjects/{id}"),
    ("PATCH", "/v1/subjects/{id}"),
    ("DELETE", "/v1/subjects/{id}"),
    ("PATCH", "/v1/subjects/{id}/attributes"),
    ("POST", "/v1/subjects/{id}/merge"),
    ("POST", "/v1/subjects/{id}/remove"),
    ("POST", "/v1/subjects/forget"),
    ("GET", "/v1/subjects/{id}/lookalikes"),
    ("GET", "/v1/subjects/{id}/photos"),
    ("POST", "/v1/subjects/{id}/photos"),
    ("DELETE", "/v1/subjects/{id}/photos/{photo_id}"),
    ("GET", "/v1/photos/{id}/thumbnail"),
    ("POST", "/v1/photos/{id}/move"),
    ("POST", "/v1/photos/{id}/confirm"),
    ("POST", "/v1/subjects/{id}/aliases"),
    ("DELETE", "/v1/subjects/{id}/aliases"),
    ("GET", "/v1/history"),
    ("POST", "/v1/undo"),
}


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


@pytest.fixture(scope="module")
def changeable(tmp_path_factory: pytest.TempPathFactory, enrolled_gallery: Path) -> Iterator[httpx.Client]:
    """A server for requests of any kind."""
    folder = tmp_path_factory.mktemp("any") / "gallery"
    shutil.copytree(enrolled_gallery, folder)
    with FaceSearch.open(folder, provider="cpu") as engine, serve_here(engine) as client:
        yield client


def test_every_endpoint_is_described(read_only: httpx.Client) -> None:
    found = operations(read_only.get("/v1/openapi.json").json())
    assert set(found) == ENDPOINTS
    for operation in found.values():
        assert operation["summary"]
        assert operation["description"]
        errors = [answer["content"] for code, answer in operation["responses"].items() if code >= "400"]
        problem = {"$ref": "#/components/schemas/ProblemRecord"}
        assert errors == [{"application/problem+json": {"schema": problem}}] * len(errors)


@pytest.mark.parametrize("operation", sorted(ENDPOINTS), ids=" ".join)
def test_right_requests_get_answers_that_fit_the_document(changeable: httpx.Client, operation: tuple[str, str]) -> None:
    ask(changeable, operation, GenerationMode.POSITIVE)


@pytest.mark.parametrize("operation", sorted(ENDPOINTS - PLAIN), ids=" ".join)
def test_wrong_requests_get_answers_that_fit_the_document(changeable: httpx.Client, operation: tuple[str, str]) -> None:
    ask(changeable, operation, GenerationMode.NEGATIVE)


def ask(changeable: httpx.Client, operation: tuple[str, str], mode: GenerationMode) -> None:
    document = changeable.get("/v1/openapi.json").json()
    method, path = operation
    schema = schemathesis.openapi.from_dict(document)
    strategy = schema[path][method].as_strategy(generation_mode=mode)
    present = changeable.get("/v1/subjects").json()["subjects"][0]["id"]
    photo = changeable.get(f"/v1/subjects/{present}/photos").json()["photos"][0]["id"]

    @settings(max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, suppress_health_check=QUIET)
    @given(strategy)
    def check(case: schemathesis.Case[Any]) -> None:
        if mode is GenerationMode.POSITIVE and case.path_parameters:  # or nearly all ids would be nobody's
            known = {"id": photo if "/photos/{id}" in path else present, "photo_id": photo}
            case.path_parameters = {name: known[name] for name in case.path_parameters}
        case.call_and_validate(base_url=str(changeable.base_url).rstrip("/"), checks=CHECKS)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tools and what they are built on
        check()
