"""Byte ranges of RFC 9110 §14, as players ask for them. Pure."""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import parsedate_to_datetime

_SET = re.compile(r"bytes\s*=\s*(.+)", re.IGNORECASE)
_RANGE = re.compile(r"([0-9]*)-([0-9]*)")
_DIGITS = 18


class NotSatisfiable(Exception):
    """Nothing of what is asked for is there."""


def span(header: str | None, size: int) -> tuple[int, int] | None:
    """From the first byte up to, not including, the last, of something of `size` bytes; None: all of it.

    A header that is malformed, of another unit, or of several ranges asks for all of it (§14.2 leaves that to the
    server; no player needs more than one). Raises NotSatisfiable."""
    found = _SET.fullmatch(header.strip()) if header else None
    one = _RANGE.fullmatch(found[1].strip()) if found else None
    if one is None:
        return None
    first, last = one.groups()
    if max(len(first), len(last)) > _DIGITS or not (first or last):
        return None
    if not first:
        length = int(last)
        if length == 0 or size == 0:
            raise NotSatisfiable
        return max(0, size - length), size
    start, end = int(first), int(last) + 1 if last else size
    if last and end <= start:
        return None
    if start >= size:
        raise NotSatisfiable
    return start, min(end, size)


def still(if_range: str | None, etag: str, modified: datetime) -> bool:
    """Whether what the asker has a part of is what there is (§13.1.5): a strong tag, or the very date."""
    if if_range is None:
        return True
    if if_range.startswith(('"', "W/")):
        return if_range == etag
    try:
        return parsedate_to_datetime(if_range) == modified.replace(microsecond=0)
    except (TypeError, ValueError):
        return False


def known(if_none_match: str | None, etag: str) -> bool:
    """Whether the asker has it already (§13.1.2)."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or etag in {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
