"""Figures in words: the same rate reads the same on every page."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from facesearch.evaluation.pages.shell import Html, element, text
from facesearch.evaluation.plots.style import format_rate, format_threshold
from facesearch.evaluation.results.rates import LOW_SUPPORT, Flag

if TYPE_CHECKING:
    from facesearch.evaluation.results.rates import Interval, Rate

__all__ = ["NOTHING", "counted", "file_name", "flag", "format_rate", "interval", "rate", "signed", "threshold"]

NOTHING = "n/a"
"""Where the data cannot say."""


def rate(value: Rate | None) -> str:
    """0.9817"""
    return NOTHING if value is None else format_rate(value.value)


def counted(value: Rate | None) -> str:
    """0.9817 (9,817 of 10,000)"""
    return NOTHING if value is None else f"{format_rate(value.value)} ({value.count:,} of {value.total:,})"


def interval(value: Interval | None) -> str:
    """0.961 to 0.973"""
    return NOTHING if value is None else f"{format_rate(value.low)} to {format_rate(value.high)}"


def file_name(name: str) -> str:
    """The last part of a path: what fits under a thumbnail."""
    return name.rsplit("/", 1)[-1]


def signed(value: float) -> str:
    """A difference of rates: +0.0123"""
    return f"{value:+.4f}"


def threshold(value: float | None) -> str:
    """Four decimals, rounded up: rounding down would let more through than was measured."""
    if value is None:
        return NOTHING
    if not math.isfinite(value):
        return "accept nothing" if value > 0 else "accept everything"
    return format_threshold(value)


def flag(value: Flag | None) -> Html:
    """A badge, or nothing."""
    words = {Flag.UNSUPPORTED: "unsupported", Flag.LOW_SUPPORT: f"fewer than {LOW_SUPPORT} errors"}
    return Html("") if value is None else element("span", text(words[value]), css="flag")
