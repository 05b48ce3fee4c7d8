"""Exactly one instance watches a PBX: leases in rows, with an epoch that tells a late owner from the present one.

Every `tick` one statement renews what this instance has, names what is beyond its fair share among the live instances,
and claims what is free up to that share. What is beyond it is given back once nobody here watches it any more. One
instance that is killed is followed within `ttl + tick`; one that is told to stop releases at once.

An instance that cannot reach the database does not know whether it was followed. It goes on listening, because the
database may be away for all, and then nobody else would; it can write nothing meanwhile. When the database is back,
either nobody has taken the PBX, and what was heard is written, or somebody has, and the epoch refuses it (`owns`).
Nobody takes over who was not in touch with the database for a whole `ttl` before: after a restart of the database it is
not the first to come who wins, but whoever was the owner.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import timedelta
from types import MappingProxyType

import asyncpg
import msgspec
import structlog

from bridge.db import instance as instances
from bridge.db.instance import is_dead
from bridge.db.pool import Connection, connect
from bridge.errors import DatabaseProblem

log = structlog.get_logger(__name__)

# $1 instance, $2 ttl, $3 ids of the PBXs whose links are up, $4 whether others' expired leases may be taken
_TICK = """
with me as (
    insert into pbx_watchers (instance, seen_at) values ($1, now())
    on conflict (instance) do update set seen_at = excluded.seen_at
),
forgotten as (
    delete from pbx_watchers where instance <> $1 and seen_at < now() - interval '1 hour'
),
share as (
    select ceil((select count(*) from pbxs)::numeric
                / (1 + (select count(*) from pbx_watchers where instance <> $1 and seen_at > now() - $2::interval))
               )::int as size
),
mine as (
    select pbx_id, row_number() over (order by pbx_id) > (select size from share) as surplus
      from pbx_leases
     where owner = $1                                -- expired, too: nobody has taken it
),
kept as (
    update pbx_leases l
       set expires_at = now() + $2::interval,
           watched_at = case when l.pbx_id = any($3::bigint[]) then now() else l.watched_at end
      from mine
     where l.pbx_id = mine.pbx_id and l.owner = $1 and not mine.surplus
    returning l.pbx_id, l.epoch, l.watched_at
),
free as (
    select p.id
      from pbxs p left join pbx_leases l on l.pbx_id = p.id
     where l.owner is null or (l.expires_at <= now() and l.owner <> $1 and $4)
     order by p.id                                   -- all claim in one order: they wait, but never in a circle
     limit greatest((select size from share) - (select count(*) from mine), 0)
),
claimed as (
    insert into pbx_leases (pbx_id, owner, epoch, expires_at)
    select id, $1, 1, now() + $2::interval from free
    on conflict (pbx_id) do update
       set owner = excluded.owner, epoch = pbx_leases.epoch + 1, expires_at = excluded.expires_at,
           state = '', problem = '', version = ''  -- the former owner's link was another one
     where pbx_leases.owner is null or pbx_leases.expires_at <= now()
    returning pbx_id, epoch, watched_at
)
select pbx_id, epoch, extract(epoch from watched_at)::float8 as watched_until, false as surplus from kept
union all
select pbx_id, epoch, extract(epoch from watched_at)::float8, false from claimed
union all
select pbx_id, 0, null, true from mine where surplus
"""

# $1 instance, $2 ids given back, $3 ids of those whose links were up to the end
_GIVE_BACK = """
update pbx_leases
   set owner = null, expires_at = null,
       watched_at = case when pbx_id = any($3::bigint[]) then now() else watched_at end
 where owner = $1 and pbx_id = any($2::bigint[])
"""

_RELEASE = """
with gone as (delete from pbx_watchers where instance = $1)
update pbx_leases
   set owner = null, expires_at = null,
       watched_at = case when pbx_id = any($2::bigint[]) then now() else watched_at end
 where owner = $1
"""

_OWNERS = "select instance from pbx_watchers union select owner from pbx_leases where owner is not null"

# the lock keeps the lease from passing on before what was asked for is committed
_OWNED = "select true from pbx_leases where pbx_id = $1 and owner = $2 and epoch = $3 for share"

_PROBLEMS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


class Lease(msgspec.Struct, frozen=True):
    """`watched_until`: seconds since the epoch, when this or an earlier owner last had a working link; None: never."""

    pbx_id: int
    epoch: int
    watched_until: float | None


class Leases:
    """The leases of this instance. `run()` keeps them until it is cancelled, then releases them."""

    def __init__(self, url: str, *, instance: str | None = None, ttl: float = 6.0, tick: float = 1.5) -> None:
        """`url` of the database: a connection of its own, so that a busy pool never costs a lease."""
        self._url = url
        self._connection: asyncpg.Connection | None = None
        self._one_at_a_time = asyncio.Lock()
        self.instance = instance or instances.name()
        self.ttl, self.tick = ttl, tick
        self.watched: Callable[[], Collection[int]] = tuple
        """Ids of the PBXs whose links are up; set by whoever watches."""
        self.left: Callable[[Collection[int]], Awaitable[None]] = _at_once
        """Returns once nobody here listens to any of these PBXs, and what was heard is written; set likewise."""
        self._held: dict[int, Lease] = {}
        self._callbacks: list[Callable[[], None]] = []
        self._poked = asyncio.Event()
        self._in_touch_since: float | None = None
        self._leaving: asyncio.Task[None] | None = None

    @property
    def held(self) -> Mapping[int, Lease]:
        """PBX id -> lease."""
        return MappingProxyType(self._held)

    def on_change(self, callback: Callable[[], None]) -> None:
        """`callback()` whenever a PBX is gained or lost; `held` is already as it is then."""
        self._callbacks.append(callback)

    def poke(self) -> None:
        """Claim now: there is a new PBX."""
        self._poked.set()

    async def owns(self, connection: Connection, pbx_id: int, epoch: int) -> bool:
        """The fence: whether the database still has this instance as the owner. Ask in the transaction that writes."""
        return bool(await connection.fetchval(_OWNED, pbx_id, self.instance, epoch))

    async def run(self) -> None:
        try:
            await self._bury()
            while True:
                self._poked.clear()  # before the tick: what is new during it is claimed by the next
                await self._tick()
                try:
                    async with asyncio.timeout(self.tick):
                        await self._poked.wait()
                except TimeoutError:
                    continue
        finally:
            await self._release()

    async def _ask(self, sql: str, *arguments: object) -> list[asyncpg.Record] | None:
        """The rows, or None where the database does not answer in time."""
        try:
            async with asyncio.timeout(self.ttl / 2), self._one_at_a_time:
                if self._connection is None:
                    self._connection = await connect(self._url)
                return list(await self._connection.fetch(sql, *arguments))
        except (*_PROBLEMS, DatabaseProblem) as problem:
            log.warning("pbx_leases_unreachable", problem=str(problem) or type(problem).__name__)
            self._in_touch_since = None
            if self._connection is not None:
                self._connection.terminate()
                self._connection = None
            return None

    async def _bury(self) -> None:
        """Free what killed instances of this machine held: nobody need wait for their leases to end."""
        for (owner,) in await self._ask(_OWNERS) or []:
            if owner != self.instance and is_dead(owner):
                log.info("pbx_leases_of_the_dead_freed", owner=owner)
                await self._ask(_RELEASE, owner, [])

    async def _tick(self) -> None:
        now = time.monotonic()
        may_take = self._in_touch_since is not None and now - self._in_touch_since >= self.ttl
        watched = list(self.watched())
        rows = await self._ask(_TICK, self.instance, timedelta(seconds=self.ttl), watched, may_take)
        if rows is None:
            return
        if self._in_touch_since is None:
            self._in_touch_since = time.monotonic()
        kept = [row for row in rows if not row["surplus"]]
        self._hold({row["pbx_id"]: Lease(row["pbx_id"], row["epoch"], row["watched_until"]) for row in kept})
        surplus = [row["pbx_id"] for row in rows if row["surplus"]]
        if surplus and (self._leaving is None or self._leaving.done()):
            self._leaving = asyncio.create_task(self._give_back(surplus, watched))

    async def _give_back(self, surplus: list[int], watched: list[int]) -> None:
        """Until then they are this instance's, so that what was heard can be written."""
        await self._leave(surplus)
        free = [pbx for pbx in surplus if pbx not in self._held]
        await self._ask(_GIVE_BACK, self.instance, free, watched)

    async def _leave(self, pbxs: Collection[int]) -> None:
        try:
            async with asyncio.timeout(self.ttl - self.tick):  # they are not renewed any more
                await self.left(pbxs)
        except TimeoutError:
            log.warning("pbxs_left_slowly", pbxs=len(pbxs))

    def _hold(self, leases: dict[int, Lease]) -> None:
        before, self._held = self._held, leases
        if {key: lease.epoch for key, lease in before.items()} == {key: lease.epoch for key, lease in leases.items()}:
            return
        log.info("pbx_leases", held=len(leases), before=len(before))
        for callback in self._callbacks:
            callback()

    async def _release(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
        watched, held = list(self.watched()), list(self._held)
        self._hold({})  # first stop watching, then let others begin
        await self._leave(held)
        await self._ask(_RELEASE, self.instance, watched)
        if self._connection is not None:
            self._connection.terminate()


async def _at_once(_: Collection[int]) -> None:
    return None
