"""What the live page shows, read from the database and made ready for the templates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg

from bridge.db import call_lists, deliveries, enterprises
from bridge.db.pool import Connection
from bridge.db.scope import Scope
from bridge.recordings.journal import Recording
from bridge.recordings.journal import of_calls as recordings_of

CALLS_SHOWN = 50
DELIVERIES_SHOWN = 30
UNSETTLED = frozenset({"pending", "sending", "dead"})
"""States that a delivery can leave again."""


@dataclass(slots=True)
class Rows:
    """Calls and deliveries as mappings for the templates, newest first."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    deliveries: list[dict[str, Any]] = field(default_factory=list)


async def recent(connection: Connection, scope: Scope) -> Rows:
    """What a reader sees when the page opens: all that goes on, and the last of what is over."""
    active = await call_lists.active(connection, scope, most=200)
    latest = await call_lists.latest(connection, scope, CALLS_SHOWN)
    known = {row["id"]: row for row in (*active, *latest)}
    owed = await deliveries.latest(connection, scope, DELIVERIES_SHOWN)
    return await _ready(connection, list(known.values()), owed)


async def changed(connection: Connection, call_pks: Sequence[int]) -> Rows:
    """These calls and all their deliveries, whoever may see them."""
    rows = await call_lists.by_ids(connection, Scope(None), call_pks)
    found = await _ready(connection, rows, [])
    found.deliveries = [delivery for call in found.calls for delivery in call["deliveries"]]
    return found


async def _ready(connection: Connection, calls: Sequence[asyncpg.Record], owed: Sequence[asyncpg.Record]) -> Rows:
    zones: dict[str, ZoneInfo] = {}
    for row in (*calls, *owed):
        number = row["enterprise_number"]
        if number not in zones:
            zones[number] = await enterprises.timezone(connection, number)
    of_call: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for delivery in await deliveries.of_calls(connection, [row["id"] for row in calls]):
        of_call[delivery["call"]].append({**delivery, "zone": zones[delivery["enterprise_number"]]})
    recorded: dict[int, list[Recording]] = defaultdict(list)
    for recording in await recordings_of(connection, [row["id"] for row in calls]):
        recorded[recording.call_pk].append(recording)
    ready = [_call(row, zones[row["enterprise_number"]], of_call[row["id"]], recorded[row["id"]]) for row in calls]
    ready.sort(key=lambda call: call["order"], reverse=True)
    return Rows(ready, [{**row, "zone": zones[row["enterprise_number"]]} for row in owed])


def _call(row: asyncpg.Record, zone: ZoneInfo, owed: list[dict[str, Any]], recorded: list[Recording]) -> dict[str, Any]:
    began = row["started_at"] or row["created_at"]
    more = {"zone": zone, "began": began, "order": began.timestamp(), "deliveries": owed, "recordings": recorded}
    return {**row, **more}
