"""The vocabulary of facesearch as frozen types: what every layer hands to the next.

Terms follow ISO/IEC 2382-37: a *subject* is a person in the gallery, a *template* is one face's vector, a *probe*
is what is searched for, a *score* is the cosine similarity of two templates (-1 to 1, higher is more alike).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from facesearch.errors import ConfigError
from facesearch.names import printable, sentences

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Vector: TypeAlias = NDArray[np.float32]
"""(d,) float32 of unit length."""
Vectors: TypeAlias = NDArray[np.float32]
"""(n, d) float32, every row of unit length."""
Pixels: TypeAlias = NDArray[np.uint8]
"""(height, width, 3) uint8, RGB, upright."""
Ids: TypeAlias = NDArray[np.int64]
"""(n,) int64 template ids."""

DETECTION_THRESHOLD = 0.5
"""Detections below this score are dropped (0..1); InsightFace's default."""
MAX_SCORE_SHIFT = 0.02
"""Templates of two precisions may meet in one gallery where 99 of 100 scores move by less than this (cosine)."""


class Precision(StrEnum):
    """The arithmetic that the networks run in."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"


class Reason(StrEnum):
    """Why a photo or a face was not used; the values are what `--json` prints."""

    INACCESSIBLE = "inaccessible"
    """Not looked at: not there, no permission, or the disk failed. Of a folder, too."""
    UNREADABLE = "unreadable"
    UNSUPPORTED_FORMAT = "unsupported_format"
    TOO_LARGE = "too_large"
    FACE_NOT_FOUND = "face_not_found"
    MULTIPLE_FACES = "multiple_faces"
    FACE_TOO_SMALL = "face_too_small"
    LOW_DETECTION_SCORE = "low_detection_score"
    BLURRED = "blurred"
    EXTREME_POSE = "extreme_pose"
    DUPLICATE = "duplicate"
    IDENTITY_CONFLICT = "identity_conflict"
    MODEL_FAILURE = "model_failure"
    """A model gave nothing usable for this photo or face, and does for others."""
    ERASED = "erased"
    """The person was forgotten, and is not to come back."""
    REMOVED = "removed"
    """A person removed the photo, or the person in it, from the gallery."""
    UNUSABLE_NAME = "unusable_name"
    """The source calls the person by something that cannot be a name."""


class Decision(StrEnum):
    """What a search says about one face."""

    MATCH = "match"
    """The best subject is at or above the threshold, and clear of the runner-up."""
    AMBIGUOUS = "ambiguous"
    """At or above the threshold, but the runner-up subject is closer than the margin."""
    UNKNOWN = "unknown"
    """Nobody in the gallery reaches the threshold."""
    UNUSABLE = "unusable"
    """The photo or the face cannot be searched; the reason says why."""


class ByValue:
    """Equality and hash by the fields' values, arrays included: an object equals its copy and what was pickled.

    Arrays are equal where their types, shapes and bytes are. Whoever writes into one changes the hash.
    """

    __slots__ = ()

    def _values(self) -> tuple[object, ...]:
        values = (getattr(self, each.name) for each in fields(self))  # type: ignore[arg-type]  # dataclasses only
        return tuple(
            (each.dtype.str, each.shape, each.tobytes()) if isinstance(each, np.ndarray) else each for each in values
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ByValue) or type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())


@dataclass(frozen=True, slots=True, eq=False)
class Face(ByValue):
    """One detected face, in pixels of the upright photo."""

    box: NDArray[np.float32]
    """(4,) float32: x1, y1, x2, y2."""
    landmarks: NDArray[np.float32]
    """(5, 2) float32: left eye, right eye, nose, left and right mouth corner, as seen in the photo."""
    detection_score: float
    """0..1."""

    @property
    def width(self) -> float:
        """Width of the box, in pixels."""
        return float(self.box[2] - self.box[0])

    @property
    def height(self) -> float:
        """Height of the box, in pixels."""
        return float(self.box[3] - self.box[1])

    @property
    def area(self) -> float:
        """Area of the box, in square pixels."""
        return self.width * self.height


@dataclass(frozen=True, slots=True)
class Quality:
    """What the quality policy looks at, measured on one face."""

    size: float
    """The shorter side of the box, in pixels of the photo."""
    sharpness: float
    """Variance of the Laplacian of the aligned 112x112 crop's luma; larger is sharper."""
    yaw: float
    """How far the nose lies from the middle of the eyes, in eye distances: 0 is frontal, +-0.5 or more a profile."""
    roll: float
    """Tilt of the eye line, in degrees."""


@dataclass(frozen=True, slots=True, eq=False)
class Template(ByValue):
    """A face turned into a vector by one model."""

    vector: Vector
    model_id: str
    face: Face
    quality: Quality


@dataclass(frozen=True, slots=True)
class Rejection:
    """Reason why a photo or a face was not used, as a code and in (printable) words."""

    reason: Reason
    detail: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", sentences(printable(self.detail)))


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What makes two templates comparable: the recogniser's bytes and how its input was made."""

    model_id: str
    """Short, stable, printable: names the recogniser and its preprocessing. Templates compare within one id only."""
    pack: str
    """Name of the pack, or the folder it was loaded from, as text."""
    dimension: int
    detector_sha256: str
    """Of the detector's file; of the file that it was made from, where it was repaired."""
    recognizer_sha256: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Preprocessing and detector settings as plain JSON values."""
    threshold: float = 0.4
    """The pack's own default similarity threshold (cosine)."""
    threshold_basis: str = "uncalibrated default"
    """Where that threshold comes from, in words."""


def mixing_shift(a: ModelInfo, b: ModelInfo) -> float:
    """By how much scores between templates of `a` and `b` may differ from those within one of them, as cosine.

    0 where they are of one model id. Two precisions of one recogniser: the sum of what was measured for each against
    fp32, infinite where nothing was. Infinite for two recognisers.
    """
    if a.model_id == b.model_id:
        return 0.0
    if _fp32_model_id(a) != _fp32_model_id(b):
        return math.inf
    return _score_shift(a) + _score_shift(b)


def _fp32_model_id(info: ModelInfo) -> str:
    return str(info.settings.get("fp32_model_id", info.model_id))


def _score_shift(info: ModelInfo) -> float:
    if "fp32_model_id" not in info.settings:
        return 0.0
    measured = info.settings.get("score_shift")
    return math.inf if measured is None else float(measured)


class Fusion(StrEnum):
    """How the scores of a subject's templates make one score; the values are those of `--fusion`."""

    MEAN = "mean"
    """Half the best template's score, half the score of the templates' mean vector."""
    MAX = "max"
    """The best template's score."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One subject on a candidate list."""

    subject: str
    score: float
    """What is compared with the threshold: see `Fusion`."""
    template_id: int
    """The best template."""
    photo: str
    """In the text form of `facesearch.names`, as in all results."""
    subject_id: int
    photo_id: int
    best_template_score: float
    mean_score: float
    """Of the mean of the subject's templates; the best template's score where there is one."""


def is_cosine(value: float) -> bool:
    """Whether a number can be a score or a threshold: -1 to 1; NaN cannot."""
    return -1 <= value <= 1


@dataclass(frozen=True, slots=True)
class FmrPoint:
    """The threshold at which a share of the comparisons of different people match. Raises ValueError for no such."""

    fmr: float
    """False match rate, above 0 and below 1."""
    score: float
    """Cosine."""
    basis: str
    """How it was measured, in words."""

    def __post_init__(self) -> None:
        if not 0 < self.fmr < 1:
            raise ValueError("fmr is not between 0 and 1")
        if not is_cosine(self.score):
            raise ValueError("score is out of range")


@dataclass(frozen=True, slots=True)
class Threshold:
    """A similarity threshold and where it comes from. Raises `ConfigError` for a value that is no cosine."""

    value: float
    basis: str
    expected_fpir: float | None = None
    """Share of searches for strangers that return somebody, in this gallery; None where nothing tells."""
    expected_basis: str | None = None
    """What that rests on, in words."""

    def __post_init__(self) -> None:
        if not is_cosine(self.value):
            raise ConfigError(
                f"The threshold {self.value!r} is not a cosine similarity.",
                "Give a number between -1 and 1; scores of one person are usually above 0.4.",
            )


@dataclass(frozen=True, slots=True, eq=False)
class SearchResult(ByValue):
    """What the gallery says about one face of a probe photo."""

    photo: str
    face_number: int | None
    """From 1 on, best detection first, as tables, pages and `faces=` count; None where no face was found."""
    face: Face | None
    decision: Decision
    threshold: Threshold
    candidates: tuple[Candidate, ...] = ()
    """Best first, one per subject."""
    margin: float | None = None
    """Score of the best subject minus that of the runner-up; None without a runner-up."""
    rejection: Rejection | None = None
    complete: bool = True
    """Whether everybody was searched: False while the vector database was down, when only the newest templates were."""
    note: str | None = None
    """What somebody should know of the photo, although it was searched, in words."""

    @property
    def best(self) -> Candidate | None:
        """The first candidate, whether or not it reaches the threshold."""
        return self.candidates[0] if self.candidates else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A 1:1 comparison of two photos."""

    a: str
    b: str
    score: float
    threshold: Threshold
    notes: tuple[str | None, str | None] = (None, None)
    """What somebody should know of `a` and of `b` although they can be used."""

    @property
    def is_match(self) -> bool:
        """The decision rule of the whole project: at the threshold is a match."""
        return self.score >= self.threshold.value


@dataclass(frozen=True, slots=True)
class Subject:
    """A person in the gallery."""

    name: str
    attributes: Mapping[str, str]
    photos: int
    templates: int
    created_at: str
    """UTC, ISO 8601."""
    subject_id: int = 0
    """Never given to anybody else; stays through renames."""
    aliases: tuple[str, ...] = ()
    """Other names by which folders, manifests and people call the person."""


@dataclass(frozen=True, slots=True)
class EnrolledPhoto:
    """A photo of the gallery as `people show` lists it."""

    photo: Path
    sha256: str
    faces: int
    template_ids: tuple[int, ...]
    detection_score: float
    photo_id: int = 0
    """Never given to another photo."""
    origin: str = "enrolled"
    """Who said whose photo it is: a source (`enrolled`), or a person who `confirmed` or `moved` it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `facesearch check`."""

    ok: bool
    subject: str
    """What was looked at: database, templates, index, photos, models."""
    detail: str
    """Printable, whatever file names it quotes."""
    fixed: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", sentences(printable(self.detail)))


class IndexKind(StrEnum):
    """How a gallery is searched; the values are those of `--index`."""

    AUTO = "auto"
    """By the number of templates."""
    FLAT = "flat"
    """Every vector is compared."""
    TWO_STAGE = "two-stage"
    """Small codes of all vectors are compared, then the vectors of those that may be among the best."""


class EnrollStatus(StrEnum):
    """What became of a photo that was given to `enroll`."""

    ENROLLED = "enrolled"
    UNCHANGED = "unchanged"
    MOVED = "moved"
    """The photo was enrolled already, and its source now says that it shows somebody else."""
    REJECTED = "rejected"
    REMOVED = "removed"
    PASSED_OVER = "passed_over"
    """Not looked at: by its name it is no photo."""


@dataclass(frozen=True, slots=True)
class EnrollOutcome:
    """One photo of an enrolment. Whatever is reported as enrolled or removed is committed to disk."""

    photo: str
    """A folder's path where the folder could not be read."""
    subject: str
    """Empty for what was passed over, and for folders."""
    status: EnrollStatus
    rejection: Rejection | None = None
    """Why it was rejected; for an enrolled photo, an `identity_conflict` that someone should look at.

    A `duplicate` is rejected once, and unchanged in later runs.
    """
    faces: int = 0
    """Faces enrolled from this photo."""
    template_ids: tuple[int, ...] = ()
    detection_score: float | None = None
    """The best of the enrolled faces, 0..1."""
    note: str | None = None
    """What somebody should know of it all the same, in words."""

    def __post_init__(self) -> None:
        if self.note is not None:
            object.__setattr__(self, "note", sentences(self.note))
