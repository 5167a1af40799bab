"""Several reports in one plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from facesearch.evaluation.plots.style import SERIES, least_rate, log_rate_axis, new_axes, nice_floor, note, styled
from facesearch.evaluation.plots.verification import draw_ribbon, drawn_roc
from facesearch.evaluation.results.rates import LOW_SUPPORT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from facesearch.evaluation.results.verification import ErrorCurve, RocBand

LEGEND = 32
"""Characters of a name in the legend: longer ones leave no room for the curves."""


@styled
def roc_overlay(curves: Sequence[tuple[str, ErrorCurve, RocBand | None]]) -> Figure:
    """Up to five ROC curves, each from its own 1/M up, told apart by colour and dash; (name, curve, ribbon) each."""
    figure, axes = new_axes(
        "Receiver operating characteristic", x="false accept rate (FAR = FMR)", y="true accept rate (TAR = 1 - FNMR)"
    )
    log_rate_axis(axes, "x", min(least_rate(curve.non_mated) for _, curve, _ in curves))
    lowest = 1.0
    for (name, curve, band), (colour, dash, _) in zip(curves, SERIES, strict=False):
        far, tar = drawn_roc(curve)
        lowest = min(lowest, float(tar.min()) if tar.size else 0.0)
        edge = min(LOW_SUPPORT / curve.non_mated, 1.0)
        split = int(np.searchsorted(far, edge))
        # The pale part ends where the full one begins.
        axes.step(far[: split + 1], tar[: split + 1], where="post", color=colour, linestyle=dash, alpha=0.4)
        axes.step(far[split:], tar[split:], where="post", color=colour, linestyle=dash, label=_fitting(name))
        if band is not None:
            lowest = min(lowest, draw_ribbon(axes, far, band, colour, alpha=0.12))
    floor = nice_floor(lowest)
    axes.set_ylim(floor, 1 + 0.02 * (1 - floor))
    note(axes, f"pale: fewer than {LOW_SUPPORT} errors")
    axes.legend(loc="lower right")
    return figure


def _fitting(name: str) -> str:
    """A name, or its end, as short as a legend needs it."""
    return name if len(name) <= LEGEND else f"...{name[3 - LEGEND :]}"
