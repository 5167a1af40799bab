"""Quantized codes: 4 bits for every 4 or 8 dimensions of a vector, and a scan that compares a query with all of them.

A vector is rotated by signs and Fourier transforms that fixed random bits choose. Its coordinates then look like those
of a normal distribution, whatever the model. Four or eight of them at a time are replaced by the nearest of 16 points
that were chosen for that distribution. Nothing is trained: a code depends on its vector alone.

A scan estimates scores. Over the choice of the rotation, the estimate of a score s is normal with mean `slope` * s and
deviation `deviation` of its `CodeScan`. That tells how many rows have to be scored exactly.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

import faiss
import numpy as np

from facesearch.index.cores import CORES
from facesearch.index.huge_pages import HugePages

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facesearch.types import Vectors

WIDEST: Final = 8
"""Dimensions of the widest codebook: vectors are padded to a multiple."""


class Codebook(NamedTuple):
    """The best of some runs of Lloyd's algorithm on draws from the standard normal distribution."""

    points: NDArray[np.float32]
    """(16, w): what stands for w dimensions."""
    lost: float
    """Mean squared distance to the nearest point per dimension, on 400,000 other draws."""


FINE: Final = Codebook(
    np.array(
        [
            [0.169, 0.869, 0.505, -1.379],
            [-0.036, 1.492, -0.816, -0.069],
            [-1.189, -1.179, 0.21, 0.236],
            [-0.117, -1.002, 0.292, -1.358],
            [-0.436, -0.078, 1.64, -0.192],
            [1.353, 0.139, -0.701, -0.769],
            [0.441, -1.392, -0.829, 0.247],
            [-0.453, -0.156, -1.366, -0.884],
            [1.028, 0.29, -0.736, 1.121],
            [-0.725, 0.975, 0.559, 1.036],
            [0.148, -0.638, 0.662, 1.407],
            [0.994, 1.055, 0.854, 0.292],
            [0.012, 0.001, 0.001, -0.005],
            [-1.498, 0.527, 0.067, -0.572],
            [-0.843, -0.005, -1.112, 0.988],
            [1.222, -0.825, 0.864, -0.106],
        ],
        np.float32,
    ),
    0.3411,
)
"""1 bit a dimension."""
COARSE: Final = Codebook(
    np.array(
        [
            [0.456, 0.261, -1.132, -1.193, 0.143, 0.15, -0.368, 0.138],
            [-0.403, -0.338, 1.088, 1.218, -0.091, -0.176, 0.379, -0.239],
            [0.987, -0.407, -0.594, 0.799, 0.909, 0.242, 0.291, 0.281],
            [-0.221, -1.259, -0.226, -0.468, 0.223, -0.184, 0.196, -1.064],
            [1.05, -0.615, 0.415, -0.284, -0.866, -0.65, -0.218, 0.47],
            [0.434, -0.163, 0.756, -0.224, -0.005, 1.362, -0.64, -0.318],
            [-0.125, -0.237, -0.636, 0.263, -1.151, 0.828, 0.789, 0.136],
            [0.019, 0.213, -0.626, 0.829, -0.508, -0.211, -1.178, -0.652],
            [-1.093, 0.66, -0.422, 0.198, 0.815, 0.672, 0.25, -0.414],
            [-0.038, -0.149, 0.633, -0.832, 0.493, 0.247, 1.163, 0.688],
            [0.074, 0.292, 0.702, -0.269, 1.139, -0.817, -0.761, -0.11],
            [-0.962, 0.407, 0.571, -0.818, -0.984, -0.236, -0.256, -0.236],
            [0.875, 0.861, 0.175, -0.038, -0.123, -0.191, 0.663, -1.091],
            [-0.795, -0.892, -0.147, 0.159, 0.151, 0.183, -0.74, 1.057],
            [0.215, 1.264, 0.198, 0.404, -0.184, 0.161, -0.154, 1.098],
            [-0.472, 0.136, -0.692, 0.206, -0.049, -1.373, 0.639, 0.293],
        ],
        np.float32,
    ),
    0.6018,
)
"""Half a bit a dimension: scanned in 0.58 of the time, with 1.7 times the error."""
SEGMENT: Final = 1 << 17
"""Rows that are scanned at once: 8 MB and 4 MB of codes at 512 dimensions."""
GROUP: Final = 64
"""Queries that are compared with a segment at once."""


class CodeScan:
    """Codes by row. Rows are numbered as they come and never move. Searching is thread-safe, changing is not."""

    def __init__(self, dimension: int, codebook: Codebook) -> None:
        """`dimension` is that of turned vectors."""
        width = codebook.points.shape[1]
        self._parts = dimension // width
        self._dimension = dimension
        self._points = np.tile(codebook.points.ravel() / np.float32(np.sqrt(dimension)), self._parts)
        self.slope = 1 - codebook.lost
        """Mean ratio of estimate to score: a code is the mean of the vectors it stands for, so it is shorter."""
        self.deviation = float(np.sqrt(codebook.lost * self.slope / dimension))
        """Standard deviation of an estimate from `slope` times the score."""
        self._segments: list[faiss.IndexPQFastScan] = []
        self._huge_pages: list[HugePages] = []
        self._packer = self._new_segment().get_CodePacker()

    def _new_segment(self) -> faiss.IndexPQFastScan:
        made = faiss.IndexPQFastScan(self._dimension, self._parts, 4, faiss.METRIC_INNER_PRODUCT)
        faiss.copy_array_to_vector(self._points, made.pq.centroids)
        made.is_trained = True
        return made

    def _grow(self) -> faiss.IndexPQFastScan:
        self._segments.append(self._new_segment())
        self._huge_pages.append(HugePages())
        return self._segments[-1]

    def __len__(self) -> int:
        return sum(int(each.ntotal) for each in self._segments[-1:]) + SEGMENT * max(0, len(self._segments) - 1)

    def append(self, turned: Vectors) -> None:
        """Give the next rows the codes of turned vectors (n, p)."""
        while len(turned):
            room = -len(self) % SEGMENT
            segment = self._segments[-1] if room else self._grow()
            segment.add(np.ascontiguousarray(turned[: room or SEGMENT]))
            turned = turned[room or SEGMENT :]
            self._settle()

    def _settle(self) -> None:
        for segment, pages in zip(self._segments, self._huge_pages, strict=True):
            pages.follow(int(segment.codes.get()), int(segment.codes.nbytes()))

    def blank(self, rows: NDArray[np.int64]) -> None:
        """Overwrite the codes of these rows, each named once, with one code for all."""
        everything = np.full(self._packer.code_size, 0xFF, np.uint8)
        for segment, codes in enumerate(self.packed()):
            blocks = codes.reshape(-1, int(self._packer.block_size))
            block_of, place_of = np.divmod(rows[rows // SEGMENT == segment] % SEGMENT, int(self._packer.nvec))
            for place in np.unique(place_of).tolist():
                bits = np.zeros((1, blocks.shape[1]), np.uint8)
                self._packer.pack_1(everything, place, bits)
                blocks[block_of[place_of == place]] &= ~bits

    def best(self, turned: Vectors, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        """Return about `count` rows of the highest estimates for turned queries (q, p), in no order.

        The answer is estimates and rows (q, m), -1 where there is none, and what no other row's estimate exceeds (q,).
        Idle cores help.
        """
        groups = [turned[start : start + GROUP] for start in range(0, len(turned), GROUP)]
        mean = count / len(self._segments)
        each = count if len(self._segments) == 1 else int(mean + 4 * mean**0.5) + 8  # rows lie in them by chance

        def scan(task: int) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
            number, group = divmod(task, len(groups))
            return self._scan(number, groups[group], each)

        found = CORES.share(scan, len(self._segments) * len(groups))
        columns = [found[group :: len(groups)] for group in range(len(groups))]
        return (
            np.vstack([np.hstack([each[0] for each in column]) for column in columns]),
            np.vstack([np.hstack([each[1] for each in column]) for column in columns]),
            np.hstack([np.max([each[2] for each in column], axis=0) for column in columns]),
        )

    def _scan(
        self, number: int, turned: Vectors, count: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        segment = self._segments[number]
        size = int(segment.ntotal)
        faiss.omp_set_num_threads(1)  # of this thread: cores are shared out by `CORES`
        estimates, rows = segment.search(turned, min(count, size))
        there = rows >= 0
        # FAISS may leave out rows of the lowest estimate that there can be.
        unseen = np.where(there, estimates, np.float32(np.inf)).min(axis=1)
        if count >= size:
            unseen[there.all(axis=1)] = -np.inf
        return estimates, np.where(there, rows + SEGMENT * number, -1), unseen

    def packed(self) -> list[NDArray[np.uint8]]:
        """Return all codes by segment; joined they are what `unpack` takes. Views that change with the scan."""
        return [faiss.rev_swig_ptr(each.codes.get(), int(each.codes.size())) for each in self._segments]

    def size(self, count: int) -> int:
        """Return the bytes of the packed codes of so many rows."""
        return -(-count // int(self._packer.nvec)) * int(self._packer.block_size)

    def unpack(self, codes: NDArray[np.uint8], count: int) -> None:
        """Become a scan over `count` rows with the codes that another's `packed` returned."""
        for start in range(0, count, SEGMENT):
            segment, rows = self._grow(), min(SEGMENT, count - start)
            part = codes[self.size(start) : self.size(start + rows)]
            faiss.copy_array_to_AlignedTable(np.ascontiguousarray(part), segment.codes)
            segment.ntotal, segment.ntotal2 = rows, -(-rows // int(self._packer.nvec)) * int(self._packer.nvec)
        self._settle()


class Codes:
    """The fine and the coarse codes of vectors, by row."""

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._padded = -(-dimension // WIDEST) * WIDEST
        self._signs = _signs(self._padded)
        self.fine = CodeScan(self._padded, FINE)
        self.coarse = CodeScan(self._padded, COARSE)

    def append(self, vectors: Vectors) -> None:
        """Give the next rows the codes of unit vectors (n, d)."""
        turned = self.turned(vectors)
        self.fine.append(turned)
        self.coarse.append(turned)

    def blank(self, rows: NDArray[np.int64]) -> None:
        """Overwrite the codes of these rows, each named once."""
        self.fine.blank(rows)
        self.coarse.blank(rows)

    def turned(self, vectors: Vectors) -> Vectors:
        """Return vectors (n, d) as they are encoded and compared with codes: (n, p), p >= d, lengths unchanged."""
        wide = np.zeros((len(vectors), self._padded), np.float32)
        wide[:, : self._dimension] = vectors
        for signs in self._signs:
            wide = _spread(wide * signs)
        return wide

    def packed(self) -> list[NDArray[np.uint8]]:
        """Return all codes; joined they are what `unpack` takes. Views that change with the codes."""
        return [*self.fine.packed(), *self.coarse.packed()]

    def unpack(self, codes: NDArray[np.uint8], count: int) -> None:
        """Become the codes of `count` rows that another's `packed` returned. Raises `ValueError`."""
        first = self.fine.size(count)
        if len(codes) != first + self.coarse.size(count):
            raise ValueError("codes and count do not belong together")
        self.fine.unpack(codes[:first], count)
        self.coarse.unpack(codes[first:], count)


def blank_codes(
    codes: NDArray[np.uint8], count: int, dimension: int, rows: NDArray[np.int64]
) -> list[NDArray[np.uint8]]:
    """Return a copy of packed codes of `count` rows in which those of `rows` are blank."""
    made = Codes(dimension)
    made.unpack(codes, count)
    made.blank(rows)
    return [each.copy() for each in made.packed()]


def _signs(dimension: int) -> tuple[NDArray[np.float32], ...]:
    """Return two times `dimension` fixed random signs."""
    bits = np.unpackbits(np.frombuffer(hashlib.shake_256(b"facesearch codes").digest(2 * dimension // 8 + 1), np.uint8))
    signs = (1 - 2 * bits[: 2 * dimension].astype(np.float32)).reshape(2, dimension)
    return signs[0], signs[1]


def _spread(vectors: Vectors) -> Vectors:
    """Return the Fourier transform as real numbers: an orthogonal transform that spreads every coordinate to all."""
    spectrum = np.fft.rfft(vectors, axis=1, norm="ortho")
    out = np.empty_like(vectors)
    out[:, 0], out[:, 1] = spectrum[:, 0].real, spectrum[:, -1].real
    out[:, 2::2] = spectrum[:, 1:-1].real * np.sqrt(np.float32(2))
    out[:, 3::2] = spectrum[:, 1:-1].imag * np.sqrt(np.float32(2))
    return out
