"""A pack in another precision than fp32: which files it has for that, and what was measured with them.

`<pack's folder>/<precision>/precision.json` says both. int8 has files of its own, which
`facesearch.recognition.packs.quantize` makes; bf16 is how OpenVINO runs the pack's own files.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from facesearch.errors import ModelIntegrityError, ModelNotFoundError
from facesearch.recognition.packs.folder import SHA256_PATTERN
from facesearch.types import Precision

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from facesearch.recognition.packs.folder import ModelPack

RECORD: Final = "precision.json"
_AGAIN: Final = "Make it again: facesearch models quantize PACK PHOTOS --force"


@dataclass(frozen=True, slots=True)
class Measurement:
    """What another precision changes on one provider, against fp32 on the CPU, over the same photos."""

    photos: int
    faces: int
    """Photos in which both found a face: what the figures below are over."""
    lost: int
    """Photos in which fp32 finds a face and this does not."""
    gained: int
    """The other way round."""
    cosine_mean: float
    cosine_min: float
    """Of the two templates of one photo."""
    score_shift: float
    """99 of 100 scores move by less where one of the two templates is of this precision, and one of fp32."""
    score_shift_max: float
    score_shift_within: float
    """As `score_shift`, where both templates are of this precision."""
    tar: tuple[tuple[float, float, float], ...] = ()
    """(FAR, TAR in fp32, TAR in this precision), each at its own threshold; empty where the photos have no labels."""


@dataclass(frozen=True, slots=True)
class PrecisionRecord:
    """What `precision.json` holds."""

    precision: Precision
    made_from: tuple[str, str]
    """SHA-256 of the pack's detector and recogniser."""
    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """`detector` and `recognizer` -> (name, SHA-256) of this precision's own file; the pack's runs where none is."""
    measured: Mapping[str, Measurement] = field(default_factory=dict)
    """By provider."""

    def score_shift(self, provider: str) -> float | None:
        """As in `Measurement`; None where nothing was measured on that provider."""
        found = self.measured.get(provider)
        return found.score_shift if found else None


def folder_of(pack: ModelPack, precision: Precision) -> Path:
    """Where the record and the files of a precision are: below the pack's own."""
    return pack.recognizer.path.parent / precision.value


def read_record(pack: ModelPack, precision: Precision) -> PrecisionRecord | None:
    """The record of a precision, or None where there is none.

    Raises:
        ModelIntegrityError: it is damaged, or of other models than the pack's.
    """
    path = folder_of(pack, precision) / RECORD
    if not path.is_file():
        return None
    try:
        record = _parse(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelIntegrityError(f"{path} is damaged.", _AGAIN) from error
    if record.made_from != (pack.detector.sha256, pack.recognizer.sha256) or record.precision is not precision:
        raise ModelIntegrityError(f"{path} is of other models than those of the pack {pack.name}.", _AGAIN)
    return record


def write_record(pack: ModelPack, record: PrecisionRecord) -> None:
    """Write `record` beside the files it describes. Raises `OSError`."""
    folder = folder_of(pack, record.precision)
    folder.mkdir(exist_ok=True)
    unfinished = folder / f"{RECORD}.new"
    unfinished.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")
    unfinished.replace(folder / RECORD)


def in_precision(pack: ModelPack, precision: Precision) -> ModelPack:
    """The pack with the files that run in `precision`.

    Raises:
        ModelNotFoundError: int8 files were not made yet, or are gone.
        ModelIntegrityError: as `read_record`.
    """
    if precision is not Precision.INT8:
        return pack
    record = read_record(pack, precision)
    folder = folder_of(pack, precision)
    if record is None or not all((folder / name).is_file() for name, _ in record.files.values()):
        own = pack.recognizer.path.parent
        reference = shlex.quote(str(own) if (own / "pack.toml").is_file() else pack.name)
        raise ModelNotFoundError(
            f"The pack {pack.name} has no int8 files.",
            f"Make them with photos like those you search: facesearch models quantize {reference} people/",
        )
    detector, recognizer = pack.detector, pack.recognizer
    if "detector" in record.files:
        name, sha256 = record.files["detector"]
        detector = replace(detector, path=folder / name, sha256=sha256)
    if "recognizer" in record.files:
        name, sha256 = record.files["recognizer"]
        recognizer = replace(recognizer, path=folder / name, sha256=sha256)
    return replace(pack, detector=detector, recognizer=recognizer)


def _parse(data: dict[str, Any]) -> PrecisionRecord:
    files = {str(role): (str(name), str(sha256)) for role, (name, sha256) in data["files"].items()}
    if files.keys() - {"detector", "recognizer"}:
        raise ValueError("files")
    if any("/" in name or "\\" in name or not SHA256_PATTERN.fullmatch(sha256) for name, sha256 in files.values()):
        raise ValueError("files")
    detector, recognizer = data["made_from"]
    measured = {
        str(provider): Measurement(**{**each, "tar": tuple((far, a, b) for far, a, b in each["tar"])})
        for provider, each in data["measured"].items()
    }
    return PrecisionRecord(Precision(data["precision"]), (detector, recognizer), files, measured)
