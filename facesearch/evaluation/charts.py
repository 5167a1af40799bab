"""Leaving rows out of an error curve without making any up."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from functools import wraps
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np
from numpy.typing import NDArray

from facesearch.evaluation.rates import Counts
from facesearch.files import write_new

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DRAWN = 60
"""Steps per e-fold that a drawing keeps: a third of a pixel at the size the plots have."""


def kept_rows(*errors: Counts, steps: int, whole: int = 0) -> NDArray[np.intp]:
    """Positions of the rows of a curve to keep, rising; the first and the last are always kept.

    `errors` are (m,) int64 counts of errors along the curve. A row is kept where one of them has moved by a factor of
    exp(1 / steps) or, below `steps` errors, at all: the end of the curve with few errors stays complete. A curve of up
    to `whole` rows is kept as it is.
    """
    rows = errors[0].size
    if rows <= whole:
        return np.arange(rows)
    keep = np.zeros(rows, dtype=np.bool_)
    keep[[0, -1]] = True
    for count in errors:
        # Below one error per step the logarithm resolves every count.
        cell = np.floor(steps * np.log1p(count))
        keep[1:] |= cell[1:] != cell[:-1]
    return np.flatnonzero(keep)


_P = ParamSpec("_P")

INK, MUTED, GRID, PAPER = "#1b1b1f", "#63636b", "#dcdce2", "#fefefe"
BLUE, VERMILION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
"""Okabe, Ito 2008, "Color Universal Design". Yellow and sky blue are too light for a line on paper."""
SERIES: tuple[tuple[str, str, str], ...] = (
    (BLUE, "-", "o"),
    (VERMILION, "--", "s"),
    (GREEN, "-.", "^"),
    (PURPLE, ":", "D"),
    (INK, (0, (6, 1.5, 1, 1.5, 1, 1.5)), "v"),  # type: ignore[assignment]
)
"""Colour, dash and marker of the first, second, ... curve."""
_THEME = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    PAPER: "--paper",
    BLUE: "--blue",
    VERMILION: "--vermilion",
    GREEN: "--green",
    PURPLE: "--purple",
}
"""In a page the colours are CSS variables of these names, so that a plot follows the page into the dark."""

WIDTH, HEIGHT = 5.6, 3.9
"""Inches: with 9-point type it stays legible on a telephone."""
_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.parse_math": False,  # names are no formulas
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "svg.hashsalt": "facesearch",
    "svg.fonttype": "path",
}
_PNG_DPI = 200


def styled(draw: Callable[_P, Figure]) -> Callable[_P, Figure]:
    """Run a drawing function under the settings above, and import matplotlib only when it is called."""

    @wraps(draw)
    def drawing(*args: _P.args, **kwargs: _P.kwargs) -> Figure:
        import matplotlib as mpl

        with mpl.rc_context(_SETTINGS):
            return draw(*args, **kwargs)

    return drawing


def new_axes(title: str, *, x: str, y: str, height: float = HEIGHT) -> tuple[Figure, Axes]:
    """An empty figure with one pair of axes; `x` and `y` are the axis labels, `height` is in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def _rendered(figure: Figure, kind: str) -> bytes:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    # Without dates the same result makes the same bytes.
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with mpl.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name may be of any script
        FigureCanvasAgg(figure).print_figure(buffer, format=kind, dpi=_PNG_DPI, metadata=metadata)
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write the figure to a new `.svg` or `.png`, whichever `path` ends in; the same figure gives the same bytes."""
    write_new(path, _rendered(figure, path.suffix.lstrip(".")))


def inline_svg(figure: Figure, label: str) -> str:
    """The figure as an `<svg>` element to stand in a page: colours as CSS variables, `label` for screen readers."""
    text = _rendered(figure, "svg").decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    # Groups are numbered from 1 in every figure; in a page of several that would repeat ids.
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r"\n\s*", "\n", text)
    for colour, name in _THEME.items():
        text = re.sub(rf"(?<=: ){colour}\b", f"var({name})", text)
    size = re.compile(
        r'(<svg[^>]*?) height="[^"]*"([^>]*?) width="[^"]*"|(<svg[^>]*?) width="[^"]*"([^>]*?) height="[^"]*"'
    )
    text = size.sub(lambda match: "".join(part or "" for part in match.groups()), text, count=1)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)


def log_rate_axis(axes: Axes, which: str, low: float, high: float = 1.0) -> None:
    """A logarithmic axis of a rate, labelled 10^-k; `which` is "x" or "y"."""
    from matplotlib.ticker import LogFormatterMathtext, LogLocator, NullFormatter

    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(base=10, numticks=20))
    axis.set_major_formatter(LogFormatterMathtext())
    axis.set_minor_formatter(NullFormatter())


def least_rate(trials: int) -> float:
    """One error: where an axis begins. At least two trials are assumed, so that the axis has a length."""
    return 1 / max(trials, 2)


def nice_floor(lowest: float) -> float:
    """Where an axis that ends at 1 may begin so that `lowest` is on it and the differences can be seen."""
    room = max(1.15 * (1 - lowest), 0.01)
    for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8):
        if room <= step:
            return 1 - step
    return 0.0


def note(axes: Axes, text: str) -> None:
    """A small remark above the right end of the plot."""
    axes.annotate(
        text,
        (1, 1),
        xycoords="axes fraction",
        xytext=(0, 6),
        textcoords="offset points",
        ha="right",
        color=MUTED,
        fontsize=7.5,
    )


def annotate(
    axes: Axes, said: str, at: tuple[float, float], offset: tuple[float, float], size: float, **style: Any
) -> None:
    """Text at `offset` points from `at`, with a halo that keeps it legible where a line runs under it."""
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=2.5, foreground=PAPER)]
    axes.annotate(said, at, xytext=offset, textcoords="offset points", fontsize=size, path_effects=halo, **style)


def decades_down(value: float) -> float:
    """The power of ten at or below `value`."""
    return float(10.0 ** np.floor(np.log10(value) + 1e-9))
