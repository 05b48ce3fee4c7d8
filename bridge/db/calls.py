"""Rows of `calls` and `call_timeline`, as the machine writes them. Reading them for people is `bridge.db.call_lists`.

A batch of calls is one statement for the rows and one for their timelines: the writer's transaction is as short as that
of a single call. Rows are written in the order of their keys, so that two writers never wait for each other in a ring.

The columns of the source documents follow from the call:

caller_number             inbound: the client; outbound: the extension that dialled; internal: the one that called
receiver_number           inbound: the line; outbound: the client; internal: whoever picked up, else who rang first.
                          Like the caller's, in E.164 where it is a telephone number; `line` is as the PBX has it
channel_id                the client's channel (internal: the caller's)
accepted_at, answered_at  when an extension (outbound: the client) picked up
duration                  seconds of talk
answered_by_user_id       whose the extension that talked last is, by `user_internal_phones`
assigned_user_id          the same; while nobody talked, whose the only extension of the call is
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from bridge.calls.model import Call, Change
from bridge.calls.numbers import e164
from bridge.db.pool import Connection, clean

Status = Literal["incoming", "accepted", "rejected", "missed", "completed"]

_YEAR_10000 = 253_402_300_800
_LONGEST = 2**31 - 1

# Postgres refuses a NOTIFY of 8000 bytes; an id takes at most 20 of them.
_IDS_PER_NOTICE = 300

_SAVE = """
insert into calls as c (
    enterprise_number, pbx_name, call_id, direction, result, status, client_number, client_name, line, caller_number,
    receiver_number, channel_id, extensions, answered_by, answered_first, started_at, accepted_at, answered_at,
    ended_at, wait_seconds, talk_seconds, duration, ended_by, transfers, transfer_count, holds, is_on_hold, queue,
    recording, state, legs, answered_by_user_id, assigned_user_id
)
select $1, $2, r.call_id, r.direction, r.result, r.status, r.client_number, r.client_name, r.line, r.caller_number,
    r.receiver_number, r.channel_id, r.extensions, r.answered_by, r.answered_first, to_timestamp(r.started_at),
    to_timestamp(r.answered_at), to_timestamp(r.answered_at), to_timestamp(r.ended_at), r.wait_seconds, r.talk_seconds,
    r.talk_seconds, r.ended_by, r.transfers, r.transfer_count, r.holds, r.is_on_hold, r.queue, r.recording,
    decode(r.state, 'base64'), r.legs, talked.user_id, coalesce(talked.user_id, alone.user_id)
from jsonb_to_recordset($3) as r (
    call_id text, direction text, result text, status text, client_number text, client_name text, line text,
    caller_number text, receiver_number text, channel_id text, extensions text[], answered_by text, answered_first text,
    started_at float8, answered_at float8, ended_at float8, wait_seconds integer, talk_seconds integer, ended_by text,
    transfers jsonb, transfer_count integer, holds integer, is_on_hold boolean, queue text, recording text, state text,
    legs jsonb
)
left join user_internal_phones talked on talked.enterprise_number = $1 and talked.phone_number = r.answered_by
left join user_internal_phones alone
    on alone.enterprise_number = $1 and cardinality(r.extensions) = 1 and alone.phone_number = r.extensions[1]
order by r.call_id
on conflict (enterprise_number, pbx_name, call_id) do update set
    direction = excluded.direction, result = excluded.result, status = excluded.status,
    client_number = excluded.client_number, client_name = excluded.client_name, line = excluded.line,
    caller_number = excluded.caller_number, receiver_number = excluded.receiver_number,
    channel_id = excluded.channel_id, extensions = excluded.extensions, answered_by = excluded.answered_by,
    answered_first = excluded.answered_first, started_at = excluded.started_at, accepted_at = excluded.accepted_at,
    answered_at = excluded.answered_at, ended_at = excluded.ended_at, wait_seconds = excluded.wait_seconds,
    talk_seconds = excluded.talk_seconds, duration = excluded.duration, ended_by = excluded.ended_by,
    transfers = excluded.transfers, transfer_count = excluded.transfer_count, holds = excluded.holds,
    is_on_hold = excluded.is_on_hold, queue = excluded.queue, recording = excluded.recording, state = excluded.state,
    legs = excluded.legs,
    answered_by_user_id = coalesce(excluded.answered_by_user_id, c.answered_by_user_id),
    assigned_user_id = coalesce(excluded.assigned_user_id, c.assigned_user_id),
    updated_at = now()
returning c.call_id, c.id
"""
_APPEND = """
insert into call_timeline (call_pk, at, change, details)
select t.call_pk, to_timestamp(t.at), t.change, t.details
from rows from (jsonb_to_recordset($1) as (call_pk bigint, at float8, change text, details jsonb))
    with ordinality as t (call_pk, at, change, details, n)
order by t.n
"""
# What a person typed into the row that goes is kept where the row that stays has nothing.
_MERGE = """
update calls kept set
    notes = coalesce(kept.notes, gone.notes), customer_name = coalesce(kept.customer_name, gone.customer_name),
    company = coalesce(kept.company, gone.company), email = coalesce(kept.email, gone.email),
    call_purpose = coalesce(kept.call_purpose, gone.call_purpose), priority = coalesce(kept.priority, gone.priority),
    follow_up_date = coalesce(kept.follow_up_date, gone.follow_up_date), outcome = coalesce(kept.outcome, gone.outcome),
    tags = kept.tags || gone.tags, updated_at = now()
from calls gone
where (gone.enterprise_number, gone.pbx_name, gone.call_id) = ($1, $2, $3)
  and (kept.enterprise_number, kept.pbx_name, kept.call_id) = ($1, $2, $4)
returning kept.id, gone.id as gone_id
"""
_MOVE_TIMELINE = "update call_timeline set call_pk = $1 where call_pk = $2"
_REMOVE = "delete from calls where (enterprise_number, pbx_name, call_id) = ($1, $2, $3) returning id"
_LIVE = """
select state from calls
where enterprise_number = $1 and pbx_name = $2 and state is not null
order by id
"""
_ATTRIBUTE = """
update calls c set reconciled = a.reconciled, assigned_user_id = coalesce(c.assigned_user_id, p.user_id)
from jsonb_to_recordset($2) as a (id bigint, extension text, reconciled boolean)
left join user_internal_phones p on p.enterprise_number = $1 and p.phone_number = a.extension
where c.id = a.id and (
    c.reconciled <> a.reconciled or c.assigned_user_id is null and p.user_id is not null
)
"""
_ANNOUNCE = "select pg_notify('bridge_live', payload) from unnest($1::text[]) as payload"


class CallWrite(msgspec.Struct, frozen=True, kw_only=True):
    """What one call owes: its newest form, the machine's memory of it (None: it is over), what happened to it."""

    call: Call
    state: bytes | None = None
    changes: Sequence[Change] = ()


class Attribution(msgspec.Struct, frozen=True, kw_only=True):
    """Whose a call is when no phone tells: the extension of its operator. `reconciled`: known from the exchange's
    history alone."""

    id: int
    extension: str | None
    reconciled: bool


async def save(
    connection: Connection,
    enterprise_number: str,
    pbx_name: str,
    writes: Sequence[CallWrite],
    *,
    region: str | None = None,
) -> dict[str, int]:
    """Insert or update the calls' rows and append to their timelines, in the caller's transaction; call_id -> id.

    `region`: the country in which lines' numbers are read; None leaves them as the stream has them.
    Where a call comes twice its last form wins; the changes of both are kept.
    """
    # Under the id that is stored: where Postgres would refuse a character, two ids may be one.
    newest = {clean(write.call.call_id): write for write in writes}
    rows = await connection.fetch(_SAVE, enterprise_number, pbx_name, [row(write, region) for write in newest.values()])
    stored = {found["call_id"]: found["id"] for found in rows}
    ids = {write.call.call_id: stored[clean(write.call.call_id)] for write in writes}
    entries = [entry(ids[write.call.call_id], change) for write in writes for change in write.changes]
    if entries:
        await connection.execute(_APPEND, entries)
    return ids


async def absorb(connection: Connection, enterprise_number: str, pbx_name: str, call_id: str, into: str) -> int | None:
    """The call turned out to be a part of the call `into`: its row goes, its timeline moves. The id it had, or None."""
    merged = await connection.fetchrow(_MERGE, enterprise_number, pbx_name, call_id, into)
    if merged is not None:
        await connection.execute(_MOVE_TIMELINE, merged["id"], merged["gone_id"])
    removed: int | None = await connection.fetchval(_REMOVE, enterprise_number, pbx_name, call_id)
    return removed


async def attribute(connection: Connection, enterprise_number: str, attributions: Sequence[Attribution]) -> None:
    """Assign calls that are nobody's to their operators, and mark those that only the history knows."""
    if attributions:
        await connection.execute(_ATTRIBUTE, enterprise_number, list(attributions))


async def live_states(connection: Connection, enterprise_number: str, pbx_name: str) -> list[bytes]:
    """The machine's memory of the PBX's calls that were not over when they were last written, oldest first."""
    return [found["state"] for found in await connection.fetch(_LIVE, enterprise_number, pbx_name)]


async def announce(connection: Connection, enterprise_number: str, ids: Iterable[int]) -> None:
    """NOTIFY bridge_live of changed calls, once per transaction: it comes with the commit and slows every commit."""
    numbers = sorted(set(ids))
    payloads = [
        msgspec.json.encode(
            {"enterprise_number": enterprise_number, "calls": numbers[start : start + _IDS_PER_NOTICE]}
        ).decode()
        for start in range(0, len(numbers), _IDS_PER_NOTICE)
    ]
    if payloads:
        await connection.execute(_ANNOUNCE, payloads)


def status(call: Call) -> Status:
    """The source documents' word for a call.

    active      accepted while somebody talks, else incoming
    answered    completed
    missed      missed
    busy        rejected
    no_answer, cancelled, failed, incomplete
                completed after talk; without talk missed when inbound (nobody spoke to the client), else rejected
    """
    talked = call.answered_by is not None or call.answered_at is not None
    match call.status:
        case "active":
            return "accepted" if talked else "incoming"
        case "answered":
            return "completed"
        case "missed":
            return "missed"
        case "busy":
            return "rejected"
        case "no_answer" | "cancelled" | "failed" | "incomplete":
            if talked:
                return "completed"
            return "missed" if call.direction == "inbound" else "rejected"


def row(write: CallWrite, region: str | None = None) -> dict[str, Any]:
    """The call as `_SAVE` takes it: a record of JSON."""
    call = write.call
    caller, receiver = parties(call, region)
    client = next((leg for leg in call.legs if leg.role == "client"), call.legs[0] if call.legs else None)
    return {
        "call_id": call.call_id,
        "direction": call.direction,
        "result": call.status,
        "status": status(call),
        "client_number": call.client_number,
        "client_name": call.client_name,
        "line": call.line,
        "caller_number": caller,
        "receiver_number": receiver,
        "channel_id": client.channel if client else None,
        "extensions": call.extensions,
        "answered_by": call.answered_by,
        "answered_first": call.answered_first,
        "started_at": _moment(call.started_at),
        "answered_at": _moment(call.answered_at),
        "ended_at": _moment(call.ended_at),
        "wait_seconds": _seconds(call.wait_seconds),
        "talk_seconds": _seconds(call.talk_seconds),
        "ended_by": call.ended_by,
        "transfers": call.transfers,
        "transfer_count": len(call.transfers),
        "holds": call.holds,
        "is_on_hold": call.on_hold,
        "queue": call.queue,
        "recording": call.recording,
        "state": write.state,  # base64 in JSON
        "legs": call.legs,
    }


def parties(call: Call, region: str | None = None) -> tuple[str | None, str | None]:
    """Who called and who was called, as the table at the top says."""
    first = call.extensions[0] if call.extensions else None
    match call.direction:
        case "inbound":
            return call.client_number, _number(call.line, region)
        case "outbound":
            return first or _number(call.line, region), call.client_number
        case "internal":
            caller = call.legs[0].extension or call.legs[0].number if call.legs else None
            return caller, call.answered_by or first


def _number(line: str | None, region: str | None) -> str | None:
    """A line in E.164, or as the PBX calls it where that is no telephone number."""
    return (e164(line, region) or line) if line and region else line


def entry(call_pk: int, change: Change) -> dict[str, Any]:
    """A line of the timeline: the change's own fields are its details."""
    told = msgspec.to_builtins(change)
    details = {name: value for name, value in told.items() if name not in ("change", "call", "at")}
    return {"call_pk": call_pk, "at": _moment(change.at), "change": told["change"], "details": details}


def _moment(at: float | None) -> float | None:
    """A time that timestamptz and datetime hold; a PBX can send others."""
    return at if at is not None and 0 <= at < _YEAR_10000 else None


def _seconds(count: int | None) -> int | None:
    return None if count is None else max(0, min(count, _LONGEST))
