"""Thumbnails of the faces in a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from facesearch.errors import PhotoError
from facesearch.recognition.photo import read_photo_bytes
from facesearch.recognition.thumbnail import thumbnail

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    Box: TypeAlias = tuple[float, float, float, float]


def thumbnails(shown: Mapping[str, tuple[Path | bytes, Box | None]]) -> dict[str, bytes]:
    """JPEG bytes by name, of the face in the box (x1, y1, x2, y2) or of the whole photo.

    A photo that is gone or cannot be read is left out: the page then shows an empty frame.
    """
    pictures: dict[str, bytes] = {}
    for name, (photo, box) in shown.items():
        try:
            pictures[name] = thumbnail(photo if isinstance(photo, bytes) else read_photo_bytes(photo), box)
        except PhotoError:
            continue
    return pictures
