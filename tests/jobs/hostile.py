"""Photos that are damaged or mean harm, made by tests."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import pillow_heif
from PIL import Image

if TYPE_CHECKING:
    import random

KINDS: Final[dict[str, dict[str, Any]]] = {
    "baseline.jpg": {"format": "JPEG", "quality": 90},
    "progressive.jpg": {"format": "JPEG", "quality": 90, "progressive": True},
    "a.png": {"format": "PNG"},
    "a.webp": {"format": "WEBP", "quality": 90},
    "a.bmp": {"format": "BMP"},
    "a.tif": {"format": "TIFF", "compression": "tiff_lzw"},
    "a.avif": {"format": "AVIF", "quality": 90, "speed": 10},
    "a.heic": {"format": "HEIF", "quality": 90},
}
"""File names and how Pillow writes them."""


def encode(image: Image.Image, **options: Any) -> bytes:
    pillow_heif.register_heif_opener()
    buffer = BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def corrupt(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """`data` with the damage of one bad disk, cable or attacker."""
    at, length = rng.randrange(len(data)), rng.randrange(1, 2000)
    mutable = bytearray(data)
    match rng.randrange(7):
        case 0:
            for _ in range(rng.randrange(1, 17)):
                mutable[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        case 1:
            del mutable[at:]
        case 2:
            mutable[at : at + length] = bytes(min(length, len(data) - at))
        case 3:
            mutable[at : at + length] = other[at : at + length]
        case 4:
            for _ in range(rng.randrange(1, 5)):  # the header decides what is allocated
                mutable[rng.randrange(min(64, len(data)))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        case 5:
            del mutable[at : at + length]
        case _:
            mutable[at:at] = rng.randbytes(length)
    return bytes(mutable)


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )


def png_header(width: int, height: int, bits: int, colour: int) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)


def png_bomb(side: int) -> bytes:
    """A whole bilevel PNG of `side` x `side` pixels: 109 KB for 30,000."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (side + 7) // 8)
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return png(png_header(side, side, 1, 0), (b"IDAT", packed), (b"IEND", b""))


def length_bomb() -> bytes:
    """41 bytes: a PNG that announces a chunk of 2 GB."""
    return png(png_header(8, 8, 8, 2)) + struct.pack(">I", 0x7FFF0000) + b"IDAT"


def text_bomb() -> bytes:
    """A PNG with 200 MB of compressed text."""
    text = b"k\0\0" + zlib.compress(bytes(200_000_000))
    return png(png_header(8, 8, 8, 2), (b"zTXt", text), (b"IDAT", zlib.compress(bytes(200))), (b"IEND", b""))


def claims(kind: str, image: Image.Image, side: int) -> bytes:
    """A small photo whose header claims `side` x `side` pixels."""
    data = bytearray(encode(image, format=kind, **({"lossless": True} if kind == "WEBP" else {})))
    width, height = image.size
    match kind:
        case "JPEG":
            struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, min(side, 65500), min(side, 65500))
        case "BMP":
            struct.pack_into("<ii", data, 18, side, side)
        case "TIFF":
            for tag in (256, 257):
                at = data.index(struct.pack("<HHI", tag, 4, 1))
                struct.pack_into("<HII", data, at + 2, 4, 1, side)
        case "WEBP":
            side = min(side, 16384) - 1
            at = data.index(b"VP8L") + 9
            alpha = struct.unpack_from("<I", data, at)[0] & 0xF0000000
            struct.pack_into("<I", data, at, side | side << 14 | alpha)
        case _:  # AVIF and HEIF: the box with the image's size
            at = data.index(b"ispe" + bytes(4) + struct.pack(">II", width, height)) + 8
            struct.pack_into(">II", data, at, side, side)
    return bytes(data)


def scan_bomb(image: Image.Image, scans: int) -> bytes:
    """A progressive JPEG that repeats its last scan: little to read, a pass over all coefficients for each."""
    data = encode(image, format="JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]
