"""Vectors summed with those of mirrored crops."""

from __future__ import annotations

import numpy as np

from facesearch.recognition.embedder import Embedder
from tests.recognition.test_embedder import CROPS, embedded, recognizer


def test_flip_sums_the_outputs_before_their_length_is_taken() -> None:
    embedder, flipping = (Embedder(recognizer(), 127.5, 128.0, 8, flip=flip) for flip in (False, True))
    lengths = [np.linalg.norm(embedder._run(crops), axis=1, keepdims=True) for crops in (CROPS, CROPS[:, :, ::-1])]
    plain, mirrored = embedded(embedder, CROPS), embedded(embedder, np.ascontiguousarray(CROPS[:, :, ::-1]))
    expected = plain * lengths[0] + mirrored * lengths[1]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(embedded(flipping, CROPS), expected, atol=1e-5)
    assert not np.allclose(embedded(flipping, CROPS), plain, atol=1e-3)


def test_a_crop_and_its_mirror_image_then_have_one_vector() -> None:
    embedder = Embedder(recognizer(batch=1), 127.5, 128.0, 8, flip=True)
    mirrored = np.ascontiguousarray(CROPS[:, :, ::-1])
    np.testing.assert_allclose(embedded(embedder, CROPS), embedded(embedder, mirrored), atol=1e-6)
