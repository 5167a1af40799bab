"""The photo zoo: every format, every orientation, and files that are no photo or mean harm."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from facesearch.errors import PhotoError
from facesearch.jobs.sources import read_photo_bytes
from facesearch.recognition.formats import decode_image
from facesearch.recognition.jpeg import lacks_end
from facesearch.recognition.photo import MAX_PIXELS
from facesearch.types import Reason
from facesearch.walking import is_photo_name

if TYPE_CHECKING:
    from facesearch.types import Pixels

FORMATS: list[tuple[str, dict[str, Any]]] = [
    ("JPEG", {"quality": 90}),
    ("JPEG", {"quality": 90, "progressive": True}),
    ("PNG", {}),
    ("WEBP", {"quality": 80}),
    ("WEBP", {"lossless": True}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("AVIF", {"quality": 80}),
]


def decode_photo(data: bytes) -> Pixels:
    """In this process, as the worker does."""
    return np.asarray(decode_image(data))


def scene(width: int = 60, height: int = 40) -> Pixels:
    """No two corners and no two axes alike, so that every orientation differs."""
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * x / width, 255 * y / height, 120 + 100 * np.sin(x / 7 + y / 5)], axis=2).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def as_opencv_reads(data: bytes) -> Pixels:
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(decoded[:, :, ::-1], dtype=np.uint8)


def refusal(data: bytes) -> str:
    with pytest.raises(PhotoError) as caught:
        decode_photo(data)
    return caught.value.reason


def decoded_or_reason(data: bytes) -> Pixels | str:
    try:
        return decode_photo(data)
    except PhotoError as error:
        return error.reason


@pytest.mark.parametrize(("kind", "options"), FORMATS)
def test_pixels_equal_those_of_opencv(kind: str, options: dict[str, Any]) -> None:
    data = encoded(Image.fromarray(scene()), kind, **options)
    pixels = decode_photo(data)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert not pixels.flags.writeable
    np.testing.assert_array_equal(pixels, as_opencv_reads(data))


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_jpeg_chroma_is_upsampled_as_opencv_does(subsampling: str) -> None:
    data = encoded(Image.fromarray(scene(61, 43)), "JPEG", subsampling=subsampling)
    np.testing.assert_array_equal(decode_photo(data), as_opencv_reads(data))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_ends_upright(kind: str, orientation: int) -> None:
    upright = scene()
    undo: dict[int, Pixels] = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(undo[orientation]))
    pixels = decode_photo(encoded(stored, kind, exif=exif, **({} if kind in ("PNG", "TIFF") else {"quality": 95})))
    assert pixels.shape == upright.shape
    assert np.abs(pixels.astype(int) - upright).mean() < 4


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_grey_becomes_rgb(kind: str) -> None:
    data = encoded(Image.fromarray(scene()).convert("L"), kind)
    pixels = decode_photo(data)
    np.testing.assert_array_equal(pixels, as_opencv_reads(data))
    assert (pixels[:, :, 0] == pixels[:, :, 2]).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_keep_their_upper_eight(kind: str) -> None:
    deep = scene()[:, :, 0].astype(np.uint16) * 256 + 200
    pixels = decode_photo(encoded(Image.fromarray(deep), kind))
    np.testing.assert_array_equal(pixels, np.repeat(scene()[:, :, :1], 3, axis=2))


def test_sixteen_bit_rgb_keeps_its_upper_eight() -> None:
    deep = scene().astype(np.uint16) * 256 + 200
    ok, data = cv2.imencode(".png", deep[:, :, ::-1])
    assert ok
    np.testing.assert_array_equal(decode_photo(data.tobytes()), scene())


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_alpha_is_dropped(kind: str) -> None:
    image = Image.fromarray(scene())
    image.putalpha(Image.fromarray(np.repeat(np.arange(40, dtype=np.uint8)[:, None] * 6, 60, axis=1)))
    data = encoded(image, kind)
    np.testing.assert_array_equal(decode_photo(data), scene())
    if kind == "PNG":  # with TIFF, OpenCV multiplies the colours by alpha
        np.testing.assert_array_equal(as_opencv_reads(data), scene())


@pytest.mark.parametrize("transparent", [None, 3, bytes(range(256))])
def test_a_palette_is_resolved(transparent: int | bytes | None) -> None:
    image = Image.fromarray(scene()).quantize(64)
    data = encoded(image, "PNG", **({} if transparent is None else {"transparency": transparent}))
    np.testing.assert_array_equal(decode_photo(data), np.asarray(image.convert("RGB")))


def test_cmyk_is_close_to_opencv() -> None:
    data = encoded(Image.fromarray(scene()).convert("CMYK"), "JPEG", quality=95)
    assert np.abs(decode_photo(data).astype(int) - as_opencv_reads(data)).max() <= 1


def test_bilevel_and_other_modes_become_rgb() -> None:
    for mode in ("1", "LA", "YCbCr"):
        kind = "TIFF" if mode == "YCbCr" else "PNG"
        assert decode_photo(encoded(Image.fromarray(scene()).convert(mode), kind)).shape == (40, 60, 3)


def test_32_bits_per_channel_are_refused_rather_than_guessed() -> None:
    data = encoded(Image.fromarray(scene()[:, :, 0].astype(np.float32)), "TIFF")
    assert refusal(data) == Reason.UNSUPPORTED_FORMAT


def test_heic_is_read_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = BytesIO()
    pillow_heif.from_pillow(Image.fromarray(scene(64, 48))).save(buffer, quality=95)
    pixels = decode_photo(buffer.getvalue())
    assert np.abs(pixels.astype(int) - scene(64, 48)).mean() < 4
    assert refusal(buffer.getvalue()[:-200]) == Reason.UNREADABLE

    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(PhotoError) as caught:
        decode_photo(buffer.getvalue())
    assert caught.value.reason == Reason.UNSUPPORTED_FORMAT
    assert "pip install 'facesearch[heic]'" in (caught.value.hint or "")


@pytest.mark.parametrize(("kind", "options"), FORMATS)
def test_no_cut_point_yields_other_pixels(kind: str, options: dict[str, Any]) -> None:
    data = encoded(Image.fromarray(scene()), kind, **options)
    whole = decode_photo(data)
    accepted = 0
    for percent in range(1, 100):
        outcome = decoded_or_reason(data[: len(data) * percent // 100])
        if isinstance(outcome, np.ndarray):  # a PNG without its end marker has all its pixels
            np.testing.assert_array_equal(outcome, whole)
            accepted += 1
        else:
            assert outcome in (Reason.UNREADABLE, Reason.UNSUPPORTED_FORMAT)
    assert accepted == 0 or kind == "PNG"


JPEGS: list[dict[str, Any]] = [
    {"quality": 90},
    {"quality": 90, "progressive": True},
    {"quality": 30, "subsampling": "4:2:0"},
    {"quality": 90, "restart_marker_blocks": 3},
    {"quality": 90, "progressive": True, "restart_marker_rows": 1},
    {"quality": 75, "optimize": True},
]


@pytest.mark.parametrize("options", JPEGS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_without_its_end_marker_is_used_where_no_pixel_is_missing(mode: str, options: dict[str, Any]) -> None:
    data = encoded(Image.fromarray(scene(61, 43)).convert(mode), "JPEG", **options)
    whole = decode_photo(data)
    assert not lacks_end(data)
    for end in (len(data) - 2, len(data) - 1):
        assert lacks_end(data[:end])
        np.testing.assert_array_equal(decode_photo(data[:end]), whole)


@pytest.mark.parametrize("options", JPEGS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_that_lacks_pixels_is_refused(mode: str, options: dict[str, Any]) -> None:
    data = encoded(Image.fromarray(scene(61, 43)).convert(mode), "JPEG", **options)
    whole = decode_photo(data)
    markers = [at for at in range(len(data) - 1) if data[at] == 0xFF and data[at + 1] not in (0, 0xFF)]
    ends = {*range(len(data) - 60, len(data) - 2), *markers, *(at + 1 for at in markers), *(at + 2 for at in markers)}
    refused = 0
    for end in sorted(ends - {len(data) - 2, len(data) - 1, len(data)}):
        outcome = decoded_or_reason(data[:end])
        if isinstance(outcome, np.ndarray):  # what was cut off is padding
            np.testing.assert_array_equal(outcome, whole)
        else:
            refused += 1
    assert refused > 50


def test_flat_pixels_that_are_missing_are_missed() -> None:
    data = encoded(Image.new("RGB", (400, 400), (90, 90, 90)), "JPEG", quality=50)
    assert {refusal(data[:-missing]) for missing in range(4, 200)} == {Reason.UNREADABLE}


def test_bytes_after_the_end_of_a_jpeg_do_no_harm() -> None:
    data = encoded(Image.fromarray(scene()), "JPEG")
    np.testing.assert_array_equal(decode_photo(data + b"trailer" * 9), decode_photo(data))


MALFORMED_EXIF = [
    b"Exif\0\0garbage",
    b"\0",
    b"Exif\0\0II*\0\xff\xff\xff\xff",
    b"Exif\0\0MM\0*\0\0\0\x08\0\5\1",
    b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\2\0\1\0\0\0\6\0\0\0\0\0\0\0",
]


@pytest.mark.parametrize("exif", MALFORMED_EXIF)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF"])
def test_malformed_exif_costs_no_pixels(kind: str, exif: bytes) -> None:
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    image = Image.fromarray(scene(64, 48))
    sound = b"Exif\0\0II*\0\x08\0\0\0" + bytes(60)
    quality = {} if kind == "PNG" else {"quality": 95}
    if kind in ("AVIF", "HEIF"):  # whose writers check it
        data = encoded(image, kind, exif=sound, **quality).replace(
            sound[6:], exif.removeprefix(b"Exif\0\0").ljust(len(sound) - 6, b"\xff")
        )
    else:
        data = encoded(image, kind, exif=exif, **quality)
    assert np.abs(decode_photo(data).astype(int) - scene(64, 48)).mean() < 4


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("rotation_box", [True, False])
def test_a_heic_photo_is_turned_once(orientation: int, rotation_box: bool) -> None:
    """With a rotation box, and with EXIF orientation alone as Samsung's cameras write it."""
    pillow_heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = orientation
    turns = {1: 0, 3: 2, 6: 1, 8: 3}[orientation]
    buffer = BytesIO()
    pillow_heif.from_pillow(Image.fromarray(np.ascontiguousarray(np.rot90(scene(64, 48), turns)))).save(
        buffer, quality=95, exif=exif.tobytes()
    )
    data = buffer.getvalue()
    assert (b"irot" in data) == (orientation != 1)
    if not rotation_box:
        data = data.replace(b"irot", b"free")
    pixels = decode_photo(data)
    assert pixels.shape == (48, 64, 3)
    assert np.abs(pixels.astype(int) - scene(64, 48)).mean() < 4


def with_tag(tiff: bytes, tag: int, value: int) -> bytes:
    """A little-endian TIFF with another value of a tag."""
    at = struct.unpack_from("<I", tiff, 4)[0] + 2
    changed = bytearray(tiff)
    while struct.unpack_from("<H", changed, at)[0] != tag:
        at += 12
    struct.pack_into("<I", changed, at + 8, value)
    return bytes(changed)


def with_frame(jpeg: bytes, frame: int, bits: int = 8) -> bytes:
    """A JPEG whose header says that it is of another kind."""
    changed = bytearray(jpeg)
    at = jpeg.index(b"\xff\xc0")
    changed[at + 1], changed[at + 4] = frame, bits
    return bytes(changed)


def unsupported() -> dict[str, bytes]:
    image, deep = Image.fromarray(scene()), np.random.default_rng(3).random((40, 60, 3))
    jpeg, tiff = encoded(image, "JPEG"), encoded(image, "TIFF")
    bmp = bytearray(encoded(image, "BMP"))
    bmp[30] = 5  # a PNG within
    return {
        "lossless": with_frame(jpeg, 0xC3),
        "progressive arithmetic": with_frame(jpeg, 0xCA),
        "hierarchical": with_frame(jpeg, 0xC5),
        "12 bits": with_frame(jpeg, 0xC1, bits=12),
        "float32": cv2.imencode(".tiff", deep.astype(np.float32))[1].tobytes(),
        "float64": cv2.imencode(".tiff", deep)[1].tobytes(),
        "JPEG 2000 in TIFF": with_tag(tiff, 259, 34712),
        "LERC": with_tag(tiff, 259, 34887),
        "raw sensor": with_tag(tiff, 262, 32803),
        "BMP of PNG": bytes(bmp),
    }


@pytest.mark.parametrize("name", list(unsupported()))
def test_what_is_not_supported_is_not_called_damaged(name: str) -> None:
    with pytest.raises(PhotoError) as caught:
        decode_photo(unsupported()[name])
    assert caught.value.reason == Reason.UNSUPPORTED_FORMAT
    assert caught.value.hint == "Export it as an ordinary JPEG or PNG."


def test_what_is_supported_and_cut_off_is_called_damaged() -> None:
    image = Image.fromarray(scene())
    for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "AVIF", "GIF"):
        data = encoded(image, kind)
        assert {refusal(data[: len(data) * percent // 100]) for percent in (40, 60, 80)} == {Reason.UNREADABLE}, kind
    for start in range(3, 200):
        assert refusal(encoded(image, "JPEG")[:start]) == Reason.UNREADABLE


@pytest.mark.parametrize(
    "data",
    [b"\xff", b"hello, this is text\n" * 9, b"%PDF-1.7", b"GIF88a" + bytes(50), bytes(500), b"RIFF1234WAVE"],
)
def test_what_is_no_photo_is_unsupported(data: bytes) -> None:
    assert refusal(data) == Reason.UNSUPPORTED_FORMAT


def test_an_empty_photo_is_unreadable() -> None:
    assert refusal(b"") == Reason.UNREADABLE


@given(st.sampled_from([option for option in FORMATS if option[0] != "BMP"]), st.data())
def test_damaged_photos_decode_or_are_refused_and_nothing_else(
    option: tuple[str, dict[str, Any]], data: st.DataObject
) -> None:
    mutable = bytearray(encoded(Image.fromarray(scene(24, 16)), option[0], **option[1]))
    for _ in range(data.draw(st.integers(1, 4))):
        mutable[data.draw(st.integers(0, len(mutable) - 1))] = data.draw(st.integers(0, 255))
    outcome = decoded_or_reason(bytes(mutable))
    if isinstance(outcome, np.ndarray):
        assert outcome.dtype == np.uint8
        assert outcome.ndim == 3
    else:
        assert outcome in tuple(Reason)


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def png_header(width: int, height: int) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)


@pytest.mark.parametrize("side", [8_000, 10_000, 30_000, 2**31 - 1])
def test_too_many_pixels_are_refused_by_the_header(side: int) -> None:
    assert side**2 > MAX_PIXELS
    data = png(png_header(side, side), (b"IDAT", zlib.compress(bytes(10_000))), (b"IEND", b""))
    assert refusal(data) == Reason.TOO_LARGE


def test_hostile_headers_do_not_allocate_what_they_claim() -> None:
    length_bomb = png(png_header(8, 8)) + struct.pack(">I", 0x7FFF0000) + b"IDAT"
    text_bomb = png(png_header(8, 8), (b"zTXt", b"k\0\0" + zlib.compress(bytes(200_000_000))))
    resource = pytest.importorskip("resource", reason="Windows does not tell how much memory was used.")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal(length_bomb) == Reason.UNREADABLE
    assert refusal(text_bomb) == Reason.UNREADABLE
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 300_000  # kilobytes on Linux


def test_nothing_is_written_to_stderr(tmp_path: Path) -> None:
    whole = encoded(Image.fromarray(scene(200, 200)), "JPEG")
    middle = len(whole) // 2
    broken = whole[:middle] + b"\xff\xd0\x12\x34" + whole[middle + 40 :]
    (tmp_path / "broken.jpg").write_bytes(broken)
    (tmp_path / "cut.tif").write_bytes(encoded(Image.fromarray(scene()), "TIFF")[:-7])
    (tmp_path / "huge.png").write_bytes(png(png_header(12_000, 12_000), (b"IDAT", b""), (b"IEND", b"")))
    program = (
        "import sys; from pathlib import Path\n"
        "from facesearch.errors import PhotoError\n"
        "from facesearch.recognition.formats import decode_image\n"
        "for name in sys.argv[1:]:\n"
        "    try: decode_image(Path(name).read_bytes())\n"
        "    except PhotoError: pass\n"
    )
    files = sorted(str(path) for path in tmp_path.iterdir())
    done = subprocess.run([sys.executable, "-c", program, *files], capture_output=True, check=True)
    assert done.stderr == b""
    assert done.stdout == b""


def reading(path: Path, max_bytes: int = 1000) -> str:
    with pytest.raises(PhotoError) as caught:
        read_photo_bytes(path, max_bytes)
    caught.value.message.encode()  # printable, whatever the name
    return caught.value.reason


def test_a_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(bytes(1000))
    assert read_photo_bytes(path, 1000) == bytes(1000)
    assert reading(path, 999) == Reason.TOO_LARGE


@pytest.mark.parametrize(("grows_to", "outcome"), [(1000, 1000), (1001, Reason.TOO_LARGE), (10**6, Reason.TOO_LARGE)])
def test_a_file_that_grows_while_it_is_read_is_read_up_to_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grows_to: int, outcome: int | Reason
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(bytes(900))
    honest = os.fstat

    def growing(descriptor: int) -> os.stat_result:
        status = honest(descriptor)
        if status.st_size == 900:
            path.write_bytes(bytes(grows_to))
        return status

    monkeypatch.setattr(os, "fstat", growing)
    assert (reading(path) if isinstance(outcome, Reason) else len(read_photo_bytes(path, 1000))) == outcome


@pytest.mark.needs("permissions")
def test_a_file_without_permission_is_inaccessible(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"x")
    path.chmod(0)
    assert reading(path) == Reason.INACCESSIBLE


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="There are no named pipes here.")
def test_what_is_no_regular_file_is_unreadable(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    empty = tmp_path / "empty.jpg"
    empty.touch()
    for path in (pipe, empty, Path("/dev/zero")):
        assert reading(path) == Reason.UNREADABLE


def test_what_is_not_there_and_a_folder_are_inaccessible(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.jpg", tmp_path / "missing" / "1.jpg", Path("a\0b.jpg"), tmp_path):
        assert reading(path) == Reason.INACCESSIBLE


def test_a_name_that_is_not_utf8_is_read_and_named_in_messages(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg"))
    assert reading(path) == Reason.INACCESSIBLE
    path.write_bytes(b"x")
    assert read_photo_bytes(path) == b"x"


def test_photos_are_told_by_their_suffix() -> None:
    assert all(
        is_photo_name(Path(name)) for name in ("a.jpg", "b.JPEG", "c.png", "d.webp", "e.tif", "f.HEIC", "g.avif")
    )
    assert not any(is_photo_name(Path(name)) for name in ("a.txt", "jpg", ".jpg", ".a.jpg", "b.jpg.part", "d.mp4"))


@pytest.mark.parametrize(("kind", "suffix"), [("MPO", ".mpo"), ("GIF", ".gif"), ("JPEG", ".jfif"), ("PNG", ".apng")])
def test_of_several_frames_the_first_is_read(kind: str, suffix: str) -> None:
    first = Image.fromarray(scene())
    second = Image.new("RGB", first.size, (0, 0, 255))
    frames = {} if kind == "JPEG" else {"save_all": True, "append_images": [second]}
    pixels = decode_photo(encoded(first, kind, **frames))
    assert np.abs(pixels.astype(int) - scene()).mean() < 12
    assert is_photo_name(Path("a").with_suffix(suffix))
