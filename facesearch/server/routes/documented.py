"""How bodies and errors stand in the OpenAPI document, where FastAPI cannot tell them from the code."""

from __future__ import annotations

from typing import Any, Final

from facesearch.server.problems import MEDIA_TYPE
from facesearch.server.schemas import Problem

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
    400: "The request is no HTTP that can be understood.",
    401: "No valid key.",
    403: "The key lacks the scope, or another site's page asks.",
    404: "There is no such thing.",
    408: "The request took too long to arrive.",
    409: "The name is taken, or the same was changed again since.",
    413: "The request or a photo is too large.",
    415: "Not a kind of body that is read here.",
    421: "The Host header names another server.",
    422: "The request or a photo cannot be used; `reason` says why.",
    429: "Too much at once: come back after `Retry-After` seconds.",
    503: "The gallery or the models cannot be used at the moment.",
}


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The errors an endpoint answers with, beside those that every one does."""
    return {
        code: {"model": Problem, "description": _TEXT_OF[code], "content": {MEDIA_TYPE: {}}}
        for code in sorted({400, 401, 403, 421, 422, 503, *codes})
    }
