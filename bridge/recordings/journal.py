"""SQL of the table `recordings` as callers and people see it: owing a recording, its link, what became of it.

A recording is owed in the transaction that writes its call, and the call's `recording_url` is set there, so that
whoever is told of the call is told of the link. Fetching is the pipeline's (`bridge.recordings.work`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

import asyncpg
import msgspec

from bridge.recordings.links import Links, link_id_of, new_link_id

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
State = Literal["waiting", "fetching", "stored", "absent", "failed", "expired"]

_NEVER = frozenset({"absent", "expired"})
"""States in which a link would lead nowhere."""

ASTERISK, MANGO, ADDRESS = "asterisk", "mango", "address"
"""Sources. `reference` is: the file's name as the event stream has it; Mango's recording_id; an https address."""

# What is fetched already keeps what it was fetched by; what is due sooner than was thought is due then, never later.
_OWE = """
insert into recordings (enterprise_number, pbx_name, call_id, source, part, reference, link_id, due_at, owed_at)
select $1, $2, o.call_id, o.source, o.part, o.reference, o.link_id, o.due_at, o.due_at
from (
    select *, clock_timestamp() + make_interval(secs => after) as due_at
    from jsonb_to_recordset($3)
        as r (call_id text, source text, part text, reference text, link_id text, after double precision)
) o
order by o.call_id, o.source, o.part
on conflict (enterprise_number, pbx_name, call_id, source, part) do update set
    reference = case when recordings.state = 'waiting' then excluded.reference else recordings.reference end,
    due_at = case
        when recordings.state = 'waiting' and recordings.attempts = 0 then least(recordings.due_at, excluded.due_at)
        else recordings.due_at
    end,
    owed_at = case
        when recordings.attempts = 0 then least(recordings.owed_at, excluded.owed_at) else recordings.owed_at
    end
returning id, call_id, part, link_id, state
"""
_CALLS = "select id, call_id from calls where enterprise_number = $1 and pbx_name = $2 and call_id = any($3)"
_SET_LINKS = """
update calls c set recording_url = l.url, updated_at = now()
from jsonb_to_recordset($1) as l (id bigint, url text)
where c.id = l.id and c.recording_url is null
"""
# The first recording that is there, or still may come; the call's own, if it is one of its others, stays.
_BEST = """
select c.id, c.recording_url,
    array_agg(r.link_id order by r.id) filter (where r.state not in ('absent', 'expired')) as links
from calls c join recordings r using (enterprise_number, pbx_name, call_id)
where (c.enterprise_number, c.pbx_name, c.call_id) = ($1, $2, $3) group by c.id
"""
# A call has one file of its own at its PBX: that of the absorbed call stays beside it, under its old call's id.
_MOVE = """
update recordings r set call_id = $4, part = case when exists (
    select from recordings k
    where (k.enterprise_number, k.pbx_name, k.call_id, k.source, k.part) = ($1, $2, $4, r.source, r.part)
) then left($3 || '/' || r.part, 512) else r.part end
where (r.enterprise_number, r.pbx_name, r.call_id) = ($1, $2, $3)
returning id, link_id, state
"""
_RECORDING = """
r.id, r.enterprise_number, r.pbx_name, r.call_id, r.source, r.part, r.link_id, r.state, r.reason, r.attempts, r.due_at,
r.key, r.size, r.sha256, r.content_type, r.stored_at, r.created_at, c.id as call_pk, c.recording_url, c.started_at
"""
_JOIN = " from recordings r join calls c using (enterprise_number, pbx_name, call_id) "
_OF_CALLS = "select " + _RECORDING + _JOIN + "where c.id = any($1::bigint[]) order by r.id"
_BY_LINK = "select " + _RECORDING + _JOIN + "where r.link_id = $1"
_RELINK = "update recordings set link_id = $2 where id = $1"
_SET_LINK = "update calls set recording_url = $2, updated_at = now() where id = $1"
_RETRY = """
update recordings set state = 'waiting', attempts = 0, due_at = clock_timestamp(), owed_at = clock_timestamp()
where id = any($1::bigint[]) and state in ('failed', 'absent') returning id
"""


class Owed(msgspec.Struct, frozen=True, kw_only=True):
    """A recording that is owed. `after`: seconds before it is fetched; None: not before it is owed again (the call goes
    on). `part` tells a call's recordings of one source apart; None: by the reference."""

    call_id: str
    source: str
    reference: str
    after: float | None = 0.0
    part: str | None = None


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """A recording of a call as people see it. `reason`: why it is not there; `size` (bytes), `sha256`: once stored."""

    id: int
    enterprise_number: str
    pbx_name: str
    call_id: str
    call_pk: int
    recording_url: str | None
    started_at: datetime | None
    source: str
    part: str
    link_id: str
    state: State
    reason: str | None
    attempts: int
    due_at: datetime | None
    key: str | None
    size: int | None
    sha256: bytes | None
    content_type: str | None
    stored_at: datetime | None
    created_at: datetime


class Recordings:
    """Owes recordings and gives their links."""

    def __init__(self, links: Links) -> None:
        self._links = links

    async def owe(
        self,
        conn: Connection,
        enterprise_number: str,
        pbx_name: str,
        call_id: str,
        source: str,
        reference: str,
        *,
        after: float | None = 0.0,
    ) -> str:
        """Owe one recording, in the caller's transaction; its link, or "" while there is no such call.

        To be repeated as often as one likes: the same source and reference of a call is the same recording. Repeat it
        once the call's row is written, if it was not yet."""
        owed = Owed(call_id=call_id, source=source, reference=reference, after=after)
        links = await self.owe_all(conn, enterprise_number, pbx_name, [owed])
        return links.get(owed, "")

    async def owe_all(
        self, conn: Connection, enterprise_number: str, pbx_name: str, owed: Sequence[Owed]
    ) -> dict[Owed, str]:
        """The same for many: three statements however many they are. Rows are written in the order of their keys."""
        wanted = {(each.call_id, each.source, _part(each)): each for each in owed}
        if not wanted:
            return {}
        found = await conn.fetch(
            _OWE, enterprise_number, pbx_name, [_row(each, part) for (_, _, part), each in wanted.items()]
        )
        calls = await self._calls(conn, enterprise_number, pbx_name, {row["call_id"] for row in found})
        urls = {
            (row["call_id"], row["part"]): self._links.url(enterprise_number, calls[row["call_id"]], row["link_id"])
            for row in found
            if row["call_id"] in calls
        }
        first: dict[int, str] = {}
        for row in found:
            if row["call_id"] in calls and row["state"] not in _NEVER:
                first.setdefault(calls[row["call_id"]], urls[row["call_id"], row["part"]])
        await conn.execute(_SET_LINKS, [{"id": call_pk, "url": url} for call_pk, url in first.items()])
        return {each: urls.get((call_id, part), "") for (call_id, _, part), each in wanted.items()}

    async def move(self, conn: Connection, enterprise_number: str, pbx_name: str, call_id: str, into: str) -> None:
        """The call turned out to be part of the call `into`: so are its recordings."""
        moved = await conn.fetch(_MOVE, enterprise_number, pbx_name, call_id, into)
        calls = await self._calls(conn, enterprise_number, pbx_name, {into} if moved else set())
        for call_pk in calls.values():
            for row in moved:
                if row["state"] not in _NEVER:
                    url = self._links.url(enterprise_number, call_pk, row["link_id"])
                    await conn.execute(_SET_LINKS, [{"id": call_pk, "url": url}])

    async def relink(self, conn: Connection, enterprise_number: str, pbx_name: str, call_id: str) -> None:
        """The call's link leads to a recording that is there or may come; where there is none, it has none."""
        row = await conn.fetchrow(_BEST, enterprise_number, pbx_name, call_id)
        if row is None:
            return
        urls = [self._links.url(enterprise_number, row["id"], link_id) for link_id in row["links"] or ()]
        best = urls[0] if urls else None
        if row["recording_url"] != best and row["recording_url"] not in urls:
            await conn.execute(_SET_LINK, row["id"], best)

    def url(self, recording: Recording) -> str:
        return self._links.url(recording.enterprise_number, recording.call_pk, recording.link_id)

    async def opened(self, conn: Connection, call_pk: int, token: str) -> Recording | None:
        """The recording of that call which the token opens."""
        link_id = link_id_of(token)
        row = await conn.fetchrow(_BY_LINK, link_id) if link_id else None
        if row is None or not self._links.holds(token, row["enterprise_number"]) or row["call_pk"] != call_pk:
            return None
        return _recording(row)

    async def revoke(self, conn: Connection, recordings: Iterable[Recording]) -> list[str]:
        """New links; the old ones open nothing any more. In the caller's transaction."""
        links = []
        for recording in recordings:
            link_id = new_link_id()
            await conn.execute(_RELINK, recording.id, link_id)
            links.append(self._links.url(recording.enterprise_number, recording.call_pk, link_id))
            if recording.recording_url == self.url(recording):
                await conn.execute(_SET_LINK, recording.call_pk, links[-1])
        return links

    async def _calls(
        self, conn: Connection, enterprise_number: str, pbx_name: str, call_ids: Iterable[str]
    ) -> dict[str, int]:
        rows = await conn.fetch(_CALLS, enterprise_number, pbx_name, list(call_ids))
        return {row["call_id"]: row["id"] for row in rows}


async def of_calls(conn: Connection, call_pks: Sequence[int]) -> list[Recording]:
    """The recordings of these calls, in the order in which they were heard of."""
    return [_recording(row) for row in await conn.fetch(_OF_CALLS, list(call_pks))]


async def retry(conn: Connection, ids: Sequence[int]) -> int:
    """Begin anew with those that were given up; how many."""
    return len(await conn.fetch(_RETRY, list(ids)))


def _recording(row: asyncpg.Record) -> Recording:
    return msgspec.convert(dict(row), Recording)


def _part(owed: Owed) -> str:
    """A PBX's call has one file, whatever it is called on the way; elsewhere the reference is the recording's own."""
    if owed.part is not None:
        return owed.part
    return "" if owed.source == ASTERISK else hashlib.sha256(owed.reference.encode("utf-8", "replace")).hexdigest()


def _row(owed: Owed, part: str) -> dict[str, Any]:
    return {
        "call_id": owed.call_id,
        "source": owed.source,
        "part": part,
        "reference": owed.reference,
        "link_id": new_link_id(),
        "after": owed.after,
    }
