"""SQL of the table `recordings` as the pipeline uses it: claim, keep, settle, count.

A claim is a time: until `due_at` the recording is its worker's, who moves it on while it works. A worker that dies lets
it lapse, and whoever claims it next has a higher `attempts`, so that a late one's settlement is refused.
"""

from __future__ import annotations

import asyncpg
import msgspec

from bridge.recordings.store import Stored

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
Place = tuple[str, str]
"""Where recordings come from: enterprise number and PBX name. One that is slow or down delays no other."""

_PLACES = """
select distinct enterprise_number, pbx_name from recordings
where state in ('waiting', 'fetching') and due_at <= clock_timestamp() and enterprise_number is not null
"""
_CLAIM = """
update recordings
set state = 'fetching', attempts = attempts + 1, due_at = clock_timestamp() + make_interval(secs => $4)
where id in (
    select id from recordings
    where state in ('waiting', 'fetching') and due_at <= clock_timestamp() and enterprise_number = $1 and pbx_name = $2
    order by due_at limit $3 for update skip locked
)
returning id, enterprise_number, pbx_name, call_id, source, part, reference, attempts, link_id,
    extract(epoch from clock_timestamp() - owed_at)::double precision as age,
    to_char(created_at at time zone 'UTC', 'YYYY/MM/DD') as day
"""
_KEEP = """
update recordings set due_at = clock_timestamp() + make_interval(secs => $3)
where id = $1 and attempts = $2 and state = 'fetching' returning id
"""
_STORED = """
update recordings set state = 'stored', reason = null, due_at = null, key = $3, size = $4, sha256 = $5,
    content_type = $6, stored_at = clock_timestamp()
where id = $1 and attempts = $2 and state = 'fetching' returning id
"""
_AGAIN = """
update recordings set state = 'waiting', reason = $3, due_at = clock_timestamp() + make_interval(secs => $4)
where id = $1 and attempts = $2 and state = 'fetching' returning id
"""
_OVER = """
update recordings set state = $4, reason = $3, due_at = null
where id = $1 and attempts = $2 and state = 'fetching' returning id
"""
_ANNOUNCE = """
select pg_notify('bridge_live', json_build_object('enterprise_number', c.enterprise_number, 'calls', array[c.id])::text)
from calls c join recordings r using (enterprise_number, pbx_name, call_id) where r.id = $1
"""
_BACKLOG = """
select count(*) filter (where owed_at is not null) as owed,
       coalesce(max(extract(epoch from clock_timestamp() - owed_at)), 0) as oldest,
       (select count(*) from recordings where state = 'failed') as failed
from recordings where state in ('waiting', 'fetching')
"""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A claimed recording. `age`: seconds since it was first due; `day`: of the key, `YYYY/MM/DD`."""

    id: int
    enterprise_number: str
    pbx_name: str
    call_id: str
    source: str
    part: str
    reference: str
    link_id: str
    attempts: int
    age: float
    day: str

    @property
    def place(self) -> Place:
        return self.enterprise_number, self.pbx_name


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """Over all enterprises. `oldest` in seconds."""

    owed: int
    oldest: float
    failed: int


async def places(conn: Connection) -> list[Place]:
    """Where something is due."""
    return [(row["enterprise_number"], row["pbx_name"]) for row in await conn.fetch(_PLACES)]


async def claim(conn: Connection, place: Place, count: int, lease: float) -> list[Job]:
    """Up to `count` due recordings of a place, for `lease` seconds; what others claim just now is passed over."""
    return [msgspec.convert(dict(row), Job) for row in await conn.fetch(_CLAIM, *place, count, lease)]


async def keep(conn: Connection, job: Job, lease: float) -> bool:
    """For `lease` seconds more; False when somebody else has taken it over."""
    return await conn.fetchval(_KEEP, job.id, job.attempts, lease) is not None


async def stored(conn: Connection, job: Job, key: str, what: Stored, content_type: str) -> bool:
    return await _settle(conn, _STORED, job, key, what.size, what.sha256, content_type)


async def again(conn: Connection, job: Job, reason: str, retry_in: float) -> bool:
    return await _settle(conn, _AGAIN, job, reason, retry_in)


async def over(conn: Connection, job: Job, state: str, reason: str) -> bool:
    """It is `absent` (there is none) or `failed` (it could not be fetched)."""
    return await _settle(conn, _OVER, job, reason, state)


async def backlog(conn: Connection) -> Backlog:
    (row,) = await conn.fetch(_BACKLOG)
    return Backlog(owed=row["owed"], oldest=float(row["oldest"]), failed=row["failed"])


async def _settle(conn: Connection, statement: str, job: Job, *values: object) -> bool:
    """False when somebody else has taken it over: then nothing is changed. Tells the live page."""
    if await conn.fetchval(statement, job.id, job.attempts, *values) is None:
        return False
    await conn.execute(_ANNOUNCE, job.id)
    return True
