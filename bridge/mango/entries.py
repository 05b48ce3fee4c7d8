"""SQL of the entries to work on: which have news, what was kept of them, what was told of them, what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import asyncpg
import msgspec

from bridge.calls.model import Call
from bridge.mango.events import FlatEvent

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

# Of whatever is new, the oldest first; `most` bounds what is looked at, so that a long backlog costs no more. What
# belongs to no call has no entry_id.
_NEWS = """
select n.enterprise_number, n.entry_id
from (
    select enterprise_number, entry_id, id from mango_webhooks
    where state = 'new' and enterprise_number is not null
    order by id limit $1
) n
group by 1, 2 order by min(n.id)
"""
_DUE = "select enterprise_number, entry_id from mango_calls where due_at <= clock_timestamp() order by due_at limit $1"
# A statement of its own: what comes after it sees all that was committed by whoever held the lock before.
_LOCK = """
select e, extract(epoch from clock_timestamp())::double precision as now from unnest($2::text[]) as e
where pg_try_advisory_xact_lock(hashtextextended('bridge_mango:' || $1 || ':' || e, 0))
"""
_SAID = """
select id, entry_id, dialect, path, body, state, extract(epoch from received_at)::double precision as at
from mango_webhooks
where enterprise_number = $1 and entry_id = any($2) and state not in ('malformed', 'refused')
order by id
"""
_TOLD = """
select entry_id, told, call_pk, swept, extract(epoch from due_at)::double precision as due
from mango_calls where enterprise_number = $1 and entry_id = any($2)
"""
_REMEMBER = """
insert into mango_calls (enterprise_number, entry_id, call_pk, told, due_at)
select $1, r.entry_id, r.call_pk, decode(r.told, 'base64'), to_timestamp(r.due)
from jsonb_to_recordset($2) as r (entry_id text, call_pk bigint, told text, due double precision)
on conflict (enterprise_number, entry_id) do update set
    call_pk = excluded.call_pk, told = excluded.told, due_at = excluded.due_at, updated_at = now()
"""
_SETTLE = """
update mango_webhooks w set state = s.state, reason = s.reason, worked_at = clock_timestamp()
from unnest($1::bigint[], $2::text[], $3::text[]) as s (id, state, reason)
where w.id = s.id
"""
_LEAVE = """
update mango_calls set due_at = now() + make_interval(secs => $3)
where enterprise_number = $1 and entry_id = any($2) and due_at is not null
"""
_RESULTS = """
select id, enterprise_number, dialect, path, body, extract(epoch from received_at)::double precision as at
from mango_webhooks
where state = 'new' and entry_id is null and enterprise_number is not null
order by id limit $1
for update skip locked
"""
# The source documents' table of the flat dialect: a row for each call, of what was last said.
_FLAT = """
insert into mango as m (
    enterprise_number, call_id, entry_id, from_number, to_number, direction, status, duration, record_url, line_number,
    location, disconnect_reason, raw
)
select $1, r.call_id, r.entry_id, r.from_number, r.to_number, r.direction, r.status, r.duration, r.record_url,
    r.line_number, r.location, r.disconnect_reason, coalesce(r.raw, '{}')
from jsonb_to_recordset($2) as r (
    call_id text, entry_id text, from_number text, to_number text, direction text, status text, duration integer,
    record_url text, line_number text, location text, disconnect_reason text, raw jsonb
)
on conflict (enterprise_number, call_id) do update set
    entry_id = excluded.entry_id, from_number = excluded.from_number, to_number = excluded.to_number,
    direction = excluded.direction, status = excluded.status, duration = excluded.duration,
    record_url = excluded.record_url, line_number = excluded.line_number, location = excluded.location,
    disconnect_reason = excluded.disconnect_reason, raw = excluded.raw, updated_at = now()
where m.status is distinct from excluded.status or m.raw is distinct from excluded.raw
"""
_SWEEP = """
with gone as (
    delete from mango_webhooks where id in (
        select id from mango_webhooks
        where received_at < now() - make_interval(days => $1) and state <> 'new'
        order by received_at limit $2
    )
    returning enterprise_number, entry_id
), closed as (
    update mango_calls c set swept = true, due_at = null
    from (select distinct enterprise_number, entry_id from gone) g
    where c.enterprise_number = g.enterprise_number and c.entry_id = g.entry_id and not c.swept
)
select count(*) from gone
"""
_BACKLOG = """
select count(*) as waiting,
    coalesce(extract(epoch from clock_timestamp() - min(received_at)), 0)::double precision as age
from mango_webhooks where state = 'new'
"""

LONGEST_SECONDS = 2**31 - 1

LATER = 3600.0
"""Seconds after which an entry that could not be read is tried again."""


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """One webhook as it was kept. `at`: when it was received (epoch)."""

    id: int
    entry_id: str
    dialect: str
    path: str
    body: bytes
    state: str
    at: float


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What was last told of an entry. `call` None: nothing made one yet."""

    call: Call | None = None
    call_pk: int | None = None
    swept: bool = False
    due: float | None = None


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """What is told of an entry now."""

    entry_id: str
    call: Call | None
    call_pk: int | None
    due: float | None


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a webhook."""

    id: int
    state: str
    reason: str | None = None


class Found(msgspec.Struct, frozen=True):
    """`entries`: enterprise -> those that have something new or are due, the oldest first. `others`: whether there is
    something new that belongs to no call."""

    entries: dict[str, list[str]]
    others: bool


async def with_news(connection: Connection, most: int) -> Found:
    found: dict[str, dict[str | None, None]] = {}
    for row in [*await connection.fetch(_NEWS, most), *await connection.fetch(_DUE, most)]:
        found.setdefault(row["enterprise_number"], {})[row["entry_id"]] = None
    return Found(
        {number: [each for each in entries if each is not None] for number, entries in found.items()},
        any(None in entries for entries in found.values()),
    )


async def lock(
    connection: Connection, enterprise_number: str, entry_ids: Sequence[str]
) -> tuple[list[str], float | None]:
    """Those of the entries that nobody else works on, until the end of the transaction; and the clock that
    `received_at` is of (epoch), where there are any."""
    rows = await connection.fetch(_LOCK, enterprise_number, list(entry_ids))
    return [row["e"] for row in rows], max((row["now"] for row in rows), default=None)


async def said(connection: Connection, enterprise_number: str, entry_ids: Sequence[str]) -> dict[str, list[Said]]:
    """All that is kept of each entry."""
    found: dict[str, list[Said]] = {entry_id: [] for entry_id in entry_ids}
    for row in await connection.fetch(_SAID, enterprise_number, list(entry_ids)):
        found[row["entry_id"]].append(Said(**dict(row)))
    return found


async def told(connection: Connection, enterprise_number: str, entry_ids: Sequence[str]) -> dict[str, Told]:
    rows = await connection.fetch(_TOLD, enterprise_number, list(entry_ids))
    return {
        row["entry_id"]: Told(
            call=msgspec.msgpack.decode(row["told"], type=Call) if row["told"] is not None else None,
            call_pk=row["call_pk"],
            swept=row["swept"],
            due=row["due"],
        )
        for row in rows
    }


async def remember(connection: Connection, enterprise_number: str, told: Sequence[Remembered]) -> None:
    rows = [
        {
            "entry_id": each.entry_id,
            "call_pk": each.call_pk,
            "told": msgspec.msgpack.encode(each.call) if each.call is not None else None,  # base64 in JSON
            "due": each.due,
        }
        for each in told
    ]
    if rows:
        await connection.execute(_REMEMBER, enterprise_number, rows)


async def settle(connection: Connection, settled: Sequence[Settled]) -> None:
    if settled:
        ids, states, reasons = zip(*((each.id, each.state, each.reason) for each in settled), strict=True)
        await connection.execute(_SETTLE, list(ids), list(states), list(reasons))


async def leave(connection: Connection, enterprise_number: str, entry_ids: Sequence[str]) -> None:
    """Do not look at these again for an hour, or until something new is said."""
    await connection.execute(_LEAVE, enterprise_number, list(entry_ids), LATER)


async def results(connection: Connection, most: int) -> list[asyncpg.Record]:
    """New webhooks that belong to no call: answers to commands. Nobody else gets them until the transaction ends."""
    rows: list[asyncpg.Record] = await connection.fetch(_RESULTS, most)
    return rows


async def keep_flat(
    connection: Connection, enterprise_number: str, heard: Mapping[str, Sequence[tuple[FlatEvent, bytes]]]
) -> None:
    """Bring the rows of the flat dialect's calls up to date: call_id -> its events with their JSON, as received."""
    rows = [_flat_row(events) for events in heard.values()]
    if rows:
        await connection.execute(_FLAT, enterprise_number, rows)


async def sweep(connection: Connection, days: int, most: int) -> int:
    """Remove what was worked longer ago than that; how many. Their entries are closed: nothing is added to them."""
    swept: int = await connection.fetchval(_SWEEP, days, most)
    return swept


async def backlog(connection: Connection) -> tuple[int, float]:
    """How many webhooks are not worked, and the age of the oldest in seconds."""
    row = await connection.fetchrow(_BACKLOG)
    return (row["waiting"], row["age"]) if row is not None else (0, 0.0)


_STATUSES = {"start": "started", "answer": "answered", "end": "completed"}
_DIRECTIONS = {"inbound": "in", "outbound": "out", "internal": "internal"}


def _flat_row(events: Sequence[tuple[FlatEvent, bytes]]) -> dict[str, object]:
    """Whatever came furthest, and of every field what was said last in that order."""
    order = list(_STATUSES)
    ordered = sorted(events, key=lambda each: (order.index(each[0].status), each[0].timestamp or 0.0))
    last, raw = ordered[-1]
    fields: dict[str, object] = {}
    for event, _ in ordered:
        given = {
            "from_number": event.from_number,
            "to_number": event.to_number,
            "direction": _DIRECTIONS.get(event.direction or ""),
            "duration": event.duration if event.duration is None else max(0, min(event.duration, LONGEST_SECONDS)),
            "record_url": event.record_url,
            "line_number": event.line_number,
            "location": event.location or None,
            "disconnect_reason": event.reason,
        }
        fields |= {name: value for name, value in given.items() if value is not None}
    return {
        **fields,
        "call_id": last.call_id,
        "entry_id": last.entry_id,
        "status": _STATUSES[last.status],
        "raw": msgspec.json.decode(raw),
    }
