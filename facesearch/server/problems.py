"""Errors as `application/problem+json` (RFC 9457), with the reason codes of the command line."""

from __future__ import annotations

import logging
import re
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from facesearch.errors import (
    ConfigError,
    FaceCountError,
    FaceSearchError,
    GalleryError,
    PhotoError,
    SubjectExistsError,
    UndoError,
    UnknownPhotoError,
    UnknownSubjectError,
)
from facesearch.names import printable
from facesearch.records import ProblemRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fastapi import FastAPI, Request

log = logging.getLogger("facesearch.server")

MEDIA_TYPE: Final = "application/problem+json"
_SCHEMA: Final = "#/components/schemas/ProblemRecord"
STATUS: Final[dict[type, HTTPStatus]] = {
    PhotoError: HTTPStatus.UNPROCESSABLE_ENTITY,
    FaceCountError: HTTPStatus.UNPROCESSABLE_ENTITY,
    ConfigError: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnknownSubjectError: HTTPStatus.NOT_FOUND,
    UnknownPhotoError: HTTPStatus.NOT_FOUND,
    SubjectExistsError: HTTPStatus.CONFLICT,
    UndoError: HTTPStatus.CONFLICT,
}
"""Errors that the caller can mend."""


class Problem(HTTPException):
    """What goes wrong in the server itself, as it is answered. FastAPI lets it through while it reads a body."""

    def __init__(
        self,
        status: HTTPStatus,
        reason: str,
        detail: str,
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        # The detail may quote what was sent, which need not be text that can be sent back.
        super().__init__(status, printable(detail), headers)
        self.reason = reason
        self.hint = hint

    def response(self) -> JSONResponse:
        """The HTTP response."""
        content = ProblemRecord(
            type="about:blank",
            title=HTTPStatus(self.status_code).phrase,
            status=self.status_code,
            reason=self.reason,
            detail=self.detail,
            hint=self.hint,
        )
        return JSONResponse(content.model_dump(), self.status_code, self.headers, MEDIA_TYPE)


def not_found(detail: str) -> Problem:
    """404."""
    return Problem(HTTPStatus.NOT_FOUND, "not_found", detail)


def busy(detail: str, seconds: int = 1) -> Problem:
    """429: the client is to come back after so many seconds."""
    return Problem(HTTPStatus.TOO_MANY_REQUESTS, "busy", detail, "Ask again later.", {"Retry-After": str(seconds)})


def describe(error: FaceSearchError) -> Problem:
    """Describe an error of the engine: 4xx where the caller can mend it, 503 where only the operator can."""
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), HTTPStatus.SERVICE_UNAVAILABLE)
    return Problem(status, str(error.reason), error.message, error.hint)


def install(app: FastAPI) -> None:
    """Answer every error as a problem."""

    @app.exception_handler(FaceSearchError)
    async def engine_error(request: Request, error: FaceSearchError) -> JSONResponse:
        described = describe(error)
        if isinstance(error, GalleryError) and not request.state.caller.reads:  # its message may name people
            described.detail, described.hint = _TEXT_OF[described.status_code], None
        if described.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            log.error("%s: %s", type(error).__name__, error.message)
        return described.response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        problems = "; ".join(_validation_text(each) for each in error.errors())
        return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", problems).response()

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        if isinstance(error, Problem):
            return error.response()
        status = HTTPStatus(error.status_code)
        reason = re.sub(r"\W+", "_", status.phrase).lower()
        return Problem(status, reason, str(error.detail), headers=error.headers).response()

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        log.error("Unexpected: %s", type(error).__name__)
        closing = {"Connection": "close"}  # uvicorn closes it, which clients are to know
        return Problem(
            HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "The server failed.", headers=closing
        ).response()

    app.openapi = partial(_describe, app, app.openapi)  # type: ignore[method-assign]


def _describe(app: FastAPI, generate: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The OpenAPI document with errors as what they are; FastAPI describes every answer as application/json."""
    if app.openapi_schema is None:
        operations = (each for methods in generate()["paths"].values() for each in methods.values())
        for responses in (each["responses"] for each in operations):
            for code in (each for each in responses if each >= "400"):
                responses[code]["content"] = {MEDIA_TYPE: {"schema": {"$ref": _SCHEMA}}}
    return generate()


def _validation_text(error: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in error["loc"][1:]) or str(error["loc"][0])
    return f"{place}: {error['msg']}"


# -- how bodies and errors stand in the OpenAPI document, where FastAPI cannot tell them from the code

_BINARY: Final = {"type": "string", "format": "binary"}
_PHOTOS: Final = {"type": "array", "minItems": 1, "items": _BINARY, "description": "One or more photos."}
_TEXTS: Final[dict[str, dict[str, Any]]] = {
    "subject": {"type": "string", "description": "The person's name.", "examples": ["Ada Lovelace"]},
    "attributes": {"type": "string", "description": "A JSON object of strings.", "examples": ['{"team": "analysis"}']},
    "faces": {
        "type": "string",
        "pattern": "^(single|largest|all|[0-9]{1,6})$",
        "default": "single",
        "description": "single, largest, all, or the number of a face: from 1 on, best detection first.",
        "examples": ["single", "1"],
    },
    "strict": {"type": "string", "enum": ["true", "false"], "description": "Reject photos that match somebody else."},
    "bring_back_erased": {
        "type": "string",
        "enum": ["true", "false"],
        "description": "Enroll people who were forgotten as well. It takes the scope delete.",
    },
    "any_quality": {"type": "string", "enum": ["true", "false"], "description": "Take poor photos as well."},
}


def photos_body(*texts: str, required: tuple[str, ...] = (), raw: bool = True) -> dict[str, Any]:
    """A body of photos: a multipart form with these text fields, or with `raw` one photo as it is."""
    properties: dict[str, Any] = {"photo": _PHOTOS, **{name: _TEXTS[name] for name in texts}}
    form = {"schema": {"type": "object", "required": ["photo", *required], "properties": properties}}
    single = {"image/*": {"schema": _BINARY}, "application/octet-stream": {"schema": _BINARY}} if raw else {}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": form, **single}}}


PAIR_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["a", "b"], "properties": {"a": _BINARY, "b": _BINARY}}
            }
        },
    }
}

_TEXT_OF: Final = {
    400: "The request is not valid HTTP.",
    401: "No valid key.",
    403: "The key lacks the scope, or the request comes from another site's page.",
    404: "It does not exist.",
    408: "The request took too long to arrive.",
    409: "The name is taken, or the same was changed again since.",
    413: "The request or a photo is too large.",
    415: "A body of this type cannot be read.",
    421: "The Host header names another server.",
    422: "The request or a photo cannot be used; `reason` says why.",
    429: "Too much at once: come back after `Retry-After` seconds.",
    431: "The headers are too large.",
    503: "The gallery or the models cannot be used at the moment.",
}


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The errors an endpoint answers with, beside those that every one does."""
    return {
        code: {"model": ProblemRecord, "description": _TEXT_OF[code]}
        for code in sorted({400, 401, 403, 421, 422, 431, 503, *codes})
    }
