"""The index on disk: `index.cache`, written whole and proven whole, beside the vectors of `vector_file`.

FAISS reads damaged files without complaint and then returns the wrong people, so its own format is not used:

    8 bytes   b"FSINDEX3"
    4 bytes   length of the header, little-endian
    header    JSON: revision and generation (hex), model_id, kind, count, dimension; blanks align the payload
    payload   for each row of the vector file: template id int64 (-1: removed), the template's checksum in the
              database uint32, CRC-32 of the vector uint32; for a two-stage index also sketch float32, and the codes
    32 bytes  SHA-256 of everything before

The revision is the database's when the index equalled it. Where it still is, the cache is used as it is; else the
mirror catches up. A cache and a vector file of different generations belong to different states and are useless.

Both files change only while writers of the database are held off, and there is no cache while rows that it tells of
change. A process that dies at any moment leaves a sound pair of files or none.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import struct
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from facesearch.errors import CorruptGalleryError
from facesearch.files import INDEX_CACHE_NAME, INDEX_VECTORS_NAME, fsync_folder, lock_file, remove_index_cache
from facesearch.index.vector_file import MappedVectors, change_vectors, damaged, map_vectors, write_vectors
from facesearch.types import IndexKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from numpy.typing import NDArray

    from facesearch.types import Ids, Vectors

MAGIC: Final = b"FSINDEX3"
TEMPORARY_PREFIX: Final = ".index-"
ALIGNMENT: Final = 64
"""Bytes: arrays of the payload can be used where they lie."""
NO_REVISION: Final = b""
"""The revision of files that no state of the database equals."""


class FilesReplacedError(Exception):
    """Another process has written the files since the index was loaded: load it anew, and catch up."""


@dataclass(frozen=True, slots=True, eq=False)
class Stamp:
    """The state of the database that an index equals."""

    revision: bytes
    model_id: str
    checksums: NDArray[np.uint32]
    """(n,) of the templates, in order of id. An id alone does not prove that the vector is the same."""


class Head(NamedTuple):
    """The part of a cache that tells it from others."""

    generation: bytes
    rows: int
    revision: bytes
    kind: IndexKind


@dataclass(frozen=True, eq=False)
class Cache:
    """The content of `index.cache`; arrays have an entry for each row of the vector file."""

    revision: bytes
    model_id: str
    generation: bytes
    kind: IndexKind
    dimension: int
    ids: Ids
    checksums: NDArray[np.uint32]
    vector_checksums: NDArray[np.uint32]
    sketches: NDArray[np.float32]
    """Empty where a flat index wrote the files, as `codes` are."""
    codes: Sequence[NDArray[np.uint8]]
    """The bytes of the codes, in any number of pieces."""

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """The rows that are not removed, in order of id; `CorruptGalleryError` where two have the same id."""
        order = np.argsort(self.ids, kind="stable")
        rows: NDArray[np.int64] = order[int(np.count_nonzero(self.ids == -1)) :]
        if not bool(np.all(np.diff(self.ids[rows]) > 0)):
            raise CorruptGalleryError("An index cannot hold two vectors of one id.", "Run: facesearch reindex")
        return rows

    def without(self, rows: NDArray[np.int64], revision: bytes) -> Cache:
        """Return the cache of another revision in which these rows are removed."""
        codes, sketches = self.codes, self.sketches
        if len(codes):
            from facesearch.index.quantizer import blank_codes  # FAISS

            codes, sketches = blank_codes(codes[0], len(self.ids), self.dimension, rows), _with(sketches, rows, 0)
        return replace(
            self,
            revision=revision,
            ids=_with(self.ids, rows, -1),
            checksums=_with(self.checksums, rows, 0),
            vector_checksums=_with(self.vector_checksums, rows, 0),
            sketches=sketches,
            codes=codes,
        )

    def parts(self) -> tuple[bytes | memoryview, ...]:
        """Return the bytes of the file up to its SHA-256."""
        header = {
            "revision": self.revision.hex(),
            "model_id": self.model_id,
            "generation": self.generation.hex(),
            "kind": self.kind,
            "count": len(self.ids),
            "dimension": self.dimension,
        }
        encoded = json.dumps(header).encode()
        encoded += b" " * (-(len(MAGIC) + 4 + len(encoded)) % ALIGNMENT)
        return (
            MAGIC + struct.pack("<I", len(encoded)) + encoded,
            np.ascontiguousarray(self.ids, "<i8").data.cast("B"),
            np.ascontiguousarray(self.checksums, "<u4").data.cast("B"),
            np.ascontiguousarray(self.vector_checksums, "<u4").data.cast("B"),
            np.ascontiguousarray(self.sketches, "<f4").data.cast("B"),
            *(each.data for each in self.codes),
        )


def _with(values: NDArray[Any], rows: NDArray[np.int64], value: int) -> NDArray[Any]:
    changed = values.copy()
    changed[rows] = value
    return changed


class CacheFile:
    """The two files in a folder. Writers of the database are held off while they change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / INDEX_CACHE_NAME

    def size(self) -> int:
        """Return the bytes of both files."""
        files = (self.path, self.folder / INDEX_VECTORS_NAME)
        return sum(file.stat().st_size for file in files if file.is_file())

    def head(self) -> Head | None:
        """Return the head of the cache, unproven: enough to see that another process has written it."""
        try:
            with self.path.open("rb") as file:
                magic, (length,) = file.read(len(MAGIC)), struct.unpack("<I", file.read(4))
                header: dict[str, Any] = json.loads(file.read(length)) if magic == MAGIC else {}
            generation, revision = bytes.fromhex(header["generation"]), bytes.fromhex(header["revision"])
            return Head(generation, int(header["count"]), revision, IndexKind(header["kind"]))
        except (OSError, ValueError, KeyError, TypeError, struct.error):
            return None

    def open(self) -> tuple[Cache, MappedVectors] | None:
        """Return the cache and its vectors, if there is one; `CorruptGalleryError` where they are not as written."""
        head = self.head()
        try:
            return self._open()
        except CorruptGalleryError:
            if self.head() == head:
                raise
        return self._open()  # another process has put new files in place between the one and the other

    def _open(self) -> tuple[Cache, MappedVectors] | None:
        cache = self._read()
        return None if cache is None else (cache, self.map(cache))

    def map(self, cache: Cache) -> MappedVectors:
        """Map the vectors of a cache."""
        return map_vectors(self.folder, cache.generation, cache.dimension, cache.vector_checksums, cache.sketches)

    def _read(self) -> Cache | None:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise damaged(self.path, f"it cannot be read ({error.strerror})") from error
        if len(data) < len(MAGIC) + 4 + 32 or not data.startswith(MAGIC):
            raise damaged(self.path, "it is not an index cache of this version")
        body = memoryview(data)[:-32]
        if hashlib.sha256(body).digest() != data[-32:]:
            raise damaged(self.path, "its SHA-256 does not match")
        start = len(MAGIC) + 4
        (length,) = struct.unpack("<I", body[len(MAGIC) : start])
        try:
            return _parsed(json.loads(bytes(body[start : start + length])), body[start + length :])
        except (ValueError, KeyError, TypeError) as error:
            raise damaged(self.path, "its content does not match its header") from error

    def create(self, cache: Cache, blocks: Iterable[Vectors], current: AbstractContextManager[bool]) -> bool:
        """Write both files anew where `current` agrees, and return whether it did; see `LocalIndex.save`."""
        with unpublished(self.folder) as (rows, rows_path), unpublished(self.folder) as (file, path):
            write_vectors(rows, cache.generation, blocks)
            _write_proven(file, cache.parts())
            with current as wanted:
                if wanted:
                    self._leave_none()
                    rows_path.replace(self.folder / INDEX_VECTORS_NAME)
                    path.replace(self.path)
                    fsync_folder(self.folder)
        return wanted

    def extend(
        self,
        cache: Cache,
        known: int,
        recent: Vectors,
        gone: NDArray[np.int64],
        current: AbstractContextManager[bool],
    ) -> bool:
        """Append the rows after `known`, blank the rows `gone`, and replace the cache, where `current` agrees.

        Returns whether that was done: not where another process has written since, either.
        """
        with unpublished(self.folder) as (file, path):
            _write_proven(file, cache.parts())
            with current as wanted:
                head = self.head()
                if not wanted or head is None or head[:2] != (cache.generation, known):
                    return False
                self._replace(path, known, gone, recent)
        return True

    def erase(self, ids: Ids, before: bytes, after: bytes) -> None:
        """Take templates out of the files for good, while a transaction that removes them is open.

        `before` and `after` are the database's revisions without the removal and with it. Files that are of neither are
        of no state afterwards: should the removal be undone, they lack templates that nothing since their revision
        touched. Where the rows cannot be blanked, the files go. Raises `OSError` where they cannot be removed.
        """
        try:
            cache = self._read()
            if cache is not None:
                self.map(cache)
        except CorruptGalleryError:
            cache = None
        if cache is None:
            remove_index_cache(self.folder)
            return
        rows = np.flatnonzero(np.isin(cache.ids, ids))
        kept = cache.without(rows, after if cache.revision == before else NO_REVISION)
        try:
            with unpublished(self.folder) as (file, path):
                _write_proven(file, kept.parts())
                self._replace(path, len(cache.ids), rows, np.empty((0, cache.dimension), np.float32))
        except OSError:  # a full disk, say
            remove_index_cache(self.folder)

    def _replace(self, path: Path, known: int, gone: NDArray[np.int64], appended: Vectors) -> None:
        """Change rows, and put the cache at `path`, which is of these rows, in place."""
        if len(gone):
            self._leave_none()
        change_vectors(self.folder, known, gone, appended)
        path.replace(self.path)
        fsync_folder(self.folder)

    def _leave_none(self) -> None:
        """Remove the cache: a process that dies before the next one is in place leaves no wrong one."""
        self.path.unlink(missing_ok=True)
        fsync_folder(self.folder)


def new_generation() -> bytes:
    """Return 16 random bytes."""
    return secrets.token_bytes(16)


def _parsed(header: dict[str, Any], payload: memoryview) -> Cache:
    """Raises `ValueError`, `KeyError` or `TypeError`."""
    kind, count, dimension = IndexKind(header["kind"]), int(header["count"]), int(header["dimension"])
    coded = kind == IndexKind.TWO_STAGE
    if count < 0 or dimension < 1 or (not coded and len(payload) != 16 * count):
        raise ValueError
    return Cache(
        bytes.fromhex(header["revision"]),
        str(header["model_id"]),
        bytes.fromhex(header["generation"]),
        kind,
        dimension,
        ids=np.frombuffer(payload, "<i8", count).astype(np.int64),
        checksums=np.frombuffer(payload, "<u4", count, 8 * count).astype(np.uint32),
        vector_checksums=np.frombuffer(payload, "<u4", count, 12 * count).astype(np.uint32),
        sketches=np.frombuffer(payload, "<f4", count * coded, 16 * count * coded).astype(np.float32),
        codes=[np.frombuffer(payload, np.uint8, offset=(16 + 4 * coded) * count)] if coded else [],
    )


@contextmanager
def unpublished(folder: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """Give a new file (0600) that goes unless it is renamed, and that others leave alone while its writer lives."""
    descriptor, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, suffix=".tmp", dir=folder)  # created 0600
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            with suppress(OSError):  # some network file systems have no locks; the rename is atomic all the same
                lock_file(file.fileno())
            yield file, temporary
    finally:
        temporary.unlink(missing_ok=True)


def _write_proven(file: BinaryIO, parts: Iterable[bytes | memoryview]) -> None:
    """Write these bytes and the SHA-256 of all, durably."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
        file.write(part)
    file.write(digest.digest())
    file.flush()
    os.fsync(file.fileno())


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of writers that died. A living writer holds a lock on its file, and keeps it."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*.tmp"):
        with suppress(OSError):  # another process finished or removed it in the meantime, or is still writing
            with path.open("rb") as file:
                lock_file(file.fileno())
            path.unlink()
