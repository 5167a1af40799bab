"""Quantized codes: 4 bits for every 4 dimensions of a vector, and a scan that compares a query with all of them.

A vector is rotated by signs and Fourier transforms that fixed random bits choose. Its coordinates then look like those
of a normal distribution, whatever the model. Four of them at a time are replaced by the nearest of 16 points that were
chosen for that distribution. Nothing is trained: a code depends on its vector alone.

A scan estimates scores. Over the choice of the rotation, the estimate of a score s is normal with mean `SLOPE` * s and
deviation `CodeScan.deviation`. That tells how many rows have to be scored exactly.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import faiss
import numpy as np

from facesearch.index.huge_pages import HugePages

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from facesearch.types import Vectors

WIDTH: Final = 4
"""Dimensions that share a code."""
CODEBOOK: Final = np.array(
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
)
"""(16, 4): the best of 12 runs of Lloyd's algorithm on 200,000 draws from the standard normal distribution."""
LOST: Final = 0.3411
"""Mean squared distance to the nearest point of the codebook per dimension, on 400,000 other draws."""
SLOPE: Final = 1 - LOST
"""Mean ratio of estimate to score: a code is the mean of the vectors it stands for, so it is shorter."""


class CodeScan:
    """Codes by row. Rows are numbered as they come and never move. Searching is thread-safe, changing is not."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self._padded = -(-dimension // WIDTH) * WIDTH
        self.deviation = float(np.sqrt(LOST * SLOPE / self._padded))
        """Standard deviation of an estimate from `SLOPE` times the score."""
        self._signs = _signs(self._padded)
        self._index = faiss.IndexPQFastScan(self._padded, self._padded // WIDTH, 4, faiss.METRIC_INNER_PRODUCT)
        points = np.broadcast_to(CODEBOOK / np.sqrt(self._padded), (self._padded // WIDTH, *CODEBOOK.shape))
        faiss.copy_array_to_vector(np.ascontiguousarray(points, np.float32).ravel(), self._index.pq.centroids)
        self._index.is_trained = True
        self._packer = self._index.get_CodePacker()
        self._huge_pages = HugePages()

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def append(self, vectors: Vectors) -> None:
        """Give the next rows the codes of unit vectors (n, d)."""
        self._index.add(self.turned(vectors))
        self._settle()

    def _settle(self) -> None:
        if len(self):
            self._huge_pages.follow(int(self._index.codes.get()), int(self._index.codes.nbytes()))

    def blank(self, rows: NDArray[np.int64]) -> None:
        """Overwrite the codes of these rows, each named once, with one code for all."""
        blocks = self.packed().reshape(-1, int(self._packer.block_size))
        block_of, place_of = np.divmod(rows, int(self._packer.nvec))
        everything = np.full(self._packer.code_size, 0xFF, np.uint8)
        for place in np.unique(place_of).tolist():
            bits = np.zeros((1, blocks.shape[1]), np.uint8)
            self._packer.pack_1(everything, place, bits)
            blocks[block_of[place_of == place]] &= ~bits

    def best(self, turned: Vectors, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return estimates and rows of the `count` < len(self) highest estimates for turned queries (q, p), best first.

        Where an estimate ties with the last, chance decides which rows are returned. With few dimensions FAISS may
        leave out the lowest estimates; the rows then end in -1.
        """
        # A single query is scanned by one thread; others would be woken for nothing.
        faiss.omp_set_num_threads(min(THREADS, len(turned)))
        estimates, rows = self._index.search(turned, count)
        return estimates, rows

    def turned(self, vectors: Vectors) -> Vectors:
        """Return vectors (n, d) as they are encoded and compared with codes: (n, p), p >= d, lengths unchanged."""
        wide = np.zeros((len(vectors), self._padded), np.float32)
        wide[:, : self.dimension] = vectors
        for signs in self._signs:
            wide = _spread(wide * signs)
        return wide

    def packed(self) -> NDArray[np.uint8]:
        """Return all codes, as `unpack` takes them: a view that changes with the scan."""
        size = int(self._index.codes.size())
        if not size:
            return np.empty(0, np.uint8)
        view: NDArray[np.uint8] = faiss.rev_swig_ptr(self._index.codes.get(), size)
        return view

    def unpack(self, codes: NDArray[np.uint8], count: int) -> None:
        """Become a scan over `count` rows with the codes that another's `packed` returned. Raises `ValueError`."""
        each = int(self._packer.nvec)
        if len(codes) != -(-count // each) * int(self._packer.block_size):
            raise ValueError("codes and count do not belong together")
        faiss.copy_array_to_AlignedTable(np.ascontiguousarray(codes), self._index.codes)
        self._index.ntotal, self._index.ntotal2 = count, -(-count // each) * each
        self._settle()


THREADS: Final = faiss.omp_get_max_threads()
"""By the machine or OMP_NUM_THREADS."""


def blank_codes(codes: NDArray[np.uint8], count: int, dimension: int, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return a copy of packed codes of `count` rows in which those of `rows` are blank."""
    scan = CodeScan(dimension)
    scan.unpack(codes, count)
    scan.blank(rows)
    return scan.packed().copy()


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
