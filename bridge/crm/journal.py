"""SQL of the delivery journal and of the queues beside it, as the worker uses them: claim, settle, log.

pgmq holds whose turn it is, one queue per account, one FIFO group per call; the journal row holds everything else.
A message that is over is deleted, not archived: the journal row is its archive.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from bridge.crm.accounts import Account, Connection


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery whose turn it is. `age` in seconds since it was queued; `call` is the call's JSON."""

    id: int
    message: int
    kind: str
    sequence: int
    external_id: str
    extensions: tuple[str, ...]
    call: str
    recording_url: str | None
    state: str
    attempts: int
    age: float


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What integration_logs keeps of one attempt."""

    event_type: str
    request: Any
    response: Any
    error: str | None


_UNFIT = re.compile("[\0\ud800-\udfff]")

GROUP = "x-pgmq-group"
"""The header by which pgmq knows the FIFO group."""

_HEADS = "select msg_id, (message ->> 'delivery')::bigint as delivery from pgmq.read_grouped_head($1, $2, $3)"

# SKIP LOCKED: a row the outbox is merging into is read again in a moment; waiting for it could be a deadlock.
_ENTRIES = """
select d.id, d.kind, d.sequence, d.external_id, d.extensions, d.call::text as call, d.state, d.attempts,
       extract(epoch from clock_timestamp() - d.queued_at)::double precision as age,
       (select c.recording_url from calls c where c.id = d.call_pk) as recording_url
from deliveries d where d.id = any($1) for update of d skip locked
"""

_BEGIN = """
update deliveries set state = 'sending', attempts = attempts + 1, due_at = clock_timestamp() + make_interval(secs => $2)
where id = any($1)
"""

_SETTLE = """
update deliveries set state = $3, reason = $4, done_at = case when $3 <> 'pending' then clock_timestamp() end,
    due_at = clock_timestamp() + make_interval(secs => $5)
where id = $1 and attempts = $2 and state in ('pending', 'sending')
returning extract(epoch from clock_timestamp() - queued_at)::double precision as age
"""

_LOG = """
insert into integration_logs
    (enterprise_number, integration_type, event_type, request_data, response_data, status, error_message)
values ($1, $2, $3, $4::text::jsonb, $5::text::jsonb, $6, $7)
"""


async def heads(conn: Connection, account: Account, count: int, visibility: int) -> list[Entry]:
    """Up to `count` deliveries whose turn it is, oldest first, each the first of its call; locked until the end of the
    transaction and out of other readers' sight for `visibility` seconds. A call whose first is out of sight waits."""
    messages = {row["delivery"]: row["msg_id"] for row in await conn.fetch(_HEADS, account.queue, visibility, count)}
    if not messages:
        return []
    rows = {row["id"]: row for row in await conn.fetch(_ENTRIES, list(messages))}
    for delivery, message in messages.items():
        if delivery not in rows:
            if await conn.fetchval("select exists (select from deliveries where id = $1)", delivery):
                await conn.execute("select pgmq.set_vt($1, $2::bigint, 0)", account.queue, message)
            else:
                await conn.execute("select pgmq.delete($1, $2::bigint)", account.queue, message)
    return [
        Entry(
            id=row["id"],
            message=messages[row["id"]],
            kind=row["kind"],
            sequence=row["sequence"],
            external_id=row["external_id"],
            extensions=tuple(row["extensions"]),
            call=row["call"],
            recording_url=row["recording_url"],
            state=row["state"],
            attempts=row["attempts"],
            age=row["age"],
        )
        for row in sorted(rows.values(), key=lambda row: messages[row["id"]])
    ]


async def begin(conn: Connection, entries: Sequence[Entry], visibility: int) -> list[Entry]:
    """The attempt counts from now, before anything is sent, so that a crash cannot hide it."""
    await conn.execute(_BEGIN, [entry.id for entry in entries], float(visibility))
    return [msgspec.structs.replace(entry, state="sending", attempts=entry.attempts + 1) for entry in entries]


async def settle(
    conn: Connection, queue: str, entry: Entry, state: str, reason: str | None, retry_in: float | None = None
) -> float | None:
    """Write what became of an entry; its message goes, or comes back in `retry_in` seconds (state `pending`).

    Returns the delivery's age, or None when somebody else has taken it over meanwhile: then nothing is changed.
    """
    age: float | None = await conn.fetchval(_SETTLE, entry.id, entry.attempts, state, reason, retry_in or 0.0)
    if age is None:
        return None
    if retry_in is None:
        await conn.execute("select pgmq.delete($1, $2::bigint)", queue, entry.message)
    else:
        await conn.execute(
            "select pgmq.set_vt($1, $2::bigint, clock_timestamp() + make_interval(secs => $3))",
            queue,
            entry.message,
            retry_in,
        )
    return age


async def forget(conn: Connection, queue: str, entry: Entry) -> None:
    """The journal says it is over: only the message has to go."""
    await conn.execute("select pgmq.delete($1, $2::bigint)", queue, entry.message)


async def log_attempt(conn: Connection, account: Account, attempt: Attempt) -> None:
    await conn.execute(
        _LOG,
        account.enterprise_number,
        account.integration_type,
        attempt.event_type,
        _json(attempt.request),
        _json(attempt.response),
        "success" if attempt.error is None else "error",
        None if attempt.error is None else fit(attempt.error),
    )


def fit(value: Any) -> Any:
    """The same plain data without what no Postgres text or jsonb can hold: NUL and lone surrogates become U+FFFD."""
    match value:
        case str():
            return _UNFIT.sub("\ufffd", value)
        case dict():
            return {fit(key): fit(item) for key, item in value.items()}
        case list() | tuple():
            return [fit(item) for item in value]
        case _:
            return value


def _json(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(fit(msgspec.to_builtins(value))).decode()


_BACKLOG = """
select a.integration_type, count(*) filter (where d.state <> 'dead') as owed,
       coalesce(max(extract(epoch from clock_timestamp() - d.queued_at)) filter (where d.state <> 'dead'), 0) as oldest,
       count(*) filter (where d.state = 'dead') as dead
from crm_accounts a join deliveries d on d.account_id = a.id and d.state in ('pending', 'sending', 'dead')
group by a.integration_type
"""

_BREAKERS = """
select integration_type, count(*) as open from crm_accounts
where open_until > extract(epoch from clock_timestamp()) group by integration_type
"""


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What one kind of CRM is owed over all enterprises. `oldest` in seconds."""

    owed: int = 0
    oldest: float = 0.0
    dead: int = 0
    open: int = 0


async def backlog(conn: Connection) -> dict[str, Backlog]:
    """By integration type. Reads only what is not over."""
    open_ = {row["integration_type"]: row["open"] for row in await conn.fetch(_BREAKERS)}
    found = {
        row["integration_type"]: Backlog(
            owed=row["owed"],
            oldest=float(row["oldest"]),
            dead=row["dead"],
            open=open_.get(row["integration_type"], 0),
        )
        for row in await conn.fetch(_BACKLOG)
    }
    return {kind: Backlog(open=count) for kind, count in open_.items()} | found
