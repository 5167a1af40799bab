"""The bytes of a photo -> an upright RGB image, in this process. Needs nothing but Pillow, so that it starts fast.

Everything is decoded by Pillow. Its pixels equal those of `cv2.imread` (measured: 808 of 808 JPEGs and every
subsampling, progressive or not; PNG, WebP, BMP, TIFF and AVIF as well), it refuses truncated files where OpenCV fills
the rest with grey, and it stays silent on damaged JPEGs where OpenCV's libjpeg writes to stderr (libtiff writes a line
on damaged compressed TIFFs under either). The price is about 5 ms per megapixel, small beside the detection of faces.

Reasons are the values of `facesearch.types.Reason`, which is not imported here because it takes NumPy along.
"""

from __future__ import annotations

import sys
import threading
import warnings
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Final

from PIL import Image, UnidentifiedImageError

from facesearch.errors import PhotoError
from facesearch.recognition import jpeg
from facesearch.recognition.photo import MAX_PIXELS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_HEIF_BRANDS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
_ORIENTATION_TAG: Final = 0x0112
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF 2.32, tag 0x0112: what the camera held where, and what undoes it; any other value is upright already."""

_TIFF_SIZE: Final = (256, 257)
"""Tags of width and height in a TIFF."""

_quiet_lock = threading.Lock()


def decode_image(data: bytes) -> Image.Image:
    """An encoded photo as an upright image of mode RGB.

    The format is told by the content, never by a name: JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, and HEIC with the
    `heic` extra. Of several frames the first is taken. EXIF orientation is applied. Grey, palette, CMYK and 16-bit
    photos become 8-bit RGB; alpha is dropped, as `cv2.imread` does with PNG, so the colours under transparent pixels
    show.

    Raises:
        PhotoError: `unsupported_format`, `too_large` (by the header, before anything is decoded, or for want of
            memory) or `unreadable` (truncated or damaged).
    """
    if not data:
        raise _unreadable("The photo is empty.", "Copy or export it again.")
    kind = _sniff(data)
    try:
        return _decode_heif(data) if kind == "HEIF" else _decode(data, kind)
    except PhotoError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_many_pixels() from error
    except MemoryError as error:
        raise PhotoError(
            "The photo needs more memory than a photo may.", reason="too_large", hint="Save a smaller copy as JPEG."
        ) from error
    except Exception as error:  # hostile bytes make the parsers raise nearly anything, and none of it is ours
        if _is_unsupported(data, kind, error):
            raise PhotoError(
                f"This kind of {kind} cannot be read.",
                reason="unsupported_format",
                hint="Export it as an ordinary JPEG or PNG.",
            ) from error
        raise _unreadable(f"The photo is damaged or cut off ({kind}).", "Copy or export it again.") from error


def _sniff(data: bytes) -> str:
    """Pillow's name of the format, or HEIF."""
    head = data[:64]
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head.startswith(b"BM"):
        return "BMP"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if head[4:8] == b"ftyp":
        brands = {head[at : at + 4] for at in (8, *range(16, min(int.from_bytes(head[:4]), len(head)), 4))}
        if brands & _AVIF_BRANDS:
            return "AVIF"
        if brands & _HEIF_BRANDS:
            return "HEIF"
    raise PhotoError(
        "Not a photo in a format that can be read.",
        reason="unsupported_format",
        hint="JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF and HEIC are.",
    )


def _decode(data: bytes, kind: str) -> Image.Image:
    try:
        image = _load(data, kind)
    except (OSError, ValueError) as error:
        if kind == "JPEG" and "truncated" in str(error):
            whole = jpeg.decode_without_end(data, lambda ended: _load(ended, kind))
        else:
            whole = _load(_without_exif(data), kind) if kind == "AVIF" else None
        if whole is None:
            raise
        image = whole
    orientation = _exif_orientation(image.getexif)
    return _upright(_to_rgb(image), orientation)


def _load(data: bytes, kind: str) -> Image.Image:
    with _quiet():
        image: Image.Image = Image.open(BytesIO(data), formats=[kind])
        _check_pixels(image.size)
        if kind == "TIFF":
            image.load()  # here, because it may warn, and because it applies the orientation and drops the tag
    image.load()
    return image


def _exif_orientation(read: Callable[[], Image.Exif]) -> object:
    """None where the metadata are damaged: the pixels are sound all the same."""
    try:
        with _quiet():
            return read().get(_ORIENTATION_TAG)
    except Exception:  # noqa: BLE001  # as in `decode_image`
        return None


def _without_exif(data: bytes) -> bytes:
    """An AVIF file whose EXIF data, which may be damaged, no decoder looks for."""
    return data.replace(b"Exif", b"skip")


def _upright(image: Image.Image, orientation: object) -> Image.Image:
    undo = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if undo is None else image.transpose(undo)


def _is_unsupported(data: bytes, kind: str, error: Exception) -> bool:
    """Whether the photo is of a kind that is not read, rather than damaged."""
    text = str(error).lower()
    if "truncated" in text:
        return False
    if "unsupported" in text:
        return True
    if kind == "JPEG":
        return jpeg.is_special(data)
    return kind == "TIFF" and isinstance(error, UnidentifiedImageError) and _has_tiff_directory(data)


def _has_tiff_directory(data: bytes) -> bool:
    """Whether the description of a TIFF is whole: then Pillow refuses what it says, such as samples of 64 bits."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    stream = BytesIO(data)
    try:
        with _quiet():
            directory = ImageFileDirectory_v2(stream.read(16 if b"+" in data[2:4] else 8))
            stream.seek(directory.next)
            directory.load(stream)
    except Exception:  # noqa: BLE001  # as in `decode_image`
        return False
    return all(tag in directory for tag in _TIFF_SIZE)


def upright_copy(image: Image.Image) -> Image.Image:
    """Return a copy of an image that the caller opened or made, upright and of mode RGB, as `decode_image` does.

    Raises `PhotoError` as `decode_image` does.
    """
    try:
        _check_pixels(image.size)
        image.load()
        return _upright(_to_rgb(image.copy()), _exif_orientation(image.getexif))
    except PhotoError:
        raise
    except Exception as error:  # a file that is opened may be damaged
        raise _unreadable("The image is damaged or cut off, or was closed.", "Open or export it again.") from error


def _decode_heif(data: bytes) -> Image.Image:
    """libheif applies the container's rotation and mirroring. Only where it has none does EXIF orientation count.

    HEIF says that EXIF orientation never counts, and Samsung's cameras write nothing else.
    """
    try:
        import pillow_heif
    except ImportError as error:
        raise PhotoError(
            "HEIC photos need an extra package.",
            reason="unsupported_format",
            hint="Run: pip install 'facesearch[heic]'",
        ) from error
    photo = pillow_heif.open_heif(data)
    _check_pixels(photo.size)
    image: Image.Image = photo.to_pillow()
    image = _to_rgb(image)
    if any(box in _box(data, b"meta") for box in (b"irot", b"imir")):
        return image

    def exif() -> Image.Exif:
        found = Image.Exif()
        found.load(photo.info["exif"] or b"")
        return found

    return _upright(image, _exif_orientation(exif))


def _box(data: bytes, name: bytes) -> bytes:
    """The first box of that name at the top of an ISO base media file; empty where there is none."""
    at = 0
    while len(header := data[at : at + 16]) == 16:
        size = int.from_bytes(header[:4])
        size = int.from_bytes(header[8:]) if size == 1 else size or len(data) - at  # ISO/IEC 14496-12, 4.2
        if header[4:8] == name:
            return data[at : at + size]
        if size < 8:
            break
        at += size
    return b""


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F"):
        raise PhotoError(
            "The photo has 32 bits per channel.",
            reason="unsupported_format",
            hint="Export it with 8 or 16 bits per channel.",
        )
    if image.mode.startswith("I;16"):
        big_endian = image.mode.endswith("B") or (image.mode.endswith("N") and sys.byteorder == "big")
        upper = image.tobytes()[0 if big_endian else 1 :: 2]
        return Image.frombytes("L", image.size, upper).convert("RGB")
    if image.mode != "RGB":
        image.info.pop("transparency", None)  # dropped like alpha; convert() would warn of it
        return image.convert("RGB")
    return image


@contextmanager
def _quiet() -> Iterator[None]:
    """Pillow warns of malformed metadata and of many pixels; neither is news here: the checks above decide.

    Warning filters are state of the whole process, hence the lock.
    """
    with _quiet_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _check_pixels(size: tuple[int, int]) -> None:
    if size[0] < 1 or size[1] < 1:
        raise _unreadable("The photo has no pixels.")
    if size[0] * size[1] > MAX_PIXELS:
        raise _too_many_pixels()


def _too_many_pixels() -> PhotoError:
    return PhotoError(
        f"The photo has more than {MAX_PIXELS // 1_000_000} megapixels.",
        reason="too_large",
        hint="Save a smaller copy.",
    )


def _unreadable(message: str, hint: str | None = None) -> PhotoError:
    return PhotoError(message, reason="unreadable", hint=hint)
