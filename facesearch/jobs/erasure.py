"""Forgetting people: everything facesearch keeps of them, and a receipt for them."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from facesearch.errors import GalleryError
from facesearch.files import INDEX_CACHE_NAME, INDEX_VECTORS_NAME
from facesearch.jobs.traces import PIECE, SHORTEST, scan_files
from facesearch.names import path_text
from facesearch.store import erasure, journal
from facesearch.store.drivers import TextlessPages, textless_pages
from facesearch.store.erasure import rows_that_name
from facesearch.store.sqlite import DATABASE_NAME, SqliteDatabase

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from facesearch.jobs.traces import ScannedFile
    from facesearch.search.gallery import Gallery
    from facesearch.store.erasure import Erased, Traces
    from facesearch.store.subjects import SubjectKey


ELSEWHERE: Final = (
    "the database server's files, where removed rows stay until they are written over or VACUUM FULL is run",
    "its write-ahead log, replicas and backups",
    "index caches on other machines, until the gallery is next searched from there",
)
"""Of a gallery in PostgreSQL: what facesearch cannot look into."""


def forget_people(gallery: Gallery, cache: Path, who: Sequence[SubjectKey]) -> dict[str, Any]:
    """Erase people from the gallery and from the embeddings in `cache`; the receipt, as JSON values.

    Raises `UnknownSubjectError` before anything is changed. When this returns, everything but what the receipt names
    is gone: `clean` says whether there is anything that it names. `not_searched` tells what of a gallery on a server
    nobody looked into.
    """
    from facesearch.jobs.embedding_cache import forget_embeddings

    names_before = sorted(path.name for path in gallery.folder.iterdir() if path.is_file())
    erased = gallery.remove(erasure.erase_subjects, gallery.erasure_list, who)
    emptied = gallery.database.checkpoint()
    embeddings, files = forget_embeddings(cache / "embeddings", erased.photo_hashes)
    traces, others = erased.traces, set[bytes]()
    scanned = _scan(gallery, cache, traces, emptied=emptied)
    if any(vectors for vectors, *_ in (each.hits for each in scanned)):
        # The same picture in another file: an erasure looks for it only where files are the same, byte by byte.
        others = gallery.read(erasure.vectors_of_others, traces.vectors)
        traces = replace(traces, vectors=tuple(each for each in traces.vectors if each not in others))
        scanned = _scan(gallery, cache, traces, emptied=emptied)
    elsewhere = 0
    if not gallery.database.owns_folder or gallery.is_encrypted or any(each.hits[2] for each in scanned):
        elsewhere = sum(gallery.read(rows_that_name, name) for name in erased.subjects)
    left = [each for each in scanned if each.path.name == DATABASE_NAME and not _is_clean(each, elsewhere)]
    if left and emptied and isinstance(gallery.database, SqliteDatabase):
        # SQLite moves rows between pages, and now and then leaves a copy in a gap of the page that they left.
        with suppress(GalleryError):  # the disk may have no room for it: then the receipt says what is left
            gallery.database.rewrite()
            emptied = gallery.database.checkpoint()
            scanned = _scan(gallery, cache, traces, emptied=emptied)
    _, untold = gallery.vector_databases.state()
    held = [path_text(name) for name in names_before if name.startswith(("gallery.db", "index.cache"))]
    return {
        "subjects": list(erased.subjects),
        "forgotten_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "gallery": gallery.place,
        "removed": {
            "photos": erased.photos,
            "templates": erased.templates,
            "refused_photos": erased.rejections,
            "cached_embeddings": embeddings,
        },
        "removed_from": [*held, *(path_text(file) for file in files)],
        "photos_that_stay_for_others": erased.photos_of_others,
        "explained": _explain(erased, len(others)),
        "log_emptied": emptied,
        "scan": [_scan_record(each, gallery.folder) for each in scanned],
        "names_too_short_to_scan": sum(len(name) < SHORTEST for name in erased.traces.names),
        "rows_of_others_with_these_names": elsewhere,
        "backups_since_enrolment": erased.backups,
        "not_searched": [*(() if gallery.database.owns_folder else ELSEWHERE), *gallery.vector_databases.remnants()],
        "photo_files": "stay where they are: facesearch never owned them",
        "photo_files_on_disk": _files_on_disk(erased),
        "clean": emptied and not untold and all(_is_clean(each, elsewhere) for each in scanned),
    }


def purge_removed(gallery: Gallery) -> int:
    """Delete what is kept of removals that can no longer be undone; returns how many rows."""
    purged = gallery.write(journal.purge_old)
    if purged:
        gallery.database.checkpoint()
    return purged


def _explain(erased: Erased, shared: int) -> str | None:
    """What is left on purpose, in words; None where nothing is."""
    said = []
    if erased.photos_of_others:
        said.append(f"Photos with the same content as another person's: {erased.photos_of_others}.")
    if shared:
        said.append(f"Vectors that equal another person's: {shared}.")
    return " ".join([*said, "The templates of these other people stay."]) if said else None


def _files_on_disk(erased: Erased) -> list[str]:
    """Enrolled files that are still there. `enroll` refuses them from now on, unless told to bring the person back."""
    return [path_text(path) for path in map(os.fsdecode, erased.photo_paths) if os.path.exists(path)]  # noqa: PTH110


def _scan(gallery: Gallery, cache: Path, traces: Traces, *, emptied: bool) -> list[ScannedFile]:
    texts = [[each for each in kind if len(each) >= SHORTEST] for kind in (traces.names, traces.paths)]
    folders = [gallery.folder, cache / "embeddings"]
    try:
        numbers = [gallery.folder / name for name in (INDEX_CACHE_NAME, INDEX_VECTORS_NAME)]
        textless = {file.name: _all_pages(file) for file in numbers if file.exists()}
        with gallery.database.read() as connection:
            if emptied and isinstance(gallery.database, SqliteDatabase) and not gallery.is_encrypted:
                textless[DATABASE_NAME] = textless_pages(connection, gallery.database.path)
            return scan_files(folders, (traces.vectors, traces.crops), texts, textless)
    except OSError as error:
        raise GalleryError(
            f"The people are erased, but {error.filename} cannot be searched for what is left: {error.strerror}.",
            "Look at that file.",
        ) from error


def _all_pages(file: Path) -> TextlessPages:
    return TextlessPages(PIECE, np.ones(-(-file.stat().st_size // PIECE), np.bool))


def _scan_record(scanned: ScannedFile, folder: Path) -> dict[str, Any]:
    vectors, crops, names, paths = scanned.hits
    inside = scanned.path.is_relative_to(folder)
    return {
        "file": path_text(scanned.path.relative_to(folder) if inside else scanned.path),
        "bytes": scanned.size,
        "bytes_searched_for_text": scanned.texts_in,
        "vectors": vectors,
        "face_pictures": crops,
        "names": names,
        "photo_paths": paths,
    }


def _is_clean(scanned: ScannedFile, elsewhere: int) -> bool:
    """Another person's name or path may contain the name: Ann is in Annette."""
    vectors, crops, names, paths = scanned.hits
    return not vectors and not crops and not paths and (not names or elsewhere > 0)
