"""Decoding in workers: the same pixels, and whatever a photo does to its decoder is that photo's end alone."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

import facesearch
from facesearch.errors import InstallationError, PhotoError
from facesearch.recognition import decoding
from facesearch.recognition.decoding import DecodeLimits, PhotoDecoder, decode_guarded
from facesearch.types import Reason
from tests.capabilities import lacks
from tests.recognition.test_photo import FORMATS, decode_photo, encoded, scene

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and process groups")

PHOTO = encoded(Image.fromarray(scene()), "PNG")
LATER_CRASH = encoded(Image.fromarray(scene(61, 40)), "PNG")
ROOT = Path(facesearch.__file__).parent

# A worker whose codec does what some photos tell it to do.
HOSTILE = """
import os, time
import facesearch.recognition.decode_worker as worker
real, poisoned = worker.decode_image, False
def decode(data):
    global poisoned
    if data == b"crash" or poisoned: os.abort()
    if data == b"exit": os._exit(3)
    if data == b"hang": time.sleep(1000)
    if data == b"spin":
        while True: pass
    if data == b"eat":
        try: bytearray(2**33)
        except MemoryError: raise worker.PhotoError("no memory", reason="too_large") from None
    if data == b"noise": os.write(1, b"codec says hello"); os.write(2, b"codec complains")
    image = real(data if data.startswith(b"\\x89PNG") else PHOTO)
    poisoned = image.size[0] == 61
    return image
worker.decode_image = decode
"""


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., PhotoDecoder]]:
    """Makes decoders whose workers obey hostile photos."""
    head, main = decoding._PROGRAM.split("from facesearch.recognition.decode_worker", 1)
    program = f"{head}\nPHOTO = {PHOTO!r}\n{HOSTILE}\nfrom facesearch.recognition.decode_worker{main}"
    monkeypatch.setattr(decoding, "_PROGRAM", program)
    made: list[PhotoDecoder] = []

    def make(*, processes: int = 1, memory: int = 2**28, cpu_seconds: float = 20, seconds: float = 60) -> PhotoDecoder:
        made.append(PhotoDecoder(DecodeLimits(memory, cpu_seconds, seconds), processes))
        return made[-1]

    yield make
    for decoder in made:
        decoder.close()


def refusal(decoder: PhotoDecoder, data: bytes) -> PhotoError:
    with pytest.raises(PhotoError) as caught:
        decoder.decode(data)
    return caught.value


def workers(decoder: PhotoDecoder) -> list[int]:
    return [worker._process.pid for worker in decoder._idle]


def is_running(pid: int) -> bool:
    """Not gone, and no zombie that only waits for its status to be read."""
    try:
        os.kill(pid, 0)
        status = "" if lacks("proc") else Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (ProcessLookupError, FileNotFoundError):
        return False
    return ") Z " not in status


def await_end(pid: int) -> bool:
    for _ in range(500):
        if not is_running(pid):
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(("kind", "options"), FORMATS)
@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
def test_pixels_are_those_of_decoding_in_this_process(kind: str, options: dict[str, object], orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(scene()), kind, **options, **({} if kind == "BMP" else {"exif": exif}))
    pixels = decode_guarded(data)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert not pixels.flags.writeable
    np.testing.assert_array_equal(pixels, decode_photo(data))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_mode_comes_back_as_rgb(mode: str) -> None:
    image = Image.fromarray(scene()[:, :, 0].astype(np.uint16) * 250) if mode == "I;16" else Image.fromarray(scene())
    data = encoded(image if mode == "I;16" else image.convert(mode), "TIFF")
    np.testing.assert_array_equal(decode_guarded(data), decode_photo(data))


def test_a_photo_larger_than_pipes_and_strips_comes_back_whole() -> None:
    data = encoded(Image.fromarray(scene(2001, 1503)), "PNG", compress_level=1)
    np.testing.assert_array_equal(decode_guarded(data), scene(2001, 1503))


@pytest.mark.parametrize("data", [b"", b"no photo", PHOTO[: len(PHOTO) // 2], PHOTO[:40]])
def test_a_refusal_is_that_of_decoding_in_this_process(data: bytes) -> None:
    with pytest.raises(PhotoError) as here:
        decode_photo(data)
    with pytest.raises(PhotoError) as there:
        decode_guarded(data)
    assert vars(there.value) == vars(here.value)


@pytest.mark.parametrize("data", [b"crash", b"exit"])
def test_a_photo_that_ends_its_worker_costs_itself_alone(hostile: Callable[..., PhotoDecoder], data: bytes) -> None:
    decoder = hostile()
    for _ in range(2):
        error = refusal(decoder, data)
        assert error.reason == Reason.UNREADABLE
        assert (
            error.message
            == f"The photo ends the process that decodes it ({'SIGABRT' if data == b'crash' else 'exit code 3'})."
        )
        assert decoder.decode(PHOTO)[0].shape == (40, 60, 3)


def test_a_crash_that_an_earlier_photo_left_behind_costs_nothing(hostile: Callable[..., PhotoDecoder]) -> None:
    decoder = hostile()
    assert decoder.decode(LATER_CRASH)[0].shape == (40, 61, 3)
    assert decoder.decode(PHOTO)[0].shape == (40, 60, 3)


def test_a_photo_that_computes_for_ever_is_too_large(hostile: Callable[..., PhotoDecoder]) -> None:
    decoder = hostile(cpu_seconds=0.3)
    error = refusal(decoder, b"spin")
    assert error.reason == Reason.TOO_LARGE
    assert "to decode" in error.message
    assert decoder.decode(PHOTO)[0].shape == (40, 60, 3)


def test_processor_time_is_counted_for_each_photo_alone(hostile: Callable[..., PhotoDecoder]) -> None:
    decoder = hostile(cpu_seconds=0.3)
    large = encoded(Image.fromarray(scene(3000, 2000)), "PNG", compress_level=0)
    decoder.decode(PHOTO)
    before = workers(decoder)
    for _ in range(12):  # more than the limit in all
        decoder.decode(large)
    assert workers(decoder) == before


def test_a_photo_that_hangs_is_too_large(hostile: Callable[..., PhotoDecoder]) -> None:
    decoder = hostile(seconds=2)  # of the clock: on a busy machine a worker takes one to start
    assert refusal(decoder, b"hang").reason == Reason.TOO_LARGE
    assert decoder.decode(PHOTO)[0].shape == (40, 60, 3)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone")
def test_a_photo_that_takes_too_much_memory_is_refused_by_a_worker_that_lives_on(
    hostile: Callable[..., PhotoDecoder],
) -> None:
    decoder = hostile()
    decoder.decode(PHOTO)
    before = workers(decoder)
    assert refusal(decoder, b"eat").reason == Reason.TOO_LARGE
    assert workers(decoder) == before


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone")
@pytest.mark.needs("proc")  # without it the limit has some room
def test_a_large_photo_under_a_small_limit_is_too_large() -> None:
    decoder = PhotoDecoder(DecodeLimits(memory=30_000_000), 1)
    try:
        assert refusal(decoder, encoded(Image.fromarray(scene(4000, 3000)), "PNG", compress_level=1)).reason == (
            Reason.TOO_LARGE
        )
        assert decoder.decode(PHOTO)[0].shape == (40, 60, 3)
    finally:
        decoder.close()


@pytest.mark.parametrize("installed", [True, False])
def test_heic_is_decoded_where_the_extra_is_installed(
    installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = BytesIO()
    pillow_heif.from_pillow(Image.fromarray(scene(64, 48))).save(buffer, quality=95)
    if not installed:
        (tmp_path / "pillow_heif.py").write_text("raise ImportError")
        monkeypatch.syspath_prepend(tmp_path)
    decoder = PhotoDecoder(processes=1)
    try:
        if installed:
            np.testing.assert_array_equal(decoder.decode(buffer.getvalue())[0], decode_photo(buffer.getvalue()))
        else:
            error = refusal(decoder, buffer.getvalue())
            assert error.reason == Reason.UNSUPPORTED_FORMAT
            assert error.hint == "Run: pip install 'facesearch[heic]'"
    finally:
        decoder.close()


def test_what_a_codec_prints_is_heard_by_nobody(
    hostile: Callable[..., PhotoDecoder], capfd: pytest.CaptureFixture[str]
) -> None:
    np.testing.assert_array_equal(hostile().decode(b"noise")[0], scene())
    assert capfd.readouterr() == ("", "")


@pytest.mark.needs("proc")
def test_a_worker_writes_no_files_and_takes_no_more_memory_than_it_may(hostile: Callable[..., PhotoDecoder]) -> None:
    decoder = hostile()
    decoder.decode(PHOTO)
    (worker,) = workers(decoder)
    limits = Path(f"/proc/{worker}/limits").read_text(encoding="utf-8")
    assert re.search(r"Max file size +0 +0 ", limits)
    assert re.search(r"Max core file size +0 +0 ", limits)
    assert 2**28 < int(re.findall(r"Max address space +(\d+) ", limits)[0]) < 2**29


def test_a_worker_that_somebody_ended_is_replaced(hostile: Callable[..., PhotoDecoder]) -> None:
    decoder = hostile()
    for rest in (0.0, 0.1):  # before and after its end can be noticed
        decoder.decode(PHOTO)
        (worker,) = workers(decoder)
        os.kill(worker, signal.SIGKILL)
        time.sleep(rest)
        assert decoder.decode(PHOTO)[0].shape == (40, 60, 3)
        assert worker not in workers(decoder)


def test_a_worker_ended_while_it_starts_is_replaced(hostile: Callable[..., PhotoDecoder]) -> None:
    decoder = hostile()
    decoder.start()
    (worker,) = workers(decoder)
    os.kill(worker, signal.SIGKILL)
    assert decoder.decode(PHOTO)[0].shape == (40, 60, 3)


def test_workers_that_cannot_start_end_the_run_and_blame_no_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_PROGRAM", "raise ImportError('No module named PIL')")
    decoder = PhotoDecoder(processes=1)
    with pytest.raises(InstallationError, match="does not start: ImportError: No module named PIL"):
        decoder.decode(PHOTO)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(InstallationError, match="No such file"):
        decoder.decode(PHOTO)


def test_threads_share_a_bounded_number_of_workers(hostile: Callable[..., PhotoDecoder]) -> None:
    decoder = hostile(processes=2)
    photos = [PHOTO, b"crash", PHOTO, b"exit", b"noise", PHOTO[:50]] * 4

    def outcome(data: bytes) -> str:
        try:
            return str(decoder.decode(data)[0].shape)
        except PhotoError as error:
            return error.reason

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(outcome, photos))
    assert outcomes == ["(40, 60, 3)", "unreadable", "(40, 60, 3)", "unreadable", "(40, 60, 3)", "unreadable"] * 4
    assert len(workers(decoder)) <= 2  # none, where the last photos made both of them exit
    assert outcome(PHOTO) == "(40, 60, 3)"


def test_an_interrupted_caller_does_not_get_another_photo_s_answer(
    hostile: Callable[..., PhotoDecoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = hostile()
    decoder.decode(PHOTO)

    def interrupt(*_: object) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(decoding.DecodeProcess, "_read", interrupt)
        with pytest.raises(KeyboardInterrupt):
            decoder.decode(LATER_CRASH)
    assert decoder.decode(PHOTO)[0].shape == (40, 60, 3)


def test_nothing_starts_before_it_is_needed_and_nothing_stays_after_closing(
    hostile: Callable[..., PhotoDecoder],
) -> None:
    threads = threading.active_count()
    decoder = hostile(seconds=1)
    assert workers(decoder) == []
    decoder.start()
    decoder.start()
    (worker,) = workers(decoder)
    decoder.decode(PHOTO)
    assert workers(decoder) == [worker]
    decoder.close()
    assert await_end(worker)
    for _ in range(200):
        if threading.active_count() <= threads:
            break
        time.sleep(0.02)
    assert threading.active_count() <= threads


@pytest.mark.needs("proc")
def test_replaced_workers_leave_no_descriptors_behind(hostile: Callable[..., PhotoDecoder]) -> None:
    decoder = hostile()
    refusal(decoder, b"crash")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        refusal(decoder, b"crash")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def run_script(text: str, folder: Path, *, session: bool = False) -> subprocess.Popen[str]:
    """A user's program, without a guard for its main module, in a folder with traps for whoever imports from it."""
    for name in ("PIL", "json", "struct", "numpy"):
        (folder / f"{name}.py").write_text("raise SystemExit('imported from the current folder')")
    (folder / "photo.png").write_bytes(PHOTO)
    (folder / "sub").mkdir()
    (folder / "sub" / "program.py").write_text(textwrap.dedent(text))
    return subprocess.Popen(
        [sys.executable, "sub/program.py"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT.parent)},
        start_new_session=session,
    )


DECODE = """
import os, signal, sys, time
from facesearch.recognition import decoding
photo = open("photo.png", "rb").read()
assert decoding.decode_guarded(photo).shape == (40, 60, 3)
worker = decoding._shared()._idle[0]._process.pid
"""


def test_a_program_without_a_guard_works_and_leaves_no_worker(tmp_path: Path) -> None:
    out, err = run_script(f"{DECODE}\nprint(worker)", tmp_path).communicate(timeout=60)
    assert err == ""
    assert await_end(int(out))


def test_a_worker_does_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = run_script(f"{DECODE}\nprint(worker, flush=True); os.kill(os.getpid(), signal.SIGKILL)", tmp_path)
    out, _ = program.communicate(timeout=60)
    assert program.returncode == -signal.SIGKILL
    assert await_end(int(out))


def test_a_busy_worker_does_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = f"""
{DECODE}
import threading
from facesearch.recognition import decoding
decoding._PROGRAM = decoding._PROGRAM.replace("from facesearch.recognition.decode_worker",
    "import time, facesearch.recognition.decode_worker as w; w.decode_image = lambda data: time.sleep(1000)\\n"
    "from facesearch.recognition.decode_worker")
decoder = decoding.PhotoDecoder(processes=1)
threading.Thread(target=decoder.decode, args=[photo], daemon=True).start()
time.sleep(0.5)
(busy,) = decoder._busy
print(busy._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    out, _ = run_script(script, tmp_path).communicate(timeout=60)
    assert await_end(int(out))


def test_control_c_reaches_the_program_alone(tmp_path: Path) -> None:
    script = f"""
{DECODE}
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what runs in the background without
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    assert decoding.decode_guarded(photo).shape == (40, 60, 3)
    assert decoding._shared()._idle[0]._process.pid == worker
    print("lives", flush=True)
"""
    with run_script(script, tmp_path, session=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        os.killpg(program.pid, signal.SIGINT)
        assert program.communicate(timeout=100) == ("lives\n", "")


def test_a_fork_of_the_program_has_workers_of_its_own(tmp_path: Path) -> None:
    script = f"""
{DECODE}
child = os.fork()
assert decoding.decode_guarded(photo).shape == (40, 60, 3)
own = decoding._shared()._idle[0]._process.pid
if child == 0:
    assert own != worker
    sys.exit(0)
assert own == worker
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert decoding.decode_guarded(photo).shape == (40, 60, 3)
print("both")
"""
    out, err = run_script(script, tmp_path).communicate(timeout=60)
    assert out == "both\n"
    assert "Error" not in err


def test_a_fork_does_not_keep_the_worker_of_a_killed_parent_alive(tmp_path: Path) -> None:
    script = f"""
{DECODE}
parent, child = os.getpid(), os.fork()
if child == 0:
    os.close(1)
    os.close(2)
    time.sleep(60)
    os._exit(0)
print(worker, child, flush=True)
os.kill(parent, signal.SIGKILL)
"""
    out, _ = run_script(script, tmp_path).communicate(timeout=60)
    worker, child = map(int, out.split())
    try:
        assert await_end(worker)
        assert is_running(child)
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_worker_imports_no_models_no_database_and_no_numpy() -> None:
    code = (
        "import sys, facesearch.recognition.decode_worker;"
        "heavy = {'numpy', 'cv2', 'faiss', 'onnxruntime', 'sqlalchemy', 'scipy', 'httpx', 'multiprocessing'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_no_other_module_decodes_in_its_own_process() -> None:
    unguarded = re.compile(r"\b(decode_image|Image\.open|imread|imdecode)\(")
    found = {
        path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py") if unguarded.search(path.read_text("utf-8"))
    }
    assert found == {"recognition/formats.py", "recognition/decode_worker.py"}
