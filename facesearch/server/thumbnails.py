"""Small pictures of enrolled faces, cut from the photo file: by id only, and only from the very bytes enrolled."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from facesearch.errors import PhotoError
from facesearch.gallery.uploads import is_upload
from facesearch.vision.photo import read_photo_bytes
from facesearch.vision.thumbnail import thumbnail

if TYPE_CHECKING:
    from facesearch.gallery.directory import PhotoDetail


def picture(photo: PhotoDetail) -> bytes | None:
    """A JPEG of the photo's first face; None where its file is gone or has other bytes now."""
    if is_upload(photo.path):
        return None
    try:
        data = read_photo_bytes(photo.path)
        if hashlib.sha256(data).hexdigest() != photo.sha256:
            return None
        return thumbnail(data, photo.faces[0].box)
    except PhotoError:
        return None
