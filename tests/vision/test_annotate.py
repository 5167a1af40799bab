from __future__ import annotations

import numpy as np
import pytest

from facesearch.errors import ConfigError
from facesearch.types import Face
from facesearch.vision.annotate import annotate, encode_jpeg, encode_photo
from facesearch.vision.photo import decode_photo
from tests.vision.sessions import floats

BLUE, ORANGE = (0, 114, 178), (230, 159, 0)


def face(x1: float, y1: float, x2: float, y2: float) -> Face:
    return Face(floats([x1, y1, x2, y2]), np.zeros((5, 2), np.float32), 0.9)


def picture() -> np.ndarray:
    return np.full((200, 300, 3), 90, np.uint8)


def test_boxes_stand_where_the_faces_are_in_the_colour_of_their_outcome() -> None:
    before = picture()
    drawn = annotate(before, [(face(20, 50, 100, 150), "", True), (face(150, 50, 250, 150), "", False)])
    assert tuple(drawn[100, 20]) == tuple(drawn[150, 60]) == BLUE
    assert tuple(drawn[100, 150]) == tuple(drawn[100, 250]) == ORANGE
    assert tuple(drawn[100, 60]) == (90, 90, 90)
    np.testing.assert_array_equal(before, picture())
    assert drawn.dtype == np.uint8
    assert drawn.shape == before.shape


def test_a_label_is_a_filled_plate_above_the_box() -> None:
    drawn = annotate(picture(), [(face(20, 50, 100, 150), "Ada", True)])
    plate = (drawn[35:48, 20:60] == BLUE).all(axis=2)
    assert plate.mean() > 0.3
    assert (drawn[35:48, 20:60] == 255).all(axis=2).any()


@pytest.mark.parametrize(
    "box", [(-20, -20, 60, 60), (280, 0, 340, 90), (0, 190, 40, 240), (500, 500, 600, 600), (50, 90, 40, 80)]
)
def test_faces_that_leave_the_photo_are_drawn_as_far_as_they_are_in_it(box: tuple[float, float, float, float]) -> None:
    assert annotate(picture(), [(face(*box), "somebody with a rather long name", False)]).shape == (200, 300, 3)


@pytest.mark.parametrize(
    "text", ["Zoë Müller", "王小明", "محمد", "a\nb\tc", "\udc80", "\0", "👩‍👩‍👧", "x" * 500, "", " "]
)
def test_any_text_can_be_a_label(text: str) -> None:
    assert annotate(picture(), [(face(20, 50, 100, 150), text, True)]).shape == (200, 300, 3)


def test_a_label_is_one_line() -> None:
    one, other = (
        annotate(picture(), [(face(20, 90, 99, 150), text, True)]) for text in ("a b c", " a\nb\x07\r\n c\u2028")
    )
    np.testing.assert_array_equal(one, other)


def test_accents_differ_from_the_box_of_a_missing_character() -> None:
    one, other = (annotate(picture(), [(face(20, 50, 100, 150), text, True)]) for text in ("é", "ü"))
    assert (one != other).any()


def test_text_grows_with_the_photo() -> None:
    def plate_height(side: int) -> int:
        drawn = annotate(np.zeros((side, side, 3), np.uint8), [(face(9, side / 2, side - 9, side - 9), "Ada", True)])
        return int((drawn[: side // 2 - side // 50, 12] == BLUE).all(axis=1).sum())

    assert plate_height(3000) > 2 * plate_height(1000) > 0


def test_a_jpeg_reads_back() -> None:
    assert decode_photo(encode_jpeg(picture())).shape == (200, 300, 3)
    assert encode_jpeg(picture()).startswith(b"\xff\xd8\xff")


@pytest.mark.parametrize(
    ("suffix", "magic"), [(".jpg", b"\xff\xd8"), (".JPEG", b"\xff\xd8"), (".png", b"\x89PNG"), (".webp", b"RIFF")]
)
def test_the_suffix_chooses_the_format(suffix: str, magic: bytes) -> None:
    data = encode_photo(picture(), suffix)
    assert data.startswith(magic)
    assert np.abs(decode_photo(data).astype(int) - picture()).max() < 5


@pytest.mark.parametrize("suffix", [".gif", ""])
def test_a_format_that_cannot_be_written_is_refused(suffix: str) -> None:
    with pytest.raises(ConfigError):
        encode_photo(picture(), suffix)
