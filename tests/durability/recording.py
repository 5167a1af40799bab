"""What a command does to its files, recorded with strace: writes, truncations, renames, removals, syncs, and what it
says on its standard output, in order."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.capabilities import require

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

CALLS = (
    "openat,open,creat,close,lseek,write,writev,pwrite64,pwritev,pwritev2,ftruncate,truncate,fallocate,copy_file_range,"
    "rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,mkdir,mkdirat,fsync,fdatasync,"
    "sync_file_range,msync,sendfile"
)
LINE = re.compile(r"(?P<pid>\d+) +(?P<name>\w+)\((?P<args>.*)\) += (?P<result>-?\d+)")
UNFINISHED = re.compile(r"(?P<pid>\d+) +(?P<head>\w+\(.*) <unfinished \.\.\.>$")
RESUMED = re.compile(r"(?P<pid>\d+) +<\.\.\. \w+ resumed>(?P<tail>.*)$")


@dataclass(frozen=True, slots=True)
class Write:
    file: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    file: int
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    """Of a file, by number, or of a folder, by path."""

    what: int | str


@dataclass(frozen=True, slots=True)
class Create:
    path: str
    file: int


@dataclass(frozen=True, slots=True)
class Link:
    """One more name of a file."""

    path: str
    file: int


@dataclass(frozen=True, slots=True)
class MakeFolder:
    path: str


@dataclass(frozen=True, slots=True)
class Rename:
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Unlink:
    path: str


@dataclass(frozen=True, slots=True)
class Said:
    """On standard output: what is acknowledged."""

    text: str


Operation = Write | Truncate | Sync | Create | Link | MakeFolder | Rename | Unlink | Said


def record(command: Sequence[str], root: Path) -> list[Operation]:
    """Run a command and return what it did below `root`, which is empty; the test is skipped without strace."""
    require("proc")  # strace finds the names of files there
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: no writes can be recorded")
    trace, said = root.with_name("trace"), root.with_name("said")
    options = ["-f", "-y", "--seccomp-bpf", "-xx", "-s", "16777216", "-e", "signal=none", "-e", f"trace={CALLS}"]
    with said.open("wb") as output:
        subprocess.run(
            ["strace", *options, "-o", os.fspath(trace), *command],
            stdout=output,
            check=True,
            timeout=250,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    with trace.open(encoding="ascii") as lines:
        return list(_Reader(os.fspath(root), os.fspath(said)).read(_whole(lines)))


def _whole(lines: Iterable[str]) -> Iterator[str]:
    """Calls that were interrupted by those of other threads, in one piece, at the time they ended."""
    begun: dict[str, str] = {}
    for line in lines:
        if found := UNFINISHED.match(line):
            begun[found["pid"]] = found["head"]
        elif found := RESUMED.match(line):
            yield f"{found['pid']} {begun.pop(found['pid'])}{found['tail']}"
        else:
            yield line


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


@dataclass
class _Open:
    path: str
    file: int
    position: int
    appends: bool


class _Reader:
    def __init__(self, root: str, said: str) -> None:
        self._root, self._said = root, said
        self._open: dict[int, _Open] = {}
        self._files: dict[str, int] = {}
        self._sizes: dict[int, int] = {}

    def read(self, lines: Iterator[str]) -> Iterator[Operation]:
        for line in lines:
            found = LINE.match(line)
            if found and int(found["result"]) >= 0:
                yield from self._call(found["name"], found["args"], int(found["result"]))

    def _call(self, name: str, args: str, result: int) -> Iterator[Operation]:
        strings = [os.fsdecode(_bytes(text)) for text in re.findall(r'"((?:\\x[0-9a-f]{2})*)"', args)]
        match name:
            case "openat" | "open" | "creat":
                yield from self._opened(strings[0], args, result)
            case "mkdir" | "mkdirat" if self._is_ours(strings[0]):
                yield MakeFolder(strings[0])
            case "rename" | "renameat" | "renameat2" if self._is_ours(strings[0]):
                self._files[strings[1]] = self._files.pop(strings[0])
                yield Rename(strings[0], strings[1])
            case "link" | "linkat" if self._is_ours(strings[1]):
                self._files[strings[1]] = self._files[strings[0]]
                yield Link(strings[1], self._files[strings[1]])
            case "unlink" | "unlinkat" if self._is_ours(strings[0]):
                del self._files[strings[0]]
                yield Unlink(strings[0])
            case "rename" | "renameat" | "renameat2" | "link" | "linkat" | "unlink" | "unlinkat" | "mkdir" | "mkdirat":
                pass
            case _:
                yield from self._on_descriptor(name, args, result)

    def _is_ours(self, path: str) -> bool:
        # SQLite makes its shared memory anew after a crash: what it holds is of no interest.
        return (path == self._root or path.startswith(self._root + "/")) and not path.endswith("-shm")

    def _opened(self, path: str, args: str, descriptor: int) -> Iterator[Operation]:
        if not self._is_ours(path):
            return
        if path not in self._files and "O_CREAT" in args:
            self._files[path] = len(self._sizes)
            self._sizes[self._files[path]] = 0
            yield Create(path, self._files[path])
        if path not in self._files:
            return  # a folder: what is synced is named by its path
        file = self._files[path]
        if "O_TRUNC" in args:
            self._sizes[file] = 0
            yield Truncate(file, 0)
        self._open[descriptor] = _Open(path, file, 0, "O_APPEND" in args)

    def _on_descriptor(self, name: str, args: str, result: int) -> Iterator[Operation]:
        found = re.match(r"(\d+)<((?:\\x[0-9a-f]{2})*)>(.*)", args)
        if found is None:
            return
        path = os.fsdecode(_bytes(found[2]))
        if path == self._said and name == "write":
            yield Said(_bytes(found[3].split('"')[1]).decode())
        if not self._is_ours(path):
            return
        opened = self._open.get(int(found[1]))
        if opened is None or name == "close":
            self._open.pop(int(found[1]), None)
            if name in ("fsync", "fdatasync"):
                yield Sync(path)
            return
        yield from self._on_file(name, opened, found[3], result)

    def _on_file(self, name: str, opened: _Open, args: str, result: int) -> Iterator[Operation]:
        match name:
            case "lseek":
                opened.position = result
            case "write":
                offset = self._sizes[opened.file] if opened.appends else opened.position
                opened.position = offset + result
                yield self._write(opened.file, offset, args, result)
            case "pwrite64":
                yield self._write(opened.file, int(args.rsplit(",", 1)[1]), args, result)
            case "ftruncate":
                size = int(args.rsplit(",", 1)[1])
                self._sizes[opened.file] = size
                yield Truncate(opened.file, size)
            case "fsync" | "fdatasync":
                yield Sync(opened.file)
            case _:
                raise AssertionError(f"the simulation does not know what {name} does")

    def _write(self, file: int, offset: int, args: str, result: int) -> Write:
        self._sizes[file] = max(self._sizes[file], offset + result)
        return Write(file, offset, _bytes(args.split('"')[1])[:result])
