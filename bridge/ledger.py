"""Where a PBX's calls are written: rows, timelines and what CRMs are owed, in one transaction or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import asyncpg

from bridge.calls.model import Ended, Recorded, Refined, Started
from bridge.calls.notices import notices
from bridge.crm.outbox import Outbox
from bridge.db import calls
from bridge.db.pool import LOST, Connection, Pool
from bridge.errors import DatabaseProblem
from bridge.mailbox import Fenced, Unwritable, Work
from bridge.recordings.journal import ASTERISK, Owed, Recordings

WRITE_WITHIN = 10.0
"""Seconds a transaction may take. One of a thousand calls takes some 100 ms."""

FETCH_AFTER = 2.0
"""Seconds after the end of a call until its recording is fetched: MixMonitor closes the file by itself."""

_REFUSED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)

Fence = Callable[[Connection], Awaitable[bool]]
"""Whether this instance still owns the PBX, asked in the writing transaction."""


class CallLedger:
    """Of one PBX. Without a `fence` the PBX is nobody's in particular (legacy scripts post to any instance); without
    `recorded`, or while it says no, its recordings are not fetched. `region`: the country in which its lines' numbers
    are read."""

    def __init__(
        self,
        pool: Pool,
        outbox: Outbox,
        enterprise_number: str,
        pbx_name: str,
        fence: Fence | None = None,
        recordings: Recordings | None = None,
        recorded: Callable[[], bool] = lambda: True,
        *,
        region: str | None = None,
    ) -> None:
        self._pool = pool
        self._outbox = outbox
        self._enterprise_number = enterprise_number
        self._pbx_name = pbx_name
        self._fence = fence
        self._recordings = recordings
        self._recorded = recorded
        self._region = region

    async def states(self) -> Sequence[bytes]:
        """Raises DatabaseProblem."""
        try:
            async with asyncio.timeout(WRITE_WITHIN), self._pool.acquire() as connection:
                return await calls.live_states(connection, self._enterprise_number, self._pbx_name)
        except LOST as problem:
            raise DatabaseProblem(f"The live calls cannot be read: {problem!r}") from problem

    async def write(self, works: Sequence[Work]) -> None:
        """Raises DatabaseProblem, Unwritable, Fenced; then nothing of it is written."""
        try:
            async with asyncio.timeout(WRITE_WITHIN), self._pool.acquire() as connection, connection.transaction():
                if self._fence is not None and not await self._fence(connection):
                    raise Fenced
                await self._write(connection, works)
        except _REFUSED as problem:
            raise Unwritable(str(problem)) from problem
        except LOST as problem:
            raise DatabaseProblem(f"{type(problem).__name__}: {problem}") from problem

    async def _write(self, connection: Connection, works: Sequence[Work]) -> None:
        kept = [work for work in works if work.into is None]
        ids = await calls.save(
            connection,
            self._enterprise_number,
            self._pbx_name,
            [calls.CallWrite(call=work.call, state=work.state, changes=work.changes) for work in kept],
            region=self._region,
        )
        await self._owe_recordings(connection, kept)
        for work in kept:
            await self._owe(connection, work, ids[work.call.call_id])
        changed = set(ids.values())
        for work in works:
            if work.into is not None and (gone := await self._absorb(connection, work, work.into)) is not None:
                changed.add(gone)
        await calls.announce(connection, self._enterprise_number, changed)

    async def _owe(self, connection: Connection, work: Work, call_pk: int | None) -> None:
        await self._outbox.enqueue(
            connection, self._enterprise_number, call_pk, self._external_id(work), work.call, notices(work.changes)
        )

    async def _owe_recordings(self, connection: Connection, works: Sequence[Work]) -> None:
        """The link is known from now on; the file is fetched once the call is over."""
        if self._recordings is None or not self._recorded():
            return
        owed = [
            Owed(
                call_id=work.call.call_id,
                source=ASTERISK,
                reference=work.call.recording,
                after=None if work.call.status == "active" else FETCH_AFTER,
            )
            for work in works
            if work.call.recording is not None
            and any(isinstance(change, Recorded | Ended | Refined) for change in work.changes)
        ]
        await self._recordings.owe_all(connection, self._enterprise_number, self._pbx_name, owed)

    async def _absorb(self, connection: Connection, work: Work, into: str) -> int | None:
        """The id of the row that went. What nobody was told of the call is not told any more."""
        if not any(isinstance(change, Started) for change in work.changes):  # else nobody was told anything yet
            await self._outbox.withdraw(connection, self._enterprise_number, self._external_id(work), into)
            await self._owe(connection, work, None)
        if self._recordings is not None:
            await self._recordings.move(connection, self._enterprise_number, self._pbx_name, work.call.call_id, into)
        return await calls.absorb(connection, self._enterprise_number, self._pbx_name, work.call.call_id, into)

    def _external_id(self, work: Work) -> str:
        return f"{self._pbx_name}:{work.call.call_id}"
