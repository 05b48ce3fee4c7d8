"""Actions as Asterisk takes them, on panoramisk's: its action ids, its format, its matching of responses to requests.

What panoramisk 1.4 leaves open is closed here: a CR, LF or NUL in a key or value (to Asterisk a bare LF already starts
a new header, so a caller's name could add an action of its own), lines and headers beyond what Asterisk reads, and
replies that never complete (QueueAdd) or whose `success` says nothing (an async Originate that failed).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import panoramisk.actions
import panoramisk.message
import panoramisk.utils

from bridge.ami.framing import Message
from bridge.errors import BadInput

Value = str | Sequence[str]

# manager.c reads lines into inbuf[1025] and keeps at most AST_MAX_MANHEADERS headers; measured: a line over 1020 bytes
# is answered "line too long", without the action's id
MAX_LINE = 1000
MAX_HEADERS = 128

_SECRET = frozenset({"secret", "key", "password", "challenge"})
_FORBIDDEN = ("\r", "\n", "\0")
_TRUE = frozenset({"true", "yes", "on", "1", "y", "t"})  # ast_true()
# actions whose one response panoramisk 1.4 takes for the head of a list that never comes
_SINGLE = frozenset({"queueadd"})


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What Asterisk answered to one action.

    `success` is false also where the action was accepted and its outcome, told by a later event, is a failure.
    `events` are the items of a list and its end, or the OriginateResponse; `output` the lines of a Command.
    """

    success: bool
    message: str
    response: Message
    events: tuple[Message, ...] = ()

    @property
    def output(self) -> list[str]:
        return self.response.all("Output")


class _Headers(panoramisk.utils.CaseInsensitiveDict):  # type: ignore[misc]
    """Headers as panoramisk keeps them, which can be copied: its own look `_store` up in `_store`, for ever."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return super().__getattr__(name)


class Answer(_Headers, panoramisk.message.Message):  # type: ignore[misc]
    """A frame in the shape that panoramisk's matching reads: one text per header, the first where it is repeated.

    A message that panoramisk makes has lists where headers repeat (`Event` too) and no empty values.
    """

    def __init__(self, frame: Message) -> None:
        headers: dict[str, str] = {}
        for name, value in frame:
            headers.setdefault(name.lower(), value)
        super().__init__(headers)
        self.frame = frame


class Action(_Headers, panoramisk.actions.Action):  # type: ignore[misc]
    """One action, checked when it is made and once more when it is written.

    `outcome` true: an async Originate is complete with its OriginateResponse; false: when Asterisk has queued it.
    `at_once` is called with the reply in the read path, before the frame that follows it. Raises BadInput.
    """

    def __init__(
        self,
        headers: Mapping[str, Value],
        *,
        outcome: bool = False,
        at_once: Callable[[Reply], None] | None = None,
    ) -> None:
        super().__init__(dict(headers))
        if not isinstance(self.get("Action"), str) or not self["Action"]:
            raise BadInput("Action: an action needs a name", field="Action")
        self.outcome = outcome
        self.at_once = at_once
        if self.name == "originate":
            # a synchronous Originate stops the session, with all its events, until the phone is answered
            self["Async"] = "true"
        _lines(self)

    @property
    def name(self) -> str:
        """The action's name in lower case."""
        return str(self["Action"]).lower()

    @property
    def multi(self) -> bool:
        if self.name in _SINGLE:
            return False
        if self.name == "originate":
            return self.outcome and bool(self.responses[0].response == "Success")
        return bool(super().multi)

    @property
    def completed(self) -> bool:
        last = self.responses[-1]
        if len(self.responses) > 1 and "eventlist" in last:
            return bool(last["eventlist"].lower() != "start")  # Complete, or Cancelled
        return bool(super().completed)

    def encode(self) -> bytes:
        """The bytes to send. Raises BadInput."""
        return ("\r\n".join(_lines(self)) + "\r\n\r\n").encode()

    def __str__(self) -> str:
        return self.encode().decode()

    def __repr__(self) -> str:
        return f"<Action {redacted(self)}>"

    def reply(self) -> Reply:
        """The reply, once `future` is done."""
        first, *rest = self.responses
        # of an event `Message.success` is always true: an OriginateResponse says how it went in `Response`
        success = bool(first.success) and all(item.response not in ("Failure", "Error") for item in rest)
        message = first.message
        if not success and first.success:
            message = f"{rest[-1].event}: {rest[-1].response}, reason {rest[-1].reason or 'unknown'}"
        return Reply(success=success, message=message, response=first.frame, events=tuple(item.frame for item in rest))


def redacted(headers: Mapping[str, Value]) -> dict[str, Value]:
    """The headers as a log may show them."""
    return {name: "***" if name.lower() in _SECRET else value for name, value in headers.items()}


def _lines(headers: Mapping[str, Value]) -> list[str]:
    lines = []
    for name, values in headers.items():
        for value in values if isinstance(values, list | tuple) else [values]:
            _check(name, value)
            lines.append(f"{name}: {value}")
    if len(lines) > MAX_HEADERS:
        message = f"{headers['Action']}: {len(lines)} headers found, Asterisk reads at most {MAX_HEADERS}"
        raise BadInput(message, field="Action", allowed=MAX_HEADERS)
    return lines


def _check(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise BadInput(f"{name}: {type(value).__name__} found, text allowed", field=name, allowed="text")
    if not name or ":" in name or any(bad in name for bad in _FORBIDDEN):
        raise BadInput(f"{name!r} is no name of a header", field=name)
    if any(bad in value for bad in _FORBIDDEN):
        raise BadInput(f"{name}: a line break or NUL found, one line of text allowed", field=name, allowed="one line")
    try:
        size = len(f"{name}: {value}".encode())
    except UnicodeEncodeError:
        raise BadInput(f"{name}: text that is no Unicode found", field=name, allowed="Unicode text") from None
    if size > MAX_LINE:
        raise BadInput(f"{name}: a line of {size} bytes found, Asterisk reads {MAX_LINE}", field=name, allowed=MAX_LINE)
