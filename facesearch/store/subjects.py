"""Subjects in the database: the people of a gallery, their names and attributes.

The attribute `retain_until` is the last day on which a person's data may be kept.
"""

from __future__ import annotations

import difflib
import re
import shlex
import unicodedata
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import sqlalchemy as sa

from facesearch.errors import ConfigError, SubjectExistsError, UnknownSubjectError
from facesearch.names import searchable
from facesearch.store.models import of_active_model
from facesearch.store.rows import (
    chunks,
    delete_in,
    fetch,
    insert_all,
    member,
    now,
    require_whole,
    select_in,
    stored_columns,
    update,
)
from facesearch.store.schema import AliasRow, DecisionRow, FaceRow, PhotoRow, SubjectRow, TemplateRow
from facesearch.types import Subject

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from sqlalchemy.engine import Connection, Row

    from facesearch.store.journal import Entry

SubjectKey: TypeAlias = str | int
"""Who is meant: a name, or the row id, which stays through renames."""

MAX_NAME = 200
"""Characters of a subject's name or an attribute's key."""
MAX_VALUE = 2000
"""Characters of an attribute's value."""
MAX_TOTAL = 20_000
"""Characters of all keys and values of one subject."""
ATTRIBUTE_KEY = re.compile(r"[^\W\d][\w.-]*")
_INVISIBLE: Final = re.compile("[\u200b\u2060\ufeff\u00ad]|(?<![\u0590-\U0010ffff])[\u200c\u200d]")
"""Zero-width spaces, soft hyphens, and joiners that follow no letter of a script that joins."""
UNSAFE = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode categories that no text of the gallery holds: controls, lone surrogates, line and paragraph separators."""
REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Bidirectional overrides: they make one name look like another. Right-to-left scripts need none of them."""


def clean_name(name: str) -> str:
    """A subject's name as the gallery keeps it: Unicode NFC, no surrounding blanks; `ConfigError` if unusable.

    Characters of no width go, or two people could have names that look the same. Joiners stay where scripts need them.
    macOS writes file names decomposed (NFD): without NFC, one person would become two.
    """
    cleaned, before = name, None
    while cleaned != before:  # what goes may have kept another character in place, or an accent from its letter
        before, cleaned = cleaned, unicodedata.normalize("NFC", _INVISIBLE.sub("", cleaned)).strip()
    hint = "Choose another name."
    if len(cleaned) > MAX_NAME:
        raise ConfigError(f"A person's name has at most {MAX_NAME} characters, and this one has {len(cleaned)}.", hint)
    if not any(unicodedata.category(character)[0] in "LNPS" for character in cleaned):
        raise ConfigError("A person's name needs a character that can be seen.", hint)
    if not _is_plain(cleaned):
        raise ConfigError("A person's name cannot hold line breaks or other control characters.", hint)
    return cleaned


def _is_plain(text: str) -> bool:
    return not any(unicodedata.category(character) in UNSAFE or character in REORDERING for character in text)


def clean_attributes(attributes: Mapping[str, str]) -> dict[str, str]:
    """Attributes as the gallery keeps them, in Unicode NFC; `ConfigError` for a key or value that cannot be kept."""
    kept = {}
    for key, value in attributes.items():
        cleaned = unicodedata.normalize("NFC", value)
        if not _is_plain(cleaned) or len(cleaned) > MAX_VALUE:
            raise ConfigError(
                f"The value of attribute {key!r} cannot be kept.",
                f"Use up to {MAX_VALUE} characters of plain text without control characters.",
            )
        if key == RETAIN_UNTIL:
            require_date(cleaned)
        kept[_clean_key(key)] = cleaned
    return kept


def _clean_key(key: str) -> str:
    cleaned = unicodedata.normalize("NFC", key)
    if not ATTRIBUTE_KEY.fullmatch(cleaned) or len(cleaned) > MAX_NAME:
        raise ConfigError(f"{key!r} cannot name an attribute.", "Use letters, digits, '_', '-', '.'; a letter first.")
    return cleaned


def has_attributes(attributes: Mapping[str, str]) -> list[sa.ColumnElement[bool]]:
    """Conditions on `SubjectRow`, which has all these attributes; `ConfigError` for what can be no attribute."""
    wanted = clean_attributes(attributes)
    return [member(SubjectRow.attributes, key) == value for key, value in wanted.items()]


def find_subject(connection: Connection, name: str) -> int | None:
    """The row id of the subject that is called so, by its own name or an alias."""
    return ids_by_name(connection, [clean_name(name)]).get(clean_name(name))


def require_subject(connection: Connection, who: SubjectKey) -> int:
    """The row id of a subject; `UnknownSubjectError` proposes names that look alike."""
    if isinstance(who, int):
        return _require_id(connection, who)
    name = who
    found = find_subject(connection, name)
    if found is not None:
        return found
    # A damaged file can hold something else than text, although the table is STRICT.
    names: list[object] = [*connection.scalars(sa.select(SubjectRow.name))]
    close = difflib.get_close_matches(clean_name(name), [each for each in names if isinstance(each, str)], n=3)
    hint = f"Did you mean {' or '.join(close)}?" if close else "`facesearch people list` shows who is enrolled."
    raise UnknownSubjectError(f"Nobody called {name!r} is enrolled.", hint)


def _require_id(connection: Connection, subject_id: int) -> int:
    in_range = 0 < subject_id < 2**63  # SQLite's integers
    if not in_range or connection.scalar(sa.select(SubjectRow.id).where(SubjectRow.id == subject_id)) is None:
        raise UnknownSubjectError(f"Nobody with the id {subject_id} is enrolled.", "Ids stay gone with their people.")
    return subject_id


def ensure_subjects(connection: Connection, wanted: Sequence[str]) -> list[int]:
    """The row ids of subjects by name or alias, created if new."""
    names = [clean_name(name) for name in wanted]
    found = ids_by_name(connection, set(names))
    # In one order for all writers, so that none waits for another that waits for it.
    new, moment = sorted(set(names) - found.keys()), now()
    rows: list[dict[str, object]] = [{"name": name, "attributes": {}, "said": {}, "created_at": moment} for name in new]
    found.update(zip(new, insert_all(connection, SubjectRow, rows), strict=True))
    return [found[name] for name in names]


def ids_by_name(connection: Connection, names: Collection[str]) -> dict[str, int]:
    """The row ids of the subjects that have these (clean) names or aliases."""
    columns = ((SubjectRow.name, SubjectRow.id), (AliasRow.name, AliasRow.subject_id))
    return {row[0]: row[1] for name, key in columns for row in select_in(connection, sa.select(name, key), name, names)}


@dataclass(frozen=True, slots=True)
class KnownSubject:
    """What an enrolment has to know of a subject."""

    name: str
    said: Mapping[str, str]
    """Attributes as sources said them last."""


def known_subjects(connection: Connection, names: Collection[str]) -> dict[str, KnownSubject]:
    """The subjects that have these (clean) names or aliases, by them."""
    ids = ids_by_name(connection, names)
    query = sa.select(SubjectRow.id, SubjectRow.name, SubjectRow.said)
    rows = select_in(connection, query, SubjectRow.id, set(ids.values()))
    known = {row.id: KnownSubject(row.name, row.said) for row in rows}
    return {name: known[key] for name, key in ids.items()}


def say_attributes(
    connection: Connection, subject_id: int, given: Mapping[str, str], entry: Entry | None = None
) -> list[str]:
    """Take attributes that a source says where it says something new, and nobody set another value meanwhile.

    Returns the keys whose value stays as a person set it. `entry` notes the change of a subject that was there.
    """
    query = sa.select(SubjectRow.attributes, SubjectRow.said).where(SubjectRow.id == subject_id)
    attributes, said = map(dict, connection.execute(query).one())
    kept, before = [], (dict(attributes), dict(said))
    for key, value in clean_attributes(given).items():
        if said.get(key) == value:
            continue
        if attributes.get(key) in {said.get(key), value}:
            attributes[key] = value
        else:
            kept.append(key)
        said[key] = value
    chosen = SubjectRow.id == subject_id
    if attributes != before[0] and entry is not None:
        entry.update(SubjectRow, chosen, {"attributes": _bounded(attributes)}, of=subject_id)
    if (attributes, said) != before:
        update(connection, SubjectRow, chosen, {"attributes": _bounded(attributes), "said": said})
    return kept


def changed_attributes(connection: Connection, subject_id: int, changes: Mapping[str, str | None]) -> dict[str, str]:
    """A subject's attributes with these changes; a value of None removes the attribute."""
    kept = attributes(connection, subject_id)
    kept.update(clean_attributes({key: value for key, value in changes.items() if value is not None}))
    for key in (key for key, value in changes.items() if value is None):
        kept.pop(_clean_key(key), None)
    return _bounded(kept)


def _bounded(attributes: dict[str, str]) -> dict[str, str]:
    """The attributes; `ConfigError` where they are more than one subject may have."""
    total = sum(len(key) + len(value) for key, value in attributes.items())
    if total > MAX_TOTAL:
        raise ConfigError(
            f"The attributes of one person would have {total} characters; at most {MAX_TOTAL} are kept.",
            "Remove some, or keep them elsewhere under the person's id.",
        )
    return attributes


def add_attributes(connection: Connection, subject_id: int, given: Mapping[str, str], said: Mapping[str, str]) -> None:
    """Give a subject those of these attributes that it lacks, and what sources said of them."""
    chosen = SubjectRow.id == subject_id
    own = connection.execute(sa.select(SubjectRow.attributes, SubjectRow.said).where(chosen)).one()
    values = {"attributes": {**given, **own.attributes}, "said": {**said, **own.said}}
    if (values["attributes"], values["said"]) != (own.attributes, own.said):
        update(connection, SubjectRow, chosen, values)


def attributes(connection: Connection, subject_id: int) -> dict[str, str]:
    """A subject's attributes."""
    return dict(connection.scalars(sa.select(SubjectRow.attributes).where(SubjectRow.id == subject_id)).one())


def list_subjects(
    connection: Connection, where: Mapping[str, str] | None = None, *, ids: Sequence[int] | None = None
) -> list[Subject]:
    """All subjects, or those with these attributes, or those of these row ids; by name."""
    query = (
        sa.select(
            *stored_columns(SubjectRow),
            SubjectRow.attributes.label("parsed"),
            sa.func.count(sa.distinct(FaceRow.photo_id)).label("photos"),
            sa.func.count(TemplateRow.id).label("templates"),
        )
        .select_from(SubjectRow)
        .outerjoin(FaceRow, FaceRow.subject_id == SubjectRow.id)
        .outerjoin(TemplateRow, sa.and_(TemplateRow.face_id == FaceRow.id, of_active_model()))
        .group_by(SubjectRow.id)
        .order_by(SubjectRow.name)
    )
    if ids is not None:
        query = query.where(SubjectRow.id.in_(ids))
    found = connection.execute(query.where(*has_attributes(where or {}))).all()
    also = _all_aliases(connection, ids)
    return [_subject(row, also.get(row.id, ())) for row in found]


@dataclass(frozen=True, slots=True)
class SubjectPage:
    """Some subjects in the order of their names."""

    subjects: tuple[Subject, ...]
    total: int
    """How many there are on all pages."""
    after: str | None
    """The name to ask the next page with; None on the last."""


def page_of_subjects(
    connection: Connection,
    *,
    limit: int,
    after: str | None = None,
    search: str | None = None,
    where: Mapping[str, str] | None = None,
) -> SubjectPage:
    """Up to `limit` subjects behind the name `after`, of whom a name or alias contains `search` (`names.searchable`).

    Raises `ConfigError` for attributes that cannot be.
    """
    query = sa.select(SubjectRow.id, SubjectRow.name).where(*has_attributes(where or {})).order_by(SubjectRow.name)
    if search:
        wanted = searchable(search)
        aliases = connection.execute(sa.select(AliasRow.subject_id, AliasRow.name))
        also = {key for key, name in aliases if wanted in searchable(name)}
        rows = [row for row in connection.execute(query) if wanted in searchable(row.name) or row.id in also]
        total = len(rows)
        behind = [row for row in rows if after is None or row.name.encode() > after.encode()][: limit + 1]
    else:
        total = connection.scalar(sa.select(sa.func.count()).select_from(query.order_by(None).subquery())) or 0
        behind = list(connection.execute(query.where(SubjectRow.name > (after or "")).limit(limit + 1)))
    found = list_subjects(connection, ids=[row.id for row in behind[:limit]])
    return SubjectPage(tuple(found), total, behind[limit - 1].name if len(behind) > limit else None)


def _all_aliases(connection: Connection, ids: Sequence[int] | None) -> dict[int, tuple[str, ...]]:
    """The other names of all subjects, or of those of these row ids, in order."""
    chosen = [] if ids is None else [AliasRow.subject_id.in_(ids)]
    found: dict[int, tuple[str, ...]] = {}
    for row in fetch(connection, AliasRow, *chosen, order=AliasRow.name):
        found[row.subject_id] = (*found.get(row.subject_id, ()), row.name)
    return found


def _subject(row: Row[*tuple[Any, ...]], also: tuple[str, ...]) -> Subject:
    require_whole(SubjectRow, row[:-3])
    return Subject(row.name, row.parsed, row.photos, row.templates, row.created_at, row.id, also)


def name_of(connection: Connection, subject_id: int) -> str:
    """A subject's own name."""
    return connection.scalars(sa.select(SubjectRow.name).where(SubjectRow.id == subject_id)).one()


def require_free(connection: Connection, subject_id: int, new: str) -> str:
    """A name, clean, that a subject may take; `SubjectExistsError` where it is another's, as name or alias."""
    holder = find_subject(connection, new)
    if holder is not None and holder != subject_id:
        own, other = name_of(connection, subject_id), name_of(connection, holder)
        also = "" if other == clean_name(new) else f" It is another name of {other!r}."
        raise SubjectExistsError(
            f"{new!r} is enrolled already.{also}",
            f"To make them one person: facesearch people merge {shlex.quote(own)} {shlex.quote(other)}",
        )
    return clean_name(new)


def remove_subject(connection: Connection, who: SubjectKey) -> tuple[int, list[int]]:
    """Remove a subject with all faces and templates, and photos nobody else is in: (photos, template ids) removed."""
    subject_id = require_subject(connection, who)
    faces = sa.select(FaceRow.id).where(FaceRow.subject_id == subject_id)
    ids = list(connection.scalars(sa.select(TemplateRow.id).where(TemplateRow.face_id.in_(faces))))
    photos = list(connection.scalars(sa.select(FaceRow.photo_id).where(FaceRow.subject_id == subject_id).distinct()))
    connection.execute(sa.delete(SubjectRow).where(SubjectRow.id == subject_id))
    return remove_orphan_photos(connection, photos), ids


def faceless_subjects(connection: Connection) -> list[int]:
    """The row ids of subjects without any face of whom nothing else is known.

    Those with attributes or other names stay, and those to whom a person moved photos: a person said these.
    """
    used = sa.exists().where(FaceRow.subject_id == SubjectRow.id)
    named = sa.exists().where(AliasRow.subject_id == SubjectRow.id)
    decided = sa.exists().where(DecisionRow.subject_id == SubjectRow.id)
    bare = sa.type_coerce(SubjectRow.attributes, sa.Text) == "{}"
    return list(connection.scalars(sa.select(SubjectRow.id).where(~used, ~named, ~decided, bare)))


def remove_faceless_subjects(connection: Connection, entry: Entry | None = None) -> int:
    """Remove `faceless_subjects`; returns how many there were."""
    ids = faceless_subjects(connection)
    if entry is None:
        return delete_in(connection, SubjectRow, SubjectRow.id, ids)
    for key in ids:
        entry.delete(SubjectRow, SubjectRow.id == key, of=key)
    return len(ids)


def remove_orphan_photos(connection: Connection, photo_ids: Collection[int]) -> int:
    """Remove those of these photos that nobody is enrolled from; returns how many."""
    removed = 0
    for chunk in chunks(photo_ids):
        chosen = PhotoRow.id.in_(chunk)
        used = sa.exists().where(FaceRow.photo_id == PhotoRow.id)
        removed += connection.execute(sa.delete(PhotoRow).where(chosen, ~used)).rowcount
    return removed


RETAIN_UNTIL: Final = "retain_until"
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")


def require_date(value: str) -> None:
    """Raise `ConfigError` unless `value` is a date of the form 2027-12-31."""
    if _last_day(value) is None:
        raise ConfigError(f"{RETAIN_UNTIL} {value!r} is not a date.", "Write it as year-month-day: 2027-12-31.")


def overdue(subjects: Iterable[Subject], today: date | None = None) -> list[Subject]:
    """The subjects whose last day has passed, in UTC.

    A value that is no date, as galleries of earlier versions may hold, is due: nobody can say that it is not.
    """
    now = today or datetime.now(UTC).date()
    return [each for each in subjects if RETAIN_UNTIL in each.attributes and _is_over(each, now)]


def _is_over(subject: Subject, today: date) -> bool:
    last = _last_day(subject.attributes[RETAIN_UNTIL])
    return last is None or last < today


def _last_day(value: str) -> date | None:
    try:
        return date.fromisoformat(value) if _DATE.fullmatch(value) else None
    except ValueError:
        return None
