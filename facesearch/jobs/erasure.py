"""Forgetting people: everything facesearch keeps of them, and a receipt for them."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from facesearch.errors import GalleryError
from facesearch.files import read_pieces
from facesearch.names import path_text
from facesearch.store import erasure, journal
from facesearch.store.erasure import rows_that_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from facesearch.search.gallery import Gallery
    from facesearch.store.erasure import Erased
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
    scanned = _scan(gallery.folder, cache, erased)
    with gallery.database.read() as connection:
        elsewhere = sum(rows_that_name(connection, name) for name in erased.subjects)
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
        "explained": _explain(erased),
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


def _explain(erased: Erased) -> str | None:
    """What is left on purpose, in words; None where nothing is."""
    if not erased.photos_of_others:
        return None
    return (
        f"{erased.photos_of_others} of the photos are enrolled for other people too, from files with the same content. "
        "Their templates stay: they are those people's."
    )


def _files_on_disk(erased: Erased) -> list[str]:
    """Enrolled files that are still there. `enroll` refuses them from now on, unless told to bring the person back."""
    return [path_text(path) for path in map(os.fsdecode, erased.photo_paths) if os.path.exists(path)]  # noqa: PTH110


def _scan(folder: Path, cache: Path, erased: Erased) -> list[ScannedFile]:
    traces = erased.traces
    kinds = (traces.vectors, traces.crops, traces.names, traces.paths)
    groups = [[each for each in kind if len(each) >= SHORTEST] for kind in kinds]
    try:
        return scan_files([folder, cache / "embeddings"], groups)
    except OSError as error:
        raise GalleryError(
            f"The people are erased, but {error.filename} cannot be searched for what is left: {error.strerror}.",
            "Look at that file.",
        ) from error


def _scan_record(scanned: ScannedFile, folder: Path) -> dict[str, Any]:
    vectors, crops, names, paths = scanned.hits
    inside = scanned.path.is_relative_to(folder)
    return {
        "file": path_text(scanned.path.relative_to(folder) if inside else scanned.path),
        "bytes": scanned.size,
        "vectors": vectors,
        "face_pictures": crops,
        "names": names,
        "photo_paths": paths,
    }


def _is_clean(scanned: ScannedFile, elsewhere: int) -> bool:
    """Another person's name or path may contain the name: Ann is in Annette."""
    vectors, crops, names, paths = scanned.hits
    return not vectors and not crops and not paths and (not names or elsewhere > 0)


PIECE: Final = 8 << 20
"""Bytes read at a time."""
SHORTEST: Final = 5
"""Bytes of a needle. Four bytes are found by chance in a file of a few gigabytes."""


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """What a file holds of the bytes that were looked for."""

    path: Path
    size: int
    hits: tuple[int, ...]
    """How often each group of needles was found; overlapping needles of one group count each."""


def scan_files(folders: Iterable[Path], groups: Sequence[Sequence[bytes]]) -> list[ScannedFile]:
    """Look for every needle of every group in every regular file below `folders`. Raises `OSError`."""
    seekers = [_Seeker(group) for group in groups]
    return [_scan_file(path, seekers) for folder in folders for path in _files(folder)]


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*"), key=os.fsencode):
        try:
            if stat.S_ISREG(path.lstat().st_mode):
                yield path
        except FileNotFoundError:
            continue  # a temporary file of another process


class _Seeker:
    """Finds many needles at once: a table of their first two bytes, then their first four, then the whole."""

    def __init__(self, needles: Sequence[bytes]) -> None:
        if any(len(needle) < SHORTEST for needle in needles):
            raise ValueError(f"a needle has at least {SHORTEST} bytes")
        self.longest = max(map(len, needles), default=0)
        self._by_start: dict[int, dict[int, set[bytes]]] = {}
        """By the first four bytes and the length: paths of one folder all begin alike."""
        self._pairs = np.zeros(1 << 16, np.bool)
        for needle in set(needles):
            start = int.from_bytes(needle[:4], "little")
            self._by_start.setdefault(start, {}).setdefault(len(needle), set()).add(needle)
            self._pairs[start & 0xFFFF] = True
        self._starts = np.array(sorted(self._by_start), np.uint32)

    def count(self, data: bytes, end: int) -> int:
        """Hits that begin before `end`."""
        if not self._by_start or len(data) < SHORTEST:
            return 0
        each = np.frombuffer(data, np.uint8)
        pairs = each[:-1] | (each[1:].astype(np.uint16) << 8)
        places = np.flatnonzero(self._pairs[pairs[:-2]])
        starts = pairs[places] | (pairs[places + 2].astype(np.uint32) << 16)
        places = places[np.isin(starts, self._starts) & (places < end)]
        return sum(
            data[place : place + length] in needles
            for place in places.tolist()
            for length, needles in self._by_start[int.from_bytes(data[place : place + 4], "little")].items()
        )


def _scan_file(path: Path, seekers: Sequence[_Seeker]) -> ScannedFile:
    overlap = max((seeker.longest for seeker in seekers), default=0)
    hits = [0] * len(seekers)
    size = 0
    kept = b""
    for piece in read_pieces(path, PIECE):
        size += len(piece)
        data = kept + piece
        end = max(len(data) - overlap, 0)
        hits = [known + seeker.count(data, end) for known, seeker in zip(hits, seekers, strict=True)]
        kept = data[end:]
    hits = [known + seeker.count(kept, len(kept)) for known, seeker in zip(hits, seekers, strict=True)]
    return ScannedFile(path, size, tuple(hits))
