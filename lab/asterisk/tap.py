"""The lab's own ear on AMI: what Asterisk said, byte for byte, and a way to wait for it.

It is not the product's client and shares nothing with it, so that tests of the one do not lean on the other.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from types import TracebackType

from lab.errors import LabError, NotReady

Fields = dict[str, str]
"""One message; of a repeated header the last value."""

Match = Callable[[Fields], bool]


class Tap:
    """One AMI session that records. `captured` is the stream as `asterisk-bridge replay` reads it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.captured = bytearray()
        self.messages: list[Fields] = []
        self.ended = False
        self._reader = reader
        self._writer = writer
        self._pending = bytearray()
        self._ids = itertools.count(1)
        self._changed = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def connect(cls, host: str, username: str, secret: str, port: int = 5038) -> Tap:
        """Logged in. Raises OSError when nobody listens and LabError when the login is refused."""
        tap = cls(*await asyncio.open_connection(host, port))
        try:
            answer = await tap.send({"Action": "Login", "Username": username, "Secret": secret})
            if answer.get("Response") != "Success":
                raise LabError(f"AMI of {host} refuses {username}: {answer.get('Message')}")
        except BaseException:
            await tap.close()
            raise
        return tap

    async def send(self, action: Mapping[str, str], timeout: float = 10.0) -> Fields:
        """The response to `action`. Raises NotReady when none comes."""
        action_id = f"tap-{next(self._ids)}"
        lines = [f"{key}: {value}" for key, value in {**action, "ActionID": action_id}.items()]
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("an AMI header has no line ends")
        self._writer.write("\r\n".join([*lines, "", ""]).encode())
        return await self.until(lambda m: "Response" in m and m.get("ActionID") == action_id, timeout)

    async def until(self, match: Match, timeout: float = 10.0, after: int = 0) -> Fields:
        """The first message from position `after` on that matches; what came before counts too. Raises NotReady."""
        seen = after
        try:
            async with asyncio.timeout(timeout):
                while True:
                    for message in itertools.islice(self.messages, seen, None):
                        if match(message):
                            return message
                    seen = len(self.messages)
                    if self.ended:
                        raise NotReady("Asterisk closed the AMI session")
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            last = [message.get("Event") or message.get("Response") for message in self.messages[-5:]]
            raise NotReady(f"Asterisk did not say so within {timeout:g} s; last it said {last}") from None

    async def event(self, name: str, timeout: float = 10.0, after: int = 0, **fields: str) -> Fields:
        """The first event `name` with these fields."""
        return await self.until(
            lambda m: m.get("Event") == name and all(m.get(key) == value for key, value in fields.items()),
            timeout,
            after,
        )

    async def _read(self) -> None:
        try:
            while chunk := await self._reader.read(65536):
                self.captured += chunk
                self._pending += chunk
                self._split()
        except ConnectionError:
            pass
        finally:
            self.ended = True
            self._changed.set()

    def _split(self) -> None:
        *frames, rest = bytes(self._pending).split(b"\r\n\r\n")
        self._pending = bytearray(rest)
        for frame in frames:
            lines = frame.decode("utf-8", "replace").split("\r\n")
            self.messages.append(dict(line.partition(": ")[::2] for line in lines if ": " in line))
        if frames:
            self._changed.set()

    async def close(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._writer.close()
        await asyncio.gather(self._writer.wait_closed(), return_exceptions=True)

    async def __aenter__(self) -> Tap:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()
