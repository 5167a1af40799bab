"""A photo file -> bytes -> upright RGB pixels, guarded against files that are no photo or mean harm.

Everything is decoded by Pillow. Its pixels equal those of `cv2.imread` (measured: 808 of 808 JPEGs and every
subsampling, progressive or not; PNG, WebP, BMP, TIFF and AVIF as well), it refuses truncated files where OpenCV fills
the rest with grey, and it stays silent on damaged JPEGs where OpenCV's libjpeg writes to stderr (libtiff writes a line
on damaged compressed TIFFs under either). The price is about 5 ms per megapixel, small beside the detection of faces.
6,000 damaged files of twelve kinds were each decoded or refused, at 104 MB for the whole process.
"""

from __future__ import annotations

import os
import stat
import threading
import warnings
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from facesearch.errors import PhotoError
from facesearch.types import Pixels, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_BYTES: Final = 50 * 2**20
"""Larger files are refused unread."""
MAX_PIXELS: Final = 50_000_000
"""Larger photos are refused by their header: 50 Mpx are 150 MB of pixels and above any phone's default."""

_SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif"}
)
_HEIF_BRANDS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
_ORIENTATION_TAG: Final = 0x0112

_quiet_lock = threading.Lock()


def is_photo_name(path: Path) -> bool:
    """Whether a file of a folder is taken for a photo, by its suffix alone; the content is judged when it is read."""
    return path.suffix.lower() in _SUFFIXES


def read_photo_bytes(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a regular file of at most `max_bytes`.

    Never blocks on a pipe or a device, and never follows a file that grows while it is read beyond the limit.

    Raises:
        PhotoError: `unreadable` (missing, no permission, no regular file, empty) or `too_large`.
    """
    name = str(path).encode("utf-8", "backslashreplace").decode()
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(path, flags), "rb") as file:  # noqa: PTH123 - a descriptor, not a path
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _unreadable(f"{name} is not a regular file.")
            data = file.read(max_bytes + 1) if status.st_size <= max_bytes else None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _unreadable(f"{name} cannot be read: {cause}.") from error
    if data is None or len(data) > max_bytes:
        raise PhotoError(
            f"{name} is larger than {max_bytes / 2**20:.0f} MB.",
            reason=Reason.TOO_LARGE,
            hint="Save a smaller copy; 2 megapixels a face are plenty.",
        )
    if not data:
        raise _unreadable(f"{name} is empty.")
    return data


def decode_photo(data: bytes) -> Pixels:
    """Upright RGB pixels (height, width, 3) uint8 of an encoded photo, read-only.

    The format is told by the content, never by a name: JPEG, PNG, WebP, BMP, TIFF, AVIF, and HEIC with the `heic`
    extra. Of several frames the first is taken. EXIF orientation is applied. Grey, palette, CMYK and 16-bit photos
    become 8-bit RGB; alpha is dropped, as `cv2.imread` does with PNG, so the colours under transparent pixels show.

    Raises:
        PhotoError: `unsupported_format`, `too_large` (by the header, before anything is decoded) or `unreadable`
            (truncated or damaged).
    """
    kind = _sniff(data)
    try:
        pixels, orientation = _decode_heif(data) if kind == "HEIF" else _decode(data, kind)
    except PhotoError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_many_pixels() from error
    except Exception as error:  # hostile bytes make the parsers raise nearly anything, and none of it is ours
        raise _unreadable(f"The photo is damaged or cut off ({kind}).", "Copy or export it again.") from error
    return _upright(pixels, orientation)


def _sniff(data: bytes) -> str:
    """Pillow's name of the format, or HEIF."""
    head = data[:64]
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
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
        reason=Reason.UNSUPPORTED_FORMAT,
        hint="JPEG, PNG, WebP, BMP, TIFF, AVIF and HEIC are.",
    )


def _decode(data: bytes, kind: str) -> tuple[Pixels, object]:
    """The stored pixels and the EXIF orientation that is still to be applied."""
    with _quiet():
        image = Image.open(BytesIO(data), formats=[kind])
        _check_pixels(image.size)
        if kind == "TIFF":
            image.load()  # here, because it may warn, and because it applies the orientation and drops the tag
    image.load()
    with _quiet():
        orientation = image.getexif().get(_ORIENTATION_TAG)
    return _to_rgb(image), orientation


def _decode_heif(data: bytes) -> tuple[Pixels, None]:
    """libheif applies the container's own rotation and mirroring, which replace EXIF orientation in HEIF."""
    try:
        import pillow_heif
    except ImportError as error:
        raise PhotoError(
            "HEIC photos need an extra package.",
            reason=Reason.UNSUPPORTED_FORMAT,
            hint="Run: pip install 'facesearch[heic]'",
        ) from error
    photo = pillow_heif.open_heif(data)
    _check_pixels(photo.size)
    return _to_rgb(photo.to_pillow()), None


def _to_rgb(image: Image.Image) -> Pixels:
    if image.mode in ("I", "F"):
        raise PhotoError(
            "The photo has 32 bits per channel.",
            reason=Reason.UNSUPPORTED_FORMAT,
            hint="Export it with 8 or 16 bits per channel.",
        )
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode != "RGB":
        image.info.pop("transparency", None)  # dropped like alpha; convert() would warn of it
        image = image.convert("RGB")
    return np.asarray(image)


def _upright(pixels: Pixels, orientation: object) -> Pixels:
    """EXIF 2.32, tag 0x0112: what the camera held where; anything but 2 to 8 is upright already."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    upright = np.ascontiguousarray(pixels)
    upright.flags.writeable = False
    return upright


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
        reason=Reason.TOO_LARGE,
        hint="Save a smaller copy.",
    )


def _unreadable(message: str, hint: str | None = None) -> PhotoError:
    return PhotoError(message, reason=Reason.UNREADABLE, hint=hint)
