"""Parts of the mailbox tests: a machine that says what it is told to, a ledger whose database comes and goes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import msgspec

from bridge.calls.model import Answered, Call, Change, Ended, Ringing, Started
from bridge.errors import DatabaseProblem
from bridge.mailbox import Mailbox, Unwritable, Work

NOON = 1_795_000_000.0


def a_call(call_id: str = "1.1", **fields: Any) -> Call:
    known: dict[str, Any] = {
        "direction": "inbound",
        "client_number": "+79161234567",
        "line": "74951000001",
        "started_at": NOON,
    }
    return Call(call_id=call_id, **(known | fields))


def began(call_id: str = "1.1") -> list[Change]:
    call = a_call(call_id, extensions=["150"])
    return [Started(call=call, at=NOON), Ringing(call=call, at=NOON, extensions=("150",))]


def answered(call_id: str = "1.1") -> list[Change]:
    call = a_call(call_id, extensions=["150"], answered_by="150", answered_first="150", answered_at=NOON + 2)
    return [Answered(call=call, at=NOON + 2, extension="150", first=True)]


def ended(call_id: str = "1.1") -> list[Change]:
    call = a_call(
        call_id,
        status="answered",
        extensions=["150"],
        answered_by="150",
        answered_first="150",
        answered_at=NOON + 2,
        ended_at=NOON + 9,
        talk_seconds=7,
    )
    return [Ended(call=call, at=NOON + 9)]


class ScriptedMachine:
    """Remembers a call until its `Ended`. What it `restored` is kept as it came."""

    def __init__(self) -> None:
        self.live: dict[str, Call] = {}
        self.restored: list[bytes] = []
        self._touched: dict[str, Call] = {}

    def say(self, changes: Sequence[Change]) -> Sequence[Change]:
        for change in changes:
            self.touch(change.call)
            if isinstance(change, Ended):
                del self.live[change.call.call_id]
        return changes

    def touch(self, call: Call) -> None:
        """Its state changed, and nothing that anybody is told of."""
        self.live[call.call_id] = self._touched[call.call_id] = call

    def touched(self) -> list[Call]:
        touched, self._touched = self._touched, {}
        return list(touched.values())

    def dump(self, call_id: str) -> bytes | None:
        return msgspec.json.encode(self.live[call_id]) if call_id in self.live else None

    def restore(self, states: Iterable[bytes]) -> None:
        self.restored += states


class ScriptedLedger:
    """Writes into memory while `there` is set. `poison` are calls that it will never take."""

    def __init__(self) -> None:
        self.there = True
        self.poison: set[str] = set()
        self.known: list[bytes] = []
        self.transactions: list[list[Work]] = []
        self.attempts = 0
        self._attempted = asyncio.Event()
        self.hold: asyncio.Event | None = None
        """A transaction waits for it before it comes to anything."""

    async def states(self) -> Sequence[bytes]:
        return self.known

    async def write(self, works: Sequence[Work]) -> None:
        self.attempts += 1
        self._attempted.set()
        self._attempted = asyncio.Event()
        if self.hold is not None:
            await self.hold.wait()
        if not self.there:
            raise DatabaseProblem("The database is away.")
        if bad := self.poison & {work.call.call_id for work in works}:
            raise Unwritable(f"{bad} has a character that nobody has seen")
        self.transactions.append(list(works))

    async def attempted(self, times: int = 1) -> None:
        """Returns after so many more attempts to write."""
        until = self.attempts + times
        async with asyncio.timeout(10):
            while self.attempts < until:
                await self._attempted.wait()

    def changes_of(self, call_id: str) -> list[str]:
        """The changes that were written of a call, in order."""
        return [
            str(msgspec.to_builtins(change)["change"])
            for works in self.transactions
            for work in works
            if work.call.call_id == call_id
            for change in work.changes
        ]

    def last(self, call_id: str) -> Work:
        return [work for works in self.transactions for work in works if work.call.call_id == call_id][-1]


@contextlib.asynccontextmanager
async def writing(mailbox: Mailbox) -> AsyncIterator[asyncio.Task[None]]:
    """The mailbox's write side at work."""
    task = asyncio.create_task(mailbox.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def written(mailbox: Mailbox, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        await mailbox.drained()
