"""What this machine can run: every provider at every precision, tried and measured with a model pack."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from facesearch.errors import FaceSearchError
from facesearch.recognition.embedder import CROP_SIZE
from facesearch.recognition.extractor import Extractor
from facesearch.recognition.runtime import PRECISIONS, choose_provider
from facesearch.types import Precision

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from facesearch.recognition.packs.store import ModelPack

PHOTO: Final = (960, 1280)
"""Height and width in pixels of the picture that is measured with."""
WORTH_IT: Final = 0.8
"""Share of the default's time below which another provider or precision is recommended."""


@dataclass(frozen=True, slots=True)
class ProviderTrial:
    """What one provider did at one precision."""

    provider: str
    precision: Precision
    milliseconds: float | None
    """Median for a photo with one face, detection and template, one photo at a time on all cores; None where it does
    not run."""
    problem: str = ""
    """Why it does not run; empty where it does."""
    hint: str = ""


def try_providers(pack: ModelPack, seconds: float) -> Iterator[ProviderTrial]:
    """Run the pack on each provider at each precision, `seconds` each. What does not run here says why.

    The picture is noise: networks take the same time for it as for a photo. Reading and decoding are not measured.
    """
    for provider, precisions in PRECISIONS.items():
        for precision in (each for each in Precision if each in precisions):
            try:
                extractor = Extractor(pack, provider=provider, precision=precision)
                yield ProviderTrial(provider, precision, _milliseconds(extractor, seconds))
            except FaceSearchError as error:
                yield ProviderTrial(provider, precision, None, error.message, error.hint or "")


def _milliseconds(extractor: Extractor, seconds: float) -> float:
    random = np.random.default_rng(0)
    photo = random.integers(0, 256, (*PHOTO, 3), np.uint8)
    crop = random.integers(0, 256, (CROP_SIZE, CROP_SIZE, 3), np.uint8)
    detector, embedder = extractor.detector, extractor.embedder
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 2 or time.perf_counter() < end:
        begin = time.perf_counter()
        detector.detect(photo)
        embedder.embed([crop])
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:]) * 1000  # the first run makes buffers


def recommend(trials: Sequence[ProviderTrial]) -> list[str]:
    """Say in sentences what to use: what `auto` takes, and what is clearly faster."""
    default = choose_provider("auto").name
    took = {(each.provider, each.precision): each.milliseconds for each in trials if each.milliseconds is not None}
    base = took.get((default, Precision.FP32))
    if base is None:
        return []
    sentences = [f"The default is {default} in fp32: {base:.0f} ms a photo with one face."]
    faster = {key: value for key, value in took.items() if value < WORTH_IT * base}
    for (provider, precision), value in sorted(faster.items(), key=lambda item: item[1]):
        options = f"--provider {provider}" + ("" if precision is Precision.FP32 else f" --precision {precision}")
        sentences.append(f"{options} takes {value / base:.0%} of that. Its scores differ a little from the default's.")
    return sentences
