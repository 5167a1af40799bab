"""The two networks in each precision on each runtime, against fp32 on onnxruntime, which is what InsightFace runs.

A round is one photo with one face: the detector once at `--size`, the recogniser once. What InsightFace does around
its networks is left out, which favours it. int8 files are made of a copy of the pack, calibrated on the same photos,
without looking for faces in them: models of random weights find none.
"""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from benchmarks.inputs import add_input_options, find_inputs
from benchmarks.timing import Taken, alternate, taken
from facesearch.errors import FaceSearchError
from facesearch.types import Precision
from facesearch.vision.alignment import CROP_SIZE
from facesearch.vision.embedder import as_input
from facesearch.vision.letterbox import Letterbox
from facesearch.vision.packfolder import read_pack_folder
from facesearch.vision.photo import decode_photo, read_photo_bytes
from facesearch.vision.precision import in_precision
from facesearch.vision.quantize import CalibrationSet, quantize_pack
from facesearch.vision.runtime import PRECISIONS, choose_provider, open_session, usable_cores

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from benchmarks.reporting import Report
    from facesearch.vision.packfolder import ModelPack
    from facesearch.vision.runtime import Session

BASE = "cpu fp32"


def add_options(parser: argparse.ArgumentParser) -> None:
    """What to run, and how often."""
    add_input_options(parser)
    parser.add_argument("--size", type=int, default=640, help="of detection, default 640")
    parser.add_argument("--count", type=int, help="photos to calibrate on and to run, default 16; quick 2")
    parser.add_argument("--rounds", type=int, help="default 15; quick 1")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="of one run, default all cores")


def run(asked: argparse.Namespace, report: Report) -> None:
    """Every precision of every provider here, in turn."""
    count, rounds = asked.count or (2 if asked.quick else 16), asked.rounds or (1 if asked.quick else 15)
    with tempfile.TemporaryDirectory() as folder:
        inputs = find_inputs(asked, Path(folder))
        pack = _copied(read_pack_folder(inputs.pack), inputs.pack, Path(folder) / "copy")
        calibration = _inputs(inputs.paths(count), asked.size, pack)
        report.facts["inputs"] = f"{inputs.pack.name}, {count} photos at {asked.size}, {asked.threads} threads"
        try:
            quantize_pack(pack, calibration)
        except FaceSearchError as error:
            report.skipped["int8"] = f"{error.message} {error.hint or ''}"
        contenders = dict(_contenders(pack, calibration, asked.threads, report))
        for once in contenders.values():
            once()  # the first run compiles
        results = alternate(contenders, rounds)
    for name, each in results.items():
        report.add_median(f"{name}: processor time a photo", [1e3 * one.processor / count for one in each], "ms")
        report.add_median(f"{name}: time a photo", [1e3 * one.wall / count for one in each], "ms")
    for name, each in results.items():
        if name != BASE:
            base = results[BASE]
            report.add_ratio(f"{name}: times as fast", [a.wall for a in base], [a.wall for a in each])
            report.add_ratio(f"{name}: by processor time", [a.processor for a in base], [a.processor for a in each])


def _contenders(
    pack: ModelPack, inputs: CalibrationSet, threads: int, report: Report
) -> Iterator[tuple[str, Callable[[], Taken]]]:
    for provider in ("cpu", "openvino", "cuda", "tensorrt"):
        for precision in Precision:
            if precision not in PRECISIONS[provider]:
                continue
            name = f"{provider} {precision}"
            try:
                files, choice = in_precision(pack, precision), choose_provider(provider, precision)
                detector, recognizer = (
                    open_session(file.path, choice, sha256=file.sha256, threads=threads)
                    for file in (files.detector, files.recognizer)
                )
            except FaceSearchError as error:
                report.skipped[name] = f"{error.message} {error.hint or ''}"
                continue

            yield name, partial(_taken, detector, recognizer, inputs)


def _taken(detector: Session, recognizer: Session, inputs: CalibrationSet) -> Taken:
    def photos() -> None:
        for blob, crop in zip(inputs.detector, inputs.recognizer, strict=True):
            detector.run(blob)
            recognizer.run(crop)

    return taken(photos)


def _copied(pack: ModelPack, source: Path, target: Path) -> ModelPack:
    target.mkdir()
    for path in (pack.detector.path, pack.recognizer.path, source / "pack.toml"):
        if path.is_file():
            shutil.copy(path, target)
    return read_pack_folder(target)


def _inputs(paths: list[Path], size: int, pack: ModelPack) -> CalibrationSet:
    box = Letterbox(size)
    photos = [decode_photo(read_photo_bytes(path)) for path in paths]
    crops = [np.asarray(cv2.resize(photo, (CROP_SIZE, CROP_SIZE)), np.uint8)[None] for photo in photos]
    mean, std = pack.recognizer.input_mean, pack.recognizer.input_std
    return CalibrationSet(
        tuple(box.put(photo)[0].copy() for photo in photos), tuple(as_input(crop, mean, std) for crop in crops)
    )
