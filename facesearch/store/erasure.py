"""Erasing people: out of the database, its log and the index cache, with proof in the form of a raw scan.

In this order: their rows go in one transaction, which first puts them on the list of erased people and removes the
index cache; the write-ahead log, where their vectors still stand, is emptied, which waits for readers; then every file
of the folder is searched for the bytes that were removed.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from facesearch.store import audit, decisions, journal, people, subjects
from facesearch.store.erasure_list import (
    content_key,
    erased_rows,
    name_key,
    removed_key,
    subject_key,
    template_keys,
    vector_key,
)
from facesearch.store.rows import contains, delete_in, present, select_in, update
from facesearch.store.schema import (
    AliasRow,
    AuditRow,
    CropRow,
    DecisionRow,
    FaceRow,
    JournalChangeRow,
    PhotoRow,
    RejectionRow,
    SubjectRow,
    TemplateRow,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from sqlalchemy.engine import Connection

    from facesearch.store.erasure_list import ErasedEntries, ErasureList
    from facesearch.store.subjects import SubjectKey

HEADERS: Final = 700
"""Bytes of a JPEG's tables, which are those of others too."""


@dataclass(frozen=True, slots=True)
class Traces:
    """The bytes of a person that no file may hold any more. Biometric data and names: in memory only."""

    vectors: tuple[bytes, ...]
    crops: tuple[bytes, ...]
    """Pictures of their faces without the tables that all have."""
    names: tuple[bytes, ...]
    paths: tuple[bytes, ...]
    """Of photos that were removed."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What was removed from the database of one subject or several."""

    subjects: tuple[str, ...]
    photos: int
    templates: int
    template_ids: tuple[int, ...]
    photos_of_others: int
    """Photos that stay because other people are enrolled from the same content."""
    rejections: int
    photo_hashes: frozenset[str]
    """Hex SHA-256 of every photo they were in."""
    photo_paths: tuple[bytes, ...]
    """Where these photos were enrolled from, and removed ones that could have been brought back."""
    backups: int
    """Backups that were written since the first of them was enrolled."""
    traces: Traces = field(repr=False)


@dataclass(slots=True)
class _Found:
    """What the gallery has of the people who are to be erased, in its tables and in its journal."""

    ids: list[int]
    merged: set[int] = field(default_factory=set)
    """People who are no longer enrolled, among them those who were merged into others."""
    names: list[str] = field(default_factory=list)
    """Names of those who were asked for first, then all others."""
    own: int = 0
    """How many of the names are of those who were asked for."""
    since: str = ""
    """When the first of them was enrolled."""
    vectors: set[bytes] = field(default_factory=set)
    contents: set[bytes] = field(default_factory=set)
    paths: set[bytes] = field(default_factory=set)
    keys: list[str] = field(default_factory=list)
    """Their rows, as `erased` spells them."""


def erase_subjects(connection: Connection, listed: ErasureList, who: Sequence[SubjectKey]) -> Erased:
    """Remove subjects and all that names them, and put them on the list of the erased.

    People who were removed, and whom the journal could bring back, are erased as well. Raises `UnknownSubjectError`
    where one of them is neither; nothing is changed then.
    """
    asked = [people.find(connection, each, removed=True).subject_id for each in who]
    found = _find_all(connection, list(dict.fromkeys(asked)))
    of_subjects = FaceRow.subject_id.in_(found.ids)
    photo_ids = list(connection.scalars(sa.select(FaceRow.photo_id).where(of_subjects).distinct()))
    keys = template_keys(connection, of_subjects)
    crops = _take_crops(connection, photo_ids)
    enrolled = [key for key in found.ids if _is_enrolled(connection, key)]
    photos = sum(subjects.remove_subject(connection, key)[0] for key in enrolled)
    rejections = _forget_words(connection, found.ids, found.names) + _forget_refused(connection, found)
    shared = present(connection, PhotoRow.sha256, found.contents)
    removed = _removed_of_others(connection)
    others = removed.vectors | _vectors_of_contents(connection, shared)
    vectors = map(vector_key, found.vectors - others)
    gone = [removed_key(each.hex()) for each in found.contents - shared - removed.contents]
    listed.add(connection, [*found.keys, *keys, *vectors, *gone, *_returns(found, shared)])
    counts = {"subjects": found.own, "photos": photos, "templates": len(keys), "refused_photos": rejections}
    audit.record(connection, "people.forget", counts)
    return Erased(
        subjects=tuple(found.names[: found.own]),
        photos=photos,
        templates=len(keys),
        template_ids=tuple(keys.values()),
        photos_of_others=len(shared),
        rejections=rejections,
        photo_hashes=frozenset(each.hex() for each in found.contents),
        photo_paths=tuple(sorted(found.paths)),
        backups=_backups_since(connection, found.since),
        traces=Traces(
            vectors=tuple(found.vectors - others),
            crops=tuple(each[HEADERS:] for each in crops if len(each) > HEADERS + 8),
            names=tuple(map(str.encode, found.names)),
            paths=tuple(found.paths - removed.paths - present(connection, PhotoRow.path, found.paths)),
        ),
    )


def _is_enrolled(connection: Connection, subject_id: int) -> bool:
    return connection.scalar(sa.select(SubjectRow.id).where(SubjectRow.id == subject_id)) is not None


def _find_all(connection: Connection, asked: list[int]) -> _Found:
    """What the gallery has of these people, of those who were merged into them, and of removed ones of their names.

    People of one name are taken for the same.
    """
    removed = journal.removed_subjects(connection)
    ids = asked
    while True:
        found = _find(connection, ids, asked)
        same = {each.subject_id for each in removed if each.name in found.names} | found.merged
        if same <= set(ids):
            return found
        ids = [*ids, *sorted(same - set(ids))]


def _find(connection: Connection, ids: list[int], asked: list[int]) -> _Found:
    found = _Found(ids)
    query = sa.select(SubjectRow.id, SubjectRow.name, SubjectRow.created_at).where(SubjectRow.id.in_(ids))
    rows = [(row.id, row.name, row.created_at) for row in connection.execute(query)]
    known = journal.images(connection, ids)
    gone = [row for row in known["subjects"] if not _is_enrolled(connection, row["id"])]
    found.merged = {row["id"] for row in gone}
    rows += [(row["id"], row["name"], row["created_at"]) for row in gone]
    own = list(dict.fromkeys(str(name) for key, name, _ in rows if key in asked))
    aliases = connection.scalars(sa.select(AliasRow.name).where(AliasRow.subject_id.in_(ids)))
    also = [*(name for _, name, _ in rows), *aliases, *(row["name"] for row in known["aliases"])]
    holders = subjects.ids_by_name(connection, also)
    found.names = list(dict.fromkeys([*own, *(name for name in also if holders.get(name) in {None, *ids})]))
    found.own = len(own)
    found.since = min(created for *_, created in rows)
    found.keys = [subject_key(key, created) for key, _, created in rows]
    of_subjects = FaceRow.subject_id.in_(ids)
    vectors = sa.select(TemplateRow.vector).select_from(TemplateRow).join(FaceRow).where(of_subjects)
    found.vectors.update(connection.scalars(vectors))
    found.vectors.update(row["vector"] for row in known["templates"])
    pictures = sa.select(PhotoRow.path, PhotoRow.sha256).select_from(PhotoRow).join(FaceRow).where(of_subjects)
    for path, sha256 in [*connection.execute(pictures), *((row["path"], row["sha256"]) for row in known["photos"])]:
        found.paths.add(path)
        found.contents.add(sha256)
    return found


def _returns(found: _Found, shared: set[bytes]) -> list[str]:
    """What would bring these people back: their names, and the contents of their photos."""
    contents = [content_key(each.hex()) for each in found.contents - shared]
    of_names = [content_key(each.hex(), name) for each in shared for name in found.names]
    return [*map(name_key, found.names), *contents, *of_names]


def _vectors_of_contents(connection: Connection, contents: set[bytes]) -> set[bytes]:
    """The vectors of everybody in photos of these contents: another person can have the same face in the same photo."""
    query = sa.select(TemplateRow.vector).select_from(TemplateRow).join(FaceRow).join(PhotoRow)
    return {row.vector for row in select_in(connection, query, PhotoRow.sha256, contents)}


def vectors_of_others(connection: Connection, vectors: Collection[bytes]) -> set[bytes]:
    """Those of these vectors that anybody has. Looks at every template: a vector has no index."""
    return present(connection, TemplateRow.vector, vectors)


@dataclass(slots=True)
class _Removed:
    contents: set[bytes] = field(default_factory=set)
    paths: set[bytes] = field(default_factory=set)
    vectors: set[bytes] = field(default_factory=set)


def _removed_of_others(connection: Connection) -> _Removed:
    """What the journal, from which the erased are gone, can bring back for other people."""
    found = _Removed()
    for _, table, row in journal.removed_rows(connection):
        if table == PhotoRow.__tablename__:
            found.contents.add(row["sha256"])
            found.paths.add(row["path"])
        elif table == TemplateRow.__tablename__:
            found.vectors.add(row["vector"])
    return found


def erase_again(connection: Connection, erased: ErasedEntries) -> list[int]:
    """Remove whoever is on the list, also from the journal; the ids of the templates that went."""
    subject_ids, template_ids = erased_rows(connection, erased)
    past = find_in_journal(connection, erased)
    names = _names(connection, subject_ids) + past.names
    removed = set(template_ids)
    for key in subject_ids:
        removed.update(subjects.remove_subject(connection, key)[1])
    remove_faces(connection, template_ids)
    if subject_ids or template_ids or past.entries:
        _forget_words(connection, [*subject_ids, *past.subjects], names, past.entries)
    return sorted(removed)


@dataclass(slots=True)
class ErasedPast:
    """What the journal could bring back of people who are on the list."""

    subjects: set[int] = field(default_factory=set)
    """People who were removed, or merged into others."""
    names: list[str] = field(default_factory=list)
    templates: int = 0
    entries: set[int] = field(default_factory=set)
    """Entries that removed any of this."""


def find_in_journal(connection: Connection, erased: ErasedEntries) -> ErasedPast:
    """What the journal of a restored database could bring back of the people who are on the list."""
    found = ErasedPast()
    for entry_id, table, row in journal.removed_rows(connection) if len(erased) else ():
        if table == SubjectRow.__tablename__ and erased.names(subject_key(row["id"], row["created_at"])):
            found.subjects.add(row["id"])
            found.names.append(row["name"])
        elif table == TemplateRow.__tablename__ and erased.names(vector_key(row["vector"])):
            found.templates += 1
        elif table != PhotoRow.__tablename__ or not erased.names(removed_key(row["sha256"].hex())):
            continue
        found.entries.add(entry_id)
    return found


def _names(connection: Connection, subject_ids: Sequence[int]) -> list[str]:
    """What these people are called."""
    columns = ((SubjectRow.id, SubjectRow.name), (AliasRow.subject_id, AliasRow.name))
    return [row.name for key, name in columns for row in select_in(connection, sa.select(name), key, subject_ids)]


def _forget_words(
    connection: Connection, subject_ids: Sequence[int], names: Sequence[str], entries: Iterable[int] = ()
) -> int:
    """Delete what was decided about people, what the journal has of them, and refusals that name them.

    Returns how many refusals there were.
    """
    choices: tuple[tuple[sa.SQLColumnExpression[object], Sequence[object]], ...] = (
        (DecisionRow.subject_id, subject_ids),
        (DecisionRow.label, names),
    )
    for column, values in choices:
        decided = [row.id for row in select_in(connection, sa.select(DecisionRow.id), column, values)]
        journal.forget_decisions(connection, decided)
        delete_in(connection, DecisionRow, DecisionRow.id, decided)
    for name in names:  # photos of others, whose folders are called so
        update(connection, PhotoRow, PhotoRow.label == name, {"label": ""})
    journal.forget(connection, subject_ids, names, entries)
    return forget_refusals(connection, names)


def _take_crops(connection: Connection, photo_ids: Sequence[int]) -> list[bytes]:
    """Remove the pictures of these photos' faces, also where a photo stays: nobody knows whose face it is."""
    found = [row.jpeg for row in select_in(connection, sa.select(CropRow.jpeg), CropRow.photo_id, photo_ids)]
    delete_in(connection, CropRow, CropRow.photo_id, photo_ids)
    return found


def _forget_refused(connection: Connection, found: _Found) -> int:
    """Forget refusals of these people's photos, by content and by path; returns how many."""
    by_content = delete_in(connection, RejectionRow, RejectionRow.sha256, found.contents)
    return by_content + delete_in(connection, RejectionRow, RejectionRow.path, found.paths)


def remove_faces(connection: Connection, template_ids: Sequence[int]) -> int:
    """Remove the faces of these templates, and photos and subjects left without any; returns how many there were."""
    query = sa.select(FaceRow.id, FaceRow.photo_id).select_from(FaceRow).join(TemplateRow)
    faces = {row.id: row.photo_id for row in select_in(connection, query, TemplateRow.id, template_ids)}
    delete_in(connection, FaceRow, FaceRow.id, faces)
    subjects.remove_orphan_photos(connection, set(faces.values()))
    if faces:
        subjects.remove_faceless_subjects(connection)
    return len(faces)


def forget_refusals(connection: Connection, names: Sequence[str]) -> int:
    """Forget refused photos whose path or reason names one of these people; returns how many.

    The photos are looked at again by the next enrolment that meets them, and nothing else is lost.
    """
    before = connection.scalar(sa.select(sa.func.count()).select_from(RejectionRow)) or 0
    decisions.forget_comparisons(connection)
    for name in names:
        for form in ("NFC", "NFD"):
            spelt = unicodedata.normalize(form, name)
            named = contains(RejectionRow.path, spelt.encode()) | contains(RejectionRow.detail, spelt)
            connection.execute(sa.delete(RejectionRow).where(named))
    return before - (connection.scalar(sa.select(sa.func.count()).select_from(RejectionRow)) or 0)


def rows_that_name(connection: Connection, name: str) -> int:
    """How many rows hold a name as part of other text: of people whose names contain it, and paths of their photos.

    What the journal can bring back of such people counts as well.
    """
    texts = (SubjectRow.name, sa.type_coerce(SubjectRow.attributes, sa.Text), RejectionRow.detail)
    conditions = [contains(column, name) for column in texts]
    in_bytes = (PhotoRow.path, RejectionRow.path, JournalChangeRow.before, JournalChangeRow.after)
    conditions += [contains(column, name.encode()) for column in in_bytes]
    counts = (connection.scalar(sa.select(sa.func.count()).where(condition)) for condition in conditions)
    return sum(count or 0 for count in counts)


def _backups_since(connection: Connection, moment: str) -> int:
    written = sa.select(sa.func.count()).where(AuditRow.action == "backup", AuditRow.at >= moment)
    return connection.scalar(written) or 0


def count_back(connection: Connection, listed: ErasureList) -> tuple[int, int]:
    """(people, templates) that were erased and are there all the same, or could be brought back by an undo."""
    own = listed.read_own(connection)
    people, templates = erased_rows(connection, own)
    past = find_in_journal(connection, own)
    return len({*people, *past.subjects}), len(templates) + past.templates


def enforce(connection: Connection, listed: ErasureList) -> list[int]:
    """Erase whoever is on the list and is there all the same; the ids of the templates that went."""
    own = listed.read_own(connection)
    removed = erase_again(connection, own)
    listed.take_over(connection, own, of_others=False)
    audit.record(connection, "people.forget", {"again": 1, "templates": len(removed)})
    return removed
