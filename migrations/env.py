"""Alembic's entry point. facesearch hands over a connection inside a transaction; on the command line (developers:
`alembic -x gallery=FOLDER upgrade head`, `alembic check`) the gallery folder is named with `-x gallery=`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import context

from facesearch.gallery.database import Database, create_database_file
from facesearch.gallery.schema import Base

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
    folder = context.get_x_argument(as_dictionary=True).get("gallery")
    if folder is None:
        raise SystemExit("Name the gallery folder: alembic -x gallery=FOLDER ...")
    database = Database(create_database_file(Path(folder)))
    try:
        with database.migration() as connection:
            run(connection)
    finally:
        database.close()


main()
