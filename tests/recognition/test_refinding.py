"""Known faces are found again, or none is taken."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facesearch.recognition.quality import CLEARLY, SAME_FACE, Box, overlaps, refind
from facesearch.types import Face, Reason, Rejection

LANDMARKS = np.zeros((5, 2), np.float32)
numbers = st.integers(0, 60)
boxes = st.tuples(numbers, numbers, st.integers(1, 40), st.integers(1, 40)).map(
    lambda box: (float(box[0]), float(box[1]), float(box[0] + box[2]), float(box[1] + box[3]))
)


def face(box: Box) -> Face:
    return Face(np.array(box, np.float32), LANDMARKS, 0.9)


def pixels_of(box: Box) -> set[tuple[int, int]]:
    return {(x, y) for x in range(int(box[0]), int(box[2])) for y in range(int(box[1]), int(box[3]))}


@given(st.lists(boxes, max_size=4), st.lists(boxes, max_size=4))
def test_a_face_is_taken_only_where_it_is_clear_which(known: list[Box], found: list[Box]) -> None:
    taken = refind(known, [face(box) for box in found])
    ratios = overlaps(known, [face(box) for box in found])
    assert len(taken) == len(known)
    chosen = [each for each in taken if isinstance(each, int)]
    assert len(set(chosen)) == len(chosen)
    for row, each in enumerate(taken):
        expected = [
            len(pixels_of(known[row]) & pixels_of(box)) / len(pixels_of(known[row]) | pixels_of(box)) for box in found
        ]
        assert ratios[row].tolist() == pytest.approx(expected)
        if isinstance(each, int):
            assert expected[each] >= SAME_FACE
            assert all(expected[each] - other >= CLEARLY - 1e-9 for i, other in enumerate(expected) if i != each)


def test_faces_are_found_in_any_order() -> None:
    known: list[Box] = [(0, 0, 10, 10), (50, 0, 60, 10), (0, 50, 10, 60)]
    assert refind(known, [face(known[2]), face(known[0]), face(known[1])]) == [1, 2, 0]
    assert refind(known[:1], [face((1, 1, 11, 11)), face((40, 40, 50, 50))]) == [0]


@pytest.mark.parametrize(
    ("known", "found", "reason"),
    [
        ([(0, 0, 10, 10)], [], Reason.FACE_NOT_FOUND),
        ([(0, 0, 10, 10)], [(6, 0, 16, 10)], Reason.FACE_NOT_FOUND),
        ([(0, 0, 10, 10)], [(1, 0, 11, 10), (0, 1, 10, 11)], Reason.MULTIPLE_FACES),
        ([(0, 0, 10, 10), (1, 0, 11, 10)], [(0, 0, 10, 10)], Reason.MULTIPLE_FACES),
    ],
)
def test_nothing_is_guessed(known: list[Box], found: list[Box], reason: Reason) -> None:
    for each in refind(known, [face(box) for box in found]):
        assert isinstance(each, Rejection)
        assert each.reason is reason
