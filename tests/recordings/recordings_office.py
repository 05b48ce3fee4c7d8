"""Verbs of the recordings tests: calls that have recordings, what became of them, sources that do as they are told."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bridge.db.pool import Pool
from bridge.recordings.journal import Recording, Recordings, of_calls

KEY = "an old secret of the recordings tests"
URL = "https://bridge.example"

_CALL = """
insert into calls (enterprise_number, pbx_name, call_id, direction, result, started_at)
values ($1, $2, $3, 'inbound', 'answered', now()) returning id
"""


@dataclass
class Office:
    """0367 with the PBX `office`, 0999 with `other`."""

    pool: Pool
    recordings: Recordings

    async def call(self, call_id: str = "1.1", enterprise: str = "0367", pbx: str = "office") -> int:
        return int(await self.pool.fetchval(_CALL, enterprise, pbx, call_id))

    async def owe(
        self,
        source: str = "asterisk",
        reference: str = "/var/spool/asterisk/recording/1.1.wav",
        *,
        call_id: str = "1.1",
        enterprise: str = "0367",
        pbx: str = "office",
        after: float | None = 0.0,
    ) -> str:
        async with self.pool.acquire() as conn, conn.transaction():
            return await self.recordings.owe(conn, enterprise, pbx, call_id, source, reference, after=after)

    async def of(self, call_pk: int) -> list[Recording]:
        async with self.pool.acquire() as conn:
            return await of_calls(conn, [call_pk])

    async def the(self, call_pk: int) -> Recording:
        (recording,) = await self.of(call_pk)
        return recording

    async def url(self, call_pk: int) -> str | None:
        url: str | None = await self.pool.fetchval("select recording_url from calls where id = $1", call_pk)
        return url


async def furnish(pool: Pool, recordings: Recordings) -> Office:
    await pool.execute("insert into enterprises (number) values ('0367'), ('0999')")
    return Office(pool, recordings)


async def eventually(condition: Callable[[], Any], seconds: float = 15.0) -> None:
    """Wait until `condition` (a function, or one that is awaited) holds; TimeoutError when it does not in time."""
    async with asyncio.timeout(seconds):
        while True:
            holds = condition()
            if inspect.isawaitable(holds):
                holds = await holds
            if holds:
                return
            await asyncio.sleep(0.02)
