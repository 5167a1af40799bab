from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from facesearch.errors import ModelError, ModelIntegrityError
from facesearch.recognition.embedder import Embedder
from facesearch.types import Reason, Rejection
from tests.recognition.sessions import Floats, NumpySession

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEIGHTS = np.random.default_rng(5).normal(size=(3 * 112 * 112, 8)).astype(np.float32)
BIAS = np.float32(300)  # or the scale of the input would cancel out in unit vectors
CROPS = np.random.default_rng(6).integers(0, 256, (5, 112, 112, 3), np.uint8)


def linear(blob: Floats) -> list[Floats]:
    return [blob.reshape(len(blob), -1) @ WEIGHTS + BIAS]


def recognizer(batch: int | None = None, outputs: int = 1) -> NumpySession:
    return NumpySession(linear, outputs, (batch, 3, 112, 112))


def embedded(embedder: Embedder, crops: NDArray[np.uint8]) -> Floats:
    """(n, d); every crop has a vector."""
    return np.stack([each for each in embedder.embed(list(crops)) if not isinstance(each, Rejection)])


def test_vectors_are_the_models_outputs_at_unit_length() -> None:
    vectors = embedded(Embedder(recognizer(), 127.5, 128.0, 8), CROPS)
    blob = ((CROPS.astype(np.float64) - 127.5) / 128).transpose(0, 3, 1, 2).reshape(5, -1)
    expected = blob @ WEIGHTS + BIAS
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_model_that_takes_blue_first_gets_it_first() -> None:
    swapped = np.ascontiguousarray(CROPS[..., ::-1])
    np.testing.assert_array_equal(
        embedded(Embedder(recognizer(), 127.5, 127.5, is_bgr=True), CROPS),
        embedded(Embedder(recognizer(), 127.5, 127.5), swapped),
    )


def test_a_batch_equals_one_at_a_time() -> None:
    embedder = Embedder(recognizer(), 127.5, 127.5)
    singles = np.concatenate([embedded(embedder, CROPS[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(embedded(embedder, CROPS), singles, atol=1e-5)


def test_crops_share_runs_of_at_most_a_batch() -> None:
    session = recognizer()
    np.testing.assert_allclose(
        embedded(Embedder(session, 127.5, 127.5, batch=2), CROPS),
        embedded(Embedder(recognizer(), 127.5, 127.5), CROPS),
        atol=1e-5,
    )
    assert [shape[0] for shape in session.runs] == [1, 2, 2, 1]  # the first is the grey picture


def test_a_model_with_a_fixed_batch_of_one_is_run_once_per_crop() -> None:
    session = recognizer(batch=1)
    vectors = embedded(Embedder(session, 127.5, 127.5), CROPS)
    np.testing.assert_allclose(vectors, embedded(Embedder(recognizer(), 127.5, 127.5), CROPS), atol=1e-5)
    assert set(session.runs) == {(1, 3, 112, 112)}


def test_no_crops_give_no_vectors() -> None:
    assert Embedder(recognizer(), 127.5, 127.5).embed([]) == []


def test_the_dimension_is_that_of_the_model_and_must_be_that_of_the_pack() -> None:
    assert Embedder(recognizer(), 0, 1).dimension == 8
    with pytest.raises(ModelIntegrityError, match="length 8, not 512"):
        Embedder(recognizer(), 0, 1, 512)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("flip", [False, True])
def test_a_vector_that_cannot_be_compared_costs_its_own_face_only(value: float, flip: bool) -> None:
    def model(blob: Floats) -> list[Floats]:
        output = np.ones((len(blob), 4), np.float32)
        output[blob.reshape(len(blob), -1).max(axis=1) == 7] = value
        return [output]

    crops = np.minimum(CROPS, 6)
    crops[2] = 7
    vectors = Embedder(NumpySession(model, 1, (None, 3, 112, 112)), 0, 1, flip=flip).embed(list(crops))
    assert [isinstance(each, Rejection) for each in vectors] == [False, False, True, False, False]
    assert vectors[2] == Rejection(Reason.MODEL_FAILURE, "The recogniser returned a vector that is zero or not finite.")


def test_a_run_that_fails_costs_the_face_that_it_fails_on() -> None:
    def model(blob: Floats) -> list[Floats]:
        if (blob == 7).all(axis=(1, 2, 3)).any():
            raise ModelError("face.onnx does not run: out of memory")
        return linear(blob)

    crops = CROPS.copy()
    crops[3] = 7
    session = NumpySession(model, 1, (None, 3, 112, 112))
    vectors = Embedder(session, 0, 1).embed(list(crops))
    assert [isinstance(each, Rejection) for each in vectors] == [False, False, False, True, False]
    assert vectors[3] == Rejection(Reason.MODEL_FAILURE, "face.onnx does not run: out of memory")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_that_fails_on_a_grey_picture_is_refused(value: float) -> None:
    session = NumpySession(lambda blob: [np.full((len(blob), 4), value, np.float32)], 1, (None, 3, 112, 112))
    with pytest.raises(ModelError, match="fails on a grey picture"):
        Embedder(session, 0, 1)


@pytest.mark.parametrize("shape", [(None, 3, 224, 224), (None, 1, 112, 112), (4, 3, 112, 112)])
def test_a_model_of_another_input_is_refused(shape: tuple[int | None, ...]) -> None:
    with pytest.raises(ModelError):
        Embedder(NumpySession(linear, 1, shape), 0, 1)


def test_a_model_of_another_output_is_refused() -> None:
    with pytest.raises(ModelError, match="2 outputs"):
        Embedder(recognizer(outputs=2), 0, 1)
    with pytest.raises(ModelError, match="shape"):
        Embedder(NumpySession(lambda _: [np.ones((2, 4), np.float32)], 1, (None, 3, 112, 112)), 0, 1)
