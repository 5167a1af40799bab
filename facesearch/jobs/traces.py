"""Looking for what is left of people in files.

Vectors and pictures are looked for in every byte of every file, by samples: of each `STRIDE` bytes of a file eight are
compared with all eight-byte windows of the traces. Every piece of `STRIDE + 7` bytes holds a sample, so a vector that
is half overwritten is found, too. Names and paths are looked for whole, wherever a file can hold a text.
"""

from __future__ import annotations

import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from facesearch.files import read_into
from facesearch.machine import usable_cores

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from facesearch.store.drivers import TextlessPages

PIECE: Final = 2 << 20
"""Bytes read at a time, into one buffer that stays in the processor's cache."""
STRIDE: Final = 256
"""Bytes of a file from one sample to the next; fewer where a trace is shorter."""
_WINDOW: Final = 8
_AGREEING: Final = 64
"""Bytes around a sample that have to agree. Of shorter traces it is the whole."""
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
_BITS: Final = 20
"""Samples are looked up in a table of 2**20 entries first, which fits into a processor's cache."""
SHORTEST: Final = 5
"""Bytes of a text. Four bytes are found by chance in a file of a few gigabytes."""
_FEW: Final = 16
"""Texts up to which each is looked for by itself: 3 GB/s. More are looked for together."""


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """What a file holds of the bytes that were looked for."""

    path: Path
    size: int
    texts_in: int
    """Bytes in which names and paths were looked for."""
    hits: tuple[int, ...]
    """How often each group was found: groups of vectors and pictures first, then groups of texts."""


def scan_files(
    folders: Iterable[Path],
    long: Sequence[Collection[bytes]],
    texts: Sequence[Collection[bytes]],
    textless: Mapping[str, TextlessPages] | None = None,
) -> list[ScannedFile]:
    """Look for groups of vectors and pictures, and groups of texts, in every regular file below `folders`.

    `textless` says by file name which pages hold no text. Raises `OSError`.
    """
    samples, needles = [_Samples(group) for group in long], [_Texts(group) for group in texts]
    pages = textless or {}

    def scan(path: Path) -> ScannedFile:
        return _scan_file(path, samples, needles, pages.get(path.name))

    with ThreadPoolExecutor(usable_cores()) as pool:  # the database and the index's vectors are of one size
        return list(pool.map(scan, (path for folder in folders for path in _files(folder))))


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*"), key=os.fsencode):
        try:
            if stat.S_ISREG(path.lstat().st_mode):
                yield path
        except FileNotFoundError:
            continue  # a temporary file of another process


class _Samples:
    """Finds traces of 8 bytes or more, whole or in pieces."""

    def __init__(self, traces: Collection[bytes]) -> None:
        self._traces = [np.frombuffer(each, np.uint8) for each in dict.fromkeys(traces)]
        self.stride = STRIDE
        while self._traces and self.stride + _WINDOW - 1 > min(map(len, self._traces)) and self.stride > _WINDOW:
            self.stride //= 2
        windows = [np.lib.stride_tricks.sliding_window_view(each, _WINDOW) for each in self._traces]
        keys = np.concatenate([np.empty((0, _WINDOW), np.uint8), *windows])
        owners = np.repeat(np.arange(len(windows)), [len(each) for each in windows])
        offsets = np.concatenate([np.empty(0, np.int64), *(np.arange(len(each)) for each in windows)])
        telling = (keys != keys[:, :1]).any(axis=1)  # zeros, say, are in every file
        values = np.ascontiguousarray(keys[telling]).view("<u8")[:, 0]
        order = np.argsort(values)
        self._keys, self._owners, self._offsets = values[order], owners[telling][order], offsets[telling][order]
        self._table = np.zeros(1 << _BITS, np.bool)
        self._table[_bucket(self._keys)] = True

    def find(self, data: memoryview, first: int) -> set[tuple[int, int]]:
        """(trace, where it begins) for each that lies at a sample from `first` on; both count from `data`'s start."""
        count = (len(data) - first) // _WINDOW
        if not len(self._keys) or count < 1:
            return set()
        sampled = np.frombuffer(data, "<u8", count, offset=first)[:: self.stride // _WINDOW]
        places = np.flatnonzero(self._table.take(_bucket(sampled)))
        values = sampled[places]
        lows, highs = (np.searchsorted(self._keys, values, side) for side in ("left", "right"))
        return {
            (int(self._owners[row]), first + place * self.stride - int(self._offsets[row]))
            for place, low, high in zip(places.tolist(), lows.tolist(), highs.tolist(), strict=True)
            for row in range(low, high)
            if self._agrees(data, first + place * self.stride, row)
        }

    def _agrees(self, data: memoryview, at: int, row: int) -> bool:
        trace, offset = self._traces[self._owners[row]], int(self._offsets[row])
        before = min(offset, at, STRIDE)
        length = min(before + STRIDE, len(trace) - offset + before, len(data) - at + before)
        there = np.frombuffer(data, np.uint8, length, offset=at - before)
        differing = np.flatnonzero(there != trace[offset - before : offset - before + length])
        after = int(np.searchsorted(differing, before))
        begin = int(differing[after - 1]) + 1 if after else 0
        end = int(differing[after]) if after < len(differing) else length
        return end - begin >= min(_AGREEING, len(trace))


def _bucket(values: NDArray[np.uint64]) -> NDArray[np.int64]:
    return ((values * _MIX) >> np.uint64(64 - _BITS)).view(np.int64)


class _Texts:
    """Finds texts of `SHORTEST` bytes or more. Paths of one folder are looked for together, by the folder."""

    def __init__(self, texts: Collection[bytes]) -> None:
        if any(len(each) < SHORTEST for each in texts):
            raise ValueError(f"a text has at least {SHORTEST} bytes")
        self.longest = max(map(len, texts), default=0)
        folders: dict[bytes, set[bytes]] = {}
        for each in texts:
            folder = each[: each.rfind(os.fsencode(os.sep)) + 1]
            folders.setdefault(folder if len(folder) >= SHORTEST else each, set()).add(each)
        self._groups = {next(iter(group)) if len(group) == 1 else key: group for key, group in folders.items()}
        self._lengths = {key: sorted({len(each) for each in group}) for key, group in self._groups.items()}
        self._together = re.compile(b"|".join(map(re.escape, self._groups))) if len(self._groups) > _FEW else None

    def count(self, data: bytes, end: int) -> int:
        """Hits that begin before `end`."""
        return sum(
            data[place : place + length] in self._groups[key]
            for key, place in self._places(data)
            if place < end
            for length in self._lengths[key]
        )

    def _places(self, data: bytes) -> Iterator[tuple[bytes, int]]:
        if self._together is not None:
            for match in self._together.finditer(data):
                yield match[0], match.start()
            return
        for key in self._groups:
            place = data.find(key)
            while place >= 0:
                yield key, place
                place = data.find(key, place + 1)


def _scan_file(
    path: Path, samples: Sequence[_Samples], texts: Sequence[_Texts], textless: TextlessPages | None
) -> ScannedFile:
    found: list[set[tuple[int, int]]] = [set() for _ in samples]
    counts = [0] * len(texts)
    overlap = max((each.longest for each in texts), default=0)
    size = texts_in = 0
    buffer, kept = memoryview(bytearray(STRIDE + PIECE)), b""
    while read := read_into(path, size, buffer[STRIDE:]):
        for known, each in zip(found, samples, strict=True):
            known.update((trace, size - STRIDE + at) for trace, at in each.find(buffer[: STRIDE + read], STRIDE))
        text = _texts_of(buffer[STRIDE : STRIDE + read], size, textless)
        texts_in += len(text)
        size += read
        if text:
            data = kept + text
            end = max(len(data) - overlap, 0)
            counts = [known + each.count(data, end) for known, each in zip(counts, texts, strict=True)]
            kept = data[end:]
        buffer[:STRIDE] = buffer[read : STRIDE + read]  # what a trace may have begun with
    counts = [known + each.count(kept, len(kept)) for known, each in zip(counts, texts, strict=True)]
    return ScannedFile(path, size, texts_in, (*map(len, found), *counts))


def _texts_of(piece: memoryview, at: int, textless: TextlessPages | None) -> bytes:
    """The pages of a piece that can hold a text, which lies within a page."""
    if textless is None:
        return bytes(piece)
    first, size = at // textless.size, textless.size
    known = textless.mask[first : first + -(-len(piece) // size)]
    kept = [*np.flatnonzero(~known).tolist(), *range(len(known), -(-len(piece) // size))]
    return b"".join(piece[page * size : (page + 1) * size] for page in kept)
