"""Thumbnails of the faces in a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facesearch.errors import PhotoError
from facesearch.vision.photo import read_photo_bytes
from facesearch.vision.thumbnail import thumbnail

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from facesearch.types import Face


def thumbnails(shown: Mapping[str, tuple[Path | bytes, Face | None]]) -> dict[str, bytes]:
    """JPEG bytes by name; a photo that is gone or cannot be read is left out: the page then shows an empty frame."""
    pictures: dict[str, bytes] = {}
    for name, (photo, face) in shown.items():
        try:
            data = photo if isinstance(photo, bytes) else read_photo_bytes(photo)
            x1, y1, x2, y2 = face.box.tolist() if face else (0.0, 0.0, 0.0, 0.0)
            pictures[name] = thumbnail(data, (x1, y1, x2, y2) if face else None)
        except PhotoError:
            continue
    return pictures
