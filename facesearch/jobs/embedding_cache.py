"""The vectors of photos that were embedded for an evaluation, kept so that the next one is metrics only.

One folder per model and settings; in it .npz files, each named by the SHA-256 of its own bytes, so that a damaged one
is noticed, removed and made again. Nothing in them is unpickled. Vectors can be turned back into faces: folders are
0700 and files 0600. No name, path or photo is kept, only the hash of each photo's bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final
from zipfile import BadZipFile

import numpy as np

from facesearch.errors import FaceSearchError
from facesearch.types import Face, Quality, Template, Vector

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from numpy.typing import NDArray

FORMAT: Final = 1
"""Part of every folder's name: to be raised with any change of what is kept, or of how a policy chooses a face."""
_MEASURES: Final = 19
"""Numbers kept of a face: box 4, landmarks 10, detection score, size, sharpness, yaw, roll."""


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """What became of one photo: a template, or the reason why there is none."""

    sha256: str
    """Of the photo's bytes, in hex; empty where it could not be read."""
    template: Template | None
    reason: str = ""
    """A value of `facesearch.types.Reason`; empty where there is a template."""
    faces: int = 0
    """Faces the detector found."""

    @property
    def vector(self) -> Vector | None:
        """(d,) float32 of unit length, or None."""
        return None if self.template is None else self.template.vector

    @property
    def box(self) -> tuple[float, float, float, float] | None:
        """x1, y1, x2, y2 of the face in pixels of the upright photo, or None."""
        if self.template is None:
            return None
        x1, y1, x2, y2 = self.template.face.box.tolist()
        return x1, y1, x2, y2


def folder_name(settings: Mapping[str, Any]) -> str:
    """Names the folder of what is embedded with exactly these settings (plain JSON values)."""
    text = json.dumps([FORMAT, settings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class EmbeddingCache:
    """The embeddings of one model and settings. A cache that cannot be written stays empty; nothing fails."""

    def __init__(self, root: Path, settings: Mapping[str, Any], model_id: str, dimension: int) -> None:
        """`settings` is all that decides what a photo's embedding is."""
        self.folder = root / folder_name(settings)
        self._model_id = model_id
        self._dimension = dimension

    def load(self, wanted: Iterable[str]) -> dict[str, Embedding]:
        """What is kept of the photos with these hashes (hex SHA-256)."""
        hashes = set(wanted)
        found: dict[str, Embedding] = {}
        files = sorted(self.folder.glob("*.npz")) if hashes and self.folder.is_dir() else []
        for file in files:
            arrays = self._read(file)
            if arrays is None:
                with contextlib.suppress(OSError):
                    file.unlink()
                continue
            for row, sha256 in enumerate(arrays["sha256"].tolist()):
                if sha256 in hashes:
                    found[sha256] = self._embedding(arrays, row)
        return found

    def _read(self, file: Path) -> dict[str, NDArray[Any]] | None:
        """The arrays of a file, or None where it is not what was written."""
        try:
            data = file.read_bytes()
            if hashlib.sha256(data).hexdigest() != file.stem:
                return None
            with np.load(BytesIO(data), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in ("sha256", "reason", "faces", "vectors", "measures")}
        except (OSError, ValueError, KeyError, BadZipFile):
            return None
        count = len(arrays["sha256"])
        right = arrays["vectors"].shape == (count, self._dimension) and arrays["measures"].shape == (count, _MEASURES)
        return arrays if right else None

    def _embedding(self, arrays: Mapping[str, NDArray[Any]], row: int) -> Embedding:
        sha256, reason = str(arrays["sha256"][row]), str(arrays["reason"][row])
        faces = int(arrays["faces"][row])
        if reason:
            return Embedding(sha256, None, reason, faces)
        measures = arrays["measures"][row]
        face = Face(
            box=measures[:4].astype(np.float32),
            landmarks=measures[4:14].reshape(5, 2).astype(np.float32),
            detection_score=float(measures[14]),
        )
        quality = Quality(*(float(value) for value in measures[15:]))
        return Embedding(sha256, Template(arrays["vectors"][row], self._model_id, face, quality), "", faces)

    def keep(self, embeddings: Iterable[Embedding]) -> None:
        """Write embeddings; what has no hash is left out."""
        kept = [each for each in embeddings if each.sha256]
        if not kept:
            return
        arrays = {
            "sha256": np.array([each.sha256 for each in kept]),
            "reason": np.array([each.reason for each in kept]),
            "faces": np.array([each.faces for each in kept], np.int64),
            "vectors": np.array([self._vector(each) for each in kept], np.float32),
            "measures": np.array([_measures(each) for each in kept]),
        }
        with contextlib.suppress(OSError):
            self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.mkdir(mode=0o700, exist_ok=True)
            _write(self.folder, arrays)

    def _vector(self, embedding: Embedding) -> Vector:
        return np.zeros(self._dimension, np.float32) if embedding.vector is None else embedding.vector


def _write(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a file that carries its own SHA-256 for a name."""
    buffer = BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    unfinished = folder / f"{secrets.token_hex(8)}.tmp"
    try:
        with os.fdopen(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as out:
            out.write(buffer.getbuffer())
        unfinished.replace(folder / f"{hashlib.sha256(buffer.getbuffer()).hexdigest()}.npz")
    finally:
        unfinished.unlink(missing_ok=True)


def _measures(embedding: Embedding) -> NDArray[np.float64]:
    if embedding.template is None:
        return np.zeros(_MEASURES)
    face, quality = embedding.template.face, embedding.template.quality
    rest = (face.detection_score, quality.size, quality.sharpness, quality.yaw, quality.roll)
    return np.concatenate([face.box, face.landmarks.ravel(), rest]).astype(np.float64)


def forget_embeddings(root: Path, hashes: AbstractSet[str]) -> tuple[int, list[Path]]:
    """Remove the vectors of photos with these hashes (hex SHA-256) from every folder of the cache.

    Returns how many there were and the files that held them. A file that cannot be read goes as a whole: it is made
    again when it is needed. So does what a killed process left unfinished. Raises `FaceSearchError` where a file
    cannot be removed.
    """
    removed, changed = 0, []
    for file in sorted([*root.glob("*/*.npz"), *root.glob("*/*.tmp")]):
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
        with np.load(BytesIO(b"" if file.suffix == ".tmp" else file.read_bytes()), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        kept = np.array([sha256 not in hashes for sha256 in arrays["sha256"].tolist()], np.bool)
        rest = {name: values[kept] for name, values in arrays.items()}
    except (ValueError, KeyError, IndexError, BadZipFile, EOFError):
        file.unlink(missing_ok=True)
        return 0
    if kept.all():
        return 0
    if kept.any():
        _write(file.parent, rest)
    file.unlink()
    return int(len(kept) - kept.sum())
