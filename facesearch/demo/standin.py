"""A model pack that knows the drawn portraits and nothing else: real ONNX graphs of the real shapes, under 1 MB.

With it the demo and the tests run the whole pipeline without a download. It says nothing about photos of people.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from facesearch.demo.standin_detector import detector_bytes
from facesearch.demo.standin_embedder import DIMENSION, INPUT_MEAN, INPUT_STD, embedder_bytes
from facesearch.recognition.packs.folder import PACK_FILE

if TYPE_CHECKING:
    from pathlib import Path

PACK_NAME = "standin"
THRESHOLD = 0.48
"""Cosine: of 12 people x 6 photos the lowest mated score is 0.63 and the highest non-mated one 0.35."""

_PACK = """\
# Written by facesearch: a stand-in that knows drawn portraits only. It recognises no photo of a person.
name = "{name}"
licence = "part of facesearch; not trained on anyone"

[detector]
file = "{detector}"
sha256 = "{detector_sha256}"
finds = "The stand-in is no face model: it finds drawn faces only."

[recognizer]
file = "{recognizer}"
sha256 = "{recognizer_sha256}"
input_mean = {mean}
input_std = {std}
dimension = {dimension}

[threshold]
score = {threshold}
basis = "stand-in pack: synthetic portraits only"
"""
_DETECTOR = "standin_detector.onnx"
_RECOGNIZER = "standin_embedder.onnx"


def build_standin_pack(folder: Path) -> Path:
    """Write the pack into `folder`, made where it is missing, and return the folder.

    The same version writes the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    graphs = {_DETECTOR: detector_bytes(), _RECOGNIZER: embedder_bytes()}
    for name, data in graphs.items():
        (folder / name).write_bytes(data)
    text = _PACK.format(
        name=PACK_NAME,
        detector=_DETECTOR,
        detector_sha256=hashlib.sha256(graphs[_DETECTOR]).hexdigest(),
        recognizer=_RECOGNIZER,
        recognizer_sha256=hashlib.sha256(graphs[_RECOGNIZER]).hexdigest(),
        mean=INPUT_MEAN,
        std=INPUT_STD,
        dimension=DIMENSION,
        threshold=THRESHOLD,
    )
    (folder / PACK_FILE).write_text(text, encoding="utf-8")
    return folder
