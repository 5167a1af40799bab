"""Writing a bundle: everything a gallery knows about its people, out of one consistent view of the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from facesearch.errors import CorruptGalleryError, GalleryError
from facesearch.outputs import Outputs
from facesearch.store import audit, models, templates
from facesearch.store.bundle.file import ERASED, ROWS, BundleWriter
from facesearch.store.bundle.tables import TABLES, Table, template_columns, templates_file, to_arrow
from facesearch.store.rows import require_whole, stored_columns
from facesearch.store.schema import TemplateRow

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy.engine import Connection

    from facesearch.store.models import StoredModel
    from facesearch.store.opening import Store


def write_bundle(
    store: Store,
    file: Path,
    *,
    crops: bool = False,
    key: Path | None = None,
    unencrypted: bool = False,
    force: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, int]:
    """Write a bundle of the gallery, atomically and readable by its owner alone; returns the rows of each table.

    `crops` takes the small pictures of uploads along. `key` is a file with an Ed25519 private key in PEM to sign with.
    `progress` hears of templates as they are written. Memory does not grow with the gallery. Raises `GalleryError` for
    an encrypted gallery without `unencrypted`, and for an empty one, `CorruptGalleryError` where a row is damaged, and
    `ConfigError` where the file cannot be written, or is there already and not to be replaced by `force`; until the new
    one is whole, the old one stays.
    """
    if store.is_encrypted and not unencrypted:
        raise GalleryError(
            "A bundle is not encrypted, and the gallery is.",
            "`facesearch backup FILE` writes an encrypted copy; add --unencrypted to export it all the same.",
        )
    with Outputs(gallery=store.folder, force=force).file(file) as output:
        store.write(audit.record, "export", {"crops": int(crops)})
        with output.unfinished() as unfinished, unfinished.open("w+b") as out, BundleWriter(out) as writer:
            return _write(store, writer, crops=crops, key=key, progress=progress)


def _write(
    store: Store, writer: BundleWriter, *, crops: bool, key: Path | None, progress: Callable[[int], None]
) -> dict[str, int]:
    counts: dict[str, int] = {}
    with store.database.read() as connection:
        active = models.active_model(connection)
        if active is None:
            raise GalleryError("The gallery is empty: there is nothing to export.", "Enroll people first.")
        for table in TABLES:
            if table.name != "crops" or crops:
                counts[table.name] = _write_table(connection, writer, table)
        for model in models.all_models(connection):
            counts["templates"] = counts.get("templates", 0) + _write_templates(connection, writer, model, progress)
        writer.text(ERASED, store.erasure_list.read(connection).format())
    writer.finish({"model": active[1].model_id, "dimension": active[1].dimension}, key)
    return counts


def _write_table(connection: Connection, writer: BundleWriter, table: Table) -> int:
    query = sa.select(*stored_columns(table.row)).order_by(table.row.id)
    count = 0
    with writer.table(table.file, table.columns) as put:
        for rows in connection.execute(query.execution_options(yield_per=ROWS)).partitions():
            for row in rows:
                require_whole(table.row, row)
            put(to_arrow(table.columns, [[row._mapping[name] for name in table.columns] for row in rows]))
            count += len(rows)
    return count


def _write_templates(
    connection: Connection, writer: BundleWriter, model: StoredModel, progress: Callable[[int], None]
) -> int:
    columns = template_columns(model.info.dimension)
    query = sa.select(TemplateRow.id, TemplateRow.face_id, TemplateRow.crc, TemplateRow.vector)
    query = query.where(TemplateRow.model_id == model.row).order_by(TemplateRow.id)
    count = 0
    with writer.table(templates_file(model.row), columns) as put:
        for rows in connection.execute(query.execution_options(yield_per=ROWS)).partitions():
            for row in rows:
                if not templates.is_whole(row, model.row) or len(row.vector) != 4 * model.info.dimension:
                    raise CorruptGalleryError(f"Template {row.id} is damaged.", "Run: facesearch check")
            put(to_arrow(columns, [tuple(row) for row in rows]))
            count += len(rows)
            progress(len(rows))
    return count
