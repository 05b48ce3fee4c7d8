"""FastAGI without I/O: bytes in, events out; commands in, bytes out.

Theory of operation. Asterisk connects and sends its environment, lines of `agi_name: value` up to an empty line. From
then on we send one command at a time and Asterisk answers each:

    200 result=1 (value)          done; `result` is the command's own code, what stands in brackets its data
    510 Invalid or unknown command
    511 Command Not Permitted on a dead channel
    520-Invalid command syntax.  Proper usage follows:     … any number of lines …      520 End of proper usage.

At any time it may also send `HANGUP` on a line of its own: the caller is gone. That is no answer to anything. It may
close the connection whenever it likes.

What a peer sends is never trusted: a line, a header block and an answer have limits, and whoever does not begin like
Asterisk (a port scan, an HTTP client, a TLS hello) is told apart at the first line. The first of two headers of one
name counts: the names we rely on come before anything a caller can put text into.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from urllib.parse import parse_qsl

from bridge.errors import AgiViolation, BadInput

MAX_LINE = 8192  # Asterisk's own buffers are no larger
MAX_HEADERS = 256
MAX_HEADER_BYTES = 65536
MAX_ANSWER_BYTES = 65536
MAX_ANSWER_LINES = 256
MAX_COMMAND = 2047  # AGI_BUF_LEN of res_agi.c, less its NUL

_ANSWER = re.compile(r"200 result=(\S*)(?: \((.*)\))?(?: endpos=(\d+))?\s*", re.DOTALL)
_OPEN_VALUE = re.compile(r"200 result=\S* \((?!.*\)(?: endpos=\d+)?\s*$)", re.DOTALL)
_WORD = re.compile(r"[A-Za-z][A-Za-z ]{0,40}")


@dataclass(frozen=True, slots=True)
class Request:
    """Asterisk's question. `query` and `environment` may hold a token: they stay out of the repr, and so out of logs.

    path  "/route" of agi://host:4573/route?pbx=office, always with its slash
    args  agi_arg_1, agi_arg_2, … as the dialplan passed them
    """

    path: str
    query: Mapping[str, str] = field(repr=False)
    args: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one command. `result` and `data` only with code 200; `text` is all that was said otherwise."""

    code: int
    result: str = ""
    data: str | None = None
    endpos: int | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class HungUp:
    """The caller is gone; a few commands still work ("dead" ones: SET VARIABLE, GET VARIABLE, VERBOSE, NOOP…)."""


@dataclass(frozen=True, slots=True)
class Closed:
    """Asterisk closed the connection. `complete` is False when it did so in the middle of something."""

    complete: bool


Event = Request | Reply | HungUp | Closed


class State(Enum):
    """Where the conversation stands. Only in IDLE may a command be sent; CLOSED is final."""

    ENVIRONMENT = auto()
    IDLE = auto()
    AWAITING = auto()
    CLOSED = auto()


def quote(argument: str) -> str:
    """`argument` as one word of an AGI command. Raises BadInput: CR, LF or NUL would begin a second command."""
    if any(character in argument for character in "\r\n\0"):
        raise BadInput("an AGI argument must not contain CR, LF or NUL", field="argument", found=repr(argument[:80]))
    return '"' + argument.replace("\\", "\\\\").replace('"', '\\"') + '"'


def command(words: str, *arguments: str) -> bytes:
    """One command line, `words` as they are ("SET VARIABLE"), each argument quoted. Raises BadInput."""
    if not _WORD.fullmatch(words):
        raise BadInput("an AGI command is made of letters and spaces", field="words", found=repr(words[:80]))
    line = " ".join([words, *map(quote, arguments)]).encode("utf-8", "replace")
    if len(line) > MAX_COMMAND:
        raise BadInput("an AGI command is too long", field="command", found=len(line), allowed=MAX_COMMAND)
    return line + b"\n"


class Conversation:
    """One connection's state. `receive` and `receive_eof` give events; `send` gives the bytes of a command."""

    def __init__(self) -> None:
        self.state = State.ENVIRONMENT
        self.hung_up = False
        self._buffer = bytearray()
        self._scanned = 0  # no line end before this offset of the buffer
        self._environment: dict[str, str] = {}
        self._header_bytes = 0
        self._answer: list[str] = []  # lines of an answer that goes on
        self._answer_bytes = 0

    def send(self, words: str, *arguments: str) -> bytes:
        """The bytes of a command. Raises BadInput; RuntimeError when it is not our turn, which is a bug of ours."""
        if self.state is not State.IDLE:
            raise RuntimeError(f"an AGI command may not be sent while {self.state.name}")
        line = command(words, *arguments)
        self.state = State.AWAITING
        return line

    def receive(self, data: bytes) -> list[Event]:
        """The events `data` completes. Raises AgiViolation; the connection is then of no use any more."""
        if self.state is State.CLOSED:
            return []
        self._buffer += data
        events: list[Event] = []
        try:
            while (line := self._line()) is not None:
                events += self._read(line)
        except AgiViolation:
            self.state = State.CLOSED
            raise
        return events

    def receive_eof(self) -> list[Event]:
        """The connection ended."""
        if self.state is State.CLOSED:
            return []
        complete = self.state is State.IDLE and not self._buffer
        self.state = State.CLOSED
        return [Closed(complete)]

    def _line(self) -> str | None:
        end = self._buffer.find(b"\n", self._scanned)
        if (len(self._buffer) if end < 0 else end) > MAX_LINE:
            raise AgiViolation("an AGI line is too long", allowed=MAX_LINE)
        if end < 0:
            self._scanned = len(self._buffer)
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._scanned = 0
        return _text(line.removesuffix(b"\r"))

    def _read(self, line: str) -> list[Event]:
        if self.state is State.ENVIRONMENT:
            return self._read_header(line)
        if line == "HANGUP" and not self._answer:
            self.hung_up = True
            return [HungUp()]
        if self.state is not State.AWAITING:
            raise AgiViolation("Asterisk answered without being asked", found=line[:80])
        return self._read_answer(line)

    def _read_header(self, line: str) -> list[Event]:
        if not line:
            self.state = State.IDLE
            return [_request(self._environment)]
        name, colon, value = line.partition(":")
        if not colon or not name.startswith("agi_"):
            raise AgiViolation("this does not speak AGI", found=line[:80])
        self._header_bytes += len(line)
        if len(self._environment) >= MAX_HEADERS or self._header_bytes > MAX_HEADER_BYTES:
            raise AgiViolation("the AGI environment is too large", allowed=MAX_HEADER_BYTES)
        self._environment.setdefault(name, value.removeprefix(" "))
        return []

    def _read_answer(self, line: str) -> list[Event]:
        self._answer.append(line)
        self._answer_bytes += len(line)
        if len(self._answer) > MAX_ANSWER_LINES or self._answer_bytes > MAX_ANSWER_BYTES:
            raise AgiViolation("an AGI answer is too long", allowed=MAX_ANSWER_BYTES)
        first, whole = self._answer[0], "\n".join(self._answer)
        if first.startswith("520-"):
            if not (line.startswith("520 ") and len(self._answer) > 1):
                return []
            return self._answered(Reply(520, text="\n".join(self._answer[1:-1])))
        if _OPEN_VALUE.match(whole):  # a variable's value may hold line breaks
            return []
        if match := _ANSWER.fullmatch(whole):
            result, data, endpos = match.groups()
            return self._answered(Reply(200, result, data, int(endpos) if endpos else None, whole))
        code, _, text = first.partition(" ")
        if not re.fullmatch(r"[1-5]\d\d", code, re.ASCII):
            raise AgiViolation("an AGI answer begins with its code", found=line[:80])
        if code.startswith("1"):  # "100 Trying": the answer is still to come
            self._forget_answer()
            return []
        return self._answered(Reply(int(code), text=text))

    def _answered(self, reply: Reply) -> list[Event]:
        self._forget_answer()
        self.state = State.IDLE
        return [reply]

    def _forget_answer(self) -> None:
        self._answer.clear()
        self._answer_bytes = 0


def _text(line: bytes) -> str:
    # What a caller calls themselves comes in whatever their provider uses; latin-1 takes every byte
    try:
        text = line.decode()
    except UnicodeDecodeError:
        text = line.decode("latin-1")
    return text.replace("\0", "")


def _request(environment: dict[str, str]) -> Request:
    script, _, query = environment.get("agi_network_script", "").partition("?")
    args: list[str] = []
    while (argument := environment.get(f"agi_arg_{len(args) + 1}")) is not None:
        args.append(argument)
    pairs: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, max_num_fields=None):
        pairs.setdefault(name, value)
    return Request("/" + script.strip("/"), pairs, tuple(args), environment)
