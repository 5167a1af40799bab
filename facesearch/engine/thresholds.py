"""Which similarity threshold is in force, and where it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facesearch.types import Threshold

if TYPE_CHECKING:
    from facesearch.types import ModelInfo


def choose_threshold(chosen: float | None, info: ModelInfo) -> Threshold:
    """The threshold a user chose, else the model pack's own."""
    if chosen is not None:
        return Threshold(chosen, "given")
    return Threshold(info.threshold, info.threshold_basis)
