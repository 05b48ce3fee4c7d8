"""The database of this deployment, for a command: the one that is given, or the embedded one, migrated."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from bridge.db.embedded import EmbeddedPostgres
from bridge.db.migrate import migrate
from bridge.db.pool import Pool, connect, open_pool


@contextlib.asynccontextmanager
async def address(url: str | None, data_dir: Path, progress: Callable[[str], None]) -> AsyncIterator[str]:
    """Where the database is. The embedded one is started unless it runs, and stops when its last user is gone.

    Raises DatabaseProblem. `progress` hears what takes a while."""
    if url is not None:
        yield url
        return
    postgres = EmbeddedPostgres(data_dir, progress=progress)
    try:
        yield await asyncio.to_thread(postgres.start)
    finally:
        await asyncio.to_thread(postgres.close)


@contextlib.asynccontextmanager
async def opened(url: str | None, data_dir: Path, progress: Callable[[str], None]) -> AsyncIterator[Pool]:
    """A small pool on the migrated database. Raises DatabaseProblem."""
    async with address(url, data_dir, progress) as where:
        connection = await connect(where)
        try:
            await migrate(connection)
        finally:
            await connection.close()
        pool = await open_pool(where, largest=4)
        try:
            yield pool
        finally:
            await pool.close()
