from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from facesearch.index import quantizer
from facesearch.index.cores import Cores
from facesearch.index.flat import FlatIndex
from facesearch.index.quantizer import COARSE, FINE, Codebook, Codes, CodeScan
from facesearch.index.two_stage import FETCH, FEW, FLOOR, PART, TwoStageIndex
from facesearch.search.mirror import TWO_STAGE_FROM, chosen_kind
from facesearch.types import IndexKind, Vectors
from tests.store.makers import units

COUNT = 20_000
DIMENSION = 128


def probes(vectors: Vectors, scores: Vectors, seed: int) -> Vectors:
    """One probe for each of the first vectors, at the given score."""
    count, dimension = len(scores), vectors.shape[1]
    noise = units(seed, count, dimension)
    noise -= np.einsum("ij,ij->i", noise, vectors[:count])[:, None] * vectors[:count]
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    return np.asarray(scores[:, None] * vectors[:count] + np.sqrt(1 - scores[:, None] ** 2) * noise, np.float32)


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return units(1, COUNT, DIMENSION)


@pytest.fixture(scope="module")
def indexes(vectors: Vectors) -> tuple[TwoStageIndex, FlatIndex]:
    both = TwoStageIndex(DIMENSION), FlatIndex(DIMENSION)
    for index in both:
        index.add(np.arange(COUNT, dtype=np.int64) * 2, vectors)
    return both


def test_mates_are_found_down_to_the_floor(indexes: tuple[TwoStageIndex, FlatIndex], vectors: Vectors) -> None:
    """Flat misses those that ten strangers outscore; of the others none may be lost."""
    asked = probes(vectors, np.linspace(FLOOR + 0.05, 0.9, 1000, dtype=np.float32), 2)
    mates = np.arange(1000)[:, None] * 2
    found, exact = ((index.search(asked, 10)[1] == mates).any(axis=1) for index in indexes)
    assert exact.sum() > 900
    assert not np.any(exact & ~found)


def test_what_is_at_or_above_the_floor_is_what_flat_finds_with_its_scores(
    indexes: tuple[TwoStageIndex, FlatIndex], vectors: Vectors
) -> None:
    asked = probes(vectors, np.full(16, 0.6, np.float32), 3)
    (scores, ids), (exact_scores, exact_ids) = (index.search(asked, 5) for index in indexes)
    high = exact_scores >= FLOOR + 0.05
    assert high.sum() >= 16
    assert np.array_equal(ids[high], exact_ids[high])
    assert np.array_equal(scores[high], exact_scores[high]), "the same kernel: not only close"


@pytest.mark.parametrize("part", [PART * 4, 3])
def test_a_filter_is_part_of_the_search(indexes: tuple[TwoStageIndex, FlatIndex], vectors: Vectors, part: int) -> None:
    """Few are scored one by one, many are scanned: the best outside of the filter take no place away."""
    allowed = np.arange(0, COUNT, part, dtype=np.int64) * 2
    assert (len(allowed) <= FEW) == (part > 3)
    asked = probes(vectors, np.full(400, 0.6, np.float32), 4)
    (scores, ids), (exact_scores, exact_ids) = (index.search(asked, 3, allowed) for index in indexes)
    assert np.isin(ids, allowed).all()
    high = exact_scores > FLOOR + 0.05
    assert np.array_equal(ids[high], exact_ids[high])
    assert np.array_equal(scores[high], exact_scores[high])


def test_more_equal_vectors_than_a_scan_returns_hide_nobody() -> None:
    index = TwoStageIndex(DIMENSION)
    crowd, one = units(1, 1, DIMENSION), units(2, 1, DIMENSION)
    near = (crowd + 0.05 * one) / np.linalg.norm(crowd + 0.05 * one)
    index.add(np.arange(3 * FETCH, dtype=np.int64), np.repeat(crowd, 3 * FETCH, axis=0))
    index.add(np.array([10**6]), near)
    index.add(np.arange(20_000, 40_000), units(3, 20_000, DIMENSION))
    scores, ids = index.search(near, 2 * FETCH)
    assert ids[0, 0] == 10**6
    assert len(set(scores[0, 1:].tolist())) == 1
    assert ids[0, 1:].tolist() == list(range(2 * FETCH - 1)), "equal ones in order of id"


def test_removed_vectors_leave_neither_code_nor_vector(vectors: Vectors) -> None:
    index, never = TwoStageIndex(DIMENSION), TwoStageIndex(DIMENSION)
    index.add(np.arange(500, dtype=np.int64), vectors[:500])
    never.add(np.arange(500, dtype=np.int64), vectors[:500])
    gone = np.array([0, 31, 32, 499, 700])
    assert index.remove(gone) == 4
    never.codes.blank(gone[:4])
    for left, blanked in zip(index.codes.packed(), never.codes.packed(), strict=True):
        assert np.array_equal(left, blanked)
    assert not index.stored.recent[gone[:4]].any()
    assert len(index) == 496
    _, ids = index.search(vectors[:1], 496)
    assert -1 not in ids
    assert not np.isin(ids, gone).any()


CODEBOOKS = pytest.mark.parametrize("codebook", [FINE, COARSE], ids=["fine", "coarse"])


@CODEBOOKS
@pytest.mark.parametrize("dimension", [4, 50, 127, 512])
def test_estimates_are_distributed_as_the_bound_assumes(dimension: int, codebook: Codebook) -> None:
    codes, count = Codes(dimension), 4000
    vectors = units(1, count, dimension)
    lengths = np.linalg.norm(codes.turned(vectors), axis=1)
    assert np.abs(lengths - 1).max() < 1e-5
    if dimension < 50:
        return
    codes.append(vectors)
    scan = codes.fine if codebook is FINE else codes.coarse
    # However the vectors lie: few directions hold most of this query.
    mixed = vectors[:1] + 2 * np.eye(1, dimension, dtype=np.float32)
    query = np.asarray(mixed / np.linalg.norm(mixed), np.float32)
    estimates, rows, _ = scan.best(codes.turned(query), count - 1)
    errors = estimates[0] - scan.slope * (vectors[rows[0]] @ query[0])
    assert abs(float(errors.mean())) < scan.deviation / 5
    assert float(errors.std()) == pytest.approx(scan.deviation, rel=0.15)


@CODEBOOKS
def test_the_loss_of_the_codebook_is_as_stated(codebook: Codebook) -> None:
    scan = CodeScan(512, codebook)
    vectors = units(1, 200, 512)
    scan.append(vectors)
    kept = [scan.best(each[None], 1)[0].max() for each in vectors]
    assert float(np.mean(kept)) == pytest.approx(1 - codebook.lost, abs=0.01)


def test_codes_read_back_as_they_were(vectors: Vectors) -> None:
    codes, again = Codes(DIMENSION), Codes(DIMENSION)
    codes.append(vectors[:70])
    again.unpack(np.concatenate(codes.packed()), 70)
    for each in (codes, again):
        each.append(vectors[70:100])
    for one, other in ((codes.fine, again.fine), (codes.coarse, again.coarse)):
        first, second = (scan.best(codes.turned(vectors[:3]), 50) for scan in (one, other))
        assert np.array_equal(first[1], second[1])
    with pytest.raises(ValueError, match="do not belong together"):
        again.unpack(np.concatenate(codes.packed()), 200)


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were millions."""
    monkeypatch.setattr(quantizer, "SEGMENT", 1024)


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("cores", [1, 3])
@pytest.mark.parametrize("floor", [-1, 0.4])
def test_segments_and_cores_change_no_result(
    indexes: tuple[TwoStageIndex, FlatIndex],
    vectors: Vectors,
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    floor: float,
) -> None:
    monkeypatch.setattr(quantizer, "CORES", Cores(cores))
    index = TwoStageIndex(DIMENSION)
    for part in np.array_split(np.arange(COUNT), 7):
        index.add(part * 2, vectors[part])
    gone = np.arange(0, COUNT, 3) * 2
    index.remove(gone)
    kept = np.setdiff1d(np.arange(COUNT) * 2, gone)
    asked = probes(vectors, np.full(300, 0.6, np.float32), 3)
    (scores, ids), (exact_scores, exact_ids) = (
        index.search(asked, 5, floor=floor),
        indexes[1].search(asked, 5, kept),
    )
    high = exact_scores >= max(FLOOR, floor) + 0.1
    assert high.sum() >= 200
    assert np.array_equal(ids[high], exact_ids[high])
    assert np.array_equal(scores[high], exact_scores[high])
    again = TwoStageIndex(DIMENSION)
    again.codes.unpack(np.concatenate(index.codes.packed()), COUNT)
    for one, other in zip(again.codes.packed(), index.codes.packed(), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("floor", [0.4, 0.5])
def test_whoever_scores_as_much_as_a_search_asks_for_is_found(
    indexes: tuple[TwoStageIndex, FlatIndex], vectors: Vectors, floor: float
) -> None:
    asked = probes(vectors, np.linspace(floor + 0.05, 0.9, 1000, dtype=np.float32), 2)
    mates = np.arange(1000)[:, None] * 2
    assert (indexes[0].search(asked, 10, floor=floor)[1] == mates).any(axis=1).all()


def test_where_coarse_codes_leave_too_much_the_fine_ones_are_scanned_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A crowd near the query, as of twins: coarse codes cannot tell it from the mate."""
    crowd, others = units(1, 1, DIMENSION), units(2, 20_000, DIMENSION)
    near = 0.5 * crowd + 0.87 * others
    index = TwoStageIndex(DIMENSION)
    index.add(np.arange(len(near)), near / np.linalg.norm(near, axis=1, keepdims=True))
    tried: list[int] = []
    coarse = index.codes.coarse
    best = coarse.best

    def watched(turned: Vectors, count: int) -> tuple[Vectors, NDArray[np.int64], Vectors]:
        tried.append(count)
        return best(turned, count)

    monkeypatch.setattr(coarse, "best", watched)
    for _ in range(60):
        index.search(crowd, 3, floor=0.4)
    assert 0 < len(tried) < 40


def test_auto_goes_by_the_number_of_templates() -> None:
    assert chosen_kind(IndexKind.AUTO, TWO_STAGE_FROM - 1) == IndexKind.FLAT
    assert chosen_kind(IndexKind.AUTO, TWO_STAGE_FROM) == IndexKind.TWO_STAGE
    assert chosen_kind(IndexKind.FLAT, 10**9) == IndexKind.FLAT
    assert chosen_kind(IndexKind.TWO_STAGE, 0) == IndexKind.TWO_STAGE
