"""What a model pack is, and how one is read from a folder: by its `pack.toml`, or by what its graphs tell.

A `pack.toml`, with everything but the two file names optional:

    name = "mypack"
    licence = "where the weights come from and what they may be used for"

    [detector]
    file = "det.onnx"           # SCRFD with landmarks, beside this file
    sha256 = "64 hex digits"
    finds = "It finds drawn faces only."   # said where it finds none, for a detector that is not for any photo

    [recognizer]
    file = "rec.onnx"           # ArcFace style: 112 x 112 RGB in, one vector out
    sha256 = "64 hex digits"
    input_mean = 127.5          # (pixel - mean) / std
    input_std = 127.5
    dimension = 512

    [threshold]
    score = 0.45                # cosine
    basis = "how it was measured"
"""

from __future__ import annotations

import hashlib
import math
import re
import tomllib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from facesearch.errors import ConfigError, ModelIntegrityError, ModelNotFoundError
from facesearch.names import path_text
from facesearch.recognition.packs.graph import read_graph

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from facesearch.recognition.packs.graph import GraphSummary


T = TypeVar("T")

PACK_FILE = "pack.toml"
DEFAULT_THRESHOLD = 0.45
"""Cosine. Above the 0.4078 published for w600k_r50 at FMR 1e-6, to err towards `unknown` where nothing was measured."""
UNMEASURED = "a conservative default, not measured for this model"
UNSTATED_LICENCE = "not stated: ask whoever gave you the weights"

SHA256_PATTERN = re.compile(r"[0-9a-f]{64}")
_KEYS = {
    "": {"name", "licence", "detector", "recognizer", "threshold"},
    "detector": {"file", "sha256", "kind", "finds"},
    "recognizer": {"file", "sha256", "input_mean", "input_std", "dimension"},
    "threshold": {"score", "basis"},
}
_FACE_SIZE = (112, 112)
_BOXES_ONLY, _WITH_LANDMARKS = 6, 9
"""Outputs of an SCRFD of three strides: scores and boxes, or those and landmarks."""


@dataclass(frozen=True, slots=True)
class DetectorFile:
    """An SCRFD graph on this machine, and the SHA-256 its bytes must have."""

    path: Path
    sha256: str
    kind: str | None = None
    """`scrfd` or `yunet`; None: its outputs tell."""
    finds: str | None = None
    """What it finds, in a sentence, where that is not any face."""

    @property
    def identity(self) -> str:
        """The SHA-256 under which galleries and calibrations know this detector: that of the file it was repaired from,
        which gives the same detections, or its own.

        Raises:
            ModelNotFoundError, ModelIntegrityError: as `read_graph`.
        """
        return read_graph(self.path).repaired_from or self.sha256


@dataclass(frozen=True, slots=True)
class RecognizerFile:
    """An ArcFace-style graph on this machine; its input is RGB, NCHW, 112 x 112, (pixel - mean) / std."""

    path: Path
    sha256: str
    input_mean: float
    input_std: float
    dimension: int | None
    """Of its vectors; None where neither the pack nor the graph says."""


@dataclass(frozen=True, slots=True)
class ModelPack:
    """A detector and a recogniser that are used together."""

    name: str
    licence: str
    detector: DetectorFile
    recognizer: RecognizerFile
    threshold: float
    """Cosine, the default where nothing was calibrated."""
    threshold_basis: str


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks.

    Raises:
        ModelNotFoundError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelNotFoundError(f"{path} cannot be read: {error.strerror}.") from error


def read_pack_folder(folder: Path) -> ModelPack:
    """The pack in `folder`, by its `pack.toml` or, without one, by its graphs.

    A file whose SHA-256 no one states is hashed now.

    Raises:
        ConfigError: `pack.toml` is not valid, or the folder does not hold exactly one detector and one recogniser.
        ModelNotFoundError: a file that `pack.toml` names is missing.
        ModelIntegrityError: a graph is damaged or not of the expected form.
    """
    declared = folder / PACK_FILE
    return _by_declaration(folder, declared) if declared.is_file() else _by_graphs(folder)


def _by_declaration(folder: Path, declared: Path) -> ModelPack:
    try:
        table = tomllib.loads(declared.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{declared} cannot be read: {error}.") from error
    pack = _Section(declared, "", table)
    detector, recognizer = pack.section("detector"), pack.section("recognizer")
    threshold = pack.section("threshold", optional=True)
    detector_path, recognizer_path = detector.model_file(folder), recognizer.model_file(folder)
    mean, std = recognizer.get("input_mean", float), recognizer.get("input_std", float)
    if mean is None or std is None:
        mean, std = _input_scaling(read_graph(recognizer_path))
    dimension = recognizer.get("dimension", int)
    score = threshold.get("score", float)
    for section, key, wrong in (
        (recognizer, "input_mean", not math.isfinite(mean)),
        (recognizer, "input_std", not 0 < std < math.inf),
        (recognizer, "dimension", dimension is not None and dimension <= 0),
        (threshold, "score", score is not None and not -1 <= score <= 1),
    ):
        if wrong:
            raise section.error(f"{key} is out of range")
    return ModelPack(
        name=pack.get("name", str) or path_text(folder.name),
        licence=pack.get("licence", str) or UNSTATED_LICENCE,
        detector=DetectorFile(
            detector_path,
            detector.sha256() or file_sha256(detector_path),
            detector.get("kind", str),
            detector.get("finds", str),
        ),
        recognizer=RecognizerFile(
            recognizer_path, recognizer.sha256() or file_sha256(recognizer_path), mean, std, dimension
        ),
        threshold=DEFAULT_THRESHOLD if score is None else score,
        threshold_basis=threshold.get("basis", str) or UNMEASURED,
    )


class _Section:
    """One table of a `pack.toml`, read with checks."""

    def __init__(self, source: Path, name: str, table: dict[str, Any]) -> None:
        self._source, self._name, self._table = source, name, table
        unknown = sorted(table.keys() - _KEYS[name])
        if unknown:
            raise self.error(f"unknown key {unknown[0]!r}")

    def error(self, what: str) -> ConfigError:
        where = f"{self._source}, [{self._name}]" if self._name else str(self._source)
        return ConfigError(
            f"{where}: {what}.", "The page on models (docs/models.md) describes the format of pack.toml."
        )

    def section(self, name: str, *, optional: bool = False) -> _Section:
        table = self._table.get(name, {} if optional else None)
        if not isinstance(table, dict):
            raise self.error(f"the table [{name}] is missing")
        return _Section(self._source, name, table)

    def get(self, key: str, kind: type[T]) -> T | None:
        value = self._table.get(key)
        if kind is float and type(value) is int:
            value = float(value)
        if value is None or type(value) is kind:
            return value
        raise self.error(f"{key} must be of type {kind.__name__}")

    def sha256(self) -> str | None:
        value = self.get("sha256", str)
        if value is not None and not SHA256_PATTERN.fullmatch(value.lower()):
            raise self.error("sha256 must be 64 hexadecimal digits")
        return value and value.lower()

    def model_file(self, folder: Path) -> Path:
        name = self.get("file", str)
        if not name:
            raise self.error("file is missing")
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise self.error("file must lie inside the pack's folder")
        if not path.is_file():
            raise ModelNotFoundError(f"{path} is missing, though {self._source} names it.")
        return path


def _by_graphs(folder: Path) -> ModelPack:
    graphs = {path: read_graph(path) for path in sorted(folder.glob("*.onnx"))}
    detectors = [path for path, graph in graphs.items() if len(graph.outputs) in (_BOXES_ONLY, _WITH_LANDMARKS)]
    recognizers = [path for path, graph in graphs.items() if _is_recognizer(graph)]
    if len(detectors) != 1 or len(recognizers) != 1:
        raise ConfigError(
            f"{folder} holds {len(detectors)} detectors and {len(recognizers)} recognisers, but one of each is needed.",
            f"Say which files to use in a {PACK_FILE}; docs/models.md describes it.",
        )
    (detector,), (recognizer,) = detectors, recognizers
    if len(graphs[detector].outputs) == _BOXES_ONLY:
        raise ModelIntegrityError(
            f"{detector.name} finds boxes but no landmarks, and faces are aligned by their landmarks.",
            "Use an SCRFD with key points, such as det_10g.onnx.",
        )
    mean, std = _input_scaling(graphs[recognizer])
    dimension = graphs[recognizer].outputs[0].shape[1]
    return ModelPack(
        name=path_text(folder.name),
        licence=UNSTATED_LICENCE,
        detector=DetectorFile(detector, file_sha256(detector)),
        recognizer=RecognizerFile(
            recognizer, file_sha256(recognizer), mean, std, dimension if isinstance(dimension, int) else None
        ),
        threshold=DEFAULT_THRESHOLD,
        threshold_basis=UNMEASURED,
    )


def _is_recognizer(graph: GraphSummary) -> bool:
    return (
        len(graph.inputs) == len(graph.outputs) == 1
        and graph.inputs[0].shape[2:] == _FACE_SIZE
        and len(graph.outputs[0].shape) == 2
    )


def _input_scaling(graph: GraphSummary) -> tuple[float, float]:
    """(mean, std) by InsightFace's rule: a graph that opens with Sub and Mul scales raw pixels itself."""
    return (0.0, 1.0) if graph.opening[:2] == ("Sub", "Mul") else (127.5, 127.5)


DEFAULT_PACK = "buffalo_l"
INSIGHTFACE_URL = "https://github.com/deepinsight/insightface/releases/download/v0.7/{name}.zip"
INSIGHTFACE_LICENCE = (
    "InsightFace's trained models are for non-commercial research only "
    "(https://github.com/deepinsight/insightface#license); any other use needs a licence from them."
)
"""Shown before a download."""


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file of a pack; size in bytes and SHA-256 are None where they are not pinned."""

    name: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class KnownPack:
    """A pack that can be pulled by name: its archive and the two files in it that are used."""

    name: str
    summary: str
    url: str
    licence: str
    detector: KnownFile
    recognizer: KnownFile
    archive_size: int | None = None
    archive_sha256: str | None = None
    max_archive_size: int = 600_000_000
    """Bytes; the cap where no size is pinned. The largest, antelopev2, has some 360 MB."""
    threshold: float = DEFAULT_THRESHOLD
    threshold_basis: str = UNMEASURED
    input_mean: float = 127.5
    input_std: float = 127.5
    dimension: int = 512

    @property
    def files(self) -> tuple[KnownFile, KnownFile]:
        """The two files that are used; the archives hold others."""
        return self.detector, self.recognizer


_DET_10G = KnownFile("det_10g.onnx", 16_923_827, "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91")
_DET_2_5G = KnownFile("det_2.5g.onnx", 3_292_009, "041f73f47371333d1d17a6fee6c8ab4e6aecabefe398ff32cca4e2d5eaee0af9")
_DET_500M = KnownFile("det_500m.onnx", 2_524_817, "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a")
_R50 = KnownFile("w600k_r50.onnx", 174_383_860, "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43")
_MBF = KnownFile("w600k_mbf.onnx", 13_616_099, "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f")

_R50_THRESHOLD = 0.4078
_R50_BASIS = "published: FMR 1e-6 on MR-ALL (InsightFace model zoo), not measured on this gallery"


def _pack(
    name: str,
    summary: str,
    detector: KnownFile,
    recognizer: KnownFile,
    archive: tuple[int, str] | tuple[None, None] = (None, None),
) -> KnownPack:
    threshold, basis = (_R50_THRESHOLD, _R50_BASIS) if recognizer is _R50 else (DEFAULT_THRESHOLD, UNMEASURED)
    return KnownPack(
        name=name,
        summary=summary,
        url=INSIGHTFACE_URL.format(name=name),
        licence=INSIGHTFACE_LICENCE,
        detector=detector,
        recognizer=recognizer,
        archive_size=archive[0],
        archive_sha256=archive[1],
        threshold=threshold,
        threshold_basis=basis,
    )


KNOWN_PACKS: Mapping[str, KnownPack] = MappingProxyType(
    {
        pack.name: pack
        for pack in (
            _pack(
                "buffalo_l",
                "SCRFD-10G and ResNet-50: the most accurate of the buffalo packs, and the default",
                _DET_10G,
                _R50,
                (288_621_354, "80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f"),
            ),
            _pack("buffalo_m", "SCRFD-2.5G and ResNet-50: detects faster", _DET_2_5G, _R50),
            _pack("buffalo_s", "SCRFD-500M and MobileFaceNet: small and fast", _DET_500M, _MBF),
            _pack(
                "buffalo_sc",
                "the two files of buffalo_s in a smaller archive",
                _DET_500M,
                _MBF,
                (16_140_916, "57d31b56b6ffa911c8a73cfc1707c73cab76efe7f13b675a05223bf42de47c72"),
            ),
            _pack(
                "antelopev2",
                "SCRFD-10G and ResNet-100 trained on Glint360K",
                KnownFile("scrfd_10g_bnkps.onnx"),
                KnownFile("glintr100.onnx"),
            ),
        )
    }
)
"""By name, the default first."""
