"""Which id of a gallery stands for which of a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facesearch.types import Ids


class IdMap:
    """Ids of this gallery by those of the bundle; 16 bytes a row."""

    def __init__(self) -> None:
        self._parts: list[tuple[Ids, Ids]] = []
        self._whole: tuple[Ids, Ids] | None = None

    def add(self, old: Sequence[int], new: Sequence[int]) -> None:
        """Note pairs, of which the first counts where an id comes twice."""
        self._whole = None
        self._parts.append((np.array(old, np.int64), np.array(new, np.int64)))

    def find(self, old: Sequence[int]) -> list[int]:
        """The new ids, in the order of `old`; 0 where a row was left out."""
        if self._whole is None:
            none = np.empty((2, 0), np.int64)
            pairs = np.concatenate([none, *(np.stack(part) for part in self._parts)], axis=1)
            pairs = pairs[:, np.argsort(pairs[0], kind="stable")]
            self._parts, self._whole = [(pairs[0], pairs[1])], (pairs[0], pairs[1])
        known, new = self._whole
        if not len(known):
            return [0] * len(old)
        wanted = np.array(old, np.int64)
        places = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        found: list[int] = np.where(known[places] == wanted, new[places], 0).tolist()
        return found
