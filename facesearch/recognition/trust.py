"""Tell a model that fails on one photo from one that fails on every photo."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Final

from facesearch.errors import ModelError, PhotoError

if TYPE_CHECKING:
    from collections.abc import Callable

FEWEST: Final = 8
"""Failures without any success after which the model is at fault, and not the photos."""


class Trust:
    """What one model has shown so far. Safe to use from several threads."""

    def __init__(self, model: str) -> None:
        """`model` names it in errors, as in "The detector of the pack buffalo_l"."""
        self._model = model
        self._lock = threading.Lock()
        self._worked = False
        self._failures = 0
        self._most_failures = float(FEWEST)

    def prove(self) -> None:
        """The model has worked elsewhere: however many photos it fails on, the photos are at fault."""
        self._most_failures = math.inf

    def worked(self) -> None:
        """The model gave a result that can be used: whatever fails from now on fails by itself."""
        self._worked = True

    def failed(self, detail: str, try_another: Callable[[], object] | None = None) -> None:
        """The model gave nothing usable for one photo or face.

        `try_another` runs it on something that is surely sound.

        Raises:
            ModelError: it fails on that as well, or is not proven, has failed on `FEWEST` and worked on none.
        """
        if self._worked:
            return
        with self._lock:
            self._failures += 1
            failures = self._failures
        if failures >= self._most_failures or (try_another is not None and _fails(try_another)):
            raise ModelError(
                f"{self._model} fails on everything it was given: {detail}", "Try --provider cpu, or another pack."
            )


def _fails(run: Callable[[], object]) -> bool:
    try:
        run()
    except PhotoError:
        return True
    return False
