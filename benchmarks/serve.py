"""What the server costs: identify over HTTP beside the same photos through the models without a server.

Half of the people are enrolled; every photo is asked for by 16 clients at once. `--stub` measures the server alone:
detection and recognition answer at once, on drawn people. Both tell requests a second, the latencies at half that load,
and the server's memory; processor time is what to compare on a busy machine.
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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from benchmarks.inputs import add_input_options, find_inputs
from benchmarks.timing import processor_seconds, resident_mebibytes
from facesearch import FaceSearch
from facesearch.jobs.parts import Parts
from facesearch.jobs.sources import read_photo_bytes
from facesearch.recognition.extractor import Extractor
from facesearch.recognition.quality import PROBE_LIMITS, FacePolicy
from facesearch.server.app import serve
from facesearch.server.options import ServerOptions
from facesearch.types import Face

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.inputs import Inputs
    from benchmarks.reporting import Report
    from facesearch.types import Pixels, Rejection, Vector, Vectors

CLIENTS = 16
WARM_UP = 64


class Stub(Extractor):
    """An extractor that finds one face in every photo and answers at once."""

    def __init__(self, real: Extractor) -> None:
        vars(self).update(vars(real))
        landmarks = np.array([[90, 120], [140, 120], [115, 150], [95, 180], [135, 180]], np.float32)
        self._face = Face(np.array([60, 80, 170, 220], np.float32), landmarks, 0.9)
        self._vectors: Vectors = np.random.default_rng(0).standard_normal((64, real.info.dimension), dtype=np.float32)
        self._vectors /= np.linalg.norm(self._vectors, axis=1, keepdims=True)

    @property
    def detector(self) -> Any:
        """This."""
        return self

    @property
    def embedder(self) -> Any:
        """This."""
        return self

    def detect(self, _: Pixels) -> list[Face]:
        """Always the same."""
        return [self._face]

    def embed(self, crops: Sequence[Pixels]) -> list[Vector | Rejection]:
        """Random directions."""
        return list(self._vectors[: len(crops)])


def run_server(gallery: Path, pack: str, *, stub: bool) -> None:
    """The server process."""
    with FaceSearch.open(gallery, pack=pack, provider="cpu") as engine:
        if stub:
            stand_in = Stub(engine.extractor)
            # Of every engine in this process: the server makes one of its own.
            Parts.extractor = property(lambda _: stand_in)  # type: ignore[assignment]  # it is no extractor
        serve(engine, ServerOptions(port=0), lambda url: print(url, flush=True))


class Server:
    """A server process of its own."""

    def __init__(self, gallery: Path, pack: str, *, stub: bool) -> None:
        command = [sys.executable, "-m", "benchmarks", "serve", "--serve", str(gallery), pack]
        command += ["--stub"] if stub else []
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline().rpartition(":")[2])
        self.process = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()


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
    """Photos a second, and processor seconds each, through the same models and search as `extract_many` runs them."""
    with FaceSearch.open(gallery, pack=pack, provider="cpu") as engine:
        list(
            engine.extractor.extract_many(paths[:WARM_UP], read_photo_bytes, policy=FacePolicy.ALL, limits=PROBE_LIMITS)
        )
        started, used = time.perf_counter(), processor_seconds(os.getpid())
        encoded = engine.extractor.extract_many(paths, read_photo_bytes, policy=FacePolicy.ALL, limits=PROBE_LIMITS)
        for photo in encoded:
            if photo.templates:
                engine.gallery.search(np.array([each.vector for each in photo.templates]), 5)
        rate = len(paths) / (time.perf_counter() - started)
        return rate, (processor_seconds(os.getpid()) - used) / len(paths)


@dataclass(frozen=True, slots=True)
class Served:
    """What was seen at full speed, and at half of it."""

    rate: float
    """Requests a second."""
    cost: float
    """Processor seconds each, those of decoding included."""
    median: float
    """Seconds until the answer at half load, waiting included."""
    worst: float
    """The 99th percentile of that."""


def measure(server: Server, photos: Sequence[bytes], count: int) -> Served:
    """At full speed, then at half of it with random arrivals."""
    load = Load(server.port, photos)
    load.at_full_speed(WARM_UP)
    used = processor_seconds(server.process)
    rate = load.at_full_speed(count)
    used = (processor_seconds(server.process) - used) / count
    load.at(rate / 2, count)
    return Served(rate, used, statistics.median(load.seconds), statistics.quantiles(load.seconds, n=100)[98])


def with_models(inputs: Inputs, count: int, rounds: int, work: Path, report: Report) -> None:
    """Against the pipeline without a server, in turn."""
    pack = str(inputs.pack)
    people = sorted(path for path in inputs.photos.iterdir() if path.is_dir())
    with FaceSearch.open(work, pack=pack, provider="cpu") as engine:
        for _ in engine.enroll(people[: len(people) // 2]):
            pass
    paths = list(itertools.islice(itertools.cycle(inputs.paths()), count))
    photos = [path.read_bytes() for path in paths]
    alone, served = [], []
    for _ in range(rounds):
        alone.append(in_process(work, pack, paths))
        with Server(work, pack, stub=False) as server:
            served.append(measure(server, photos, count))
            memory = resident_mebibytes(server.process)
    _report(served, report)
    report.add_median("photos a second in process", [rate for rate, _ in alone], "photos/s")
    report.add_ratio("of that over HTTP", [each.rate for each in served], [rate for rate, _ in alone])
    report.add_ratio("the same by processor time", [cost for _, cost in alone], [each.cost for each in served])
    report.add("memory", memory, "MB")


def stubbed(count: int, rounds: int, soak: int, work: Path, report: Report) -> None:
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
        _report([measure(server, photos, count) for _ in range(rounds)], report)
        before, load = resident_mebibytes(server.process), Load(server.port, photos)
        report.add("memory", before, "MB")
        if soak:
            load.at_full_speed(soak)
            report.add(f"memory after {soak:,} more requests", resident_mebibytes(server.process), "MB")


def _report(served: Sequence[Served], report: Report) -> None:
    report.add_median("requests a second", [each.rate for each in served], "requests/s")
    report.add_median("processor time of a request", [1e3 * each.cost for each in served], "ms")
    report.add_median("latency at half load, median", [1e3 * each.median for each in served], "ms")
    report.add_median("latency at half load, 99th percentile", [1e3 * each.worst for each in served], "ms")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Models and photos, how much of each, and whether to do without."""
    add_input_options(parser)
    parser.add_argument("--stub", action="store_true", help="the server alone, without models")
    parser.add_argument("--requests", type=int, help="for each figure; 400, with --stub 2000")
    parser.add_argument("--rounds", type=int, help="default 3")
    parser.add_argument("--soak", type=int, default=10_000, help="requests between two looks at the memory, --stub")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)


def run(asked: argparse.Namespace, report: Report) -> None:
    """With models, or the server alone; quick: that with few requests."""
    if asked.serve:
        run_server(Path(asked.serve[0]), asked.serve[1], stub=asked.stub)
        sys.exit()
    rounds = asked.rounds or (1 if asked.quick else 3)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if asked.stub or asked.quick:
            count = asked.requests or (50 if asked.quick else 2000)
            stubbed(count, rounds, 0 if asked.quick else asked.soak, work, report)
        else:
            inputs = find_inputs(asked, work)
            report.facts["inputs"] = f"{inputs.pack.name}, {inputs.photos.name}"
            with_models(inputs, asked.requests or 400, rounds, work / "gallery", report)
