"""A process that decodes photos for another one: bytes in on stdin, pixels out on stdout, nothing else.

It imports Pillow and no other library, so that it starts in a few hundredths of a second and there is little in it to
attack or to lose. What goes through the pipes is in `photo`.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
from io import FileIO
from typing import TYPE_CHECKING, Final

from facesearch.errors import PhotoError
from facesearch.machine import address_space
from facesearch.recognition.formats import decode_image
from facesearch.recognition.jpeg import lacks_end
from facesearch.recognition.photo import ANSWER, DECODED, LENGTH, READY, REFUSED, WITHOUT_END

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

_AT_START: Final = 64 * 2**20
"""Bytes of address space assumed at the start of the process where there is no /proc. 25 MB were measured."""
_STRIP: Final = 2**20
"""Bytes of pixels written at a time: no second copy of a large photo is ever held."""


def main(memory: int, cpu_seconds: float) -> None:
    """Serve until the other side closes the pipe or dies.

    `memory` bytes at most are taken beyond what the process has at its start (Linux); a photo that takes more than
    `cpu_seconds` of processor time ends the process by SIGPROF (not on Windows).
    """
    requests, answers = FileIO(os.dup(0), "rb"), FileIO(os.dup(1), "wb")
    _limit(memory)
    answers.write(READY)
    with open(os.devnull, "r+b", buffering=0) as nothing:  # noqa: PTH123  # what a codec prints is not for the pipe
        for stream in (0, 1, 2):
            os.dup2(nothing.fileno(), stream)
    _end_with_the_other_side(requests.fileno())
    while header := _read(requests, LENGTH.size):
        data = _read(requests, *LENGTH.unpack(header))
        _allow(cpu_seconds)
        _answer(answers, data)
        _allow(0)


def _limit(memory: int) -> None:
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it would hold the photo
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        if sys.platform == "linux":  # elsewhere the system accepts the limit and does not keep to it
            limit = (address_space() or _AT_START) + memory
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _end_with_the_other_side(descriptor: int) -> None:
    """A worker that is busy would notice the end of its parent only afterwards."""
    if not hasattr(select, "poll"):
        return

    def watch() -> None:
        poll = select.poll()
        poll.register(descriptor, 0)  # nothing is asked for but the hang-up, which is always told
        poll.poll()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def _allow(cpu_seconds: float) -> None:
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)


def _answer(answers: FileIO, data: bytes) -> None:
    try:
        image = decode_image(data)
    except PhotoError as error:
        refusal = json.dumps([error.message, error.reason, error.hint]).encode()
        _write(answers, ANSWER.pack(REFUSED, len(refusal), 0) + refusal)
        return
    header = ANSWER.pack(WITHOUT_END if lacks_end(data) else DECODED, *image.size)
    for strip in _strips(image):
        _write(answers, header + strip)
        header = b""


def _strips(image: Image.Image) -> Iterator[bytes]:
    width, height = image.size
    rows = max(1, _STRIP // (3 * width))
    for top in range(0, height, rows):
        yield image.crop((0, top, width, min(top + rows, height))).tobytes()


def _read(file: FileIO, length: int) -> bytes:
    """Exactly `length` bytes, or none where the other side has gone."""
    buffer = bytearray(length)
    view, done = memoryview(buffer), 0
    while done < length:
        count = file.readinto(view[done:])
        if not count:
            return b""
        done += count
    return bytes(buffer)


def _write(file: FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
