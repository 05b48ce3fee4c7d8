"""Smart redirect of Mango's calls: a caller who waits in a menu or a queue is sent to whoever they belong to.

Mango asks nobody before a call; it tells that one has come. So the question is asked here, as a dialplan of Asterisk
would ask it, and the answer is a command. Where there is no better answer the call goes on by Mango's own scheme. Each
call is decided once, whichever instance reads it first, and only while it is new: what was heard late has moved on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from bridge.errors import BridgeError
from bridge.mango.events import MangoEvent
from bridge.mango.standing import Caller, caller
from bridge.routing.model import Answer, LineSetting

log = structlog.get_logger(__name__)

FRESH = 10.0
"""Seconds after its first event in which a call may still be routed."""

AT_ONCE = 64


class Line(Protocol):
    def line(self, number: str | None) -> LineSetting: ...


class Directory(Protocol):
    """Who is who."""

    def enterprise(self, number: str) -> Line | None: ...


class Redirects(Protocol):
    """Who decides where a caller goes."""

    async def who(
        self, enterprise_number: str, phone: str | None, *, line: str | None = None, pbx: str | None = None
    ) -> Answer: ...

    def keep(self, enterprise_number: str, pbx: str, call_id: str, answer: Answer) -> None: ...


class Commands(Protocol):
    """Who sends the call there."""

    @property
    def name(self) -> str: ...

    async def route(
        self, enterprise_number: str, entry_id: str, extension: str, *, name: str = "", reason: str | None = None
    ) -> bool: ...


class Callers:
    """`heard` is to be told of every entry that was read anew. `clock` is the receiver's (epoch)."""

    def __init__(
        self,
        directory: Directory,
        redirects: Redirects,
        commands: Commands,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._directory = directory
        self._redirects = redirects
        self._commands = commands
        self._clock = clock
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}

    def heard(self, enterprise_number: str, entry_id: str, events: Sequence[MangoEvent]) -> None:
        """All that is known of an entry. Returns at once."""
        waiting = caller(events)
        if waiting is None or self._clock() - waiting.since > FRESH:
            return
        enterprise = self._directory.enterprise(enterprise_number)
        if enterprise is None or enterprise.line(waiting.line) != "route":
            return
        key = (enterprise_number, entry_id)
        if key in self._tasks or len(self._tasks) >= AT_ONCE:
            return
        task = self._tasks[key] = asyncio.create_task(self._route(enterprise_number, entry_id, waiting))
        task.add_done_callback(lambda _: self._tasks.pop(key, None))

    async def close(self) -> None:
        """Lets go out what was decided."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=2.0)

    async def _route(self, enterprise_number: str, entry_id: str, waiting: Caller) -> None:
        try:
            answer = await self._redirects.who(
                enterprise_number, waiting.number, line=waiting.line, pbx=self._commands.name
            )
            if answer.extension is None:
                return
            if await self._commands.route(
                enterprise_number, entry_id, answer.extension, name=answer.name, reason=answer.reason
            ):
                self._redirects.keep(enterprise_number, self._commands.name, entry_id, answer)
        except BridgeError as problem:
            log.warning("caller_not_routed", enterprise=enterprise_number, entry_id=entry_id, problem=problem.message)
        except Exception:
            log.exception("caller_not_routed", enterprise=enterprise_number, entry_id=entry_id)
