"""Another precision of a pack: made, where it has files of its own, and measured against fp32 on photos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from facesearch.errors import ConfigError, EvaluationError, FaceSearchError
from facesearch.evaluation.trials import Trials, read_trials
from facesearch.jobs.embeddings import Embedded, PhotoEmbedder
from facesearch.jobs.evaluate import VerificationOptions, evaluate, photos_of
from facesearch.jobs.sources import read_photo_bytes
from facesearch.names import is_folder
from facesearch.outputs import Outputs
from facesearch.recognition.extractor import Extractor
from facesearch.recognition.packs.precision import Measurement, PrecisionRecord, folder_of, read_record, write_record
from facesearch.recognition.packs.quantize import collect_calibration, quantize_pack
from facesearch.recognition.runtime import PRECISIONS, choose_provider
from facesearch.types import Precision, Vectors
from facesearch.walking import is_photo_name, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from facesearch.recognition.packs.store import ModelPack

    Photo = Path | bytes

FEWEST_FACES: Final = 30
"""Photos with a face below which no shift is recorded: 30 make 435 pairs, of which 4 may lie beyond the 99 %."""
MOST_PHOTOS: Final = 1000
"""Photos that are embedded and compared pair by pair: 1,000 make half a million pairs."""
FARS: Final = (1e-1, 1e-2, 1e-3)
_SHARE: Final = 0.99


def prepare_precision(
    pack: ModelPack,
    precision: Precision,
    photos: Path,
    *,
    pairs: Path | None = None,
    det_size: str = "auto",
    workers: int | None = None,
    force: bool = False,
    notice: Callable[[str], None] = lambda _: None,
) -> PrecisionRecord:
    """Make the files of `precision`, measure it on every provider that is here, and write the record into the pack.

    `photos` is a folder; where it has one folder per person, or `pairs` lists pairs in it, TAR is compared, too. The
    first photos calibrate int8; all of them (up to 1,000) measure. What the pack has of this precision is replaced with
    `force` only, and stays where anything fails.

    Raises:
        ConfigError: fp32 was asked for, no photos, too few faces, or the pack's folder cannot be written to or has this
            precision already.
        ProviderError: nothing here computes in `precision`.
        InstallationError: int8, and `onnx` is not installed.
        ModelError: a model cannot be quantised, opened or run.
        EvaluationError: `pairs` cannot be read.
    """
    if precision is Precision.FP32:
        raise ConfigError("fp32 is the precision that others are compared with.", "Use --precision int8 or bf16.")
    folder = folder_of(pack, precision)
    if folder.exists() and not force:
        raise ConfigError(f"The pack {pack.name} has {precision} already, in {folder}.", "Add --force to replace it.")
    providers = _providers(precision)
    trials = _labelled(photos, pairs)
    chosen: Sequence[Photo] = (photos_of(trials) if trials else _photos_in(photos))[:MOST_PHOTOS]
    inputs = [photos, *(() if pairs is None else (pairs,)), *(each for each in chosen if isinstance(each, Path))]
    with Outputs(inputs=inputs, force=force).renewed_folder(folder):
        return _prepare(pack, precision, chosen, trials, providers, det_size=det_size, workers=workers, notice=notice)


def _prepare(
    pack: ModelPack,
    precision: Precision,
    chosen: Sequence[Photo],
    trials: Trials | None,
    providers: Sequence[str],
    *,
    det_size: str,
    workers: int | None,
    notice: Callable[[str], None],
) -> PrecisionRecord:
    reference = Extractor(pack, provider="cpu", det_size=det_size, workers=workers)
    if precision is Precision.INT8:
        notice(f"Making int8 files of {pack.name}")
        record = quantize_pack(pack, collect_calibration(reference, pack, _spread(chosen)))
    else:
        record = PrecisionRecord(precision, (pack.detector.sha256, pack.recognizer.sha256))
    notice(f"Embedding {len(chosen)} photos in fp32")
    before = PhotoEmbedder(reference).embed(chosen)
    measured: dict[str, Measurement] = {}
    for provider in providers:
        notice(f"Embedding them in {precision} on {provider}")
        extractor = Extractor(pack, provider=provider, det_size=det_size, precision=precision, workers=workers)
        after = PhotoEmbedder(extractor).embed(chosen)
        measured[provider] = replace(measure(before, after), tar=_compare_tar(trials, before, after))
    record = replace(record, measured=measured)
    write_record(pack, record)
    return record


def recorded(pack: ModelPack) -> dict[str, dict[str, float | None]]:
    """Score shift by precision and provider, of what was made and measured; what `models info` shows."""
    found: dict[str, dict[str, float | None]] = {}
    for precision in (Precision.BF16, Precision.INT8):
        try:
            record = read_record(pack, precision)
        except FaceSearchError:  # whoever runs it is told
            continue
        if record is not None:
            found[precision.value] = {name: record.score_shift(name) for name in record.measured}
    return found


def measure(before: Embedded, after: Embedded) -> Measurement:
    """`after` against `before`, the same photos in fp32. `ConfigError` for fewer than 30 photos with a face in both."""
    pairs = list(zip(before.photos, after.photos, strict=True))
    both = [(a.vector, b.vector) for a, b in pairs if a.vector is not None and b.vector is not None]
    if len(both) < FEWEST_FACES:
        raise ConfigError(
            f"{len(both)} photos have a face, and a measurement needs {FEWEST_FACES}.",
            "Name a folder with more of them.",
        )
    fp32, other = (np.stack(vectors) for vectors in zip(*both, strict=True))
    cosines = np.sum(fp32 * other, axis=1)
    mixed, within = _shifts(fp32, other)
    return Measurement(
        photos=len(pairs),
        faces=len(both),
        lost=sum(a.vector is not None and b.vector is None for a, b in pairs),
        gained=sum(a.vector is None and b.vector is not None for a, b in pairs),
        cosine_mean=float(cosines.mean()),
        cosine_min=float(cosines.min()),
        score_shift=float(np.quantile(mixed, _SHARE)),
        score_shift_max=float(mixed.max()),
        score_shift_within=float(np.quantile(within, _SHARE)),
    )


def _shifts(fp32: Vectors, other: Vectors) -> tuple[Any, Any]:
    """How far the scores of all pairs of photos move with one template of the other precision, and with both."""
    apart = ~np.eye(len(fp32), dtype=bool)
    scores = fp32 @ fp32.T
    return np.abs(fp32 @ other.T - scores)[apart], np.abs(other @ other.T - scores)[apart]


def _providers(precision: Precision) -> list[str]:
    """Those that compute in `precision` here; raises as `choose_provider` where there is none."""
    found = []
    for name in (name for name in ("cpu", "openvino") if precision in PRECISIONS[name]):
        try:
            choose_provider(name, precision)
        except FaceSearchError:
            continue
        found.append(name)
    return found or [choose_provider("auto", precision).name]


def _labelled(photos: Path, pairs: Path | None) -> Trials | None:
    """Who is on the photos: by `pairs`, or by one folder per person; None where nobody says."""
    if not is_folder(photos):
        raise ConfigError(f"There is no folder {photos}.", "Name a folder with photos like those you search.")
    if pairs is not None:
        return read_trials(pairs, photos)
    try:
        return read_trials(photos)
    except EvaluationError:
        return None


def _photos_in(folder: Path) -> tuple[Path, ...]:
    found = walk(folder)
    if found.unread:
        raise ConfigError(
            f"{found.unread[0].path} cannot be read: {found.unread[0].cause}.", "Give permission, or move it elsewhere."
        )
    return tuple(path for path in found.files if is_photo_name(path))


def _spread(photos: Sequence[Photo]) -> Iterator[bytes]:
    """The photos' bytes in an order that does not begin with one person's; those that cannot be read are left out."""
    for i in np.random.default_rng(0).permutation(len(photos)).tolist():
        photo = photos[i]
        try:
            yield photo if isinstance(photo, bytes) else read_photo_bytes(photo)
        except FaceSearchError:
            continue


def _compare_tar(trials: Trials | None, before: Embedded, after: Embedded) -> tuple[tuple[float, float, float], ...]:
    """(FAR, TAR in fp32, TAR in the other precision) where the photos support both."""
    if trials is None or len(photos_of(trials)) != len(before.photos):
        return ()
    options = VerificationOptions(FARS)
    try:
        results = [evaluate(trials, options, embedded=each).report.result for each in (before, after)]
    except EvaluationError:  # nobody has two photos, or there is one person only
        return ()
    points = zip(*(result.points for result in results), strict=True)
    return tuple((a.target_far, a.tar.value, b.tar.value) for a, b in points if a.tar and b.tar)
