"""The reasons of routing on their way to the calls they belong to.

A question must not wait for the database, so its answer is noted here and written behind it, many notes at a time. What
cannot be written is lost with a log line: the call itself is safe elsewhere, and no caller waits for a reason.
"""

from __future__ import annotations

import asyncio
import time

import asyncpg
import structlog

from bridge.db import routes
from bridge.db.routes import RouteNote

log = structlog.get_logger(__name__)

LIMIT = 10_000
"""Notes kept while the database is slow."""

WRITE_WITHIN = 10.0
KEPT_HOURS = 24.0
FORGET_EVERY = 3600.0


class RouteNotes:
    """`add` never waits; `close` lets what was added be written."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._waiting: dict[tuple[str, str, str], RouteNote] = {}
        self._writing: asyncio.Task[None] | None = None
        self._forgotten_at = time.monotonic()

    def add(self, note: RouteNote) -> None:
        """The latest note about a call counts."""
        self._waiting[note.enterprise_number, note.pbx_name, note.call_id] = note
        if len(self._waiting) > LIMIT:
            del self._waiting[next(iter(self._waiting))]
            log.warning("route_notes_lost", count=1, problem="the database is too slow")
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def close(self, grace: float = 2.0) -> None:
        if self._writing is not None:
            await asyncio.wait({self._writing}, timeout=grace)

    async def _write(self) -> None:
        while self._waiting:
            notes, self._waiting = list(self._waiting.values()), {}
            try:
                async with asyncio.timeout(WRITE_WITHIN), self._pool.acquire() as connection:
                    await routes.keep(connection, notes)
                    if time.monotonic() - self._forgotten_at > FORGET_EVERY:
                        self._forgotten_at = time.monotonic()
                        await routes.forget(connection, KEPT_HOURS)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as problem:
                log.warning("route_notes_lost", count=len(notes), problem=repr(problem))
