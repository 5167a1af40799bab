from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from hypothesis import given
from hypothesis import strategies as st

from facesearch.errors import ConfigError
from facesearch.recognition import fonts
from facesearch.recognition.annotate import Rectangle, annotate, encode_photo, free_place
from facesearch.recognition.decoding import decode_guarded
from facesearch.recognition.fonts import draw_text, without_unknown
from facesearch.types import Face
from tests.recognition.sessions import floats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

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
    assert annotate(picture(), [(face(*box), "x" * 99, False)]).shape[0] > 200


@pytest.mark.parametrize(
    "text",
    ["Zoë Müller", "王小明", "محمد", "a\nb\tc", "\udc80", "\0", "👩‍👩‍👧", "x" * 500, "", " ", "\u0301", "\u200d"],
)
def test_any_text_can_be_a_label(text: str) -> None:
    drawn = annotate(picture(), [(face(20, 50, 100, 150), text, True)])
    np.testing.assert_array_equal(drawn[160:200, :300], picture()[160:])


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


# Places of labels


RECTANGLES = st.tuples(*[st.integers(-20, 320)] * 4).map(
    lambda each: (min(each[0], each[2]), min(each[1], each[3]), max(each[0], each[2]), max(each[1], each[3]))
)


def meet(a: Rectangle, b: Rectangle) -> bool:
    return max(a[0], b[0]) < min(a[2], b[2]) and max(a[1], b[1]) < min(a[3], b[3])


@given(st.tuples(st.integers(1, 200), st.integers(1, 60)), RECTANGLES, st.lists(RECTANGLES, max_size=6))
def test_a_label_covers_no_face_no_other_label_and_stays_in_the_photo(
    size: tuple[int, int], box: Rectangle, others: list[Rectangle]
) -> None:
    place = free_place(size, box, (300, 200), [box, *others])
    if place is not None:
        assert (place[2] - place[0], place[3] - place[1]) == size
        assert 0 <= place[0] <= place[2] <= 300
        assert 0 <= place[1] <= place[3] <= 200
        assert not any(meet(place, each) for each in (box, *others))


def test_labels_go_around_the_faces_beside_them() -> None:
    faces = [face(100, 60, 160, 120), face(90, 20, 170, 58)]
    drawn = annotate(picture(), [(faces[0], "Ada", True), (faces[1], "Ben", False)])
    assert drawn.shape == picture().shape
    assert (drawn[64:116, 104:156] == 90).all()
    assert (drawn[24:54, 94:166] == 90).all()
    assert (drawn[125:140, 100:130] == BLUE).all(axis=2).any(), "below the face, as another is above it"


def test_a_face_without_room_for_its_name_gets_a_number_and_a_line_below_the_photo() -> None:
    drawn = annotate(picture(), [(face(0, 0, 300, 200), "Ada", True), (face(50, 50, 250, 150), "Ben", False)])
    assert drawn.shape[0] > 200
    assert (drawn[:18, :18] == BLUE).all(axis=2).mean() > 0.3
    assert (drawn[55:65, 55:60] == ORANGE).all(axis=2).any()
    legend = drawn[200:]
    assert (legend == 255).all(axis=2).any()
    assert (legend == BLUE).all(axis=2).any()
    assert (legend == ORANGE).all(axis=2).any()
    assert (legend[:, 25:80] == 0).all(axis=2).any(), "the names in black"


# Fonts


@pytest.fixture
def only_fonts_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """Has only the fonts of a folder, besides the one that comes with matplotlib, until the test's end."""

    def forget() -> None:
        for cached in (fonts.system_fonts, fonts._font_of):
            cached.cache_clear()

    def only(folder: Path) -> None:
        monkeypatch.setattr(fonts, "FOLDERS", (folder,))
        forget()

    yield only
    forget()


def font_of(characters: str) -> bytes:
    """A font in which every character is a black square."""
    pen = TTGlyphPen(None)
    for at in ((100, 0), (100, 800), (900, 800), (900, 0)):
        (pen.moveTo if at == (100, 0) else pen.lineTo)(at)
    pen.closePath()
    square, nothing = pen.glyph(), TTGlyphPen(None).glyph()
    builder = FontBuilder(1000)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(each): "square" for each in characters})
    builder.setupGlyf({".notdef": nothing, "square": square})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "square": (1000, 100)})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    buffer = BytesIO()
    builder.save(buffer)
    return buffer.getvalue()


def test_a_name_is_drawn_in_a_font_of_this_machine_that_has_it(
    only_fonts_in: Callable[[Path], None], tmp_path: Path
) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "a-damaged.ttf").write_bytes(b"no font")
    (tmp_path / "deep" / "er" / "squares.TTF").write_bytes(font_of("王小"))
    only_fonts_in(tmp_path)
    drawn = annotate(picture(), [(face(20, 50, 100, 150), "王小 0.8", True)])
    assert drawn.shape == picture().shape
    assert (drawn[30:50, 24:36] == 255).all(axis=2).mean() > 0.2, "a white square"
    assert draw_text("王明", 20, (0, 0, 0)) is None


def test_a_name_that_no_font_has_is_a_number_and_never_boxes_of_nothing(
    only_fonts_in: Callable[[Path], None], tmp_path: Path
) -> None:
    only_fonts_in(tmp_path)
    assert draw_text("王小明", 20, (0, 0, 0)) is None
    assert without_unknown("王小明 0.83") == "… 0.83"
    drawn = annotate(picture(), [(face(20, 50, 100, 150), "王小明 0.83", True)])
    other = annotate(picture(), [(face(20, 50, 100, 150), "소나무 0.83", True)])
    assert drawn.shape[0] > 200
    np.testing.assert_array_equal(drawn, other)
    assert (drawn[54:62, 24:34] == BLUE).all(axis=2).any(), "the number on the face"


@pytest.mark.parametrize("text", ["محمد", "דוד", "राम", "ខ្មែរ"])
def test_scripts_that_need_shaping_are_not_drawn_as_single_letters(
    only_fonts_in: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    (tmp_path / "squares.ttf").write_bytes(font_of(text))
    only_fonts_in(tmp_path)
    monkeypatch.setattr("PIL.features.check", lambda _: False)
    assert draw_text(text, 20, (0, 0, 0)) is None
    assert draw_text("Ada", 20, (0, 0, 0)) is not None


@pytest.mark.parametrize("text", ["王小明", "さくら", "김민준", "राम", "محمد", "👩‍👩‍👧 Ana", "Mira 王 é"])
def test_names_are_drawn_where_this_machine_has_fonts_for_them(text: str) -> None:
    if any(fonts._font_of(each) is None for each in fonts._clusters(text)):
        pytest.skip(f"No font here has {text}.")
    line = draw_text(text, 24, (0, 0, 0))
    assert line is not None
    assert np.asarray(line)[:, :, 3].any()
    assert line.width < 24 * (len(text) + 2)


@pytest.mark.parametrize(
    ("suffix", "magic"), [(".jpg", b"\xff\xd8"), (".JPEG", b"\xff\xd8"), (".png", b"\x89PNG"), (".webp", b"RIFF")]
)
def test_the_suffix_chooses_the_format(suffix: str, magic: bytes) -> None:
    data = encode_photo(picture(), suffix)
    assert data.startswith(magic)
    assert np.abs(decode_guarded(data).astype(int) - picture()).max() < 5


@pytest.mark.parametrize("suffix", [".gif", ""])
def test_a_format_that_cannot_be_written_is_refused(suffix: str) -> None:
    with pytest.raises(ConfigError):
        encode_photo(picture(), suffix)
