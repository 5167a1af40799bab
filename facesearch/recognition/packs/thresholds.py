"""Thresholds by false match rate: those of recognisers that were measured, and those that a pack.toml states.

A rate means nothing for another recogniser, so a table belongs to the bytes of one. There is none for the recognisers
of buffalo_s, buffalo_sc and antelopev2: nobody published one, and they could not be measured here.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from facesearch.types import FmrPoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

R50_SHA256: Final = "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43"
"""w600k_r50.onnx, the recogniser of buffalo_l and buffalo_m."""


def _measured(fmr: float, score: float, matches: str) -> FmrPoint:
    return FmrPoint(fmr, score, f"measured: {matches} false matches in 37.9 million comparisons, LFW, SCRFD-500M")


TABLES: Final[Mapping[str, tuple[FmrPoint, ...]]] = {
    R50_SHA256: (FmrPoint(1e-6, 0.4078, "published: FMR 1e-6 on MR-ALL (InsightFace model zoo)"),),
    # MobileFace_Identification_V2: 4,079 people at detection size auto. Six pairs of names that LFW gives to one person
    # or one photo are left out.
    "a705daf110b864b1c82c18fd5601f157c81e44b7c67e6304f8c570af60ed07a5": (
        _measured(1e-3, 0.3718, "37,908"),
        _measured(1e-4, 0.4578, "3,790"),
        _measured(1e-5, 0.5261, "379"),
        _measured(1e-6, 0.5851, "37"),
        _measured(1e-7, 0.6921, "only 3"),
    ),
}
"""By the SHA-256 of the recogniser; false match rates fall."""


def ordered(points: Iterable[FmrPoint]) -> tuple[FmrPoint, ...]:
    """Return a table with falling rates. Raises ValueError for equal rates, or a lower rate at a lower threshold."""
    table = tuple(sorted(points, key=lambda point: -point.fmr))
    for loose, strict in pairwise(table):
        if strict.fmr == loose.fmr:
            raise ValueError(f"fmr {strict.fmr:g} is there twice")
        if strict.score < loose.score:
            raise ValueError(f"fmr {strict.fmr:g} has a lower score than fmr {loose.fmr:g}")
    return table
