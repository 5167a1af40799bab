"""The erasure list: who was erased, so that no older backup and no import brings a person back.

The list holds no names, faces or anything to find a person by. It is in the database, where every machine sees it, and
changes in the transaction that erases somebody. A database restored from an older copy has an older list; therefore a
copy `gallery.erased` lies in the folder and goes into every backup. A gallery on a server has a copy beside the index
cache of each machine that erases, imports or checks. The copy is text, one entry per line:

    salt <64 hex digits>               begins a section; lists of several galleries can follow each other
    <64 hex digits> <8 hex digits>     HMAC-SHA-256 under the section's salt, and the CRC-32 of those 64 digits

An entry stands for one row of the database: a subject (its id and when it was made) or a template (its id, its
checksum, and when its photo was enrolled). Ids alone would not do, as a restored database hands them out again;
somebody who is enrolled anew gets other rows, which no entry names. Other kinds stand for what may bring a person
back, whatever its ids: a vector (an imported bundle has the ids of another gallery), the content of a photo, and the
name by which folders call the person. These are keyed hashes, too, and name nobody by themselves.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import logging
import re
import secrets
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from facesearch.errors import CorruptGalleryError, DiskFullError, GalleryError
from facesearch.files import write_whole
from facesearch.store import audit
from facesearch.store.rows import insert, now, require_whole, stored_columns, update
from facesearch.store.schema import ErasedRow, FaceRow, PhotoRow, SubjectRow, TemplateRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from sqlalchemy.engine import Connection

ERASURE_LIST_NAME: Final = "gallery.erased"
_LINE: Final = re.compile(r"salt (?P<salt>[0-9a-f]{64})|(?P<digest>[0-9a-f]{64}) (?P<crc>[0-9a-f]{8})")


@dataclass(slots=True)
class ErasedEntries:
    """Entries by the salt of their section."""

    sections: dict[bytes, set[bytes]] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(map(len, self.sections.values()))

    @classmethod
    def parse(cls, text: str) -> ErasedEntries:
        """Read a list; `CorruptGalleryError` where a line is damaged."""
        found = cls()
        section: set[bytes] | None = None
        for number, line in enumerate(text.splitlines(), 1):
            match = _LINE.fullmatch(line)
            if match and match["salt"]:
                section = found.sections.setdefault(bytes.fromhex(match["salt"]), set())
            elif match and section is not None and int(match["crc"], 16) == zlib.crc32(match["digest"].encode()):
                section.add(bytes.fromhex(match["digest"]))
            else:
                raise CorruptGalleryError(
                    f"Line {number} of the list of erased people is damaged.",
                    f"Take {ERASURE_LIST_NAME} from the newest backup or copy of the gallery.",
                )
        return found

    def format(self) -> str:
        """The text that `parse` reads."""
        return "".join(
            f"salt {salt.hex()}\n" + "".join(_line(digest) for digest in sorted(digests))
            for salt, digests in self.sections.items()
        )

    def merged(self, other: ErasedEntries) -> ErasedEntries:
        """The entries of both."""
        salts = self.sections.keys() | other.sections.keys()
        return ErasedEntries({s: self.sections.get(s, set()) | other.sections.get(s, set()) for s in sorted(salts)})

    def without(self, other: ErasedEntries) -> ErasedEntries:
        """The entries that the other has not."""
        return ErasedEntries({salt: each - other.sections.get(salt, set()) for salt, each in self.sections.items()})

    def named(self, rows: Iterable[str]) -> ErasedEntries:
        """Entries for these rows, under a salt of this list if it has one."""
        salt = next(iter(self.sections), None) or secrets.token_bytes(32)
        return ErasedEntries({salt: {_digest(salt, row) for row in rows}})

    def lifted(self, rows: Iterable[str]) -> ErasedEntries:
        """The list without the entries of these rows."""
        digests = {salt: {_digest(salt, row) for row in rows} for salt in self.sections}
        return self.without(ErasedEntries(digests))

    def names(self, row: str) -> bool:
        """Whether a row, as `subject_key` and `template_key` spell it, was erased."""
        return any(_digest(salt, row) in digests for salt, digests in self.sections.items())


def read_copy(folder: Path) -> ErasedEntries:
    """The list of the gallery in `folder`; empty where nobody was erased."""
    try:
        return ErasedEntries.parse((folder / ERASURE_LIST_NAME).read_text(encoding="ascii"))
    except FileNotFoundError:
        return ErasedEntries()
    except (OSError, UnicodeDecodeError) as error:
        raise CorruptGalleryError(
            f"The list of erased people in {folder} cannot be read: {error}.",
            f"Take {ERASURE_LIST_NAME} from the newest backup or copy of the gallery.",
        ) from error


def write_copy(folder: Path, erased: ErasedEntries) -> None:
    """Replace the gallery's list, durably. Raises `GalleryError`."""
    file = folder / ERASURE_LIST_NAME
    if not len(erased) and not file.exists():
        return
    try:
        write_whole(file, erased.format().encode())
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFullError(
                f"No space is left in {folder} to note who is erased.", "Free some space and run the same again."
            ) from error
        raise GalleryError(
            f"The list of erased people in {folder} cannot be written: {error.strerror}.", "Check its permissions."
        ) from error


def subject_key(subject_id: int, created_at: str) -> str:
    """A subject's row."""
    return f"subject {subject_id} {created_at}"


def vector_key(vector: bytes) -> str:
    """A template's vector, as the database has it."""
    return f"vector {hashlib.sha256(vector).hexdigest()}"


def name_key(name: str) -> str:
    """A subject's name or alias, however its letters, blanks and underscores are written."""
    return f"name {' '.join(name.replace('_', ' ').casefold().split())}"


def content_key(sha256: str, name: str | None = None) -> str:
    """The content of a photo (SHA-256 in hex); only under this name where other people are enrolled from it too."""
    return f"content {sha256}" if name is None else f"content {sha256} of {name}"


def removed_key(sha256: str) -> str:
    """The content of a photo (SHA-256 in hex) that was removed, where only the erased could have it back."""
    return f"removed content {sha256}"


def template_keys(connection: Connection, condition: sa.ColumnElement[bool]) -> dict[str, int]:
    """Template ids by the spelling of their rows, of faces that fulfil `condition`."""
    return dict(_template_rows(connection, condition))


def _template_rows(
    connection: Connection, condition: sa.ColumnElement[bool] | None = None
) -> Iterator[tuple[str, int]]:
    query = (
        sa.select(TemplateRow.id, TemplateRow.crc, PhotoRow.enrolled_at)
        .select_from(TemplateRow)
        .join(FaceRow, FaceRow.id == TemplateRow.face_id)
        .join(PhotoRow, PhotoRow.id == FaceRow.photo_id)
    )
    if condition is not None:
        query = query.where(condition)
    for row in connection.execute(query.execution_options(yield_per=4096)):
        yield f"template {row.id} {row.crc} {row.enrolled_at}", row.id


def erased_rows(connection: Connection, erased: ErasedEntries) -> tuple[list[int], list[int]]:
    """(subject ids, template ids) in the database that the list says were erased."""
    if not len(erased):
        return [], []
    subjects = connection.execute(sa.select(SubjectRow.id, SubjectRow.created_at)).all()
    return (
        [row.id for row in subjects if erased.names(subject_key(row.id, row.created_at))],
        [key for row, key in _template_rows(connection) if erased.names(row)],
    )


def _digest(salt: bytes, row: str) -> bytes:
    return hmac.digest(salt, row.encode(), "sha256")


def _line(digest: bytes) -> str:
    return f"{digest.hex()} {zlib.crc32(digest.hex().encode()):08x}\n"


log = logging.getLogger("facesearch.store")

DIGEST: Final = 32
"""Bytes of an entry."""


class ErasureList:
    """The list of one gallery."""

    def __init__(self, folder: Path, *, beside: bool) -> None:
        """`beside` says that the folder is the gallery; else it is this machine's index cache of one on a server."""
        self._folder = folder
        self._beside = beside

    def read(self, connection: Connection) -> ErasedEntries:
        """What the database and the copy have. Raises `CorruptGalleryError` where either is damaged."""
        return _in_database(connection).merged(read_copy(self._folder))

    def read_own(self, connection: Connection) -> ErasedEntries:
        """The entries whose ids are this gallery's."""
        listed, others = self.read(connection), _salts_of_others(connection)
        return ErasedEntries({salt: each for salt, each in listed.sections.items() if salt not in others})

    def add(self, connection: Connection, rows: Sequence[str]) -> None:
        """Put rows on the list, as `erased` spells them. Raises `GalleryError`.

        The copy is on disk when this returns, before the commit: should that fail, a list that names more than was
        erased names people who were to be erased anyway.
        """
        fresh = self.read_own(connection).named(rows)
        _insert(connection, fresh, of_others=False)
        self.keep_copy(self.read(connection))

    def lift(self, connection: Connection, rows: Sequence[str]) -> None:
        """Take rows off the list, so that a person may come back. Raises `GalleryError`."""
        listed = self.read(connection)
        kept = listed.lifted(rows)
        if len(kept) == len(listed):
            return
        for row in connection.execute(sa.select(*stored_columns(ErasedRow))).all():
            require_whole(ErasedRow, row)
            digests = kept.sections[row.salt] & _entries(row.digests)
            update(connection, ErasedRow, ErasedRow.id == row.id, {"digests": b"".join(sorted(digests))})
        self.keep_copy(kept)
        audit.record(connection, "people.bring_back", {"entries": len(listed) - len(kept)})

    def take_over(self, connection: Connection, others: ErasedEntries, *, of_others: bool) -> None:
        """Put the entries of another list on this one. Raises `GalleryError`.

        `of_others` says that the ids in it are another gallery's.
        """
        own = self.read_own(connection).sections.keys()
        fresh = others.without(_in_database(connection))
        for salt, digests in fresh.sections.items():
            _insert(connection, ErasedEntries({salt: digests}), of_others=of_others and salt not in own)
        self.keep_copy(self.read(connection).merged(others))

    def keep_copy(self, listed: ErasedEntries) -> None:
        """Write the copy. Raises `GalleryError` where it belongs to the gallery; of a cache it is a warning."""
        try:
            write_copy(self._folder, listed)
        except GalleryError as error:
            if self._beside:
                raise
            log.warning("The copy of the list of the erased was not written: %s", error.message)


def _in_database(connection: Connection) -> ErasedEntries:
    found = ErasedEntries()
    for row in connection.execute(sa.select(*stored_columns(ErasedRow)).order_by(ErasedRow.id)):
        require_whole(ErasedRow, row)
        found.sections.setdefault(row.salt, set()).update(_entries(row.digests))
    return found


def _entries(digests: bytes) -> set[bytes]:
    return {digests[at : at + DIGEST] for at in range(0, len(digests), DIGEST)}


def _salts_of_others(connection: Connection) -> set[bytes]:
    """Each gallery has a salt of its own."""
    return set(connection.scalars(sa.select(ErasedRow.salt).where(ErasedRow.of_others == 1)))


def _insert(connection: Connection, listed: ErasedEntries, *, of_others: bool) -> None:
    for salt, digests in listed.sections.items():
        if digests:
            entries = b"".join(sorted(digests))
            values = {"at": now(), "salt": salt, "digests": entries, "of_others": int(of_others)}
            insert(connection, ErasedRow, values)
