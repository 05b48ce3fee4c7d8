"""A PBX's Manager Interface that does what a test tells it: a TCP server on a free port of loopback.

It greets, answers Challenge, Login, Ping and Status as Asterisk does, and records what it is sent.
A test replaces an answer through `answers`, or speaks for itself with `send` and `event`.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from bridge.ami.framing import Message, parse
from bridge.ami.manager import Timing

CHALLENGE = "123456789"

# a PBX on loopback answers at once: what is waited for in vain is waited for briefly
QUICK = Timing(
    connect=5, login=5, snapshot=5, action=5, idle=5, pong=5, retry_first=0.01, retry_most=0.05, refused_first=60
)


class Heard:
    """What a link told, in order: ("frame", first line), ("up", channels), ("down", reason)."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.frames: list[bytes] = []

    def on_frame(self, frame: bytes) -> None:
        self.frames.append(frame)
        self.told.append(("frame", frame.split(b"\r\n")[0].removeprefix(b"Event: ").decode()))

    def on_up(self, channels: Any) -> None:
        self.told.append(("up", channels))

    def on_down(self, reason: str) -> None:
        self.told.append(("down", reason))

    @property
    def names(self) -> list[str]:
        return [what for kind, what in self.told if kind == "frame"]

    def count(self, kind: str) -> int:
        return sum(1 for told, _ in self.told if told == kind)


async def until(condition: Callable[[], Any], deadline: float = 5.0) -> None:
    """Wait until the condition holds; fails after `deadline` seconds."""
    async with asyncio.timeout(deadline):
        while not condition():  # noqa: ASYNC110 - the condition is the product's own state: it has no event to wait for
            await asyncio.sleep(0.003)


class Session:
    """One connection to the scripted PBX."""

    def __init__(self, pbx: ScriptedAmi, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pbx = pbx
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes | str) -> None:
        self.writer.write(data if isinstance(data, bytes) else data.encode())

    def event(self, name: str, *headers: str) -> None:
        self.send("\r\n".join([f"Event: {name}", "Privilege: call,all", *headers, "", ""]))

    def respond(self, action: Message, response: str, *headers: str) -> None:
        self.send("\r\n".join([f"Response: {response}", f"ActionID: {action['ActionID']}", *headers, "", ""]))

    def drop(self) -> None:
        self.writer.transport.abort()

    async def serve(self) -> None:
        self.send(self.pbx.banner)
        while True:
            frame = await self.reader.readuntil(b"\r\n\r\n")
            self.pbx.wire.append(frame)
            action = parse(frame[:-4])
            self.pbx.actions.append(action)
            answer = self.pbx.answers.get(action.get("Action"), _unknown)
            answer(self, action)


class ScriptedAmi:
    """`async with ScriptedAmi() as pbx`; `pbx.port`, `pbx.sessions` (every connection there was), `pbx.actions`."""

    def __init__(
        self,
        *,
        username: str = "bridge",
        secret: str = "s3cret",
        banner: str = "Asterisk Call Manager/11.0.0\r\n",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.username, self.secret, self.banner, self.tls = username, secret, banner, tls
        self.sessions: list[Session] = []
        self.actions: list[Message] = []
        self.wire: list[bytes] = []
        self.channels: list[list[str]] = []
        self.answers: dict[str, Callable[[Session, Message], None]] = {
            "Challenge": lambda session, action: session.respond(action, "Success", f"Challenge: {CHALLENGE}"),
            "Login": self._login,
            "Ping": lambda session, action: session.respond(action, "Success", "Ping: Pong"),
            "Status": self._channels,
        }
        self._open: set[asyncio.Task[None]] = set()

    @property
    def session(self) -> Session:
        """The latest connection."""
        return self.sessions[-1]

    def named(self, name: str) -> list[Message]:
        return [action for action in self.actions if action.get("Action") == name]

    async def __aenter__(self) -> ScriptedAmi:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self.tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        session = Session(self, reader, writer)
        self.sessions.append(session)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                await session.serve()
        finally:
            writer.transport.abort()
            self._open.discard(task)

    def _login(self, session: Session, action: Message) -> None:
        if "Key" in action:
            good = action["Key"] == hashlib.md5((CHALLENGE + self.secret).encode()).hexdigest()  # noqa: S324
        else:
            good = action.get("Secret") == self.secret
        if good and action.get("Username") == self.username:
            session.respond(action, "Success", "Message: Authentication accepted")
            if action.get("Events") != "off":
                session.event("FullyBooted", "Status: Fully Booted")
        else:
            session.respond(action, "Error", "Message: Authentication failed")

    def _channels(self, session: Session, action: Message) -> None:
        session.respond(action, "Success", "EventList: start", "Message: Channel status will follow")
        for headers in self.channels:
            session.event("Status", f"ActionID: {action['ActionID']}", *headers)
        end = (f"ActionID: {action['ActionID']}", "EventList: Complete", f"Items: {len(self.channels)}")
        session.event("StatusComplete", *end)


def _unknown(session: Session, action: Message) -> None:
    session.respond(action, "Error", f"Message: Invalid/unknown command: {action.get('Action')}.")


def mute(session: Session, action: Message) -> None:
    """An answer that never comes."""
