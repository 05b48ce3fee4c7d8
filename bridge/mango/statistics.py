"""Mango's history of calls: how it is asked for, and what its answers hold (VPBX API, 3.4). Pure.

There are two kinds. The extended one gives whole calls with their legs, as JSON; the basic one gives legs, as CSV
without a header. Either is asked for first and fetched later, by a key. Rows become events of their calls
(`bridge.mango.decode`, "statistics").

In which zone the extended kind reads dates is not said; seen are Moscow's time and UTC. So a period is asked for that
holds the wanted one in both, and calls that began outside of the wanted one are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

from bridge.mango import values
from bridge.mango.users import Roster

LONGEST_PERIOD: Final = 28 * 86400.0
"""Seconds; a month is allowed."""

PAGE: Final = 500
"""Calls in an answer: 1, 5, 10, 20, 50, 100, 500, 1000, 2000 or 5000 are allowed."""

COLUMNS: Final = (
    "records",
    "start",
    "finish",
    "answer",
    "from_extension",
    "from_number",
    "to_extension",
    "to_number",
    "disconnect_reason",
    "line_number",
    "location",
    "create",
    "entry_id",
)
"""Of the basic kind. Without `entry_id`, which is not among those given unasked, nothing could be joined to a call."""

_MOSCOW = timezone(timedelta(hours=3))

Row = Mapping[str, Any]


def question(since: float, until: float, offset: int = 0) -> dict[str, Any]:
    """Of extended statistics: calls that began from `since` to `until` (epoch), from the `offset`th on."""
    return {
        "start_date": _date(since, UTC),
        "end_date": _date(until, _MOSCOW),
        "limit": PAGE,
        "offset": offset,
    }


def basic_question(since: float, until: float) -> dict[str, Any]:
    return {"date_from": int(since), "date_to": int(until), "fields": ",".join(COLUMNS)}


def calls(document: Mapping[str, Any]) -> list[Row]:
    """The calls in a complete answer, which come in lists by day. Tolerant: what is no call is left out."""
    data = document.get("data")
    days = data if isinstance(data, list) else [data]
    lists = [day["list"] for day in days if isinstance(day, Mapping) and isinstance(day.get("list"), list)]
    return [call for each in lists for call in each if isinstance(call, Mapping) and entry_of(call)]


def rows(csv: bytes) -> list[Row]:
    """The legs in an answer of the basic kind. Nothing is quoted there: a line of another width is no row."""
    lines = csv.decode("utf-8", "replace").removeprefix("\ufeff").replace("\0", "").split("\n")
    cells = (line.rstrip("\r").split(";") for line in lines)
    found = (dict(zip(COLUMNS, row, strict=True)) for row in cells if len(row) == len(COLUMNS))
    return [row for row in found if entry_of(row) and values.moment(row["start"]) is not None]


def within(found: Iterable[Row], since: float, until: float) -> list[Row]:
    """Those that began in the period."""
    return [row for row in found if (at := _began(row)) is not None and since <= at <= until]


def named(call: Row, roster: Roster | None) -> Row:
    """A call of extended statistics, which names employees by their number at Mango, with their extensions."""
    if roster is None or not roster.users:
        return call
    extensions = roster.by_id()
    legs = call.get("context_calls")
    caller = extensions.get(values.whole(call.get("caller_id")) or 0)
    return {
        **call,
        **({"caller_extension": caller} if caller else {}),
        "context_calls": [_named_leg(leg, extensions) for leg in legs if isinstance(leg, Mapping)]
        if isinstance(legs, list)
        else [],
    }


def more_after(page: Sequence[Row]) -> bool:
    """Whether there may be more than such a page."""
    return len(page) >= PAGE


def entry_of(row: Row) -> str:
    return values.identifier(row.get("entry_id")) or ""


def _named_leg(leg: Row, extensions: Mapping[int, str], depth: int = 0) -> Row:
    found = None
    if str(leg.get("call_type")).lower() == "user":
        found = extensions.get(values.whole(leg.get("call_abonent_id")) or 0)
    members = leg.get("members")
    return {
        **leg,
        **({"call_abonent_extension": found} if found else {}),
        "members": [_named_leg(each, extensions, depth + 1) for each in members if isinstance(each, Mapping)]
        if isinstance(members, list) and depth < 1
        else [],
    }


def _began(row: Row) -> float | None:
    times = (values.moment(row.get(name)) for name in ("context_start_time", "create", "start"))
    return next((at for at in times if at is not None), None)


def _date(at: float, zone: timezone) -> str:
    return datetime.fromtimestamp(at, zone).strftime("%d.%m.%Y %H:%M:%S")
