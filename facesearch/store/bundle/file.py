"""Bundles on disk: a ZIP file with a Parquet file per table, stored as they are, and a manifest.

    models.parquet, subjects.parquet, ..., templates-<id of the model>.parquet
    erased.txt        the erasure list, as it lies beside a gallery
    manifest.json     format, version, when and of which model; bytes, SHA-256 and rows of every other member
    manifest.sig      Ed25519 signature over the bytes of manifest.json, where it was signed

The checksums find damage; the signature proves who wrote the manifest, and through it all the rest. Keys are PEM files
as `openssl` makes them.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Final, Self

import pyarrow as pa
from pyarrow import parquet

from facesearch.errors import ConfigError, CorruptGalleryError
from facesearch.store.bundle.tables import arrow_schema, from_arrow, require_rising
from facesearch.store.rows import now
from facesearch.versions import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from _typeshed import ReadableBuffer

FORMAT: Final = "facesearch-bundle"
VERSION: Final = 1
MANIFEST, SIGNATURE, ERASED = "manifest.json", "manifest.sig", "erased.txt"
ROWS: Final = 4096
"""Rows read or written at a time; of 512-d templates 8 MB."""
LARGEST_GROUP: Final = 1 << 16
"""Rows of one row group, which has to fit into memory: exports write `ROWS`, other tools may write more."""
_COPY: Final = 1 << 20
_LARGEST_MANIFEST: Final = 1 << 20
_LOCAL_HEADER: Final = struct.Struct("<26xHH")
"""A ZIP member's local header: the lengths of its name and of its extra field, which follow."""


class BundleWriter:
    """Writes a bundle into an open file, member after member. To be used in a `with` block, before the file's end."""

    def __init__(self, out: IO[bytes]) -> None:
        self._zip = zipfile.ZipFile(out, "w", zipfile.ZIP_STORED, allowZip64=True)
        self._members: dict[str, dict[str, int | str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    @contextmanager
    def table(self, name: str, columns: Mapping[str, str]) -> Iterator[Callable[[pa.RecordBatch], None]]:
        """A member of these columns; gives the function that adds rows."""
        texts = [column for column, kind in columns.items() if kind in {"text", "json"}]
        rows = 0
        with (
            self._member(name) as member,
            parquet.ParquetWriter(
                member,
                arrow_schema(columns),
                compression={column: "zstd" if column in texts else "none" for column in columns},
                use_dictionary=texts,
                write_page_checksum=True,
            ) as writer,
        ):

            def put(batch: pa.RecordBatch) -> None:
                nonlocal rows
                writer.write_batch(batch)
                rows += len(batch)

            yield put
        self._members[name]["rows"] = rows

    def text(self, name: str, text: str) -> None:
        """A member with this text."""
        with self._member(name) as member:
            member.write(text.encode())

    @contextmanager
    def _member(self, name: str) -> Iterator[_Member]:
        with self._zip.open(zipfile.ZipInfo(name), "w", force_zip64=True) as raw:
            member = _Member(raw)
            yield member
        self._members[name] = {"bytes": member.tell(), "sha256": member.digest.hexdigest()}

    def finish(self, about: Mapping[str, Any], key: Path | None) -> None:
        """Write the manifest, signed with a private key where there is one."""
        manifest = {"format": FORMAT, "version": VERSION, "created_at": now(), **about, "members": self._members}
        encoded = json.dumps(manifest, indent=1).encode()
        self._zip.writestr(MANIFEST, encoded)
        if key is not None:
            self._zip.writestr(SIGNATURE, sign(encoded, key))


class _Member(io.RawIOBase):
    """A member that is being written; counts and hashes what it gets."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._position = 0
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer) -> int:
        self.digest.update(data)
        self._raw.write(data)
        size = memoryview(data).nbytes
        self._position += size
        return size

    def tell(self) -> int:
        return self._position


class BundleReader:
    """A bundle, all of whose checksums were proven when it was opened."""

    def __init__(self, file: Path, source: IO[bytes], key: Path | None) -> None:
        self._file = file
        self._source = source
        self._members = self._members_of(zipfile.ZipFile(source))
        if not {MANIFEST, ERASED} <= self._members.keys() or self._members[MANIFEST][1] > _LARGEST_MANIFEST:
            raise ValueError("it has no manifest")
        encoded = self._bytes(MANIFEST)
        self.is_signed = SIGNATURE in self._members
        if key is not None:
            check_signature(encoded, self._bytes(SIGNATURE) if self.is_signed else None, key, file)
        self.manifest: dict[str, Any] = json.loads(encoded)
        self._require_known()
        self._require_checksums()

    @classmethod
    @contextmanager
    def open(cls, file: Path, key: Path | None = None) -> Iterator[Self]:
        """Open a bundle, and with a public key check its signature first.

        Raises `CorruptGalleryError` for what is damaged or no bundle, inside of the block too, and `ConfigError` where
        the file cannot be read.
        """
        try:
            with file.open("rb") as source:
                yield cls(file, source, key)
        except OSError as error:
            raise ConfigError(f"{file} cannot be read: {error.strerror or error}.", "Name a bundle.") from error
        except (
            zipfile.BadZipFile,
            pa.ArrowException,
            struct.error,
            KeyError,
            TypeError,
            ValueError,
            NotImplementedError,
        ) as error:
            raise CorruptGalleryError(
                f"{file} is damaged or no bundle: {error}.", "Get it again, or export the gallery again."
            ) from error

    def _members_of(self, archive: zipfile.ZipFile) -> dict[str, tuple[int, int]]:
        """Where each member's bytes begin, and how many there are."""
        found: dict[str, tuple[int, int]] = {}
        for info in archive.infolist():
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.filename in found:
                raise ValueError(f"{info.filename} is not stored as facesearch does")
            self._source.seek(info.header_offset)
            lengths = _LOCAL_HEADER.unpack(self._source.read(_LOCAL_HEADER.size))
            found[info.filename] = (info.header_offset + _LOCAL_HEADER.size + sum(lengths), info.file_size)
        return found

    def _require_known(self) -> None:
        if self.manifest["format"] != FORMAT:
            raise ValueError("it is of another format")
        if self.manifest["version"] != VERSION:
            raise CorruptGalleryError(
                f"{self._file} was written by a newer facesearch.", "Upgrade facesearch: pip install -U facesearch"
            )
        if self._members.keys() - {MANIFEST, SIGNATURE} != self.manifest["members"].keys():
            raise ValueError("it holds other files than its manifest lists")

    def _require_checksums(self) -> None:
        for name, member in self.manifest["members"].items():
            digest, source = hashlib.sha256(), self._slice(name)
            while piece := source.read(_COPY):
                digest.update(piece)
            if digest.hexdigest() != member["sha256"]:
                raise ValueError(f"the SHA-256 of {name} does not match")

    def _slice(self, name: str) -> _Slice:
        return _Slice(self._source, *self._members[name])

    def _bytes(self, name: str) -> bytes:
        return self._slice(name).read()

    @property
    def erased(self) -> str:
        """The list of people who were erased from the gallery that was exported."""
        return self._bytes(ERASED).decode("ascii")

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def batches(self, name: str, columns: Mapping[str, str]) -> Iterator[list[dict[str, Any]]]:
        """The rows of a table in the order of their ids, `ROWS` at a time."""
        source = parquet.ParquetFile(self._slice(name), page_checksum_verification=True)
        if not source.schema_arrow.equals(arrow_schema(columns)):
            raise ValueError(f"{name} has other columns than it should")
        last = count = 0
        for batch in _batches(source):
            rows = from_arrow(columns, batch)
            require_rising([row["id"] for row in rows], last)
            last = rows[-1]["id"] if rows else last
            count += len(rows)
            yield rows
        if count != self.manifest["members"][name]["rows"]:
            raise ValueError(f"{name} has {count} rows, not those of its manifest")


def _batches(source: parquet.ParquetFile) -> Iterator[pa.RecordBatch]:
    """Row group by row group: one iterator over all of them would keep what it read in memory until its end."""
    for group in range(source.num_row_groups):
        if source.metadata.row_group(group).num_rows > LARGEST_GROUP:
            raise ValueError("its tables are not in small groups of rows")
        yield from source.iter_batches(ROWS, row_groups=[group], use_threads=False)


class _Slice(io.RawIOBase):
    """A part of an open file, as a file."""

    def __init__(self, source: IO[bytes], start: int, size: int) -> None:
        self._source, self._start, self._size, self._position = source, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        left = max(self._size - self._position, 0)
        self._source.seek(self._start + self._position)
        data = self._source.read(left if size < 0 else min(size, left))
        self._position += len(data)
        return data


_MAKE = "Make a pair: openssl genpkey -algorithm ed25519 -out key.pem; openssl pkey -in key.pem -pubout -out public.pem"


def sign(data: bytes, key: Path) -> bytes:
    """The signature (64 bytes) with the private key in that file. Raises `ConfigError` where there is none."""
    require("cryptography")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        found = load_pem_private_key(_read(key), password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{key} holds no private key that can be used: {error}", _MAKE) from error
    if not isinstance(found, Ed25519PrivateKey):
        raise ConfigError(f"{key} is not an Ed25519 key.", _MAKE)
    return found.sign(data)


def check_signature(data: bytes, signature: bytes | None, key: Path, file: Path) -> None:
    """Raise `CorruptGalleryError` unless `signature` is the private key's to the public key in that file.

    Raises `ConfigError` where there is no public key.
    """
    require("cryptography")
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        found = load_pem_public_key(_read(key))
    except ValueError as error:
        raise ConfigError(f"{key} holds no public key that can be used: {error}", _MAKE) from error
    if not isinstance(found, Ed25519PublicKey):
        raise ConfigError(f"{key} is not an Ed25519 key.", _MAKE)
    if signature is None:
        raise CorruptGalleryError(f"{file} is not signed.", "Ask for one that is, or import it without --verify-key.")
    try:
        found.verify(signature, data)
    except InvalidSignature:
        raise CorruptGalleryError(
            f"{file} is not signed with the key to {key}, or was changed since.", "Do not trust it; get it again."
        ) from None


def _read(key: Path) -> bytes:
    try:
        return key.read_bytes()
    except OSError as error:
        raise ConfigError(f"{key} cannot be read: {error.strerror}.", _MAKE) from error
