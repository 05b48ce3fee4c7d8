"""An ordered mailbox: changes of calls in, one transaction at a time out.

Theory of operation. Two sides meet here and neither waits for the other.

The *read side* (`changed`) is called by whoever feeds a machine, in the order of its events. It puts what the machine
said beside the call it belongs to and returns; it never waits, so Asterisk's write time-out is never tested.

The *write side* (`run`) takes all that has gathered and hands it to the ledger, which writes it in one transaction.
While the ledger cannot write, works of the same call are merged: the newest form and every change still owed. Memory
therefore grows with calls, not with events, and what a CRM must be told is never dropped. Past `limit` changes the
mailbox refuses those that only decorate a timeline, and counts them.

A work that the database refuses for its own sake (not for being away) must not hold up the others: the batch is then
written one by one, and the offender is logged, counted and left out.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec
import structlog

from bridge.calls.model import Absorbed, Call, Change, Ended, Recorded, Ringing, Started
from bridge.errors import DatabaseProblem

log = structlog.get_logger(__name__)

LIMIT = 50_000
"""Changes kept while the database is away: an hour of a PBX with two calls a second, some 50 MB."""

OWED = Started | Ringing | Recorded | Ended | Absorbed
"""Changes that a CRM or a row depends on: never refused."""

RETRY_FIRST, RETRY_MOST = 0.05, 2.0
"""Seconds between attempts to write while the database is away; jittered, doubled up to the most."""

DEFECT_ATTEMPTS = 5
"""How often a call is tried whose writing fails as nobody foresaw: a connection that breaks may raise anything."""


class Work(msgspec.Struct, kw_only=True):
    """What one call owes the ledger: its newest form, what happened to it, and the machine's memory of it.

    `state` is None once the call is over; `into` names the call that this one turned out to be a part of.
    """

    call: Call
    changes: list[Change] = []
    state: bytes | None = None
    into: str | None = None


class Unwritable(Exception):
    """The database works and will never take this batch."""


class Fenced(Exception):
    """Another instance owns this PBX now: nothing more may be written in its name."""


class Ledger(Protocol):
    """Where a PBX's works are written."""

    async def states(self) -> Sequence[bytes]:
        """The machine's memory of the calls that were live when it was last written."""

    async def write(self, works: Sequence[Work]) -> None:
        """Writes all of it in one transaction, or nothing.

        Raises DatabaseProblem when the database is away, Unwritable when it refuses the content, Fenced."""


class Machine(Protocol):
    """Whoever knows the calls: the machine of an event stream, or of the legacy scripts' posts."""

    def touched(self) -> Iterable[Call]: ...

    def dump(self, call_id: str) -> bytes | None: ...

    def restore(self, states: Iterable[bytes]) -> None: ...


class Mailbox:
    """One machine's. `name` is its PBX's, for the log. `problem`: why nothing can be written now, or empty."""

    def __init__(self, name: str, machine: Machine, ledger: Ledger, limit: int = LIMIT) -> None:
        self.name = name
        self.refused = 0
        self.unwritable = 0
        self.written = 0
        self.problem = ""
        self._machine = machine
        self._ledger = ledger
        self._limit = limit
        self._works: dict[str, Work] = {}
        self._held = 0
        self._some = asyncio.Event()
        # Tellings are numbered: how many there were, how many of them were taken to be written, how many are done.
        self._told = self._taken = self._done = 0
        self._progress = asyncio.Event()  # replaced whenever `_done` grows

    def figures(self) -> dict[str, int]:
        """What waits to be written, and counters since the start."""
        return {
            "waiting": len(self._works),
            "written": self.written,
            "refused": self.refused,
            "unwritable": self.unwritable,
        }

    # --- the read side ----------------------------------------------------------------------------------------------

    def changed(self, changes: Iterable[Change]) -> None:
        """What the machine said of its latest event."""
        for change in changes:
            work = self._work(change.call)
            if isinstance(change, Absorbed):
                work.into = change.into
            if self._held >= self._limit and not isinstance(change, OWED):
                self.refused += 1
                continue
            work.changes.append(change)
            self._held += 1
        for call in self._machine.touched():
            self._work(call)
        if self._works:
            self._told += 1
            self._some.set()

    def _work(self, call: Call) -> Work:
        work = self._works.get(call.call_id)
        if work is None:
            work = self._works[call.call_id] = Work(call=call)
        work.call = call
        return work

    # --- the write side ---------------------------------------------------------------------------------------------

    async def restore(self) -> None:
        """Puts the machine back as it was last written. Call once, before its first event."""
        self._machine.restore(await self._ledger.states())

    async def run(self) -> None:
        """Writes for ever. Raises Fenced when the PBX belongs to another instance."""
        while True:
            await self._some.wait()
            await self._write(self._take())
            self._held = sum(len(work.changes) for work in self._works.values())
            self._done = self._taken
            self._progress.set()
            self._progress = asyncio.Event()

    async def drained(self) -> None:
        """Returns when all that was told so far is written; what is told meanwhile is not waited for."""
        told = self._told
        while self._done < told:
            await self._progress.wait()

    def _take(self) -> list[Work]:
        works, self._works = self._works, {}
        self._held = 0
        self._taken = self._told
        self._some.clear()
        for call_id, work in works.items():
            work.state = None if work.into is not None else self._machine.dump(call_id)
        return list(works.values())

    async def _write(self, works: list[Work]) -> None:
        pause = RETRY_FIRST
        together = True
        failures = 0  # unforeseen ones, of the first work
        while works:
            batch = works if together else works[:1]
            try:
                await self._ledger.write(batch)
                self.written += 1
                self.problem = ""
            except DatabaseProblem as problem:
                self.problem = problem.message
                log.warning("database_away", pbx=self.name, problem=problem.message, calls=len(works))
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
                pause = min(pause * 2, RETRY_MOST)
                works = merged(works, self._take())
                self._held = sum(len(work.changes) for work in works)
                continue
            except Fenced:
                raise
            except Exception as problem:  # refused content, or a defect of ours: it must not hold up the others
                if len(batch) > 1:
                    together = False
                    continue
                defect = None if isinstance(problem, Unwritable) else problem
                failures += 1
                if defect is not None and failures < DEFECT_ATTEMPTS:
                    await asyncio.sleep(RETRY_FIRST * 2**failures)
                    continue
                self.unwritable += 1
                call_id = batch[0].call.call_id
                log.error("call_unwritable", pbx=self.name, call_id=call_id, problem=str(problem), exc_info=defect)
            failures = 0
            works = works[len(batch) :]


def merged(older: Sequence[Work], newer: Sequence[Work]) -> list[Work]:
    """Works of the same call become one: the newer form and state, the changes of both in order."""
    by_call: dict[str, Work] = {work.call.call_id: work for work in older}
    for work in newer:
        before = by_call.get(work.call.call_id)
        if before is None:
            by_call[work.call.call_id] = work
            continue
        by_call[work.call.call_id] = Work(
            call=work.call, changes=before.changes + work.changes, state=work.state, into=work.into or before.into
        )
    return list(by_call.values())
