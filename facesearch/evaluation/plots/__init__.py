"""The plots of a report, as matplotlib figures; each function draws one and keeps no state.

Colours are Okabe and Ito's, which the colour-blind tell apart; lines differ in dash and marker too, for black-and-white
print. Nothing is drawn below one error: there the data say nothing.
"""

from facesearch.evaluation.plots.identification import cmc, fnir_against_fpir, fpir_against_size
from facesearch.evaluation.plots.overlay import roc_overlay
from facesearch.evaluation.plots.style import inline_svg, save
from facesearch.evaluation.plots.verification import (
    det,
    error_rates_against_threshold,
    roc,
    score_histograms,
    tar_by_group,
)

__all__ = [
    "cmc",
    "det",
    "error_rates_against_threshold",
    "fnir_against_fpir",
    "fpir_against_size",
    "inline_svg",
    "roc",
    "roc_overlay",
    "save",
    "score_histograms",
    "tar_by_group",
]
