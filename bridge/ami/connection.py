"""One TCP connection to one PBX's AMI: bytes in, frames handed on in order; actions out, each answered or failed.

panoramisk's protocol with another data path. Its own decodes and cuts per read, takes the connection down when one
event or callback is odd, and keeps unanswered actions to send them again after a reconnect: a call is made twice.
Here nothing waits in the read path: Asterisk drops a reader that is slow for its `writetimeout` (100 ms by default).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from panoramisk.ami_protocol import AMIProtocol

from bridge.ami.actions import Action, Answer, Reply
from bridge.ami.framing import Framer, FramingError, frame_name, parse
from bridge.errors import ActionTimeout, ConnectionLost, PbxUnavailable

log = structlog.get_logger(__name__)

BANNER = b"Asterisk Call Manager/"
# a PBX that stops reading must not fill our memory with actions
MAX_UNSENT = 1 << 20

# Events that answer an action of ours and are news at the same time
_NEWS = frozenset({b"OriginateResponse"})


class Counters(msgspec.Struct, kw_only=True):
    """What a link has seen and done since it was made; read by metrics and the doctor."""

    bytes: int = 0
    frames: int = 0
    events: int = 0
    handed_over: int = 0
    actions: int = 0
    timeouts: int = 0
    connects: int = 0
    losses: int = 0
    refused_logins: int = 0
    callback_errors: int = 0


class Connection(AMIProtocol):  # type: ignore[misc]
    """The protocol of one connection. `lost` is done once it is over, with the reason in words.

    `on_event(name, frame)` gets every event that is not merely an item of a reply, in order, in the read path.
    """

    def __init__(
        self,
        on_event: Callable[[bytes, bytes], None],
        *,
        counters: Counters | None = None,
        tap: Callable[[bytes], None] | None = None,
    ) -> None:
        self.on_event = on_event
        self.tap = tap
        self.counters = counters or Counters()
        self.framer = Framer()
        self.responses: dict[str, Action] = {}
        self.closed = True
        self.reason = ""
        loop = asyncio.get_running_loop()
        self.banner: asyncio.Future[str] = loop.create_future()
        self.lost: asyncio.Future[str] = loop.create_future()
        self.last_heard = time.monotonic()
        self._head: bytes | None = b""

    # --- the transport's side ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.closed = False
        self.last_heard = time.monotonic()

    def data_received(self, data: bytes) -> None:
        self.last_heard = time.monotonic()
        self.counters.bytes += len(data)
        if self.tap is not None:
            self.tap(data)
        if self._head is not None:
            data = self._greeting(data)
        if not data:
            return
        try:
            frames = self.framer.feed(data)
        except FramingError as error:
            self.abort(f"it does not speak AMI: {error}")
            return
        self.counters.frames += len(frames)
        for frame in frames:
            if self.closed:
                return
            try:
                self._frame(frame)
            except Exception:
                # one odd event, or one callback that fails, must not take the link and the events after it down
                self.counters.callback_errors += 1
                log.exception("ami_frame_failed", frame=frame_name(frame))

    def _greeting(self, data: bytes) -> bytes:
        """Take the banner line off the stream; whoever greets otherwise is no Asterisk and is not listened to."""
        head = (self._head or b"") + data
        line, end, rest = head.partition(b"\n")
        if not head.startswith(BANNER[: len(head)]) or (not end and len(head) > 128):
            self.abort(f"it does not greet as Asterisk does, but with {line[:40]!r}")
            return b""
        if not end:
            self._head = head
            return b""
        self._head = None
        self.version = line[len(BANNER) :].strip().decode("ascii", "replace")
        self.banner.set_result(self.version)
        return rest

    def _frame(self, frame: bytes) -> None:
        kind, name = frame_name(frame)
        if self.responses and b"\r\nActionID: " in frame:
            message = parse(frame)
            action = self.responses.get(message.get("ActionID", ""))
            if action is not None and not action.future.done():
                if action.add_message(Answer(message)):
                    del self.responses[action.id]
                    if action.at_once is not None:
                        action.at_once(action.reply())
                if name not in _NEWS:
                    return
        if kind == b"Event":
            self.counters.events += 1
            self.on_event(name, frame)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._over(f"the connection broke: {exc}" if exc else "the PBX closed the connection")

    def eof_received(self) -> None:
        return None

    # --- our side ---------------------------------------------------------------------------------------------------

    def send(self, data: Action, as_list: bool | None = None) -> asyncio.Future[Any]:
        """Write one action; its future is done with the reply, ConnectionLost, or cancelled by whoever waits.

        Raises PbxUnavailable when nothing can be sent, BadInput when it must not.
        """
        if self.closed or self.transport.is_closing():
            raise PbxUnavailable(self.reason or "The PBX is not connected.")
        if self.transport.get_write_buffer_size() > MAX_UNSENT:
            raise PbxUnavailable("The PBX does not read what it is sent.")
        wire = data.encode()
        self.responses[data.id] = data
        data.future.add_done_callback(lambda future: self._answered(data, future))
        self.counters.actions += 1
        self.transport.write(wire)
        return data.future  # type: ignore[no-any-return]

    async def ask(self, action: Action, timeout: float) -> Reply:
        """Send and wait. Raises PbxUnavailable (ConnectionLost, ActionTimeout) and BadInput; a refusal is a Reply."""
        future = self.send(action)
        try:
            async with asyncio.timeout(timeout):
                await future
        except TimeoutError:
            self.counters.timeouts += 1
            raise ActionTimeout(f"The PBX did not answer {action['Action']} within {timeout:g} s.") from None
        return action.reply()

    def _answered(self, action: Action, future: asyncio.Future[Any]) -> None:
        self.responses.pop(action.id, None)
        if not future.cancelled():
            future.exception()  # an action nobody waits for is no error of the loop

    def abort(self, reason: str) -> None:
        """End it now, without waiting for what is unsent."""
        if not self.closed:
            self.transport.abort()
        self._over(reason)

    def close(self) -> None:
        self.abort("closed by the bridge")

    def _over(self, reason: str) -> None:
        """The end, once: whoever waits for an answer is told that none will come. Nothing is kept to be sent again."""
        if self.lost.done():
            return
        self.closed = True
        self.reason = reason
        unanswered, self.responses = self.responses, {}
        for action in unanswered.values():
            if not action.future.done():
                action.future.set_exception(
                    ConnectionLost(f"The connection was lost before the PBX answered {action['Action']}: {reason}.")
                )
        if not self.banner.done():
            self.banner.set_exception(ConnectionLost(f"The link was lost: {reason}."))
            self.banner.exception()  # nobody may be waiting for it
        self.lost.set_result(reason)
