"""Alembic's entry point. facesearch hands over a connection inside a transaction; on the command line (developers:
`alembic -x gallery=FOLDER upgrade head`, `alembic check`) the gallery's folder or URL is named with `-x gallery=`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import context

from facesearch.store.location import DatabaseUrl, parse_location
from facesearch.store.opening import connect
from facesearch.store.rows import Base
from facesearch.store.sqlite import SqliteDatabase, create_database_file

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


def run(connection: Connection) -> None:
    """Run the migrations on a connection that is in a transaction already."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        transactional_ddl=True,
        compare_type=True,
        render_as_batch=True,
    )
    context.run_migrations()


def main() -> None:
    """Take the connection facesearch gave, or open the gallery named on the command line."""
    given = context.config.attributes.get("connection")
    if given is not None:
        run(given)
        return
    place = context.get_x_argument(as_dictionary=True).get("gallery")
    if place is None:
        raise SystemExit("Name the gallery: alembic -x gallery=FOLDER-OR-URL ...")
    location = parse_location(place, Path("build"))
    # A new gallery is made with its schema, by migrations: here these are still to be run.
    database = (
        connect(location) if isinstance(location, DatabaseUrl) else SqliteDatabase(create_database_file(location))
    )
    try:
        with database.migration() as connection:
            run(connection)
    finally:
        database.close()


main()
