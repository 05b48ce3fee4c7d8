"""The ears of this process: one connection that LISTENs, for everybody in it.

NOTIFY is at-most-once, so whoever subscribes must also read again what it keeps after every time the connection was
(re)made: `on_connect` says when. A connection that dies half open says nothing; a ping every ten seconds finds it.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import asyncpg
import structlog

from bridge.db.pool import LOST, connect
from bridge.errors import DatabaseProblem

log = structlog.get_logger(__name__)

PING_SECONDS = 10.0
PING_TIMEOUT = 5.0
RETRY_FIRST, RETRY_MOST = 0.05, 2.0

Heard = Callable[[str], None]
"""Gets a notification's payload, in the order of the notifications. Must not wait."""


class Bus:
    """`subscribe` at any time, `run` for ever. `heard` counts notifications by channel, `connects` connections made."""

    def __init__(self, url: str, *, ping_seconds: float = PING_SECONDS, ping_timeout: float = PING_TIMEOUT) -> None:
        self.heard: Counter[str] = Counter()
        self.connects = 0
        self.failures = 0
        self.connected = asyncio.Event()
        self._url = url
        self._ping_seconds = ping_seconds
        self._ping_timeout = ping_timeout
        self._subscribers: defaultdict[str, list[Heard]] = defaultdict(list)
        self._catch_up: list[Callable[[], None]] = []
        self._stir = asyncio.Event()

    def subscribe(self, channel: str, heard: Heard) -> Callable[[], None]:
        """Have `heard` called with every payload of the channel; returns what ends that."""
        self._subscribers[channel].append(heard)
        self._stir.set()
        return lambda: self._subscribers[channel].remove(heard)

    def on_connect(self, catch_up: Callable[[], None]) -> None:
        """Have `catch_up` called after every connection made: what was notified before it was not heard."""
        self._catch_up.append(catch_up)

    def figures(self) -> dict[str, Any]:
        """For /stats."""
        return {
            "connected": self.connected.is_set(),
            "connects": self.connects,
            "failures": self.failures,
            "heard": dict(self.heard),
        }

    async def run(self) -> None:
        """Listen, for ever."""
        pause = RETRY_FIRST
        while True:
            try:
                connection = await connect(self._url)
            except DatabaseProblem as problem:
                self.failures += 1
                log.warning("bus_not_connected", problem=problem.message)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
                pause = min(pause * 2, RETRY_MOST)
                continue
            pause = RETRY_FIRST
            try:
                await self._listen(connection)
            except LOST as problem:
                log.warning("bus_connection_lost", problem=str(problem) or type(problem).__name__)
            finally:
                self.connected.clear()
                connection.terminate()

    async def _listen(self, connection: asyncpg.Connection) -> None:
        """Until the connection is lost; raises what says so."""
        connection.add_termination_listener(lambda _: self._stir.set())
        listened: set[str] = set()
        while True:
            self._stir.clear()
            for channel in self._subscribers.keys() - listened:
                await connection.add_listener(channel, self._tell)
                listened.add(channel)
            if not self.connected.is_set():
                self.connected.set()
                self.connects += 1
                for catch_up in self._catch_up:
                    _guarded(catch_up)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._ping_seconds):
                    await self._stir.wait()
            await connection.execute("select 1", timeout=self._ping_timeout)

    def _tell(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        self.heard[channel] += 1
        for heard in tuple(self._subscribers[channel]):
            _guarded(heard, str(payload))


def _guarded(call: Callable[..., None], *arguments: str) -> None:
    """One subscriber's mistake is its own: the others still hear."""
    try:
        call(*arguments)
    except Exception:
        log.exception("bus_subscriber_failed", subscriber=getattr(call, "__qualname__", repr(call)))
