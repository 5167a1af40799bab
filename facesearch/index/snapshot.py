"""The index cache on disk: written whole, verified whole, never trusted otherwise.

FAISS reads damaged files without complaint and then returns the wrong people, so its own format is not used. A
snapshot is plain arrays behind a header, and a SHA-256 over all of it:

    8 bytes   b"FSINDEX1"
    4 bytes   length of the header, little-endian
    header    JSON: token (hex), model_id, count, dimension; padded with blanks so that the payload is aligned
    payload   ids int64[count], checksums uint32[count], vectors float32[count, dimension], little-endian
    32 bytes  SHA-256 of everything before

The token is the database's (`revision.token`): where it equals the database's, the snapshot is used as it is; else the
templates that were touched since are read anew, or where that is not known, all are compared (`live_index`).
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facesearch.errors import CorruptGalleryError
from facesearch.files import INDEX_CACHE_NAME, INDEX_VECTORS_NAME, fsync_folder, lock_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from numpy.typing import NDArray

    from facesearch.types import Ids, Vectors

MAGIC = b"FSINDEX1"
TEMPORARY_PREFIX = ".index-"
ALIGNMENT = 64
"""Bytes: arrays of the payload can be used where they lie."""


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """Everything an index holds at one revision of the database."""

    token: bytes
    model_id: str
    ids: Ids
    """(n,) template ids."""
    checksums: NDArray[np.uint32]
    """(n,) the templates' checksums in the database: an id alone does not prove that the vector is the same."""
    vectors: Vectors
    """(n, d)."""


def write_snapshot(folder: Path, snapshot: Snapshot, current: AbstractContextManager[bool]) -> bool:
    """Replace the cache file atomically and durably; readable by the owner alone. Returns whether it was replaced.

    `current` holds writers of the database off and says whether the snapshot still is of the database's state: without
    it, a slow writer could put templates back on disk that another process has removed for good meanwhile.
    """
    with unpublished(folder) as (file, temporary):
        write_proven(file, _parts(snapshot))
        with current as wanted:
            if wanted:
                temporary.replace(folder / INDEX_CACHE_NAME)
                (folder / INDEX_VECTORS_NAME).unlink(missing_ok=True)
                fsync_folder(folder)
    return wanted


@contextmanager
def unpublished(folder: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file (0600) that goes unless it is renamed, and that others leave alone while its writer lives."""
    descriptor, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, suffix=".tmp", dir=folder)  # created 0600
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            with suppress(OSError):  # some network file systems have no locks; the rename is atomic all the same
                lock_file(file.fileno())
            yield file, temporary
    finally:
        temporary.unlink(missing_ok=True)


def write_proven(file: BinaryIO, parts: Iterable[bytes | memoryview]) -> None:
    """Write these bytes and the SHA-256 of all, durably."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
        file.write(part)
    file.write(digest.digest())
    file.flush()
    os.fsync(file.fileno())


def _parts(snapshot: Snapshot) -> tuple[bytes | memoryview, ...]:
    header: dict[str, str | int] = {
        "token": snapshot.token.hex(),
        "model_id": snapshot.model_id,
        "count": int(snapshot.vectors.shape[0]),
        "dimension": int(snapshot.vectors.shape[1]),
    }
    return (
        encode_header(MAGIC, header),
        np.ascontiguousarray(snapshot.ids, "<i8").data.cast("B"),
        np.ascontiguousarray(snapshot.checksums, "<u4").data.cast("B"),
        np.ascontiguousarray(snapshot.vectors.reshape(-1), "<f4").data.cast("B"),
    )


def encode_header(magic: bytes, header: Mapping[str, str | int]) -> bytes:
    """The magic number, the header's length and the header, padded so that what follows is aligned."""
    encoded = json.dumps(header).encode()
    encoded += b" " * (-(len(magic) + 4 + len(encoded)) % ALIGNMENT)
    return magic + struct.pack("<I", len(encoded)) + encoded


def read_snapshot(folder: Path) -> Snapshot | None:
    """The cache, if there is one; `CorruptGalleryError` when any byte of it is not as written."""
    body = read_proven(folder, MAGIC)
    return None if body is None else _parse(folder / INDEX_CACHE_NAME, body)


def read_proven(folder: Path, magic: bytes) -> memoryview | None:
    """The cache without its SHA-256, if there is one; `CorruptGalleryError` when any byte of it is not as written."""
    path = folder / INDEX_CACHE_NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise damaged(path, f"it cannot be read ({error.strerror})") from error
    if len(data) < len(MAGIC) + 4 + 32 or not data.startswith(magic):
        raise damaged(path, "it is no index cache of this version")
    body = memoryview(data)[:-32]
    if hashlib.sha256(body).digest() != data[-32:]:
        raise damaged(path, "its SHA-256 does not match")
    return body


def _parse(path: Path, body: memoryview) -> Snapshot:
    start = len(MAGIC) + 4
    (length,) = struct.unpack("<I", body[len(MAGIC) : start])
    try:
        header = json.loads(bytes(body[start : start + length]))
        token, model_id = bytes.fromhex(header["token"]), str(header["model_id"])
        count, dimension = int(header["count"]), int(header["dimension"])
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(path, "its header cannot be read") from error
    payload = body[start + length :]
    if count < 0 or dimension < 1 or len(payload) != count * (8 + 4 + 4 * dimension):
        raise damaged(path, "its length does not match its header")
    ids = np.frombuffer(payload[: 8 * count], "<i8")
    checksums = np.frombuffer(payload[8 * count : 12 * count], "<u4")
    vectors = np.frombuffer(payload[12 * count :], "<f4").reshape(count, dimension)
    return Snapshot(
        token,
        model_id,
        ids.astype(np.int64, copy=False),
        checksums.astype(np.uint32, copy=False),
        vectors.astype(np.float32, copy=False),
    )


def damaged(path: Path, why: str) -> CorruptGalleryError:
    """The error that says why a cache is not believed."""
    return CorruptGalleryError(f"The index cache {path} is not usable: {why}.", "Run: facesearch reindex")


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of writers that died. A living writer holds a lock on its file, and keeps it."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*.tmp"):
        with suppress(OSError):  # another process finished or removed it in the meantime, or is still writing
            with path.open("rb") as file:
                lock_file(file.fileno())
            path.unlink()
