"""What only a PostgreSQL gallery has: how its keys are read, and whether its tables are as the migrations make them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from facesearch.store.schema import ENGINE_PREFIX, Base

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy.engine import Connection

KEYS: Final = (
    "SELECT string_agg(int8send(id) || int8send(crc), ''::bytea ORDER BY id) FROM "
    "(SELECT id, crc FROM templates WHERE model_id = %s AND id > %s ORDER BY id LIMIT %s) AS piece"
)
"""Ids and checksums of a model's templates behind an id, by id, some at most: int64 (n, 2), big-endian."""
_TRIGGERS: Final = frozenset(f"templates_token_{event}" for event in ("insert", "update", "delete", "truncate")) | {
    "templates_outbox_insert",
    "templates_outbox_delete",
}
_SWEPT: Final = "swept"
"""A column of `revision` that SQLite has not."""
_COLUMNS: Final = "SELECT attname FROM pg_attribute WHERE attrelid = 'revision'::regclass AND NOT attisdropped"
_ENABLED: Final = (
    "SELECT tgname FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid WHERE tgrelid = 'templates'::regclass "
    "AND NOT tgisinternal AND tgenabled IN ('O', 'A') AND proname IN ('templates_changed', 'templates_to_outbox')"
)


def schema_faults(connection: Connection) -> Iterator[str]:
    """What differs from the migrations, by name."""
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": _is_ours})
    for difference in compare_metadata(context, Base.metadata):
        yield str(difference[0] if isinstance(difference, tuple) else difference[0][0]).replace("_", " ")
    if _SWEPT not in set(connection.exec_driver_sql(_COLUMNS).scalars()):
        yield f"missing column revision.{_SWEPT}"
    yield from sorted(_TRIGGERS - set(connection.exec_driver_sql(_ENABLED).scalars()))


def _is_ours(name: str | None, kind: str, parents: Mapping[str, str | None]) -> bool:
    """Tables of pgvector come and go with `reindex`; the migrations know nothing of them.

    Nor do the models know of the column that SQLite has not.
    """
    if kind == "column":
        return (parents.get("table_name"), name) != ("revision", _SWEPT)
    return not (kind == "table" and name is not None and name.startswith(ENGINE_PREFIX))
