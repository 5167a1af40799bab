"""A gallery's database on a PostgreSQL server, which several processes on several machines use at once.

**Isolation.** Every transaction is REPEATABLE READ: it sees one moment. Where two change the same row, or one relies on
a row that the other removes, PostgreSQL undoes one of them; `transact` does that one again. So does it where two insert
the same name or path (a unique violation), wait for each other (a deadlock), or one enrolls a face of a person whom the
other just removed (a foreign key): the second look finds what the first could not see.

**The revision token.** A token that stands for all before it, as in SQLite, would have writers wait for each
other's commit. Here each transaction that changes templates adds one row with 16 random bytes to `revision`, with the
ids of the templates that it touched (NULL for more than 1024: look at all), and the token is a hash of all rows that a
transaction sees: equal for two transactions only if they see the same changes. An index knows which rows it has seen,
looks up what the others touched, and takes its own commit over whatever others committed meanwhile. At a hundred rows
a writer sweeps up the oldest fifty, and names them in its own row: whoever had not seen one of them compares all.

**Ids** come from sequences, which never hand one out twice. They become visible in the order of commits, not of ids.

**A connection that breaks** before the commit was asked for lost nothing that was acknowledged: `transact` does the
work again once the server is back. Where it breaks in the commit, the server is asked afterwards how that ended.
"""

from __future__ import annotations

import random
import time
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from facesearch.errors import GalleryConflictError, GalleryError, GalleryUnavailableError, InstallationError
from facesearch.store.database import DATABASE, TOKEN_BYTES, Database
from facesearch.store.drivers import explain_postgres
from facesearch.store.rows import Base
from facesearch.store.schema import COLLECTION_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sqlalchemy.engine import Connection, Engine

    from facesearch.store.location import DatabaseUrl
    from facesearch.types import Ids

Result = TypeVar("Result")

OLDEST: Final = 130000
"""PostgreSQL 13: the first with random UUIDs and 64-bit transaction ids of its own."""
PATIENCE: Final = 30.0
"""Seconds that a server which was there may take to come back; recovery after a crash takes some."""
ATTEMPTS: Final = 30
"""Of one transaction, where others are faster. With eight writers on one row, more than five were never needed."""
LOCK_TIMEOUT_MS: Final = 30_000
CONNECT_TIMEOUT: Final = 10
"""Seconds for one attempt; libpq's default is to wait for ever."""
_PAUSE: Final = 0.2
_TABLES: Final = "subjects, photos, faces, templates, rejections, crops"


class PostgresDatabase(Database):
    """A gallery's tables in a database, or a schema, of their own."""

    owns_folder = False

    def __init__(self, location: DatabaseUrl) -> None:
        _require_driver()
        self.location = location
        self._was_there = False
        # Every thread may hold a transaction; the server says itself when there are too many.
        self.engine = sa.create_engine(
            location.url,
            isolation_level="REPEATABLE READ",
            max_overflow=-1,
            pool_pre_ping=True,
            hide_parameters=True,
            execution_options={DATABASE: self},
            connect_args={"connect_timeout": CONNECT_TIMEOUT, "application_name": "facesearch"},
        )
        # First of all: SQLAlchemy's own questions fail in a database of another encoding.
        event.listen(self.engine, "connect", _prepare_connection, insert=True)
        self._outside = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @property
    def place(self) -> str:
        return str(self.location)

    @property
    def is_encrypted(self) -> bool:
        return False

    def describe(self) -> str:
        """E.g. `PostgreSQL 15.14`, and what is switched off that a power cut needs."""
        with self.read() as connection:
            version = connection.exec_driver_sql("SHOW server_version").scalar_one().split()[0]
            off = self._unsafe(connection)
        return f"PostgreSQL {version}" + (f", {' and '.join(off)} off" if off else "")

    def _unsafe(self, connection: Connection) -> list[str]:
        query = (
            "SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off' ORDER BY 1"
        )
        return list(connection.exec_driver_sql(query).scalars())

    # -- transactions

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._translated(), self._connect(self.engine) as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with self._translated(), self._connect(self.engine) as connection:
            transaction = connection.begin()
            try:
                yield connection
                number = connection.exec_driver_sql("SELECT pg_current_xact_id_if_assigned()::text").scalar_one()
            except BaseException:
                transaction.rollback()
                raise
            try:
                transaction.commit()
            except DBAPIError as error:
                if not error.connection_invalidated or number is None or not self._was_committed(number):
                    raise

    def _was_committed(self, number: str) -> bool:
        """How a transaction ended whose commit was asked for before the connection broke."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with self._connect(self._outside) as connection:
                status = connection.exec_driver_sql("SELECT pg_xact_status(%s::xid8)", (number,)).scalar_one()
            if status != "in progress":
                return bool(status == "committed")
            time.sleep(_PAUSE)
        raise GalleryError(
            "The connection to the database broke in a commit, and the server does not say how that ended.",
            "Run the same command again: it finds out what is there.",
        )

    def transact(self, work: Callable[[Connection], Result]) -> Result:
        """As `write`, again where another writer was faster or the connection broke before the commit."""
        until: float | None = None
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self.write() as connection:
                    return work(connection)
            except GalleryConflictError:
                if attempt == ATTEMPTS:
                    raise
                time.sleep(random.uniform(0, 0.01 * min(attempt, 10)))  # noqa: S311  # so that two do not meet again
            except GalleryUnavailableError:
                until = until or time.monotonic() + PATIENCE
                if not self._was_there or time.monotonic() > until:
                    raise
                time.sleep(_PAUSE)
        raise AssertionError("the last attempt returns or raises")

    def version(self) -> int | None:
        """None: asking the server takes as long as reading."""
        return None

    @contextmanager
    def hold_writers_off(self) -> Iterator[Connection]:
        """The lock is the first statement, so that what it waited for is seen."""
        with self.write() as connection:
            connection.exec_driver_sql("LOCK TABLE templates IN SHARE MODE")
            yield connection

    @contextmanager
    def migration(self) -> Iterator[Connection]:
        """DDL is transactional on PostgreSQL; a lock lets one process migrate at a time.

        The lock is taken before the transaction begins, which so sees what the lock's holder before it committed.
        """
        with self._translated(), self._connect(self._outside) as guard:
            guard.exec_driver_sql("SELECT pg_advisory_lock(hashtext('facesearch.migration'))")
            try:
                with self.write() as connection:
                    yield connection
            finally:
                with suppress(DBAPIError):  # a connection that broke has given the lock up
                    guard.exec_driver_sql("SELECT pg_advisory_unlock(hashtext('facesearch.migration'))")

    @contextmanager
    def _connect(self, engine: Engine) -> Iterator[Connection]:
        """A connection; to a server that was there once, with some patience."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                connection = engine.connect()
                break
            except DBAPIError as error:
                described = explain_postgres(error, self.place)
                passing = isinstance(described, GalleryUnavailableError)
                if not (passing and self._was_there) or time.monotonic() > until:
                    raise described from error
                time.sleep(_PAUSE)
        self._was_there = True
        with connection:
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise explain_postgres(error, self.place) from error

    # -- the rest

    def checkpoint(self) -> bool:
        """Let the space of removed rows be written over. That overwrites nothing by itself, as SQLite does."""
        with self._translated(), self._connect(self._outside) as connection:
            connection.exec_driver_sql(f"VACUUM {_TABLES}")
        return True

    def faults(self, connection: Connection, most: int) -> Iterator[str]:
        """References that lead nowhere: the server's own constraints, looked at again."""
        for child, column, parent in _REFERENCES:
            query = f"SELECT id FROM {child} c WHERE NOT EXISTS (SELECT FROM {parent} p WHERE p.id = c.{column}) LIMIT {most}"  # noqa: S608, E501  # constants
            for key in connection.exec_driver_sql(query).scalars():
                yield f"row {key} of {child} refers to a missing row of {parent}"

    def sound(self, connection: Connection) -> str:
        sums = connection.exec_driver_sql("SHOW data_checksums").scalar_one()
        off = self._unsafe(connection)
        detail = f"every reference leads to a row; page checksums of the server are {sums}"
        return detail + (f"; {' and '.join(off)} off: a power cut can lose acknowledged data" if off else "")

    def schema_faults(self, connection: Connection) -> Iterator[str]:
        """By its columns, keys and indexes, and the triggers that change the token."""
        from alembic.autogenerate import compare_metadata
        from alembic.runtime.migration import MigrationContext

        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": _is_ours})
        for difference in compare_metadata(context, Base.metadata):
            yield str(difference[0] if isinstance(difference, tuple) else difference[0][0]).replace("_", " ")
        if _SWEPT not in set(connection.exec_driver_sql(_COLUMNS).scalars()):
            yield f"missing column revision.{_SWEPT}"
        yield from sorted(_TRIGGERS - set(connection.exec_driver_sql(_ENABLED).scalars()))

    # -- what SQLite spells differently

    def reserve_ids(self, connection: Connection, table: str, count: int) -> list[int]:
        """From the table's sequence; others may have ids in between."""
        query = "SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)"
        return sorted(connection.exec_driver_sql(query, (table, count)).scalars())

    def skip_ids(self, connection: Connection, table: str, highest: int) -> None:
        """In the table's sequence."""
        connection.exec_driver_sql("SELECT setval(pg_get_serial_sequence(%s, 'id'), %s)", (table, highest))

    def hold_models(self, connection: Connection) -> None:
        """By a lock on the table."""
        connection.exec_driver_sql("LOCK TABLE models IN EXCLUSIVE MODE")

    def tokens(self, connection: Connection) -> frozenset[bytes]:
        """All that the transaction sees."""
        return _tokens(connection.exec_driver_sql("SELECT string_agg(token, ''::bytea) FROM revision").scalar() or b"")

    def touched(self, connection: Connection, known: frozenset[bytes], now: frozenset[bytes]) -> Ids | None:
        """What the rows say that are new, where they swept up nothing that was not known."""
        query = "SELECT touched, swept FROM revision WHERE token = ANY(%s)"
        rows = connection.exec_driver_sql(query, (list(now - known),)).all()
        swept = _tokens(b"".join(row.swept for row in rows))
        if swept != known - now or any(row.touched is None for row in rows):
            return None
        return np.unique(np.frombuffer(b"".join(row.touched for row in rows), ">i8").astype(np.int64))

    def packed_keys(self, connection: Connection, model_row: int, after: int, limit: int) -> bytes:
        return connection.exec_driver_sql(KEYS, (model_row, after, limit)).scalar() or b""

    def select(self, connection: Connection, query: str, ids: Sequence[int]) -> Iterable[Sequence[Any]]:
        """One statement for any number of ids: it is prepared once."""
        return connection.exec_driver_sql(f"{query} = ANY(%s)", (list(ids),))


def _tokens(together: bytes) -> frozenset[bytes]:
    return frozenset(together[start : start + TOKEN_BYTES] for start in range(0, len(together), TOKEN_BYTES))


def drop_unused(database: Database) -> None:
    """Drop the tables of a gallery that was just made, unless somebody has written into them."""
    tables = [table for table in Base.metadata.sorted_tables if table.name != _STARTS_FILLED]
    with database.migration() as connection:
        names = ", ".join(table.name for table in tables)
        connection.exec_driver_sql(f"LOCK TABLE {names}")  # before the first look, which so sees every commit
        if any(connection.scalar(sa.select(sa.exists().select_from(table))) for table in tables):
            return
        Base.metadata.drop_all(connection)
        connection.exec_driver_sql("DROP TABLE alembic_version")
        connection.exec_driver_sql("DROP FUNCTION templates_changed(), templates_to_backlog()")


_STARTS_FILLED: Final = "revision"
_REFERENCES: Final = (
    ("faces", "photo_id", "photos"),
    ("faces", "subject_id", "subjects"),
    ("templates", "face_id", "faces"),
    ("templates", "model_id", "models"),
    ("calibrations", "model_id", "models"),
    ("crops", "photo_id", "photos"),
)


def _require_driver() -> None:
    try:
        import_module("psycopg")
    except ImportError as error:
        raise InstallationError(
            "Galleries in PostgreSQL need psycopg, which is not installed.",
            "Run: pip install 'facesearch[postgres]'",
        ) from error


def _prepare_connection(dbapi: Any, _record: object) -> None:
    if dbapi.info.server_version < OLDEST:
        raise GalleryError(
            f"The server is PostgreSQL {dbapi.info.server_version // 10000}, and facesearch needs 13 or newer.",
            "Upgrade the server, or use a gallery in a folder.",
        )
    encoding = dbapi.info.parameter_status("server_encoding")  # text in a database of SQL_ASCII comes as bytes
    if encoding != "UTF8":
        raise GalleryError(
            f"The database {dbapi.info.dbname} keeps text as {encoding}, and a gallery needs UTF8.",
            "Make another: createdb -E UTF8 -T template0 NAME",
        )
    with dbapi.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
        # A server may be told to acknowledge before it writes; what facesearch acknowledges is on disk.
        cursor.execute(
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
    dbapi.commit()


KEYS: Final = (
    "SELECT string_agg(int8send(id) || int8send(crc), ''::bytea ORDER BY id) FROM "
    "(SELECT id, crc FROM templates WHERE model_id = %s AND id > %s ORDER BY id LIMIT %s) AS piece"
)
"""Ids and checksums of a model's templates behind an id, by id, some at most: int64 (n, 2), big-endian."""
_TRIGGERS: Final = frozenset(f"templates_token_{event}" for event in ("insert", "update", "delete", "truncate")) | {
    "templates_backlog_insert",
    "templates_backlog_delete",
}
_SWEPT: Final = "swept"
"""A column of `revision` that SQLite has not."""
_COLUMNS: Final = "SELECT attname FROM pg_attribute WHERE attrelid = 'revision'::regclass AND NOT attisdropped"
_ENABLED: Final = (
    "SELECT tgname FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid WHERE tgrelid = 'templates'::regclass "
    "AND NOT tgisinternal AND tgenabled IN ('O', 'A') AND proname IN ('templates_changed', 'templates_to_backlog')"
)


def _is_ours(name: str | None, kind: str, parents: Mapping[str, str | None]) -> bool:
    """Tables of pgvector come and go with `reindex`; the migrations know nothing of them.

    Nor do the models know of the column that SQLite has not.
    """
    if kind == "column":
        return (parents.get("table_name"), name) != ("revision", _SWEPT)
    return not (kind == "table" and name is not None and name.startswith(COLLECTION_PREFIX))
