"""Moments as people write them in a query: pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from bridge.errors import BadInput

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_LOST_PLUS = re.compile(r"(T.*) (\d\d:?\d\d)$")
"""A zone's "+" that nobody escaped in the query string arrives as a space."""


def moment(name: str, text: str | None, zone: ZoneInfo, *, end: bool = False) -> datetime | None:
    """The moment an ISO 8601 text means, in `zone` unless it names its own.

    `end`: the first moment after it, so that "to" includes what it names: a date its whole day, a time its second or
    its microsecond. Raises BadInput."""
    if text is None:
        return None
    try:
        value = datetime.fromisoformat(_LOST_PLUS.sub(r"\1+\2", text))
        if value.tzinfo is None:
            value = value.replace(tzinfo=zone)
        if end:
            value += _width(text, value)
        if not 1970 <= value.year <= 9000:
            raise ValueError(value.year)
    except (ValueError, OverflowError):
        raise BadInput(
            f"{name}: {text!r} is not a date or a time",
            field=name,
            found=text,
            allowed="ISO 8601, such as 2026-01-31 or 2026-01-31T12:00:00+03:00",
        ) from None
    return value


def _width(text: str, value: datetime) -> timedelta:
    if _DATE.fullmatch(text):
        return timedelta(days=1)
    return timedelta(microseconds=1) if value.microsecond else timedelta(seconds=1)
