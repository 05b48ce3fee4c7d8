"""The FastAGI server: many conversations at once, none of them longer than its deadline.

Asterisk limits only the connecting (2 s); after that a call sits in AGI() for as long as the server holds the socket.
So every limit is ours: how many conversations, how long until the question is complete, how long a command and a whole
conversation may take. Whatever goes wrong, the connection is closed and the dialplan goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import cast

import structlog

from bridge.agi.protocol import Closed, Conversation, Event, HungUp, Reply, Request, State
from bridge.errors import AgiRefused, AgiViolation, BridgeError, CallerGone

log = structlog.get_logger(__name__)

Handler = Callable[["Dialogue"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, and how many conversations at once. A conversation's deadline is below the dialplan's own 3 s."""

    conversations: int = 1000
    question: float = 1.0
    command: float = 1.0
    conversation: float = 2.0


@dataclass(slots=True)
class Counters:
    """What became of the connections since the start; `active` is now."""

    active: int = 0
    accepted: int = 0
    refused: int = 0  # over the cap
    served: int = 0
    silent: int = 0  # no complete question: port scans, health checks, silent clients
    malformed: int = 0
    unrouted: int = 0  # a path nobody answers
    hung_up: int = 0
    overdue: int = 0
    failed: int = 0


class Dialogue:
    """What a handler talks through. Commands go one at a time; their errors say whose fault it was.

    Every command raises CallerGone when the connection is over, AgiRefused when Asterisk says no, BadInput for an
    argument that cannot be sent.
    """

    def __init__(self, request: Request, connection: _Connection, limits: Limits) -> None:
        self.request = request
        self.arrived = connection.arrived
        self._connection = connection
        self._limits = limits
        self._turn = asyncio.Lock()

    @property
    def hung_up(self) -> bool:
        """Whether the caller is gone; SET VARIABLE and a few others still work then."""
        return self._connection.conversation.hung_up

    async def command(self, words: str, *arguments: str) -> Reply:
        """One command and its answer, code 200."""
        async with self._turn:
            async with asyncio.timeout(self._limits.command):
                reply = await self._connection.command(words, *arguments)
        if reply.code != 200:
            raise AgiRefused(f"Asterisk refused {words}", reply=reply.code, said=reply.text[:200])
        return reply

    async def set_variable(self, name: str, value: str) -> None:
        """SET VARIABLE: on the channel, seen by the dialplan as ${name}."""
        await self.command("SET VARIABLE", name, value)

    async def get_variable(self, name: str) -> str | None:
        """GET VARIABLE: None where it is not set."""
        reply = await self.command("GET VARIABLE", name)
        return (reply.data or "") if reply.result == "1" else None

    async def verbose(self, message: str, level: int = 1) -> None:
        """VERBOSE: a line on Asterisk's console."""
        await self.command("VERBOSE", message, str(level))


class AgiServer:
    """Listens, tells conversations apart by their path and bounds each of them.

    `handlers` maps a path ("/route") to the coroutine that answers it. Connections beyond `limits.conversations` are
    closed at once: the PBX's dialplan goes on.
    """

    def __init__(self, handlers: Mapping[str, Handler], limits: Limits | None = None) -> None:
        self.counters = Counters()
        self.limits = limits or Limits()
        self._handlers = dict(handlers)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; the address really bound (port 0 takes a free one). Raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), host, port, backlog=512)
        bound = self._server.sockets[0].getsockname()
        return str(bound[0]), int(bound[1])

    async def stop(self, grace: float = 2.0) -> None:
        """Take no more; let conversations end within `grace` seconds, then cut them."""
        if self._server is None:
            return
        self._server.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        remaining = set(self._tasks)
        for task in remaining:
            task.cancel()
        await asyncio.gather(*remaining, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    def accept(self, connection: _Connection) -> bool:
        """Whether there is room for one more; if so, it is served from now on."""
        if self.counters.active >= self.limits.conversations or self._server is None:
            self.counters.refused += 1
            return False
        self.counters.active += 1
        self.counters.accepted += 1
        task = asyncio.get_running_loop().create_task(self._serve(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _serve(self, connection: _Connection) -> None:
        try:
            async with asyncio.timeout(self.limits.conversation):
                await self._answer(connection)
        except TimeoutError:
            self.counters.overdue += 1
            log.warning("agi_overdue", peer=connection.peer, seconds=self.limits.conversation)
        finally:
            self.counters.active -= 1
            connection.cut()

    async def _answer(self, connection: _Connection) -> None:
        try:
            async with asyncio.timeout(self.limits.question):
                request = await connection.request
        except (TimeoutError, CallerGone):
            self.counters.silent += 1
            return
        except AgiViolation as violation:
            self.counters.malformed += 1
            log.info("agi_malformed", peer=connection.peer, problem=violation.message, **violation.details)
            return
        handler = self._handlers.get(request.path)
        if handler is None:
            self.counters.unrouted += 1
            log.warning("agi_path_unknown", peer=connection.peer, path=request.path[:80])
            return
        try:
            await self._run(handler, Dialogue(request, connection, self.limits), connection)
            self.counters.served += 1
        except CallerGone:
            self.counters.hung_up += 1
        except AgiViolation as violation:
            self.counters.malformed += 1
            log.warning("agi_malformed", peer=connection.peer, problem=violation.message, **violation.details)
        except BridgeError as problem:
            self.counters.failed += 1
            log.warning("agi_failed", peer=connection.peer, path=request.path, problem=problem.message)
        except TimeoutError:
            raise
        except Exception:
            self.counters.failed += 1
            log.exception("agi_handler_failed", peer=connection.peer, path=request.path)

    async def _run(self, handler: Handler, dialogue: Dialogue, connection: _Connection) -> None:
        """The handler, for as long as the connection lasts: a caller who is gone needs no answer."""
        work = asyncio.ensure_future(handler(dialogue))
        try:
            await asyncio.wait({work, connection.gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                connection.gone.result()
            await work
        finally:
            if not work.done():
                work.cancel()
                await asyncio.wait({work})


class _Connection(asyncio.Protocol):
    """One TCP connection around a Conversation. `request` and `gone` complete as their names say."""

    def __init__(self, server: AgiServer) -> None:
        loop = asyncio.get_running_loop()
        self.conversation = Conversation()
        self.request: asyncio.Future[Request] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()
        self.peer = ""
        self.arrived = time.monotonic()
        self._reply: asyncio.Future[Reply] | None = None
        self._server = server
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # create_server makes no other kind; uvloop's is none of asyncio's classes
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) else ""
        if not self._server.accept(self):
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            events = self.conversation.receive(data)
        except AgiViolation as violation:
            self._over(violation)
            return
        for event in events:
            self._take(event)

    def eof_received(self) -> bool:
        for event in self.conversation.receive_eof():
            self._take(event)
        return False  # close our half too

    def connection_lost(self, exc: Exception | None) -> None:
        self.conversation.receive_eof()
        self._over(CallerGone())

    async def command(self, words: str, *arguments: str) -> Reply:
        if self._transport is None or self.conversation.state is not State.IDLE:
            self._raise_if_over()
            raise RuntimeError("an AGI command was sent out of turn")
        line = self.conversation.send(words, *arguments)
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.write(line)
        try:
            return await self._reply
        finally:
            self._reply = None

    def cut(self) -> None:
        """Close, now; what was written goes out first."""
        self._over(CallerGone())
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def _raise_if_over(self) -> None:
        if self.gone.done():
            self.gone.result()

    def _take(self, event: Event) -> None:
        match event:
            case Request():
                if not self.request.done():
                    self.request.set_result(event)
            case Reply():
                if self._reply is not None and not self._reply.done():
                    self._reply.set_result(event)
            case HungUp():
                pass  # `conversation.hung_up` says so; the handler may still set variables
            case Closed():
                self._over(CallerGone())

    def _over(self, problem: BridgeError) -> None:
        for future in (self.request, self.gone, self._reply):
            if future is not None and not future.done():
                future.set_exception(problem)
                future.exception()  # seen: nobody may be waiting for it
