"""InsightFace's `.bin` and NumPy's `.npz`, read without running anything in them.

A pickle is a program. This unpickler runs one that can only build lists, tuples, bytes, bools and numbers, and hands
NumPy's own reconstructors to small stand-ins of ours, so that no state from the file reaches NumPy unchecked.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facesearch.errors import EvaluationError
from facesearch.evaluation.trials.pairs import check_pairs
from facesearch.evaluation.trials.table import refuse
from facesearch.evaluation.trials.types import EmbeddingSet, PairTrials, Photo
from facesearch.names import path_text, printable

_KINDS = "biu"
_OBJECT = "O"


class _ForeignClassError(Exception):
    """The pickle asks for something outside the admitted set."""


class _DType:
    """Stands in for numpy.dtype: keeps the type code and the byte order and nothing else."""

    __slots__ = ("code", "order")

    def __init__(self, code: object) -> None:
        self.code = _text(code)
        self.order = "="
        if self.code != _OBJECT + "8" and (self.code[:1] not in _KINDS or self.code[1:] not in {"1", "2", "4", "8"}):
            raise _ForeignClassError(f"numpy.dtype('{self.code}')")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = _text(state[1]).replace("|", "=")

    def decoded(self, data: bytes) -> np.ndarray[Any, Any]:
        return np.frombuffer(data, dtype=np.dtype(self.order + self.code))


class _Array:
    """Stands in for numpy.ndarray: one-dimensional photos and flags are all that a .bin holds."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: list[Any] | np.ndarray[Any, Any] = []

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        *_, dtype, _, data = state
        self.values = list(data) if dtype.code[0] == _OBJECT else dtype.decoded(data)


def _text(value: object) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else str(value)


def _new_array(*_: object) -> _Array:
    return _Array()


def _new_dtype(code: object, *_: object) -> _DType:
    return _DType(code)


def _new_scalar(dtype: _DType, data: bytes | str) -> bool | int:
    raw = data.encode("latin-1") if isinstance(data, str) else data
    return bool(dtype.decoded(raw)[0]) if dtype.code[0] == "b" else int(dtype.decoded(raw)[0])


def _from_buffer(data: bytes, dtype: _DType, *_: object) -> _Array:
    array = _Array()
    array.values = dtype.decoded(bytes(data))
    return array


def _latin1(text: str, codec: object) -> bytes:
    if codec != "latin1":
        raise _ForeignClassError(f"_codecs.encode with codec {codec}")
    return text.encode("latin-1")


class _Admitted:
    """A callable whose attributes the pickle cannot reach: its opcodes can set state on what they load."""

    __slots__ = ("_call",)
    _call: Callable[..., object]

    def __init__(self, call: Callable[..., object]) -> None:
        object.__setattr__(self, "_call", call)

    def __setattr__(self, name: str, value: object) -> None:
        raise _ForeignClassError(f"a change to {name}")

    def __call__(self, *args: object) -> object:
        return self._call(*args)


_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
_ADMITTED = {
    ("numpy", "ndarray"): _Admitted(_new_array),
    ("numpy", "dtype"): _Admitted(_new_dtype),
    ("_codecs", "encode"): _Admitted(_latin1),
    ("numpy.core.numeric", "_frombuffer"): _Admitted(_from_buffer),
    ("numpy._core.numeric", "_frombuffer"): _Admitted(_from_buffer),
    **{(module, "_reconstruct"): _Admitted(_new_array) for module in _NUMPY},
    **{(module, "scalar"): _Admitted(_new_scalar) for module in _NUMPY},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Our stand-in for an admitted name; everything else is foreign."""
        if (module, name) not in _ADMITTED:
            raise _ForeignClassError(f"{module}.{name}")
        return _ADMITTED[module, name]


def read_insightface_bin(path: Path) -> PairTrials:
    """The pairs of an InsightFace `.bin`; its photos are encoded bytes, each content once, and it names no people.

    Raises EvaluationError for a pickle that asks for a foreign class (named), one that is damaged, and one that does
    not hold two photos per flag; and, by pair number, for everything `check_pairs` refuses.
    """
    blobs, flags = _lists(path, _loaded(path))
    if len(blobs) != 2 * len(flags) or not flags:
        raise EvaluationError(f"{path}: holds {len(blobs):,} photos for {len(flags):,} pairs; it needs two per pair")
    positions: dict[bytes, int] = {}
    names: list[str] = []
    sides = np.empty(len(blobs), dtype=np.int64)
    for i, blob in enumerate(blobs):
        sides[i] = positions.setdefault(blob, len(positions))
        if len(names) < len(positions):
            names.append(f"pair {i // 2 + 1} {'left' if i % 2 == 0 else 'right'}")
    photos: tuple[Photo, ...] = tuple(positions)
    trials = PairTrials(path_text(path), photos, tuple(names), sides[::2], sides[1::2], np.array(flags, dtype=np.bool_))
    check_pairs(trials, header_rows=0)
    return trials


def _loaded(path: Path) -> object:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        # Files written by Python 2, as the published ones are, hold their photos as `str`, hence "bytes".
        return _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except _ForeignClassError as error:
        raise EvaluationError(
            f"{path}: the pickle asks for {error}, which has no place in a list of photos and flags",
            "Nothing was run. Get the file from a source you trust, or turn it into a pairs CSV.",
        ) from None
    except Exception as error:
        # A hostile or damaged pickle can fail in any way a stack machine can; none of them is a pair list.
        raise EvaluationError(f"{path}: is not a readable pickle: {error}") from error


def _lists(path: Path, content: object) -> tuple[list[bytes], list[bool]]:
    if isinstance(content, (list, tuple)) and len(content) == 2:
        blobs, flags = (side.values if isinstance(side, _Array) else side for side in content)
        if all(isinstance(side, (list, tuple, np.ndarray)) for side in (blobs, flags)):
            return [_blob(path, i, blob) for i, blob in enumerate(blobs)], [
                _flag(path, i, flag) for i, flag in enumerate(flags)
            ]
    raise EvaluationError(f"{path}: does not hold (list of photos, list of flags)")


def _blob(path: Path, i: int, blob: object) -> bytes:
    values = blob.values if isinstance(blob, _Array) else blob
    if isinstance(values, np.ndarray) and values.dtype == np.uint8:
        return values.tobytes()
    if isinstance(values, bytes):
        return values
    raise EvaluationError(f"{path}: photo {i % 2 + 1} of pair {i // 2 + 1} is not an encoded photo")


def _flag(path: Path, i: int, flag: object) -> bool:
    if isinstance(flag, (bool, np.bool_)) or (isinstance(flag, (int, np.integer)) and flag in (0, 1)):
        return bool(flag)
    raise EvaluationError(f"{path}: the flag of pair {i + 1} is neither true nor false")


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
    hint = "Mark templates that could not be made with another status than 'ok'."
    refuse(path, "vectors that are zero or not finite", [f"row {i}" for i in bad], hint)
    norms[failed] = 1.0
    # In place and in pieces: a million vectors are not to be held twice, in double precision.
    np.divide(unit, norms[:, None], out=unit, casting="same_kind")
    return unit
