"""Values as Mango writes them, read tolerantly.

The vendor's own examples write the same number as an integer in one place and as a text in another. A value that makes
no sense is as good as absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bridge.mango.events import Party

LONGEST_ID = 128
LONGEST_TEXT = 1024


def party(value: Any) -> Party:
    if not isinstance(value, Mapping):
        return Party(number=text(value))
    return Party(
        extension=text(value.get("extension")),
        number=text(value.get("number")),
        line_number=text(value.get("line_number")),
        acd_group=text(value.get("acd_group")),
        taken_from_call_id=identifier(value.get("taken_from_call_id")),
        was_transferred=yes(value.get("was_transferred")),
        hold_initiator=yes(value.get("hold_initiator")),
    )


def text(value: Any) -> str | None:
    """A text, also where a number is written; without what Postgres refuses. Empty is absent."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).replace("\0", "").strip()[:LONGEST_TEXT] or None


def identifier(value: Any) -> str | None:
    """An opaque id; one that is too long to be one is none."""
    found = text(value)
    return found if found is not None and len(found.encode("utf-8", "surrogatepass")) <= LONGEST_ID else None


def whole(value: Any) -> int | None:
    if isinstance(value, str):
        value = int(value) if _INTEGER.fullmatch(value.strip()) else None
    if isinstance(value, float):
        value = int(value) if value.is_integer() else None
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _LARGEST:
        return None
    return value


def moment(value: Any) -> float | None:
    """Seconds since the epoch, milliseconds too; 0 is how Mango writes that it never happened."""
    seconds = whole(value)
    if seconds is None or seconds <= 0:
        return None
    return seconds / 1000 if seconds >= _MILLISECONDS else float(seconds)


def yes(value: Any) -> bool:
    return value is True or str(value).lower() in ("1", "true")


def recordings(value: Any) -> tuple[str, ...]:
    """A list of ids, or the text `[id,id]` of basic statistics; ids are base64, without commas or brackets."""
    ids = value.strip().strip("[]").split(",") if isinstance(value, str) else value
    if not isinstance(ids, list):
        return ()
    return tuple(dict.fromkeys(each for item in ids if (each := identifier(item)) is not None))


def callback_initiator(value: Any) -> str | None:
    """Whose wish a callback was. The documentation prints some of these words with a Cyrillic С."""
    found = text(value)
    if found is None:
        return None
    latin = found.translate(_CYRILLIC)
    return _INITIATORS.get(latin.lower(), latin)


_CYRILLIC = str.maketrans("АВСЕНКМОРТХасеорх", "ABCEHKMOPTXaceopx")
_INITIATORS = {
    name.lower(): name
    for name in ("CC", "API", "WEB", "ObDial", "CallbackWidget", "MissGroupCallCallback", "MissInIvrCallCallback")
}
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_LARGEST = 2**62
_MILLISECONDS = 100_000_000_000
