"""Vectors that were computed elsewhere, in a NumPy `.npz`."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from facesearch.errors import EvaluationError
from facesearch.evaluation.trials.refusal import refusal
from facesearch.evaluation.trials.types import EmbeddingSet
from facesearch.names import path_text, printable

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

OK = "ok"
_OPTIONAL = ("template_id", "media_id", "status")


def read_embeddings(path: Path) -> EmbeddingSet:
    """`vectors[n,d] f32` and `subject_id[n]`, optionally `template_id`, `media_id` and `status` of length n.

    A row whose status is not "ok" is a failure and keeps its place; its vector is not looked at. The others are scaled
    to unit length, since a score is a cosine. EvaluationError for arrays of objects (nothing is unpickled), missing
    arrays, wrong shapes and, by row (counted from 0, as NumPy does), vectors that are zero or not finite.
    """
    arrays = _arrays(path)
    vectors = arrays["vectors"]
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or 0 in vectors.shape:
        raise EvaluationError(f"{path}: 'vectors' is {vectors.dtype} {vectors.shape}", "It has to be float32 (n, d).")
    for name in ("subject_id", *_OPTIONAL):
        if name in arrays and arrays[name].shape != vectors.shape[:1]:
            raise EvaluationError(f"{path}: '{name}' has shape {arrays[name].shape} beside {len(vectors):,} vectors")
    status = tuple(arrays["status"].astype(str).tolist()) if "status" in arrays else (OK,) * len(vectors)
    failed = np.array([word != OK for word in status], dtype=np.bool_)
    return EmbeddingSet(
        path_text(path),
        _unit(path, vectors, failed),
        tuple(map(printable, arrays["subject_id"].astype(str).tolist())),
        failed,
        status,
        tuple(arrays["template_id"].astype(str).tolist()) if "template_id" in arrays else None,
        tuple(arrays["media_id"].astype(str).tolist()) if "media_id" in arrays else None,
    )


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            absent = [name for name in ("vectors", "subject_id") if name not in archive]
            if absent:
                raise EvaluationError(
                    f"{path}: has no array {' and no array '.join(absent)}, only {', '.join(archive.files)}",
                    "It needs vectors (n, d) and subject_id (n,).",
                )
            names = ("vectors", "subject_id", *_OPTIONAL)
            return {name: archive[name] for name in names if name in archive}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise EvaluationError(
            f"{path}: cannot be read as .npz: {error}", "Arrays of objects are not unpickled."
        ) from error


def _unit(path: Path, vectors: NDArray[np.floating], failed: NDArray[np.bool_]) -> NDArray[np.float32]:
    unit = vectors.astype(np.float32, copy=False)
    unit[failed] = 0.0
    norms = np.sqrt(np.einsum("nd,nd->n", unit, unit, dtype=np.float64))
    bad = np.flatnonzero(~failed & ~(np.isfinite(norms) & (norms > 0))).tolist()
    if bad:
        raise refusal(
            str(path),
            "vectors that are zero or not finite",
            (f"row {i}" for i in bad),
            len(bad),
            "Mark templates that could not be made with another status than 'ok'.",
        )
    norms[failed] = 1.0
    # In place and in pieces: a million vectors are not to be held twice, in double precision.
    np.divide(unit, norms[:, None], out=unit, casting="same_kind")
    return unit
