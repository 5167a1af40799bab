"""What to enroll: photos with the subject each belongs to, from folders, single photos or a CSV manifest."""

from __future__ import annotations

import csv
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from facesearch.errors import ConfigError
from facesearch.gallery.subjects import clean_attributes, clean_name
from facesearch.gallery.uploads import upload_path
from facesearch.names import listed_path, person_name
from facesearch.vision.photo import is_photo_name, read_photo_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Source:
    """A photo file and whom it shows."""

    path: Path
    """Absolute, or that of an upload."""
    subject: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    data: bytes | None = None
    """The photo itself where it was uploaded: it has no file, and `path` only names it."""
    said: bool = True
    """Whether somebody said whom the photo shows: a folder per person, a manifest, `--as`, a request.

    False where only the file's own name suggests `subject`; an enrolled photo stays with its person then.
    """

    def read(self) -> bytes:
        """The photo's bytes. Raises `PhotoError`."""
        return read_photo_bytes(self.path) if self.data is None else self.data

    def status(self) -> tuple[int, int]:
        """Size in bytes and time of the last change in ns. Raises `OSError`."""
        if self.data is not None:
            return len(self.data), 0
        found = self.path.stat()
        return found.st_size, found.st_mtime_ns


def upload(data: bytes, subject: str, attributes: Mapping[str, str] | None = None) -> Source:
    """A photo that has no file, named anew each time: its content tells whether it is enrolled already."""
    return Source(upload_path(hashlib.sha256(data).hexdigest()), subject, attributes or {}, data)


@dataclass(slots=True)
class Sources:
    """The photos to enroll, in a stable order, and what was passed over on the way."""

    items: list[Source] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    """Absolute folders that were searched: what `--sync` may remove from."""
    passed_over: int = 0
    """Files that are no photos by their name."""


def collect_photos(paths: Iterable[Path], subject: str | None = None, *, sync: bool = False) -> Sources:
    """What `enroll` would enroll from these paths; raises `ConfigError` as it does."""
    sources = collect_sources(paths, subject)
    if sync and not (sources.folders and sources.items):
        raise ConfigError(
            "--sync needs a folder with photos in it.", "An empty folder would remove everybody: is a disk missing?"
        )
    return sources


def collect_sources(paths: Iterable[Path], subject: str | None = None) -> Sources:
    """Photos of one folder per subject, loose photos (subject = the name without its suffix), and CSV manifests.

    `subject` names the person in all of them instead. Raises `ConfigError` for a path that is not there, a manifest
    that cannot be used, a photo that is given to two subjects, or a `subject` that can be no name.
    """
    if subject is not None:
        clean_name(subject)
    sources = Sources()
    for path in paths:
        absolute = Path(os.path.abspath(path))  # noqa: PTH100  # Path.resolve would follow links and rename photos
        if absolute.is_dir():
            sources.folders.append(absolute)
            _collect_folder(sources, absolute, subject)
        elif absolute.suffix.lower() == ".csv":
            sources.items.extend(read_manifest(absolute))
        elif absolute.exists():
            sources.items.append(_source(absolute, subject))
        else:
            raise ConfigError(f"There is no {path}.", "Give a folder with one folder per person, photos, or a CSV.")
    sources.items = _unique(sources.items)
    return sources


def _collect_folder(sources: Sources, folder: Path, subject: str | None) -> None:
    for path, top in sorted(_walk(folder), key=lambda found: os.fsencode(found[0])):
        if not is_photo_name(path):
            sources.passed_over += 1
            continue
        sources.items.append(_source(path, person_name(top) if subject is None and top is not None else subject))


def _source(photo: Path, subject: str | None) -> Source:
    """The photo as `subject`'s, or, where nobody said whose it is, as that of a person named after the file."""
    return Source(photo, person_name(photo.stem) if subject is None else subject, said=subject is not None)


def walk_photos(folder: Path) -> list[Path]:
    """All photos in a folder and below it, in a stable order."""
    return sorted((path for path, _ in _walk(folder) if is_photo_name(path)), key=os.fsencode)


def _walk(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """(file, name of the folder directly below `folder` that it is in); hidden names are passed over."""
    seen: set[tuple[int, int]] = set()
    for current, folders, files in os.walk(folder, followlinks=True):
        status = os.stat(current)  # noqa: PTH116  # the names may not be Unicode; os.walk gives strings
        key = (status.st_dev, status.st_ino)
        if key in seen:  # a link back to where we have been
            folders.clear()
            continue
        seen.add(key)
        folders[:] = [name for name in folders if not name.startswith(".")]
        parts = Path(current).relative_to(folder).parts
        for name in files:
            if not name.startswith("."):
                yield Path(current) / name, parts[0] if parts else None


def _unique(sources: Iterable[Source]) -> list[Source]:
    """Each photo once, in the order of their first mention; what was said of a photo wins over its file's name."""
    kept: dict[Path, Source] = {}
    for source in sources:
        earlier = kept.setdefault(source.path, source)
        if earlier.said and source.said and earlier.subject != source.subject:
            raise ConfigError(
                f"{source.path} is given to two subjects: {earlier.subject} and {source.subject}.",
                "Keep one of the two.",
            )
        if source.said and not earlier.said:
            kept[source.path] = source
    return list(kept.values())


def read_manifest(path: Path) -> list[Source]:
    """A CSV with the header `photo,subject[,attribute...]`; photos are relative to the CSV's folder."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            if header[:2] != ["photo", "subject"] or len(set(header)) != len(header) or "" in header:
                raise ConfigError(
                    f"{path} does not begin with the header photo,subject[,attribute...].",
                    f"Its first line is: {','.join(header) or '(empty)'}",
                )
            return [_manifest_row(path, reader.line_num, header, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read: {error}", "Save it as CSV in UTF-8.") from error


def _manifest_row(path: Path, line: int, header: list[str], row: list[str]) -> Source:
    if len(row) != len(header) or not row[0].strip() or not row[1].strip():
        raise ConfigError(
            f"Line {line} of {path} needs {len(header)} fields, with a photo and a subject; it has: {','.join(row)}",
            "Mend the line and run the same command again.",
        )
    try:
        attributes = clean_attributes({key: value for key, value in zip(header[2:], row[2:], strict=True) if value})
    except ConfigError as error:
        raise ConfigError(f"Line {line} of {path}: {error.message}", error.hint) from None
    photo = Path(os.path.abspath(listed_path(path.parent, row[0])))  # noqa: PTH100  # as above: links stay as they are named
    return Source(photo, row[1].strip(), attributes)
