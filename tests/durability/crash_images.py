"""What a power cut may leave of recorded operations.

Writes and truncations of a file are safe once the file was synced, names in a folder once the folder was. Of what is
not safe, anything may be there: nothing, all of it, some of it in another order, pieces of sectors.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from tests.durability.recording import Create, Link, MakeFolder, Operation, Rename, Said, Sync, Truncate, Unlink, Write

SECTORS = (512, 4096)
Names: TypeAlias = dict[str, int]
Naming = Create | Link | Rename | Unlink


@dataclass
class _File:
    safe: bytearray = field(default_factory=bytearray)
    unsafe: list[Write | Truncate] = field(default_factory=list)

    def apply(self, change: Write | Truncate) -> None:
        apply(self.safe, change)


@dataclass
class _Folder:
    safe: Names = field(default_factory=dict)
    unsafe: list[Naming] = field(default_factory=list)
    made: bool = False
    """Whether its own name is safe."""


def apply(content: bytearray, change: Write | Truncate) -> None:
    """Carry out a change of a file's content."""
    if isinstance(change, Truncate):
        del content[change.size :]
        content.extend(bytes(change.size - len(content)))
    else:
        end = change.offset + len(change.data)
        content.extend(bytes(max(0, end - len(content))))
        content[change.offset : end] = change.data


class Disk:
    """Files and folders as operations arrive, with what is safe told apart from what is not."""

    def __init__(self, root: str) -> None:
        self.files: dict[int, _File] = {}
        self.folders: dict[str, _Folder] = {root: _Folder(made=True)}
        self._live: Names = {}

    def do(self, operation: Operation) -> None:
        match operation:
            case Write(file) | Truncate(file):
                self.files[file].unsafe.append(operation)
            case Sync(int() as file):
                for change in self.files[file].unsafe:
                    self.files[file].apply(change)
                self.files[file].unsafe.clear()
            case Sync(str() as folder):
                self._sync_folder(folder)
            case Create(path, file) | Link(path, file):
                self.files.setdefault(file, _File())
                self._name(path, operation)
                self._live[path] = file
            case Rename(old, new):
                self._name(old, operation)
                self._live[new] = self._live.pop(old)
            case Unlink(path):
                self._name(path, operation)
                del self._live[path]
            case MakeFolder(path):
                self.folders[path] = _Folder()
            case Said():
                pass

    def _name(self, path: str, operation: Naming) -> None:
        self.folders[os.path.dirname(path)].unsafe.append(operation)  # noqa: PTH120  # text, as strace gives it

    def _sync_folder(self, path: str) -> None:
        folder = self.folders[path]
        folder.safe = self._named(folder, folder.unsafe)
        folder.unsafe = []
        for other, below in self.folders.items():
            if os.path.dirname(other) == path:  # noqa: PTH120
                below.made = True

    def _named(self, folder: _Folder, operations: list[Naming]) -> Names:
        names = dict(folder.safe)
        inodes = dict(names)
        chosen = {id(operation) for operation in operations}  # a name may be made and removed again and again
        for operation in folder.unsafe:
            kept = id(operation) in chosen
            match operation:
                case Create(path, file) | Link(path, file):
                    inodes[path] = file
                    if kept:
                        names[path] = file
                case Rename(old, new):
                    inodes[new] = inodes.pop(old)
                    if kept:
                        names.pop(old, None)
                        names[new] = inodes[new]
                case Unlink(path):
                    inodes.pop(path)
                    if kept:
                        names.pop(path, None)
        return names

    def leave(self, to: Path, root: str, chance: Chance) -> None:
        """Write what a power cut now leaves, below `to` in place of `root`."""
        for path, folder in sorted(self.folders.items()):
            if not all(self.folders[each].made or chance.keeps_folder() for each in _parents(path, root)):
                continue
            target = to / os.path.relpath(path, root)
            target.mkdir(parents=True, exist_ok=True)
            for name, file in self._named(folder, chance.names(folder.unsafe)).items():
                content = bytearray(self.files[file].safe)
                for change in chance.changes(self.files[file].unsafe):
                    apply(content, change)
                (target / os.path.basename(name)).write_bytes(content)  # noqa: PTH119


def _parents(path: str, root: str) -> list[str]:
    """The folders from below `root` down to `path`."""
    found = []
    while path != root:
        found.append(path)
        path = os.path.dirname(path)  # noqa: PTH120
    return found


class Chance:
    """How much of what is not safe a power cut leaves: `nothing`, `all`, or `some`."""

    def __init__(self, kept: str, rng: random.Random) -> None:
        self.kept = kept
        self._rng = rng
        self._share = rng.random()

    def keeps_folder(self) -> bool:
        return self.kept == "all" or (self.kept == "some" and self._rng.random() < self._share)

    def names(self, operations: list[Naming]) -> list[Naming]:
        """Names change in order on a file system with a journal, in any order on others."""
        if self.kept != "some":
            return operations if self.kept == "all" else []
        if self._rng.random() < 0.5:
            return operations[: self._rng.randint(0, len(operations))]
        return [operation for operation in operations if self._rng.random() < self._share]

    def changes(self, unsafe: list[Write | Truncate]) -> list[Write | Truncate]:
        if self.kept != "some":
            return unsafe if self.kept == "all" else []
        if self._rng.random() < 0.3:  # a prefix, the last one torn
            kept = unsafe[: self._rng.randint(0, len(unsafe))]
            return kept[:-1] + [piece for change in kept[-1:] for piece in self._torn(change)]
        kept = [change for change in unsafe if self._rng.random() < self._share]
        if self._rng.random() < 0.3:
            self._rng.shuffle(kept)
        return [piece for change in kept for piece in self._torn(change)]

    def _torn(self, change: Write | Truncate) -> list[Write | Truncate]:
        if isinstance(change, Truncate) or self._rng.random() < 0.5:
            return [change]
        sector = self._rng.choice(SECTORS)
        pieces = []
        start = change.offset
        end = change.offset + len(change.data)
        while start < end:
            stop = min(end, (start // sector + 1) * sector)
            if self._rng.random() < 0.5:
                pieces.append(Write(change.file, start, change.data[start - change.offset : stop - change.offset]))
            start = stop
        return list(pieces)
