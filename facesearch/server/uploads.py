"""Photos out of a request: a multipart form, or one photo as the body itself. Never on disk, never named by a path."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from facesearch.errors import ConfigError
from facesearch.names import printable
from facesearch.server.batching import Upload
from facesearch.server.options import MAX_PHOTOS
from facesearch.server.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import Request

MAX_NAME: Final = 255
"""Characters of a photo's name that are kept."""
MAX_FIELD: Final = 64 * 2**10
"""Bytes of a text field."""
WHERE_EXAMPLE: Final = "where=team=design"


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """What a request carries."""

    photos: tuple[Upload, ...]
    fields: dict[str, str] = field(default_factory=dict)


class _InMemory(MultiPartParser):
    """Photos are biometric data: they are not spooled to a temporary file."""

    spool_max_size = 2**40


async def read_form(request: Request, *texts: str, files: Sequence[str] = ("photo",)) -> Form:
    """The photos and text fields of a multipart form, or the body as one photo; at least one photo.

    `texts` and `files` are the names of all fields that a form may have; photos come in the order of `files`. What a
    photo holds is not looked at: an empty one is refused by whoever decodes it. Raises `Problem`: 413 for too much, 415
    for another kind of body, 422 for a form without photos or with other fields.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    request.state.body.expect_photos()
    if kind == "multipart/form-data":
        form = await _read_multipart(request, texts, files)
    elif kind.startswith("image/") or kind in {"application/octet-stream", ""}:
        data = await request.body()
        form = Form((Upload("photo", data),) if data else ())
    else:
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            f"A body of the type {kind} cannot be read.",
            "Send a multipart form with fields `photo`, or a photo as image/jpeg or application/octet-stream.",
        )
    if not form.photos:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", "The request holds no photo.")
    return form


async def _read_multipart(request: Request, texts: Sequence[str], files: Sequence[str]) -> Form:
    parser = _InMemory(
        request.headers, request.stream(), max_files=MAX_PHOTOS, max_fields=MAX_PHOTOS, max_part_size=MAX_FIELD
    )
    try:
        parsed = await parser.parse()
    except (MultiPartException, KeyError, UnicodeDecodeError) as error:  # KeyError: no boundary
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "invalid_request",
            f"The form cannot be read: {error}",
            f"At most {MAX_PHOTOS} photos go into one request.",
        ) from error
    try:
        return await _sorted(parsed, texts, files)
    finally:
        await parsed.close()


async def _sorted(parsed: FormData, texts: Sequence[str], files: Sequence[str]) -> Form:
    """The parts of a form by their names."""
    photos: list[tuple[int, Upload]] = []
    fields: dict[str, str] = {}
    for name, value in parsed.multi_items():
        if isinstance(value, UploadFile) and name in files:
            photos.append((files.index(name), Upload(_clean(value.filename), await value.read())))
        elif isinstance(value, str) and name in texts:
            fields[name] = value
        else:
            kind = "text" if isinstance(value, str) else "file"
            raise ConfigError(
                f"The form has a {kind} field {name!r}, which nothing reads.",
                f"Files go into {' and '.join(files)}. Texts: {', '.join(texts) or 'none'}.",
            )
    return Form(tuple(photo for _, photo in sorted(photos, key=lambda each: each[0])), fields)


def _clean(name: str | None) -> str:
    """A name that can be shown anywhere: printable, not too long."""
    return printable(name or "")[:MAX_NAME] or "photo"


def parse_attributes(text: str | None) -> dict[str, str]:
    """A JSON object of strings. Raises `ConfigError`."""
    try:
        found: Any = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ConfigError("The attributes are not a JSON object of strings.", 'For example: {"team": "design"}')
    return found
