"""Recordings are kept as long as their enterprise says (`recordings_days`; 0: for ever), and no longer than it exists.

Every instance may sweep: a batch is locked while its files go, and what others have locked is passed over. A row is
changed only once its file is gone, so that a file is never left without a row that knows it.
"""

from __future__ import annotations

import asyncio
import random

import asyncpg
import structlog

from bridge.errors import StoreProblem
from bridge.recordings.journal import Recordings
from bridge.recordings.metrics import RecordingMetrics
from bridge.recordings.store import Store

log = structlog.get_logger(__name__)

EVERY = 3600.0
"""Seconds between sweeps."""

_LOST = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
_BATCH = 50

_OVERDUE = """
select r.id, r.key, r.enterprise_number, r.pbx_name, r.call_id
from enterprises e join recordings r on r.enterprise_number = e.number
where e.recordings_days > 0 and r.state = 'stored' and r.created_at < now() - make_interval(days => e.recordings_days)
order by r.id limit $1 for update of r skip locked
"""
_EXPIRE = """
update recordings set state = 'expired', reason = 'Its time was over.', key = null where id = any($1::bigint[])
"""
# an attempt that runs while its enterprise goes may still put a file: it is let finish first
_ORPHANS = """
select id, key from recordings
where enterprise_number is null and (state <> 'fetching' or due_at < clock_timestamp())
order by id limit $1 for update skip locked
"""
_FORGET = "delete from recordings where id = any($1::bigint[])"
_ANNOUNCE = """
select pg_notify('bridge_live', json_build_object('enterprise_number', c.enterprise_number, 'calls', array[c.id])::text)
from calls c join recordings r using (enterprise_number, pbx_name, call_id) where r.id = any($1::bigint[])
"""


class Retention:
    def __init__(
        self,
        pool: asyncpg.Pool,
        store: Store,
        recordings: Recordings,
        metrics: RecordingMetrics,
        every: float = EVERY,
    ) -> None:
        self._pool = pool
        self._store = store
        self._recordings = recordings
        self._metrics = metrics
        self._every = every

    async def run(self) -> None:
        """Sweeps for ever."""
        while True:
            try:
                await self.sweep()
            except (StoreProblem, *_LOST) as problem:
                log.warning("recordings_not_swept", problem=str(problem) or repr(problem))
            await asyncio.sleep(self._every * random.uniform(0.8, 1.0))  # noqa: S311 - instances apart

    async def sweep(self) -> int:
        """Removes all whose time is over; how many. Raises StoreProblem and what asyncpg raises."""
        count = 0
        while removed := await self._expire():
            count += removed
        while removed := await self._forget():
            count += removed
        await self._store.tidy()
        if count:
            self._metrics.expired.inc(count)
            log.info("recordings_expired", count=count)
        return count

    async def _expire(self) -> int:
        async with self._pool.acquire() as conn, conn.transaction():
            rows = await conn.fetch(_OVERDUE, _BATCH)
            await self._remove(rows)
            ids = [row["id"] for row in rows]
            await conn.execute(_EXPIRE, ids)
            for row in rows:
                await self._recordings.relink(conn, row["enterprise_number"], row["pbx_name"], row["call_id"])
            await conn.execute(_ANNOUNCE, ids)
        return len(rows)

    async def _forget(self) -> int:
        async with self._pool.acquire() as conn, conn.transaction():
            rows = await conn.fetch(_ORPHANS, _BATCH)
            await self._remove(rows)
            await conn.execute(_FORGET, [row["id"] for row in rows])
        return len(rows)

    async def _remove(self, rows: list[asyncpg.Record]) -> None:
        for row in rows:
            if row["key"] is not None:
                await self._store.delete(row["key"])
