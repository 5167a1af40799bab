"""One process at a time tells an engine what changed. The lease ends with the process, however that ends."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from facesearch.files import lock_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from facesearch.store.database import Database

LEASE_NAME: Final = "engine.lock"


@contextmanager
def delivery_lease(database: Database, folder: Path) -> Iterator[bool]:
    """Gives whether this process holds it now. In a folder it is a lock on a file, on a server an advisory lock."""
    if database.engine.dialect.name == "postgresql":
        with _advisory_lock(database) as held:
            yield held
        return
    try:
        descriptor = os.open(folder / LEASE_NAME, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError:  # a gallery that cannot be written to
        yield False
        return
    try:
        try:
            lock_file(descriptor)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


@contextmanager
def _advisory_lock(database: Database) -> Iterator[bool]:
    outside = database.engine.execution_options(isolation_level="AUTOCOMMIT")
    with outside.connect() as connection:
        # One per gallery: several may live in the schemas of one database.
        key = "hashtext('facesearch.jobs'), hashtext(current_schema())"
        held = bool(connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({key})").scalar())  # constant
        try:
            yield held
        finally:
            if held:
                connection.exec_driver_sql(f"SELECT pg_advisory_unlock({key})")
