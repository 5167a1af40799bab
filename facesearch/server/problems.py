"""Errors as `application/problem+json` (RFC 9457), with the reason codes of the command line."""

from __future__ import annotations

import logging
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from facesearch.errors import (
    ConfigError,
    FaceSearchError,
    ModelMismatchError,
    MultipleFacesError,
    NoFaceError,
    PhotoError,
    SubjectExistsError,
    UndoError,
    UnknownSubjectError,
)
from facesearch.names import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI, Request

log = logging.getLogger("facesearch.server")

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):  # noqa: N818  # the name RFC 9457 has for it
    """What goes wrong in the server itself, as it is answered."""

    def __init__(
        self,
        status: HTTPStatus,
        reason: str,
        detail: str,
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = printable(detail)  # it may quote what was sent, which need not be text that can be sent back
        self.hint = hint
        self.headers = headers or {}

    def response(self) -> JSONResponse:
        """The HTTP response."""
        content = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "reason": self.reason,
            "detail": self.detail,
            "hint": self.hint,
        }
        return JSONResponse(content, self.status.value, dict(self.headers), MEDIA_TYPE)


def not_found(detail: str) -> Problem:
    """404."""
    return Problem(HTTPStatus.NOT_FOUND, "not_found", detail)


def busy(detail: str, seconds: int = 1) -> Problem:
    """429: the client is to come back after so many seconds."""
    return Problem(HTTPStatus.TOO_MANY_REQUESTS, "busy", detail, "Ask again later.", {"Retry-After": str(seconds)})


def describe(error: FaceSearchError) -> Problem:
    """An error of the engine as a problem: what the caller can mend is 4xx, what only the operator can is 503."""
    status, reason = _classify(error)
    return Problem(status, reason, error.message, error.hint)


def _classify(error: FaceSearchError) -> tuple[HTTPStatus, str]:
    match error:
        case PhotoError():
            return HTTPStatus.UNPROCESSABLE_ENTITY, str(error.reason)
        case NoFaceError():
            return HTTPStatus.UNPROCESSABLE_ENTITY, "face_not_found"
        case MultipleFacesError():
            return HTTPStatus.UNPROCESSABLE_ENTITY, "multiple_faces"
        case UnknownSubjectError():
            return HTTPStatus.NOT_FOUND, "unknown_subject"
        case SubjectExistsError():
            return HTTPStatus.CONFLICT, "subject_exists"
        case UndoError():
            return HTTPStatus.CONFLICT, "cannot_undo"
        case ModelMismatchError():
            return HTTPStatus.SERVICE_UNAVAILABLE, "model_mismatch"
        case ConfigError():
            return HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request"
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__.removesuffix("Error")).lower()
    return HTTPStatus.SERVICE_UNAVAILABLE, name


def install(app: FastAPI) -> None:
    """Answer every error as a problem."""

    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> JSONResponse:
        return error.response()

    @app.exception_handler(FaceSearchError)
    async def engine_error(_: Request, error: FaceSearchError) -> JSONResponse:
        described = describe(error)
        if described.status is HTTPStatus.SERVICE_UNAVAILABLE:
            log.error("%s: %s", type(error).__name__, error.message)
        return described.response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        problems = "; ".join(_validation_text(each) for each in error.errors())
        return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", problems).response()

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        status = HTTPStatus(error.status_code)
        reason = re.sub(r"\W+", "_", status.phrase).lower()
        return Problem(status, reason, str(error.detail), headers=error.headers or {}).response()

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        log.error("Unexpected: %s", type(error).__name__)
        return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "The server failed.").response()


def _validation_text(error: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in error["loc"][1:]) or str(error["loc"][0])
    return f"{place}: {error['msg']}"
