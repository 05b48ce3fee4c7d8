"""Webhooks that were kept, into calls: whichever instance, in whatever order, however often.

Theory of operation. An entry that has something new, or whose silence has lasted long enough, is locked (an advisory
lock of its own, so that no two instances work on it), all that was ever kept of it is read and folded into a call by
one pure function, and the difference to what was told last is written: rows, timeline, deliveries, recordings, in the
same transaction that marks its webhooks as worked. A crash before that leaves everything as it was; a repeat finds no
difference. Entries of one enterprise go through together, some at a time.

What cannot be folded, for a defect of ours, is marked `failed` with the reason, costs nobody else anything, and is read
again with the next webhook of its entry, or an hour later if something is owed for it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import asyncpg
import msgspec
import structlog

from bridge.mango import entries
from bridge.mango.entries import Said, Settled, Told
from bridge.mango.events import CallEvent, MangoEvent, Result
from bridge.mango.fold import Folded, News, fold, nothing
from bridge.mango.intake import event_of
from bridge.mango.metrics import WorkMetrics
from bridge.mango.reader import MangoRules

log = structlog.get_logger(__name__)

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

_LOST = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_REFUSED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)

_CLOCK_OFF = 3000.0
"""Seconds between Mango's clock and ours from which on it is no delay: editions disagree on the zone of its times."""


class Ledger(Protocol):
    """Where calls are written."""

    async def write(self, connection: Connection, enterprise_number: str, news: Sequence[News]) -> Mapping[str, int]:
        """Rows, timelines, deliveries and recordings, in the caller's transaction; entry_id -> the row's id."""


class People(Protocol):
    """Who an enterprise's extensions and lines belong to."""

    async def rules(self, enterprise_number: str) -> MangoRules: ...


class Commands(Protocol):
    """What we have told Mango to do. Both in the caller's transaction, and to be repeated at will."""

    async def result(
        self, connection: Connection, enterprise_number: str, command_id: str, result: int | None
    ) -> None: ...

    async def made(
        self, connection: Connection, enterprise_number: str, command_ids: Sequence[str], entry_id: str
    ) -> None: ...


Listener = Callable[[str, str, Sequence[MangoEvent]], None]
"""(enterprise number, entry_id, all that is known of it), after that was written. Must not wait."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, except: `look` webhooks at a time, `together` entries in one transaction, `days` that what was worked is
    kept, `sweep_most` rows that one statement removes. `gather`: what comes meanwhile is worked together."""

    poll: float = 1.0
    gather: float = 0.02
    look: int = 2000
    together: int = 32
    gauges: float = 15.0
    sweep: float = 3600.0
    sweep_most: int = 5000
    days: int = 90


class Worker:
    """Start with `run()`; it returns after `stop()`, once what is under way is written."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        ledger: Ledger,
        people: People,
        metrics: WorkMetrics,
        settings: Settings | None = None,
        *,
        commands: Commands | None = None,
        listener: Listener | None = None,
    ) -> None:
        self._pool = pool
        self._ledger = ledger
        self._people = people
        self._metrics = metrics
        self._settings = settings or Settings()
        self._commands = commands
        self._listener = listener
        self._woken = asyncio.Event()
        self._stopping = asyncio.Event()
        self._warned_at = float("-inf")

    def wake(self, _payload: str = "") -> None:
        """Something was kept (a NOTIFY of bridge_mango, a reconnect of whoever listens)."""
        self._woken.set()

    def stop(self) -> None:
        """Begin nothing new."""
        self._stopping.set()
        self._woken.set()

    async def run(self) -> None:
        beside = [
            asyncio.create_task(self._every(self._settings.gauges, self._measure), name="mango gauges"),
            asyncio.create_task(self._every(self._settings.sweep, self._sweep), name="mango sweep"),
        ]
        try:
            while not self._stopping.is_set():
                self._woken.clear()
                try:
                    busy = await self.work()
                except _LOST as problem:
                    log.warning("mango_webhooks_not_worked", problem=str(problem) or type(problem).__name__)
                    busy = False
                if busy:
                    await asyncio.sleep(self._settings.gather)
                else:
                    try:
                        await asyncio.wait_for(self._woken.wait(), self._settings.poll * random.uniform(0.9, 1.1))  # noqa: S311
                    except TimeoutError:
                        continue
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def work(self) -> bool:
        """Work on what there is now; whether there was anything that nobody else works on. Raises what asyncpg does."""
        async with self._pool.acquire() as connection:
            found = await entries.with_news(connection, self._settings.look)
        done = await self._results() if found.others else 0
        for number, entry_ids in found.entries.items():
            for start in range(0, len(entry_ids), self._settings.together):
                if self._stopping.is_set():
                    return False
                done += await self._together(number, entry_ids[start : start + self._settings.together])
        return done > 0

    # --- entries ------------------------------------------------------------------------------------------------------

    async def _together(self, enterprise_number: str, entry_ids: Sequence[str]) -> int:
        """How many were worked. One that the database refuses must not cost the others."""
        rules = await self._people.rules(enterprise_number)
        try:
            return await self._entries(enterprise_number, entry_ids, rules)
        except _REFUSED as problem:
            if len(entry_ids) > 1:
                return sum([await self._together(enterprise_number, [entry_id]) for entry_id in entry_ids])
            log.exception("mango_call_not_written", enterprise=enterprise_number, entry_id=entry_ids[0])
            await self._give_up(enterprise_number, entry_ids[0], f"the database refused it: {problem}")
            return 1

    async def _entries(self, enterprise_number: str, entry_ids: Sequence[str], rules: MangoRules) -> int:
        async with self._pool.acquire() as connection, connection.transaction():
            locked, now = await entries.lock(connection, enterprise_number, entry_ids)
            if now is None:
                return 0
            said = await entries.said(connection, enterprise_number, locked)
            told = await entries.told(connection, enterprise_number, locked)
            works = []
            for entry_id in locked:
                before = told.get(entry_id, Told())
                is_due = before.due is not None and before.due <= now
                if not is_due and not any(each.state == "new" for each in said[entry_id]):
                    continue  # somebody else was here first
                works.append(_folded(enterprise_number, entry_id, said[entry_id], before, rules, now))
                await asyncio.sleep(0)  # requests are answered by the same loop
            await self._write(connection, enterprise_number, works, told)
        for work in works:
            self._count(work, now)
            if self._listener is not None and work.fresh:
                self._listener(enterprise_number, work.entry_id, work.events)
        return len(works)

    async def _write(
        self, connection: Connection, enterprise_number: str, works: Sequence[Folded], told: Mapping[str, Told]
    ) -> None:
        ids = await self._ledger.write(connection, enterprise_number, [work.news for work in works if work.news])
        remembered = []
        for work in works:
            before = told.get(work.entry_id)
            call_pk = ids.get(work.entry_id) or (before.call_pk if before is not None else None)
            if before is None or (before.call, before.call_pk, before.due) != (work.call, call_pk, work.due):
                remembered.append(work.remembered(call_pk))
        await entries.remember(connection, enterprise_number, remembered)
        await entries.keep_flat(
            connection, enterprise_number, {call_id: said for work in works for call_id, said in work.flat.items()}
        )
        if self._commands is not None:
            for work in works:
                if work.commands:
                    await self._commands.made(connection, enterprise_number, work.commands, work.entry_id)
        await entries.settle(connection, [settled for work in works for settled in work.settled])

    async def _give_up(self, enterprise_number: str, entry_id: str, reason: str) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            locked, _ = await entries.lock(connection, enterprise_number, [entry_id])
            if not locked:
                return
            said = await entries.said(connection, enterprise_number, [entry_id])
            await entries.settle(
                connection,
                [Settled(id=each.id, state="failed", reason=reason) for each in said[entry_id] if each.state == "new"],
            )
            await entries.leave(connection, enterprise_number, [entry_id])
        self._metrics.worked.labels("failed").inc()

    def _count(self, work: Folded, now: float) -> None:
        for settled in work.settled:
            self._metrics.worked.labels(settled.state).inc()
        for event in work.fresh:
            if event.received_at is not None:
                self._metrics.lag.observe(max(0.0, now - event.received_at))
            if isinstance(event, CallEvent) and event.timestamp is not None and event.received_at is not None:
                self._watch_clock(event.received_at - event.timestamp)

    def _watch_clock(self, behind: float) -> None:
        self._metrics.clock.set(behind)
        if abs(behind) > _CLOCK_OFF and time.monotonic() - self._warned_at > 3600.0:
            self._warned_at = time.monotonic()
            log.error("mango_clock_differs", seconds=round(behind))

    # --- answers to commands ------------------------------------------------------------------------------------------

    async def _results(self) -> int:
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await entries.results(connection, self._settings.together)
            settled = []
            for row in rows:
                event = event_of(row["dialect"], row["path"], row["body"], row["at"])
                if not isinstance(event, Result):
                    settled.append(Settled(id=row["id"], state="ignored", reason="it names no call"))
                    continue
                settled.append(Settled(id=row["id"], state="worked"))
                if event.command_id is not None and self._commands is not None:
                    await self._commands.result(connection, row["enterprise_number"], event.command_id, event.result)
            await entries.settle(connection, settled)
        return len(rows)

    # --- beside the work ----------------------------------------------------------------------------------------------

    async def _every(self, seconds: float, do: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await do()
            except _LOST as problem:
                log.warning("mango_upkeep_failed", problem=str(problem) or type(problem).__name__)
            await asyncio.sleep(seconds * random.uniform(0.9, 1.1))  # noqa: S311 - jitter

    async def _measure(self) -> None:
        async with self._pool.acquire() as connection:
            waiting, age = await entries.backlog(connection)
        self._metrics.waiting.set(waiting)
        self._metrics.oldest.set(age)

    async def _sweep(self) -> None:
        swept = self._settings.sweep_most
        while swept == self._settings.sweep_most:
            async with self._pool.acquire() as connection:
                swept = await entries.sweep(connection, self._settings.days, self._settings.sweep_most)
            if swept:
                log.info("mango_webhooks_swept", count=swept)


def _folded(
    enterprise_number: str, entry_id: str, said: Sequence[Said], told: Told, rules: MangoRules, now: float
) -> Folded:
    """`fold`; where that fails by a defect of ours, what was new has failed."""
    try:
        return fold(entry_id, said, told, rules, now)
    except Exception as problem:
        log.exception("mango_call_not_read", enterprise=enterprise_number, entry_id=entry_id)
        reason = f"internal error: {type(problem).__name__}"
        failed = [Settled(id=each.id, state="failed", reason=reason) for each in said if each.state == "new"]
        return nothing(entry_id, told, failed, due=None if told.due is None else now + entries.LATER)
