"""Which similarity threshold is in force, where it comes from, and how many strangers will match at it.

    given         `--threshold`, FACESEARCH_THRESHOLD
    `--fpir`      the pack's table, for another target than 1 %
    calibrated    `facesearch calibrate`, kept in the gallery
    the table     the loosest threshold of the pack's table whose FMR times the people in the gallery is at most 1 %
    the pack's    its one number, where nobody measured a table

N times FMR bounds the FPIR of a gallery of N people. A table has a row for each decade, so the threshold rises in steps
as the gallery grows. The FPIR that is to be expected is measured on the gallery itself once it has `FEWEST` people:
templates are searched among everybody else, which a search for a stranger is like.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from facesearch.errors import ConfigError, CorruptGalleryError, EvaluationError, ModelMismatchError, VectorDatabaseError
from facesearch.store import audit, models, templates
from facesearch.types import Fusion, Threshold

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from facesearch.evaluation.calibration import Calibration
    from facesearch.search.gallery import Gallery
    from facesearch.types import FmrPoint, ModelInfo

TARGET: Final = 0.01
"""FPIR that the threshold keeps where nobody asked for another."""
FEWEST: Final = 100
"""People from whom on a gallery is measured: fewer could not show an FPIR of 1 %."""
SEARCHES: Final = 4000
"""People who are searched for at most. At an FPIR of 1 % they give 40 alarms, in some seconds."""
LOWEST: Final = 0.3
"""Scores below are not looked for: no threshold is as low."""
GROWTH: Final = 1.1
"""A measurement is repeated when the gallery has so many times the people it had, or so many times fewer."""
PRIOR: Final = 16.0
"""Alarms that what the table says counts for beside those of the gallery. These come in twos, as each of a pair alarms
for the other, so a handful of them would swing the figure."""
FREQUENT: Final = 0.3
"""Alarms a search up to which a row of the table is compared with the gallery: above, most searches alarm several
times, which is not seen."""
CERTAIN: Final = 1.645
"""Standard deviations that the measured alarms lie above the promised ones before there is a warning: 5 % by chance."""
NON_MATED: Final = "non_mated"
"""Kind under which the measurement is kept among the gallery's evaluations."""
STEP: Final = "threshold"
"""Action of the audit log that records a threshold that changed with the gallery's size."""
SCORE_SETTINGS = ("det_size", "detection_threshold", "nms_threshold", "alignment_version", "flip", "fusion")
"""Settings a calibration holds for: with others the same photo gives other scores."""


@dataclass(frozen=True, slots=True, eq=False)
class NonMated:
    """What the templates of a gallery scored with the best other person, one template of each person."""

    subjects: int
    """N of the gallery."""
    scores: Sequence[float]
    """One per search, falling."""

    def alarms(self, threshold: float) -> int:
        """Count the searches that returned somebody else."""
        return sum(score >= threshold for score in self.scores)

    def expected(self, threshold: float, table: Sequence[FmrPoint], people: int) -> float:
        """Return the FPIR to be expected among `people`: from the alarms counted, and the table where they are few.

        The table's rate is taken times what the gallery shows at a looser row, where alarms are frequent. Where the
        alarms contradict it beyond chance, they count alone.
        """
        alarms, searches, others = self.alarms(threshold), len(self.scores), self.subjects - 1
        if not table or threshold < table[0].score:
            return self.scaled(alarms, people)
        rate = others * math.exp(
            np.interp(threshold, [row.score for row in table], [math.log(row.fmr) for row in table])
        )
        looser = next((row for row in table if row.score < threshold and others * row.fmr <= FREQUENT), None)
        if looser is not None:
            seen = min(max(self.alarms(looser.score), 1), searches - 1)
            rate *= -math.log1p(-seen / searches) / (others * looser.fmr)
        usual = rate * searches
        if abs(alarms - usual) > 3 * math.sqrt(2 * max(usual, 5)):  # twice the variance: they come in twos
            return self.scaled(alarms, people)
        return self.scaled((alarms + PRIOR) / (1 + PRIOR / usual), people)

    def scaled(self, alarms: float, people: int) -> float:
        """Return the FPIR of so many alarms in a gallery of `people`; a search here was among all but one."""
        return min(1.0, alarms / len(self.scores) * people / (self.subjects - 1))

    def threshold_for(self, fpir: float, people: int) -> float | None:
        """Return the lowest threshold that keeps an FPIR here; None where too few were searched for to tell."""
        allowed = math.floor(fpir * len(self.scores) * (self.subjects - 1) / people)
        return math.ceil(self.scores[allowed] * 1e4 + 1) / 1e4 if 0 < allowed < len(self.scores) else None


@dataclass(frozen=True, slots=True)
class Facts:
    """What a gallery tells about its threshold, all of one moment."""

    people: int
    model_id: str | None
    calibration: Mapping[str, Any] | None
    non_mated: Mapping[str, Any] | None

    def measured(self, info: ModelInfo, fusion: Fusion) -> NonMated | None:
        """The measurement, where it was made with this model and fusion."""
        made = self.non_mated
        if made is None or (made["model_id"], made["fusion"]) != (info.model_id, fusion.value):
            return None
        return NonMated(made["subjects"], made["scores"])


def read_facts(connection: Any) -> Facts:
    """Read what `judge` needs."""
    active = models.active_model(connection)
    return Facts(
        templates.count_subjects(connection),
        active[1].model_id if active else None,
        models.calibration(connection),
        models.evaluations(connection).get(NON_MATED),
    )


@dataclass(frozen=True, slots=True)
class Judged:
    """A threshold in force, and what somebody should know about it."""

    threshold: Threshold
    warning: str | None = None
    follows_size: bool = False
    """Whether it is a row of the pack's table, which changes with the size of the gallery."""


def judge(
    chosen: tuple[float | None, float | None],
    table: Sequence[FmrPoint],
    info: ModelInfo,
    fusion: Fusion,
    facts: Facts | None,
) -> Judged:
    """Return the threshold in force for these facts; None without a gallery.

    `chosen` are the threshold and the FPIR that a user asked for. Raises `ModelMismatchError` where the calibration was
    made with other settings or files, `ConfigError` where an FPIR was asked for and there is no table.
    """
    given, fpir = chosen
    people = facts.people if facts else 0
    measured = facts.measured(info, fusion) if facts else None
    if given is not None:
        return Judged(_expecting(given, "given", table, people, measured))
    # Two photos may be compared with another model than the gallery's: its calibration has no say in that.
    document = facts.calibration if facts and facts.model_id == info.model_id and fpir is None else None
    if document is not None:
        calibration = read_calibration(document)
        require_calibration_of(calibration, info, fusion, "The gallery's calibration")
        found = _expecting(calibration.threshold, describe_basis(calibration), table, people, measured)
        return Judged(found, outgrown(calibration, people))
    if fpir is not None and not table:
        raise ConfigError(
            "The pack has no table of thresholds by false match rate, so --fpir cannot choose one.",
            "Calibrate instead: facesearch calibrate --fpir 0.01",
        )
    target = TARGET if fpir is None else fpir
    if not table:
        found = _expecting(info.threshold, info.threshold_basis, table, people, measured)
        return Judged(found, _exceeded(found, target, target, people, measured))
    point = point_for(table, people, target)
    found = _expecting(point.score, f"FMR {point.fmr:g}, {point.basis}", table, people, measured)
    return Judged(found, _exceeded(found, min(1.0, people * point.fmr), target, people, measured), follows_size=True)


def point_for(table: Sequence[FmrPoint], people: int, fpir: float) -> FmrPoint:
    """Return the loosest row that keeps an FPIR among so many people; the strictest where none does."""
    keeping = (point for point in table if point.fmr * max(people, 1) <= fpir * (1 + 1e-9))
    return next(keeping, table[-1])


def _expecting(
    value: float, basis: str, table: Sequence[FmrPoint], people: int, measured: NonMated | None
) -> Threshold:
    """Return a threshold with the FPIR that is to be expected at it."""
    rates = [point.fmr for point in table if point.score <= value]
    promised = min(1.0, people * rates[-1]) if rates and people else None
    if measured is None:
        rests_on = None if promised is None else f"at most: {people:,} people x FMR {rates[-1]:g} of the pack's table"
        return Threshold(value, basis, promised, rests_on)
    alarms, searches = measured.alarms(value), len(measured.scores)
    rests_on = f"measured: {alarms:,} of {searches:,} searches for people of this gallery return somebody else"
    return Threshold(value, basis, measured.expected(value, table, people), rests_on)


def _exceeded(found: Threshold, promised: float, target: float, people: int, measured: NonMated | None) -> str | None:
    """Warn where more strangers match than was promised, or than the target where the table cannot promise it."""
    if measured is None:
        if promised <= target * (1 + 1e-9) or found.expected_fpir is None:
            return None
        return (
            f"The pack's table ends at a threshold of {found.value:g}, where up to {found.expected_fpir:.1%} of "
            f"strangers match somebody among {people:,} people. Run: facesearch calibrate --fpir {target:g}"
        )
    alarms = measured.alarms(found.value)
    if measured.scaled(alarms - CERTAIN * math.sqrt(alarms), people) <= min(promised, target):
        return None
    better = measured.threshold_for(target, people)
    remedy = "" if better is None else f"A threshold of {better:g} keeps {target:.1%} here. "
    return (
        f"About {found.expected_fpir:.1%} of strangers match somebody at the threshold of {found.value:g}, "
        f"and {min(promised, target):.1%} was expected. {remedy}Run: facesearch calibrate --fpir {target:g}"
    )


def is_due(facts: Facts, info: ModelInfo, fusion: Fusion) -> bool:
    """Tell whether the gallery is to be measured, because it has grown or never was."""
    if facts.people < FEWEST:
        return False
    measured = facts.measured(info, fusion)
    return measured is None or not 1 / GROWTH < facts.people / measured.subjects < GROWTH


def measure(gallery: Gallery, info: ModelInfo, people: int) -> None:
    """Search one template of each person, or of `SEARCHES`, among everybody else, and keep the scores.

    Nothing is kept while the vector database does not answer.
    """
    ids = gallery.read(_one_of_each, np.random.default_rng(0))
    best: list[float] = []
    try:
        for start in range(0, len(ids), 64):
            rows = ids[start : start + 64]
            vectors = gallery.read(templates.vectors_of, [row[0] for row in rows])
            for (_, owner), candidates in zip(rows, gallery.search(vectors, 2, floor=LOWEST), strict=True):
                others = [each.score for each in candidates if each.subject_id != owner]
                best.append(round(max(others), 4) if others else -1.0)
    except VectorDatabaseError:
        return
    document = {
        "kind": NON_MATED,
        "model_id": info.model_id,
        "fusion": gallery.fusion.value,
        "subjects": people,
        "scores": sorted(best, reverse=True),
    }
    gallery.write(models.put_evaluation, NON_MATED, document, info)


def _one_of_each(connection: Any, random: np.random.Generator) -> list[tuple[int, int]]:
    """Draw templates of different people: template and subject ids."""
    active = models.active_model(connection)
    if active is None:
        return []
    ids, _ = templates.template_keys(connection, active[0])
    drawn = random.permutation(ids)[: 4 * SEARCHES].tolist()
    places = templates.locate(connection, drawn)
    found: dict[int, int] = {}
    for template_id in drawn:
        if template_id in places:
            found.setdefault(places[template_id][0], template_id)
    return [(template_id, owner) for owner, template_id in list(found.items())[:SEARCHES]]


def record_step(gallery: Gallery, judged: Judged, people: int) -> str | None:
    """Write a threshold that the gallery's size has changed into the audit log, and say it; None where it has not."""
    if not judged.follows_size or not people:
        return None
    value = f"{judged.threshold.value:g}"
    last = gallery.read(audit.events, action=STEP, last=1)
    before = last[-1].detail["score"] if last else None
    if before == value:
        return None
    gallery.write(audit.record, STEP, {"score": value, "people": people, "before": before or "none"})
    if before is None:
        return None
    return (
        f"The gallery has {people:,} people now, so the threshold goes from {before} to {value} "
        f"({judged.threshold.basis}). --threshold {before} or FACESEARCH_THRESHOLD={before} keeps the one before"
    )


def read_calibration(document: Mapping[str, Any]) -> Calibration:
    """The calibration a gallery keeps; `CorruptGalleryError` where it cannot be read."""
    from facesearch.evaluation.calibration import Calibration  # many modules, and most galleries have none

    try:
        return Calibration.from_json(json.dumps(document))
    except EvaluationError as error:
        raise CorruptGalleryError(
            f"The gallery's calibration cannot be used: {error.message}",
            "Make it again: `facesearch calibrate --fpir 0.001`. Or remove it: `facesearch calibrate --forget`.",
        ) from error


def require_calibration_of(calibration: Calibration, info: ModelInfo, fusion: Fusion, source: str) -> None:
    """Raise `ModelMismatchError` unless `calibration` was made with this model, detector, fusion and settings.

    `source` begins the message: what the calibration is, or the file it is in.
    """
    made_with = (calibration.model_id, calibration.recognizer_sha256)
    if made_with != (info.model_id, info.recognizer_sha256):
        raise ModelMismatchError(
            f"{source} was made with another model: {calibration.model_id}, not {info.model_id}.",
            "Its scores mean something else. Calibrate again: facesearch calibrate --fpir 0.001",
        )
    theirs = {name: calibration.settings.get(name) for name in SCORE_SETTINGS}
    ours = {name: {**info.settings, "fusion": fusion.value}.get(name) for name in SCORE_SETTINGS}
    if calibration.detector_sha256 != info.detector_sha256 or theirs != ours:
        differing = ", ".join(
            f"{name} {theirs[name]} not {ours[name]}" for name in theirs if theirs[name] != ours[name]
        )
        raise ModelMismatchError(
            f"{source} was made with another detector or other settings: {differing or 'the detector file differs'}.",
            "Use the same settings, calibrate again with these, or give a --threshold.",
        )


def describe_basis(calibration: Calibration) -> str:
    """What a calibrated threshold rests on, in words."""
    from facesearch.evaluation.calibration import Basis, Metric

    only = "only " if calibration.flag else ""
    errors = f"{only}{calibration.errors:,} error{'' if calibration.errors == 1 else 's'} in {calibration.trials:,}"
    label = "EXTRAPOLATED" if calibration.basis is Basis.EXTRAPOLATED else calibration.basis.value
    if calibration.metric is Metric.FAR:
        return f"calibrated for FAR {calibration.target:g}: {label}, {errors} comparisons"
    return (
        f"calibrated for FPIR {calibration.target:g} in a gallery of up to {calibration.valid_up_to:,} people: "
        f"{label}, {errors} searches"
    )


def outgrown(calibration: Calibration | None, subjects: int) -> str | None:
    """A warning where the gallery has more people than the calibration holds for."""
    if calibration is None or subjects <= calibration.valid_up_to:
        return None
    from facesearch.evaluation.calibration import Metric

    if calibration.metric is Metric.FAR:
        return None
    return (
        f"The threshold was calibrated for up to {calibration.valid_up_to:,} people and the gallery has {subjects:,}: "
        f"more strangers than {calibration.target:g} of them will match. Run: facesearch calibrate "
        f"--fpir {calibration.target:g}"
    )
