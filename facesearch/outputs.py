"""Guard of everything that a command or a function writes for a person: drawings, reports, receipts, backups.

One rule for all outputs, checked before any work is done:

- An input is never written: not the file itself, not through a symlink, a hard link or a linked folder. Nothing is
  written into a folder of inputs either, because the next run would take it for an input, and no folder that holds
  inputs is filled.
- A file of a gallery is never written, and nothing is added to a gallery's folder.
- Files that a command works with (enrolled photos, model packs, key files) are never written.
- Anything else that exists is replaced with `--force` only. A symlink counts as existing, even a dangling one;
  `--force` replaces the link and leaves alone what it leads to.
- A file is written in a work folder beside its place and renamed when it is whole, with mode 0600. A failure leaves
  nothing behind.
"""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from facesearch.errors import ConfigError
from facesearch.files import fsync_file, fsync_folder, is_gallery_name, make_folder, place_new, work_folder
from facesearch.walking import above

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

_FileId: TypeAlias = tuple[int, int]
"""Device and inode: what all names of one file share."""
_UNFINISHED: Final = "unfinished"


@dataclass(frozen=True, slots=True)
class Output:
    """A file that may be written: nothing is at its place, or what is there may be replaced."""

    path: Path
    _work: Path
    _force: bool

    def write(self, data: bytes, *, done: str = "") -> None:
        """Write the file whole or not at all. Raises `ConfigError`, which says what was `done` all the same."""
        try:
            with self.unfinished() as file:
                file.write_bytes(data)
        except ConfigError as error:
            raise ConfigError(f"{done}, but {error.message}" if done else error.message, error.hint) from error

    @contextmanager
    def unfinished(self) -> Iterator[Path]:
        """Path to write the file to; it takes its place when the block ends without an error. Raises `ConfigError`."""
        file = self._work / _UNFINISHED
        try:
            yield file
            file.chmod(0o600)
            fsync_file(file)
            make_folder(self.path.parent)
            _place(file, self.path, force=self._force)
        except OSError as error:
            raise _cannot_write(self.path, error) from error
        finally:
            file.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """A folder that may be written: it is new or empty, or its files may be replaced."""

    path: Path
    _work: Path
    _force: bool

    @contextmanager
    def unfinished(self) -> Iterator[Path]:
        """Folder to write files to, without folders in it; they take their place when the block ends without an error.

        Raises `ConfigError`.
        """
        folder = self._work / _UNFINISHED
        try:
            folder.mkdir(mode=0o700)
            yield folder
            for file in folder.iterdir():
                file.chmod(0o600)
                fsync_file(file)
            if self.path.exists():
                for file in sorted(folder.iterdir()):
                    _place(file, self.path / file.name, force=self._force)
            else:
                make_folder(self.path.parent)
                fsync_folder(folder)
                folder.rename(self.path)
                fsync_folder(self.path.parent)
        except OSError as error:
            raise _cannot_write(self.path, error) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class Outputs:
    """Guard of the outputs of one command. Every method raises `ConfigError` for a place that must not be written."""

    def __init__(
        self,
        *,
        inputs: Iterable[Path] = (),
        gallery: Path | None = None,
        kept: Callable[[], Iterable[Path]] = tuple,
        force: bool | None = False,
    ) -> None:
        """Guard `inputs` (files, and folders with all that is below), the gallery in a folder, and more files.

        `kept` names the files that the command works with besides its inputs. It is asked only where `force` would
        replace something. A `force` of None is False, of a command that has no such option.
        """
        self._inputs = tuple(inputs)
        self._gallery = gallery
        self._kept = kept
        self._force = bool(force)
        self._or_force = "." if force is None else ", or add --force to replace what is there."

    # -- checking

    def check(self, path: Path) -> None:
        """Refuse a file that must not be written."""
        if not _is_folder(path.parent):
            raise ConfigError(f"{path} cannot be written: there is no folder {path.parent}.", "Make the folder first.")
        self._require_free(path)

    def check_folder(self, path: Path) -> None:
        """Refuse a folder that must not be filled with files whose names are not known yet."""
        self._require_outside(path)
        self._require_apart(path)
        if _status(path) is None:
            return
        if not _is_folder(path):
            raise ConfigError(f"{path} is not a folder.", "Name a folder that does not exist yet.")
        try:
            held = sorted(path.iterdir())
        except OSError as error:
            raise _cannot_write(path, error) from error
        if held and not self._force:
            raise ConfigError(f"{path} is not empty.", f"Name a new folder{self._or_force}")
        for file in held:
            if not _is_folder(file):
                self._require_free(file)

    def _require_free(self, path: Path) -> None:
        self._require_outside(path)
        link = _status(path)
        if link is None:
            return
        found = _followed(path) or link
        if _file_id(found) in self._input_ids:
            raise ConfigError(f"{path} is one of the inputs.", "Name another file: inputs are never replaced.")
        if _file_id(found) in self._gallery_ids:
            raise _of_gallery(path)
        if stat.S_ISDIR(found.st_mode):
            raise ConfigError(f"{path} is a folder.", "Name a file in it.")
        if not self._force:
            raise ConfigError(f"{path} is there already.", f"Name another file{self._or_force}")
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISLNK(found.st_mode):
            raise ConfigError(f"{path} is not a regular file.", "Name another file.")
        if _file_id(found) in self._kept_ids:
            raise ConfigError(
                f"{path} is an enrolled photo or a file of a model pack.",
                "Name another file: these are never replaced.",
            )

    def _require_outside(self, path: Path) -> None:
        """Refuse names that galleries use, and places in folders of inputs."""
        beside = Path(os.path.realpath(path.parent), path.name)
        for place in {beside, Path(os.path.realpath(path))}:
            if is_gallery_name(place.name) and self._is_gallery(place.parent):
                raise _of_gallery(path)
            if any(map(self._is_gallery, place.parents)):
                raise _in_gallery(path)
        for folder in (beside, *beside.parents):
            status = _followed(folder)
            if status is not None and _file_id(status) in self._walked_folders:
                raise ConfigError(
                    f"{path} is in {folder}, a folder of inputs: the next run would take it for one.",
                    "Name a place outside of that folder.",
                )

    def _require_apart(self, folder: Path) -> None:
        """Refuse to fill a folder that holds inputs, or a gallery's."""
        real = Path(os.path.realpath(folder))
        if self._is_gallery(real):
            raise _in_gallery(folder)
        for each in self._inputs:
            if real in Path(os.path.realpath(each)).parents:
                raise ConfigError(
                    f"{folder} holds the input {each}.",
                    "Name another folder: the next run would take what is written there for an input.",
                )

    def _is_gallery(self, folder: Path) -> bool:
        if self._gallery is not None and folder == Path(os.path.realpath(self._gallery)):
            return True
        return _is_folder(folder) and _status(folder / "gallery.db") is not None

    @cached_property
    def _walked_folders(self) -> set[_FileId]:
        return {_file_id(status) for each in self._inputs if _is_folder(each) for _, status, _ in _walk(each)}

    @cached_property
    def _input_ids(self) -> set[_FileId]:
        return _ids(self._inputs)

    @cached_property
    def _kept_ids(self) -> set[_FileId]:
        return _ids(self._kept())

    @cached_property
    def _gallery_ids(self) -> set[_FileId]:
        if self._gallery is None or not _is_folder(self._gallery):
            return set()
        return _ids(path for path in self._gallery.iterdir() if is_gallery_name(path.name))

    def check_gallery(self) -> None:
        """Refuse inputs that are files of the gallery: it may write those anew, whatever the command."""
        if self._gallery is None:
            return
        folder, owned = os.path.realpath(self._gallery), self._gallery_ids
        for path in self._inputs:
            place = Path(os.path.realpath(path))
            status = _followed(path)
            known = status is not None and _file_id(status) in owned
            if known or (is_gallery_name(place.name) and str(place.parent) == folder):
                raise ConfigError(
                    f"{path} has a name that the gallery {self._gallery} uses for its own files.",
                    "Give the file another name, or put it elsewhere.",
                )

    # -- writing

    @contextmanager
    def file(self, path: Path) -> Iterator[Output]:
        """Check a file, and hold a work folder beside it: a place that cannot be written is told before the block."""
        self.check(path)
        with _held(path) as work:
            yield Output(path, work, self._force)

    def optional_file(self, path: Path | None) -> AbstractContextManager[Output | None]:
        """Return `file`, or a context of None where no path was given."""
        return nullcontext() if path is None else self.file(path)

    @contextmanager
    def folder(self, path: Path) -> Iterator[OutputFolder]:
        """Check a folder for files whose names are not known yet, and hold a work folder beside it for the block."""
        self.check_folder(path)
        with _held(path / _UNFINISHED) as work:
            yield OutputFolder(path, work, self._force)

    @contextmanager
    def renewed_folder(self, path: Path) -> Iterator[None]:
        """Check a folder that the block makes anew itself; what was there comes back where the block fails."""
        self.check_folder(path)
        with _held(path) as work:
            existed, before = _is_folder(path), work / _UNFINISHED
            if existed and any(path.iterdir()):
                path.rename(before)
            try:
                yield
            except BaseException:
                _empty(path)
                if before.exists() or not existed:
                    with suppress(OSError):
                        path.rmdir()
                if before.exists():
                    before.rename(path)
                raise

    def optional_folder(self, path: Path | None) -> AbstractContextManager[OutputFolder | None]:
        """Return `folder`, or a context of None where no path was given."""
        return nullcontext() if path is None else self.folder(path)

    @contextmanager
    def files(self, places: Mapping[Path, Path], folder: Path | None = None) -> Iterator[dict[Path, Output]]:
        """Check the place of each key, and hold a work folder; an `Output` by key. Missing folders are made later.

        `folder` is what was named for them: one of the places, or the folder that all of them are in.
        """
        if folder is not None and folder not in places.values():
            self._require_apart(folder)
        for path in places.values():
            self._require_free(path)
        if not places:
            yield {}
            return
        top = Path(os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in places.values()]))  # noqa: PTH100, PTH120
        with _held(top / _UNFINISHED) as work:
            yield {key: Output(path, work, self._force) for key, path in places.items()}


@contextmanager
def _held(path: Path) -> Iterator[Path]:
    """A work folder in the nearest folder above `path` that exists. Raises `ConfigError` where none can be made."""
    parent = path.parent
    while _followed(parent) is None and parent != parent.parent:
        parent = parent.parent
    with ExitStack() as stack:
        try:
            work = stack.enter_context(work_folder(parent))
        except OSError as error:
            raise _cannot_write(path, error) from error
        yield work


def _place(unfinished: Path, path: Path, *, force: bool) -> None:
    """Give a file its name, durably. Without `force`, `FileExistsError` where something has come there meanwhile."""
    if force:
        unfinished.replace(path)
        fsync_folder(path.parent)
    else:
        place_new(unfinished, path)


def _empty(folder: Path) -> None:
    if not _is_folder(folder):
        return
    for each in folder.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each, ignore_errors=True)
        else:
            each.unlink()


def _cannot_write(path: Path, error: OSError) -> ConfigError:
    if isinstance(error, FileExistsError):
        return ConfigError(f"{path} is there already.", "Name another file, or add --force to replace it.")
    return ConfigError(
        f"{path} cannot be written: {error.strerror or error}.", "Name a file in a folder with enough space."
    )


def _of_gallery(path: Path) -> ConfigError:
    return ConfigError(f"{path} is a file of a gallery.", "Name another file: those are never replaced.")


def _in_gallery(path: Path) -> ConfigError:
    return ConfigError(f"{path} is in the folder of a gallery, or is that folder.", "Name a place outside of it.")


def _status(path: Path) -> os.stat_result | None:
    """Of the name itself, a link not followed; None where nothing is there."""
    try:
        return path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _cannot_write(path, error) from error


def _followed(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _is_folder(path: Path) -> bool:
    status = _followed(path)
    return status is not None and stat.S_ISDIR(status.st_mode)


def _file_id(status: os.stat_result) -> _FileId:
    return status.st_dev, status.st_ino


def _ids(paths: Iterable[Path]) -> set[_FileId]:
    """Of files, and of all files in folders."""
    found: set[_FileId] = set()
    for path in paths:
        files = [path] if not _is_folder(path) else [path, *(each for _, _, files in _walk(path) for each in files)]
        found.update(_file_id(status) for each in files if (status := _followed(each)) is not None)
    return found


def _walk(folder: Path) -> Iterator[tuple[Path, os.stat_result, list[Path]]]:
    """Each folder with its status and files; links are followed, each folder once, and none above `folder`."""
    seen: set[_FileId] = set(above(folder))
    for current, folders, names in os.walk(folder, followlinks=True):
        status = _followed(Path(current))
        if status is None or _file_id(status) in seen:
            folders.clear()
            continue
        seen.add(_file_id(status))
        yield Path(current), status, [Path(current, name) for name in names]
