"""Small pictures of enrolled faces: by id only. Cut from the photo's file where it still has the very bytes that were
enrolled, else the crop that was kept of an upload.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from facesearch.errors import PhotoError
from facesearch.recognition.photo import read_photo_bytes
from facesearch.recognition.thumbnail import thumbnail
from facesearch.store.photos import is_upload
from facesearch.types import EnrollStatus

if TYPE_CHECKING:
    from facesearch.server.state import State
    from facesearch.store.directory import PhotoDetail
    from facesearch.types import EnrollOutcome


def picture(state: State, photo: PhotoDetail) -> bytes | None:
    """A JPEG of the photo's first face; None where its file is gone or has other bytes now."""
    if is_upload(photo.path):
        return state.crops.find(photo.photo_id)
    try:
        data = read_photo_bytes(photo.path)
        if hashlib.sha256(data).hexdigest() != photo.sha256:
            return None
        return thumbnail(data, photo.faces[0].box)
    except PhotoError:
        return None


def keep_crop(state: State, data: bytes, outcome: EnrollOutcome, photo_id: int | None) -> None:
    """Keep a crop of a photo that was just uploaded, where this server shows thumbnails."""
    if not state.options.thumbnails or outcome.status is not EnrollStatus.ENROLLED or photo_id is None:
        return
    photo = state.directory.photo(photo_id)
    if photo is not None and is_upload(photo.path):
        state.crops.keep(photo_id, thumbnail(data, photo.faces[0].box))
