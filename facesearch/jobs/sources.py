"""Photo files: how one is read, and those to enroll with the subject of each, from folders, files or a manifest."""

from __future__ import annotations

import csv
import hashlib
import os
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from facesearch.errors import ConfigError, PhotoError
from facesearch.names import listed_path, path_text, person_name
from facesearch.recognition.photo import MAX_BYTES
from facesearch.store.photos import upload_path
from facesearch.store.subjects import clean_attributes, clean_name
from facesearch.types import EnrollOutcome, EnrollStatus, Reason, Rejection
from facesearch.walking import Unread, cause_of, is_gone, is_photo_name, is_system_folder, walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


def read_photo_bytes(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a regular file of at most `max_bytes`.

    Never blocks on a pipe or a device, and never follows a file that grows while it is read beyond the limit.

    Raises:
        PhotoError: `inaccessible` (missing, no permission, the disk fails), `unreadable` (no regular file, empty) or
            `too_large`.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(path, flags), "rb") as file:  # noqa: PTH123 - a descriptor, not a path
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise PhotoError("It is not a regular file.", reason="unreadable")
            data = file.read(max_bytes + 1) if status.st_size <= max_bytes else None
    except IsADirectoryError as error:
        message = "It is a folder, and the photos in it were not looked at."
        raise PhotoError(message, reason="inaccessible") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise PhotoError(f"It cannot be read: {cause_of(error)}.", reason="inaccessible") from error
    if data is None or len(data) > max_bytes:
        raise PhotoError(
            f"The photo is larger than {max_bytes / 2**20:.0f} MB.",
            reason="too_large",
            hint="Save a smaller copy; 2 megapixels a face are plenty.",
        )
    if not data:
        raise PhotoError("The file is empty.", reason="unreadable")
    return data


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
    """The photos to enroll, in a stable order, and what was not looked at on the way."""

    items: list[Source] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    """Absolute folders that were searched: what `--sync` may remove from."""
    flat: list[Path] = field(default_factory=list)
    """Those of them without photos in sub-folders: where they hold photos, nobody said whether each is one person."""
    deep: list[Path] = field(default_factory=list)
    """Those of them with photos in the sub-folders of sub-folders only: their people may be one level further down."""
    passed_over: list[Path] = field(default_factory=list)
    """Files that are no photos by their names, and folders of the system that were given."""
    unread: list[Unread] = field(default_factory=list)
    """Folders that could not be read: what is in them is neither enrolled nor gone."""

    def __len__(self) -> int:
        """How many outcomes an enrolment of all this has, without what `--sync` removes."""
        return len(self.items) + len(self.passed_over) + len(self.unread)

    def may_hold(self, photo: Path) -> bool:
        """Whether `photo` would lie in a folder that could not be read."""
        return any(photo.is_relative_to(each.path) for each in self.unread)

    def set_aside(self) -> Iterator[EnrollOutcome]:
        """Outcomes of what is not looked at: what is no photo by its name, and what could not be read."""
        for path in self.passed_over:
            yield EnrollOutcome(path_text(path), "", EnrollStatus.PASSED_OVER)
        for each in self.unread:
            why = Rejection(Reason.INACCESSIBLE, f"It cannot be read: {each.cause}.")
            yield EnrollOutcome(path_text(each.path), "", EnrollStatus.REJECTED, why)


def collect_sources(
    paths: Iterable[Path], subject: str | None = None, *, one_per_file: bool = False, sync: bool = False
) -> Sources:
    """Photos of one folder per subject, loose photos (subject = the name without its suffix), and CSV manifests.

    `subject` names the person in all of them instead. With `one_per_file`, each photo that no manifest names is said to
    show the person that its file is named after. A photo that is given twice counts once. Folders of the system that
    lie in a folder are not looked at, nor are hidden ones; a photo that is given by its name is, whatever its suffix.

    Raises `ConfigError` for a path that is not there, a manifest that cannot be used, a photo that is given to two
    subjects, a `subject` that can be no name, and with `sync` for a folder without photos.
    """
    if subject is not None:
        clean_name(subject)
        if one_per_file:
            raise ConfigError("--as and --one-per-file exclude each other.", "Choose one.")
    naming = _Naming(subject, one_per_file=one_per_file)
    sources = Sources()
    for path in paths:
        _collect(sources, Path(path), naming, sync=sync)
    if sync and not sources.folders:
        raise ConfigError("--sync needs a folder with photos in it.", "Name the folder that the photos are in.")
    sources.items = _unique(sources.items)
    sources.passed_over = list(dict.fromkeys(sources.passed_over))
    sources.unread = list(dict.fromkeys(sources.unread))
    return sources


@dataclass(frozen=True, slots=True)
class _Naming:
    """How photos get their person's name."""

    subject: str | None
    one_per_file: bool

    @property
    def by_folder(self) -> bool:
        """Whether a folder's name is that of the person in it."""
        return self.subject is None and not self.one_per_file

    def named(self, photo: Path, folder: str | None = None) -> Source:
        """The photo, which lies in the `folder` of a person or in none."""
        if self.subject is not None:
            return Source(photo, self.subject)
        if folder is None or self.one_per_file:
            return Source(photo, person_name(photo.stem), said=self.one_per_file)
        return Source(photo, person_name(folder))


def _collect(sources: Sources, path: Path, naming: _Naming, *, sync: bool) -> None:
    """Add what `path` is or holds."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100  # Path.resolve would follow links and rename photos
    if is_gone(absolute):
        raise ConfigError(f"There is no {path}.", "Give a folder with one folder per person, photos, or a CSV.")
    try:
        is_folder = stat.S_ISDIR(absolute.stat().st_mode)
    except (OSError, ValueError) as error:
        sources.unread.append(Unread(absolute, cause_of(error)))
        return
    if is_folder and is_system_folder(absolute):
        sources.passed_over.append(absolute)
    elif is_folder:
        _collect_folder(sources, absolute, naming, sync=sync)
    elif absolute.suffix.lower() == ".csv":
        listed = read_manifest(absolute)
        sources.items += listed if naming.subject is None else [replace(row, subject=naming.subject) for row in listed]
    else:
        sources.items.append(naming.named(absolute))


def _collect_folder(sources: Sources, folder: Path, naming: _Naming, *, sync: bool) -> None:
    found = walk(folder)
    photos = [path for path in found.files if is_photo_name(path)]
    if sync and not photos and not found.unread:
        raise ConfigError(
            f"--sync needs a folder with photos in it, and {folder} holds none.",
            "It would remove everybody: is a disk missing? To remove a person: facesearch people remove NAME",
        )
    depth = len(folder.parts)
    for path in photos:
        below = path.parts[depth:]
        sources.items.append(naming.named(path, below[0] if len(below) > 1 else None))
    sources.folders.append(folder)
    if all(path.parent == folder for path in photos) and all(each.path == folder for each in found.unread):
        sources.flat.append(folder)
    if photos and naming.by_folder and all(len(path.parts) > depth + 2 for path in photos):
        sources.deep.append(folder)
    sources.passed_over += (path for path in found.files if not is_photo_name(path))
    sources.unread += found.unread


def find_photos(paths: Iterable[Path]) -> list[Path]:
    """Return the photos given and those in the folders given, each once, in a stable order.

    A folder that cannot be read stands among them: it is a photo that is `inaccessible`. Raises `ConfigError` for a
    path that is not there, and where there is nothing to look at.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if is_gone(path):
            raise ConfigError(f"There is no {path_text(path)}.", "Check the path.")
        is_folder = os.path.isdir(path)  # noqa: PTH112  # Path.is_dir raises where a folder above has no permission
        if is_folder and is_system_folder(path):
            continue
        for photo in photos_in(path) if is_folder else [path]:
            found.setdefault(os.path.abspath(photo), photo)  # noqa: PTH100  # Path.resolve would follow links
    if not found:
        raise ConfigError("There are no photos in what was given.", "Name photos, or a folder with photos in it.")
    return list(found.values())


def photos_in(folder: Path) -> list[Path]:
    """Return the photos in a folder and below it, then the folders that could not be read."""
    found = walk(folder)
    return [path for path in found.files if is_photo_name(path)] + [each.path for each in found.unread]


def _unique(sources: Iterable[Source]) -> list[Source]:
    """Each photo once, in the order of their first mention; what was said of a photo wins over its file's name."""
    kept: dict[tuple[object, str], Source] = {}
    folders: dict[Path, object] = {}
    for source in sources:
        folder = source.path.parent
        if folder not in folders:
            folders[folder] = _identity(folder)
        key = folders[folder], source.path.name
        earlier = kept.setdefault(key, source)
        if earlier.said and source.said and earlier.subject != source.subject:
            raise ConfigError(
                f"{source.path} is given to two subjects: {earlier.subject} and {source.subject}.",
                "Keep one of the two.",
            )
        if source.said and not earlier.said:
            kept[key] = source
    return list(kept.values())


def _identity(folder: Path) -> object:
    """What two names of one folder have in common, where a link leads to it."""
    try:
        status = folder.stat()
    except (OSError, ValueError):
        return folder
    return status.st_dev, status.st_ino


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
