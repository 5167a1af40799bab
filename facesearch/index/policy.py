"""Which index for how many vectors. Index modules are imported here: FAISS is loaded by who searches, nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from facesearch.types import IndexKind

if TYPE_CHECKING:
    from facesearch.index.base import VectorIndex

TWO_STAGE_FROM: Final = 50_000
"""Vectors from which on `auto` takes two stages. See "Search" in the README for what was measured."""


def chosen_kind(kind: IndexKind, count: int) -> IndexKind:
    """`kind`, or what `auto` means for `count` vectors."""
    if kind != IndexKind.AUTO:
        return kind
    return IndexKind.TWO_STAGE if count >= TWO_STAGE_FROM else IndexKind.FLAT


def make_index(kind: IndexKind, dimension: int) -> VectorIndex:
    """An empty index; `kind` is not `auto`."""
    if kind == IndexKind.TWO_STAGE:
        from facesearch.index.two_stage import TwoStageIndex

        return TwoStageIndex(dimension)
    from facesearch.index.flat import FlatIndex

    return FlatIndex(dimension)
