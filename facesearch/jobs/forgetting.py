"""Removing people's photos from the cache of evaluations."""

from __future__ import annotations

import hashlib
import os
from io import BytesIO
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from facesearch.errors import FaceSearchError

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from pathlib import Path


def forget_embeddings(root: Path, hashes: AbstractSet[str]) -> tuple[int, list[Path]]:
    """Remove the vectors of photos with these hashes (hex SHA-256) from every folder of the cache.

    Returns how many there were and the files that held them. A file that cannot be read goes as a whole: it is made
    again when it is needed. Raises `FaceSearchError` where a file cannot be removed.
    """
    removed, changed = 0, []
    for file in sorted(root.glob("*/*.npz")):
        try:
            found = _forget(file, hashes)
        except OSError as error:
            raise FaceSearchError(
                f"{file} may hold vectors of somebody who is to be forgotten, and cannot be changed: {error.strerror}.",
                "Remove that file.",
            ) from error
        if found:
            removed += found
            changed.append(file)
    return removed, changed


def _forget(file: Path, hashes: AbstractSet[str]) -> int:
    try:
        data = file.read_bytes()
        with np.load(BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        kept = np.array([sha256 not in hashes for sha256 in arrays["sha256"].tolist()], np.bool)
        rest = {name: values[kept] for name, values in arrays.items()}
    except (ValueError, KeyError, IndexError, BadZipFile):
        file.unlink()
        return 0
    if kept.all():
        return 0
    if kept.any():
        buffer = BytesIO()
        np.savez(buffer, **rest)
        _write(file.parent / f"{hashlib.sha256(buffer.getvalue()).hexdigest()}.npz", buffer.getvalue())
    file.unlink()
    return int(len(kept) - kept.sum())


def _write(file: Path, data: bytes) -> None:
    unfinished = file.with_suffix(".tmp")
    try:
        with os.fdopen(os.open(unfinished, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as out:
            out.write(data)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
