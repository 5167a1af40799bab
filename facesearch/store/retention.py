"""How long people's data may be kept: the attribute `retain_until`, the last day on which it may be."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

from facesearch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from facesearch.types import Subject

RETAIN_UNTIL: Final = "retain_until"
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")


def require_date(value: str) -> None:
    """Raise `ConfigError` unless `value` is a date of the form 2027-12-31."""
    if _last_day(value) is None:
        raise ConfigError(f"{RETAIN_UNTIL} {value!r} is no date.", "Write it as year-month-day: 2027-12-31.")


def overdue(subjects: Iterable[Subject], today: date | None = None) -> list[Subject]:
    """The subjects whose last day has passed, in UTC.

    A value that is no date, as galleries of earlier versions may hold, is due: nobody can say that it is not.
    """
    now = today or datetime.now(UTC).date()
    return [each for each in subjects if RETAIN_UNTIL in each.attributes and _is_over(each, now)]


def _is_over(subject: Subject, today: date) -> bool:
    last = _last_day(subject.attributes[RETAIN_UNTIL])
    return last is None or last < today


def _last_day(value: str) -> date | None:
    try:
        return date.fromisoformat(value) if _DATE.fullmatch(value) else None
    except ValueError:
        return None
