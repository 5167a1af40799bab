"""What a model pack is, and how one is read from a folder: by its `pack.toml`, or by what its graphs tell.

A `pack.toml`, with everything but the two file names optional:

    name = "mypack"
    licence = "where the weights come from and what they may be used for"

    [detector]
    file = "det.onnx"           # SCRFD with landmarks or YuNet, beside this file
    sha256 = "64 hex digits"
    kind = "yunet"              # or "scrfd"; without it, its outputs tell
    licence = "MIT"             # of these weights; without it, the pack's
    data = "WIDER FACE"         # what they were trained on, as stated
    use = "any"                 # what they may be used for, as you read it
    finds = "It finds drawn faces only."   # said where it finds none, for a detector that is not for any photo

    [recognizer]
    file = "rec.onnx"           # ArcFace style: 112 x 112 RGB in, one vector out
    sha256 = "64 hex digits"
    input_mean = 127.5          # (pixel - mean) / std
    input_std = 127.5
    channel_order = "RGB"       # or "BGR"
    dimension = 512             # and licence, data, use

    [[threshold]]               # one for each false match rate that was measured
    fmr = 1e-5
    score = 0.45                # cosine
    basis = "how it was measured"

Where no rate is known, one table `[threshold]` without `fmr` states a number.
"""

from __future__ import annotations

import hashlib
import math
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from facesearch.errors import ConfigError, ModelIntegrityError, ModelNotFoundError
from facesearch.names import path_text
from facesearch.recognition.networks import KINDS
from facesearch.recognition.packs.graph import read_graph
from facesearch.recognition.packs.thresholds import TABLES, ordered
from facesearch.types import FmrPoint

if TYPE_CHECKING:
    from collections.abc import Sequence
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
    "detector": {"file", "sha256", "kind", "finds", "licence", "data", "use"},
    "recognizer": {"file", "sha256", "input_mean", "input_std", "channel_order", "dimension", "licence", "data", "use"},
    "threshold": {"fmr", "score", "basis"},
}
_FACE_SIZE = (112, 112)
_BOXES_ONLY = 6
_DETECTORS = (_BOXES_ONLY, 9, 12)
"""Outputs of an SCRFD of three strides (scores and boxes, or those and landmarks), and of a YuNet."""
CHANNEL_ORDERS = ("RGB", "BGR")


@dataclass(frozen=True, slots=True)
class Terms:
    """What a file's weights may be used for, as it was read where they come from: not legal advice."""

    licence: str = UNSTATED_LICENCE
    data: str = "not stated"
    """What they were trained on, as their author says."""
    use: str = "ask whoever gave you the weights"

    def __str__(self) -> str:
        return f"licence: {self.licence}; training data: {self.data}; use: {self.use}"


UNSTATED: Final = Terms()


@dataclass(frozen=True, slots=True)
class DetectorFile:
    """An SCRFD or YuNet graph on this machine, and the SHA-256 its bytes must have."""

    path: Path
    sha256: str
    kind: str | None = None
    """`scrfd` or `yunet`; None: its outputs tell."""
    finds: str | None = None
    """What it finds, in a sentence, where that is not any face."""
    terms: Terms = UNSTATED

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
    """An ArcFace-style graph on this machine; its input is NCHW, 112 x 112, (pixel - mean) / std."""

    path: Path
    sha256: str
    input_mean: float
    input_std: float
    dimension: int | None
    """Of its vectors; None where neither the pack nor the graph says."""
    channel_order: str = "RGB"
    """Or BGR."""
    terms: Terms = UNSTATED


@dataclass(frozen=True, slots=True)
class ModelPack:
    """A detector and a recogniser that are used together."""

    name: str
    detector: DetectorFile
    recognizer: RecognizerFile
    threshold: float
    """Cosine, the default where nothing was calibrated and there is no table."""
    threshold_basis: str
    stated: tuple[FmrPoint, ...] = ()
    """The table of its pack.toml."""

    @property
    def table(self) -> tuple[FmrPoint, ...]:
        """Thresholds by false match rate, rates falling; empty where nobody measured any."""
        return self.stated or TABLES.get(self.recognizer.sha256, ())


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
    rows = pack.rows("threshold")
    threshold = rows[0] if rows else pack.section("threshold", optional=True)
    detector_path, recognizer_path = detector.model_file(folder), recognizer.model_file(folder)
    mean, std = recognizer.get("input_mean", float), recognizer.get("input_std", float)
    if mean is None or std is None:
        mean, std = _input_scaling(read_graph(recognizer_path))
    dimension = recognizer.get("dimension", int)
    order = recognizer.one_of("channel_order", CHANNEL_ORDERS) or "RGB"
    licence = pack.get("licence", str) or UNSTATED_LICENCE
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
        detector=DetectorFile(
            detector_path,
            detector.sha256() or file_sha256(detector_path),
            detector.one_of("kind", KINDS),
            detector.get("finds", str),
            detector.terms(licence),
        ),
        recognizer=RecognizerFile(
            recognizer_path,
            recognizer.sha256() or file_sha256(recognizer_path),
            mean,
            std,
            dimension,
            order,
            recognizer.terms(licence),
        ),
        threshold=DEFAULT_THRESHOLD if score is None else score,
        threshold_basis=threshold.get("basis", str) or UNMEASURED,
        stated=_stated(pack, rows),
    )


def _stated(pack: _Section, rows: Sequence[_Section]) -> tuple[FmrPoint, ...]:
    """The table of thresholds. Raises `ConfigError` for what can be none."""
    points = []
    try:
        for row in rows:
            fmr, score = row.get("fmr", float), row.get("score", float)
            if fmr is None or score is None:
                raise row.error("each [[threshold]] needs fmr and score")
            points.append(FmrPoint(fmr, score, row.get("basis", str) or "stated in the pack, without a basis"))
        return ordered(points)
    except ValueError as error:
        raise pack.error(f"[[threshold]]: {error}") from error


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

    def rows(self, name: str) -> list[_Section]:
        """The tables [[name]]; none where there is one table [name], unless it has a rate."""
        value = self._table.get(name)
        rows = [value] if isinstance(value, dict) and "fmr" in value else value if isinstance(value, list) else []
        if not all(isinstance(row, dict) for row in rows):
            raise self.error(f"{name} is not a table")
        return [_Section(self._source, name, row) for row in rows]

    def get(self, key: str, kind: type[T]) -> T | None:
        value = self._table.get(key)
        if kind is float and type(value) is int:
            value = float(value)
        if value is None or type(value) is kind:
            return value
        raise self.error(f"{key} must be of type {kind.__name__}")

    def one_of(self, key: str, values: Sequence[str]) -> str | None:
        value = self.get(key, str)
        if value is not None and value not in values:
            raise self.error(f"{key} must be one of: {', '.join(values)}")
        return value

    def sha256(self) -> str | None:
        value = self.get("sha256", str)
        if value is not None and not SHA256_PATTERN.fullmatch(value.lower()):
            raise self.error("sha256 must be 64 hexadecimal digits")
        return value and value.lower()

    def terms(self, licence: str) -> Terms:
        """Those of the table; `licence` where it states none of its own."""
        data, use = self.get("data", str), self.get("use", str)
        return Terms(self.get("licence", str) or licence, data or UNSTATED.data, use or UNSTATED.use)

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
    detectors = [path for path, graph in graphs.items() if len(graph.outputs) in _DETECTORS]
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
            "Use an SCRFD with key points, such as det_10g.onnx, or a YuNet.",
        )
    mean, std = _input_scaling(graphs[recognizer])
    dimension = graphs[recognizer].outputs[0].shape[1]
    return ModelPack(
        name=path_text(folder.name),
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
