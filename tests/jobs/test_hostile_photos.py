"""A folder of photos that are odd, damaged or mean harm: each is enrolled or listed with its reason."""

from __future__ import annotations

import os
import random
import socket
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from facesearch import Decision, FaceSearch, PhotoError
from facesearch.demo.portraits import draw_portrait
from tests.capabilities import lacks
from tests.jobs.hostile import (
    KINDS,
    claims,
    corrupt,
    encode,
    length_bomb,
    png,
    png_bomb,
    png_header,
    scan_bomb,
    text_bomb,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes, sockets and names of POSIX")

ENROLLED, NO_FACE = "enrolled", "face_not_found"
INACCESSIBLE = "inaccessible"
UNREADABLE, TOO_LARGE, UNSUPPORTED = "unreadable", "too_large", "unsupported_format"


def portrait(variation: int = 0) -> Image.Image:
    return Image.fromarray(draw_portrait(0, variation))


def ordinary() -> dict[str, tuple[bytes, str]]:
    return {f"ordinary-{name}": (encode(portrait(), **options), ENROLLED) for name, options in KINDS.items()}


def modes() -> dict[str, tuple[bytes, str]]:
    face = portrait()
    sixteen = np.asarray(face.convert("L")).astype(np.uint16) * 257
    return {
        "cmyk.jpg": (encode(face.convert("CMYK"), format="JPEG", quality=95), ENROLLED),
        "alpha.png": (encode(face.convert("RGBA"), format="PNG"), ENROLLED),
        "palette.png": (encode(face.quantize(256), format="PNG"), ENROLLED),
        # The stand-in detector goes by colour; real faces in grey are tested with a real one.
        "grey.jpg": (encode(face.convert("L"), format="JPEG", quality=95), NO_FACE),
        "16-bit.png": (encode(Image.fromarray(sixteen), format="PNG"), NO_FACE),
        "32-bit.tif": (encode(Image.new("F", (99, 99)), format="TIFF"), UNSUPPORTED),
    }


def several_frames() -> dict[str, tuple[bytes, str]]:
    frames = {"save_all": True, "append_images": [Image.new("RGB", portrait().size)] * 3}
    return {
        "animated.webp": (encode(portrait(), format="WEBP", quality=95, **frames), ENROLLED),
        "animated.gif": (encode(portrait(), format="GIF", **frames), ENROLLED),
        "a-gif.jpg": (encode(portrait(1), format="GIF"), ENROLLED),
        "two-lenses.mpo": (
            encode(portrait(), format="MPO", quality=95, save_all=True, append_images=[portrait(1)]),
            ENROLLED,
        ),
        "saved-by-a-browser.jfif": (encode(portrait(), format="JPEG", quality=94), ENROLLED),
        "animated.png": (encode(portrait(), format="PNG", **frames), ENROLLED),
        "pages.tif": (encode(portrait(), format="TIFF", **frames), ENROLLED),
    }


def odd_sizes() -> dict[str, tuple[bytes, str]]:
    sizes = {"1x1": (1, 1), "1x4000": (1, 4000), "60000x1": (60000, 1), "2x30000": (2, 30000)}
    return {f"{name}.png": (encode(Image.new("RGB", size, (9, 9, 9)), format="PNG"), NO_FACE)
            for name, size in sizes.items()}  # fmt: skip


def bombs() -> dict[str, tuple[bytes, str]]:
    face = portrait()
    huge = ("JPEG", "BMP", "TIFF", "WEBP", "HEIF")
    return {
        "length.png": (length_bomb(), UNREADABLE),
        "text.png": (text_bomb(), UNREADABLE),
        "109-kb.png": (png_bomb(30_000), TOO_LARGE),
        "within-the-limit.png": (png_bomb(7_000), NO_FACE),
        "no-pixels.png": (png(png_header(0, 0, 8, 2), (b"IDAT", b""), (b"IEND", b"")), UNREADABLE),
        **{f"huge.{kind}.jpg": (claims(kind, face, 30_000), TOO_LARGE) for kind in huge},
        "huge.AVIF.jpg": (claims("AVIF", face, 30_000), UNREADABLE),
        **{f"larger.{kind}.jpg": (claims(kind, face, 6_000), UNREADABLE) for kind in ("BMP", "TIFF", "WEBP", "HEIF")},
        # Data that end early by their own account: libjpeg fills the rest with grey, and there is no face in it.
        "larger.JPEG.jpg": (claims("JPEG", face, 6_000), NO_FACE),
    }


def no_photos() -> dict[str, tuple[bytes, str]]:
    return {
        "empty.jpg": (b"", UNREADABLE),
        "text.jpg": (b"This is no photo.\n", UNSUPPORTED),
        "page.jpg": (b"<!doctype html><title>404</title>", UNSUPPORTED),
        "video.jpg": (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(500), UNSUPPORTED),
        "zeros.jpg": (bytes(5000), UNSUPPORTED),
    }


def outcomes_of(engine: FaceSearch, folder: Path) -> dict[str, str]:
    """Name -> reason, or `enrolled`."""
    found = {}
    for outcome in engine.enroll(folder):
        name = os.path.basename(outcome.photo)  # noqa: PTH119  # of any bytes
        assert (outcome.rejection is None) == (outcome.status == ENROLLED)
        assert outcome.rejection is None or outcome.rejection.detail.endswith(".")
        found[name] = outcome.rejection.reason.value if outcome.rejection else outcome.status.value
    return found


@pytest.mark.parametrize("family", [ordinary, modes, several_frames, odd_sizes, bombs, no_photos])
def test_every_photo_of_the_zoo_has_its_outcome(
    family: Callable[[], dict[str, tuple[bytes, str]]], engine: FaceSearch, tmp_path: Path
) -> None:
    zoo = family()
    folder = tmp_path / "zoo" / "Mira Quill"
    folder.mkdir(parents=True)
    for name, (data, _) in zoo.items():
        (folder / name).write_bytes(data)
    with peak_memory() as extra:
        found = outcomes_of(engine, folder.parent)
    assert found == {name: outcome for name, (_, outcome) in zoo.items()}
    assert extra() < 300 * 2**20
    for name, (data, outcome) in zoo.items():  # a probe is treated as an enrolment is
        if data:
            (result,) = engine.identify(data)
            reason = result.rejection.reason.value if result.rejection else ENROLLED
            assert reason == outcome, name
            assert (result.decision is Decision.UNUSABLE) == (outcome != ENROLLED)


class peak_memory:  # noqa: N801  # a context manager reads like a function
    """How far the resident memory of this process rose above where it was, in bytes; 0 where nothing tells."""

    def __enter__(self) -> Callable[[], int]:
        self._known = not lacks("proc") and os.access("/proc/self/clear_refs", os.W_OK)
        if self._known:
            Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak begins anew
        before = self._peak()
        return lambda: self._peak() - before

    def __exit__(self, *_: object) -> None:
        pass

    def _peak(self) -> int:
        if not self._known:
            return 0
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024


def test_what_is_no_file_is_unreadable_or_passed_over(engine: FaceSearch, tmp_path: Path) -> None:
    folder = tmp_path / "zoo" / "Mira Quill"
    (folder / "folder.jpg").mkdir(parents=True)
    (folder / "folder.jpg" / "inside.jpg").write_bytes(encode(portrait(), format="JPEG"))
    os.mkfifo(folder / "pipe.jpg")
    (folder / "zero.jpg").symlink_to("/dev/zero")
    (folder / "dangling.jpg").symlink_to("nowhere")
    (folder / "self.jpg").symlink_to("self.jpg")
    not_utf8 = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.jpg"))
    expected = {
        "inside.jpg": ENROLLED,
        "pipe.jpg": UNREADABLE,
        "zero.jpg": UNREADABLE,
        "dangling.jpg": INACCESSIBLE,
        "self.jpg": INACCESSIBLE,
    }
    try:
        not_utf8.write_bytes(encode(portrait(2), format="JPEG"))
        expected[r"caf\xe9.jpg"] = ENROLLED
    except OSError:  # macOS has names in Unicode alone
        pass
    server = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    try:
        os.chdir(folder)  # a socket's whole path may have 108 bytes
        server.bind("socket.jpg")
        expected["socket.jpg"] = INACCESSIBLE
    finally:
        os.chdir(here)
    if not lacks("permissions"):
        (folder / "secret.jpg").write_bytes(encode(portrait(3), format="JPEG"))
        (folder / "secret.jpg").chmod(0)
        expected["secret.jpg"] = INACCESSIBLE
    try:
        assert outcomes_of(engine, folder.parent) == expected
    finally:
        server.close()


def test_of_99_cut_jpegs_none_is_enrolled(engine: FaceSearch, tmp_path: Path) -> None:
    folder = tmp_path / "zoo" / "Mira Quill"
    folder.mkdir(parents=True)
    whole = encode(portrait(), format="JPEG", quality=90)
    for percent in range(1, 100):
        (folder / f"{percent:02}.jpg").write_bytes(whole[: len(whole) * percent // 100])
    found = outcomes_of(engine, folder.parent)
    assert Counter(found.values()) == {UNREADABLE: 99}


def damaged_photos(folder: Path, count: int, seed: int) -> None:
    """`count` damaged portraits of all kinds in `folder/<kind>/`."""
    rng = random.Random(seed)
    whole = {name: encode(portrait(), **options) for name, options in KINDS.items()}
    for number in range(count):
        name = list(whole)[number % len(whole)]
        data = whole[name]
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            data = corrupt(data, rng.choice(list(whole.values())), rng) or b"\0"
        path = folder / name / f"{number}{Path(name).suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@pytest.mark.parametrize("count", [240, pytest.param(10_000, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])])
def test_damaged_photos_are_enrolled_or_listed_with_a_reason(count: int, engine: FaceSearch, tmp_path: Path) -> None:
    seed = 20_250_101 if count < 1000 else random.randrange(2**32)
    print(f"{count} damaged photos, seed {seed}")  # noqa: T201  # to be found in the output
    folder = tmp_path / "damaged"
    damaged_photos(folder, count, seed)
    started = time.monotonic()
    outcomes = list(engine.enroll(folder, subject="Mira Quill"))
    tally = Counter(each.rejection.reason.value if each.rejection else each.status.value for each in outcomes)
    deaths = sum("ends the process" in each.rejection.detail for each in outcomes if each.rejection)
    print(f"{dict(tally)}, {deaths} dead decoders, {time.monotonic() - started:.0f} s")  # noqa: T201
    assert len(outcomes) == count
    assert all((each.rejection is None) == (each.status == ENROLLED) for each in outcomes)
    assert tally[ENROLLED] > count // 50
    assert tally[UNREADABLE] > count // 5
    assert set(tally) <= {ENROLLED, UNREADABLE, UNSUPPORTED, TOO_LARGE, "duplicate", NO_FACE, "blurred"} | {
        "extreme_pose", "low_detection_score", "multiple_faces", "face_too_small",
    }  # fmt: skip


@pytest.mark.soak
def test_many_of_the_largest_photos_at_once_stay_within_the_limit(standin_pack: Path, tmp_path: Path) -> None:
    folder = tmp_path / "zoo" / "Mira Quill"
    folder.mkdir(parents=True)
    for side in range(7_000, 6_988, -1):
        (folder / f"{side}.png").write_bytes(png_bomb(side))
    with (
        FaceSearch.open(tmp_path / "gallery", pack=standin_pack, provider="cpu", workers=8) as engine,
        peak_memory() as extra,
    ):
        found = outcomes_of(engine, folder.parent)
    assert Counter(found.values()) == {NO_FACE: 12}
    print(f"{extra() / 2**20:.0f} MiB")  # noqa: T201  # to be found in the output
    assert extra() < 300 * 2**20


@pytest.mark.soak
def test_a_jpeg_of_endless_scans_ends_at_the_limit(engine: FaceSearch) -> None:
    bomb = scan_bomb(Image.new("RGB", (7000, 7000), (3, 200, 9)), 400)
    started = time.monotonic()
    with pytest.raises(PhotoError) as caught:
        engine.detect(bomb)
    print(f"{len(bomb)} bytes, {caught.value.message}, {time.monotonic() - started:.1f} s")  # noqa: T201
    assert caught.value.reason == TOO_LARGE
