"""The database server for as long as the service lives: the one that is given, or the embedded one, kept alive."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import structlog

from bridge.db.bus import Bus
from bridge.db.embedded import EmbeddedPostgres
from bridge.db.migrate import migrate
from bridge.db.pool import connect
from bridge.errors import DatabaseProblem

log = structlog.get_logger(__name__)

LOOK_EVERY = 1.0
RETRY_EVERY = 2.0


class DatabaseServer:
    """`url` None: an embedded Postgres in `data_dir`."""

    def __init__(self, url: str | None, data_dir: Path) -> None:
        self._url = url
        self._embedded = None if url is not None else EmbeddedPostgres(data_dir)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Its address, once it answers and is migrated.

        A server of somebody else's that is away is waited for: services start in any order after a power cut. What
        waiting does not mend (a newer database, a full disk, a wrong password) raises DatabaseProblem at once."""
        try:
            url = self._url or await self._start()
            await _migrated(url)
            yield url
        finally:
            if self._embedded is not None:
                await asyncio.to_thread(self._embedded.close)

    async def keep(self, bus: Bus) -> None:
        """Brings the embedded server back whenever it dies, for ever. Any other is somebody else's to keep."""
        while self._embedded is not None:
            await asyncio.sleep(LOOK_EVERY)
            if bus.connected.is_set():
                continue
            try:
                await self._start()
            except DatabaseProblem as problem:
                log.error("embedded_postgres_down", problem=problem.message)
        await asyncio.Event().wait()

    async def _start(self) -> str:
        assert self._embedded is not None  # noqa: S101 - for the type checker
        starting = asyncio.create_task(asyncio.to_thread(self._embedded.start))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.wait({starting})  # a thread cannot be cancelled: whoever closes the server must find it whole
            raise


async def _migrated(url: str) -> None:
    while True:
        try:
            connection = await connect(url)
        except DatabaseProblem as problem:
            if not isinstance(problem.__cause__, OSError | TimeoutError):
                raise
            log.warning("database_away", problem=problem.message)
            await asyncio.sleep(RETRY_EVERY)
            continue
        try:
            await migrate(connection)
        finally:
            await connection.close()
        return
