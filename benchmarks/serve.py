"""What the server costs: identify over HTTP beside the same photos through the models without a server.

    python benchmarks/serve.py PACK PHOTOS [--requests 400] [--rounds 3]
    python benchmarks/serve.py --stub [--requests 2000] [--rounds 3] [--soak 10000]

PACK is the folder of a model pack, PHOTOS one with a folder per person. Half of the people are enrolled; every photo is
asked for by 16 clients at once. `--stub` needs neither: detection and recognition answer at once, on drawn people, so
that what is left is the server. Both print requests a second, median and 99th percentile at half that load, and the
server's memory; processor time is what to compare on a busy machine.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from facesearch import FaceSearch
from facesearch.server.options import ServerOptions
from facesearch.server.run import serve
from facesearch.types import Face
from facesearch.vision.photo import read_photo_bytes
from facesearch.vision.quality import PROBE_LIMITS, FacePolicy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from facesearch.types import ModelInfo, Pixels, Vectors
    from facesearch.vision.encoder import Encoder
    from facesearch.vision.runtime import ProviderChoice

CLIENTS = 16
WARM_UP = 64


class Stub:
    """An encoder that finds one face in every photo and answers at once."""

    def __init__(self, real: Encoder) -> None:
        self.info: ModelInfo = real.info
        self.provider: ProviderChoice = real.provider
        landmarks = np.array([[90, 120], [140, 120], [115, 150], [95, 180], [135, 180]], np.float32)
        self._face = Face(np.array([60, 80, 170, 220], np.float32), landmarks, 0.9)
        self._vectors: Vectors = np.random.default_rng(0).standard_normal((64, real.info.dimension), dtype=np.float32)
        self._vectors /= np.linalg.norm(self._vectors, axis=1, keepdims=True)

    def detect(self, _: Pixels) -> list[Face]:
        """Always the same."""
        return [self._face]

    def embed_crops(self, crops: Sequence[Pixels]) -> Vectors:
        """Random directions."""
        return self._vectors[: len(crops)].copy()


def run_server(gallery: Path, pack: str, *, stub: bool) -> None:
    """The server process."""
    with FaceSearch.open(gallery, pack=pack, provider="cpu") as engine:
        if stub:
            engine.__dict__["encoder"] = Stub(engine.encoder)
        serve(engine, ServerOptions(port=0), lambda url: print(url, flush=True))


def processor_seconds(process: int) -> float:
    """What a process and those that decode photos for it have used so far; NaN where the system does not tell."""
    try:
        tasks = Path(f"/proc/{process}/task").iterdir()
        children = {int(child) for task in tasks for child in (task / "children").read_text().split()}
        ticks = 0
        for each in (process, *children):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    except OSError:
        return float("nan")
    return ticks / os.sysconf("SC_CLK_TCK")


class Server:
    """A server process of its own."""

    def __init__(self, gallery: Path, pack: str, *, stub: bool) -> None:
        command = [sys.executable, __file__, "--serve", str(gallery), pack, *(["--stub"] if stub else [])]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline().rpartition(":")[2])
        self.process = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    @property
    def megabytes(self) -> float:
        """Resident memory; NaN where the system does not tell."""
        try:
            pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        except OSError:
            return float("nan")
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Load:
    """Clients with one connection each, over raw sockets: a client library would cost more than the server."""

    def __init__(self, port: int, photos: Sequence[bytes]) -> None:
        self._port = port
        head = "POST /v1/identify HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: "
        self._requests = itertools.cycle([f"{head}{len(photo)}\r\n\r\n".encode() + photo for photo in photos])
        self.seconds: list[float] = []

    def at_full_speed(self, count: int) -> float:
        """Requests a second with every client asking again as soon as it is answered."""
        return asyncio.run(self._run(itertools.repeat(0.0, count)))

    def at(self, rate: float, count: int) -> float:
        """Requests a second with random arrivals at this rate; latencies count from the arrival, waiting included."""
        gaps = random.Random(0)
        start = time.perf_counter()
        arrivals = itertools.accumulate(gaps.expovariate(rate) for _ in range(count))
        return asyncio.run(self._run(start + arrival for arrival in arrivals))

    async def _run(self, arrivals: Iterator[float]) -> float:
        self.seconds = []
        started = time.perf_counter()
        await asyncio.gather(*(self._client(arrivals) for _ in range(CLIENTS)))
        return len(self.seconds) / (time.perf_counter() - started)

    async def _client(self, arrivals: Iterator[float]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        for arrival in arrivals:  # one iterator, which all clients share
            now = time.perf_counter()
            if arrival > now:
                await asyncio.sleep(arrival - now)
            asked = arrival or now
            writer.write(next(self._requests))
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(head.decode())
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            self.seconds.append(time.perf_counter() - asked)
        writer.close()


def in_process(gallery: Path, pack: str, paths: Sequence[Path]) -> tuple[float, float]:
    """Photos a second, and processor seconds each, through the same models and search as `encode_many` runs them."""
    with FaceSearch.open(gallery, pack=pack, provider="cpu") as engine:
        list(engine.encoder.encode_many(paths[:WARM_UP], read_photo_bytes, policy=FacePolicy.ALL, limits=PROBE_LIMITS))
        started, used = time.perf_counter(), processor_seconds(os.getpid())
        encoded = engine.encoder.encode_many(paths, read_photo_bytes, policy=FacePolicy.ALL, limits=PROBE_LIMITS)
        for photo in encoded:
            if photo.templates:
                engine.gallery.search(np.array([each.vector for each in photo.templates]), 5)
        rate = len(paths) / (time.perf_counter() - started)
        return rate, (processor_seconds(os.getpid()) - used) / len(paths)


def measure(server: Server, photos: Sequence[bytes], count: int) -> tuple[float, float]:
    """(requests a second, processor seconds each) at full speed; prints the latencies at half of it."""
    load = Load(server.port, photos)
    load.at_full_speed(WARM_UP)
    used = processor_seconds(server.process)
    rate = load.at_full_speed(count)
    used = (processor_seconds(server.process) - used) / count
    load.at(rate / 2, count)
    median, worst = statistics.median(load.seconds) * 1e3, statistics.quantiles(load.seconds, n=100)[98] * 1e3
    print(f"    at half load {median:6.1f} ms, p99 {worst:6.1f} ms = x{worst / median:.1f}")
    return rate, used


def with_models(pack: str, folder: Path, count: int, rounds: int, work: Path) -> None:
    """Against the pipeline without a server, one after the other, several times: the machine may be busy."""
    people = sorted(path for path in folder.iterdir() if path.is_dir())
    with FaceSearch.open(work, pack=pack, provider="cpu") as engine:
        for _ in engine.enroll(people[: len(people) // 2]):
            pass
    paths = list(itertools.islice(itertools.cycle(sorted(folder.rglob("*.jpg"))), count))
    photos = [path.read_bytes() for path in paths]
    shares = []
    for _ in range(rounds):
        alone, cost = in_process(work, pack, paths)
        with Server(work, pack, stub=False) as server:
            rate, used = measure(server, photos, count)
            shares.append((rate / alone, cost / used))
            print(f"in process {alone:6.1f}/s, {cost * 1e3:5.1f} ms of processor each")
            print(f"over HTTP  {rate:6.1f}/s, {used * 1e3:5.1f} ms of processor each, {server.megabytes:.0f} MB")
    by_clock, by_processor = (statistics.median(each) for each in zip(*shares, strict=True))
    print(f"median share {by_clock:.0%} by the clock, {by_processor:.0%} by processor time")


def stubbed(count: int, rounds: int, soak: int, work: Path) -> None:
    """The server alone."""
    from facesearch.demo.portraits import write_people
    from facesearch.demo.standin import build_standin_pack

    pack = str(build_standin_pack(work / "standin"))
    write_people(work / "people")
    with FaceSearch.open(work / "gallery", pack=pack, provider="cpu") as engine:
        for _ in engine.enroll(work / "people"):
            pass
    photos = [path.read_bytes() for path in sorted((work / "people").rglob("*.jpg"))]
    with Server(work / "gallery", pack, stub=True) as server:
        for _ in range(rounds):
            rate, used = measure(server, photos, count)
            print(f"{rate:6.0f} requests/s, {used * 1e3:.2f} ms of processor each")
        before, load = server.megabytes, Load(server.port, photos)
        for part in range(4):
            load.at_full_speed(soak // 4)
            print(f"memory after {(part + 1) * soak // 4:6} more: {server.megabytes:.1f} MB ({before:.1f} before)")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", nargs="?")
    parser.add_argument("photos", nargs="?", type=Path)
    parser.add_argument("--stub", action="store_true")
    parser.add_argument("--requests", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--soak", type=int, default=10_000)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        run_server(Path(asked.serve[0]), asked.serve[1], stub=asked.stub)
        return
    with tempfile.TemporaryDirectory() as work:
        if asked.stub:
            stubbed(asked.requests or 2000, asked.rounds, asked.soak, Path(work))
        else:
            with_models(asked.pack, asked.photos, asked.requests or 400, asked.rounds, Path(work) / "gallery")


if __name__ == "__main__":
    main()
