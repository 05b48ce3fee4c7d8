"""A live AMI stream into a transcript: the bytes as Asterisk sent them, or with secrets, numbers and names made up.

A made-up value is the same wherever the original stood, so that calls still correlate and replay as they were: an
invented number keeps its form and its beginning (country and area), its last seven digits are drawn once at random.
Ids, times, addresses and the ends of channel names stay.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import ssl
from collections.abc import Callable
from typing import BinaryIO

from bridge.ami.manager import Manager, Timing
from bridge.ami.pbx import PbxRow
from bridge.errors import PbxUnavailable

TAIL = 7
"""Digits of a number that are made up; all that is shorter is an extension and stays."""

MASK = b"***"

# First what looks like a number and must stay, matched whole; then numbers.
_NUMBER = re.compile(
    rb"""
      (?P<stays>
          [0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}   # a bridge's id
        | \b\d{9,10}\.\d+                # a channel's id: seconds since the epoch, a counter
        | \b\d{8}-\d{6}\b                # a recording's time
        | -[0-9a-f]{8}(?=[;,&\s]|$)       # the end of a channel's name
        | 0x[0-9a-f]+
        | \b\d{1,3}(?:\.\d{1,3}){3}\b    # an address
      )
    | (?<![0-9A-Za-z.])(?P<number>\d{7,15})(?![0-9A-Za-z]|\.\d)
    """,
    re.VERBOSE,
)
_TIMES = re.compile(rb"(?:timestamp|eventtv|sessiontv|.*time|sessionid|remoteaddress|localaddress)", re.IGNORECASE)
_NAMES = re.compile(rb"(?:.*(?:callerid|connectedline)name|membername)", re.IGNORECASE)
_SECRETS = re.compile(rb"(?:secret|key|challenge|response_?digest|password|token|.*password)", re.IGNORECASE)
_SECRET_VARIABLE = re.compile(rb"secret|passw|token|api_?key", re.IGNORECASE)
_SECRET_ARGUMENT = re.compile(rb"((?:token|secret|password|passwd|api_?key)=)[^&,\s)\"]+", re.IGNORECASE)


class Scrubber:
    """Lines in, lines out. One scrubber per transcript: what it makes up is remembered only here."""

    def __init__(self, draw: Callable[[int], int] = secrets.randbelow) -> None:
        """`draw(n)` gives an integer below n."""
        self._draw = draw
        self._tails: dict[bytes, bytes] = {}
        self._taken: set[bytes] = set()
        self._names: dict[bytes, bytes] = {}
        self._rest = b""
        self._variable = b""

    def feed(self, data: bytes) -> bytes:
        """What is whole so far, scrubbed; the beginning of a line waits for its end."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        return b"".join(self._line(line) + b"\n" for line in lines)

    def flush(self) -> bytes:
        """The last line, where the stream ended in the middle of one."""
        rest, self._rest = self._rest, b""
        return self._line(rest)

    def _line(self, line: bytes) -> bytes:
        name, colon, value = line.partition(b":")
        if not colon:
            self._variable = b""
            return self._numbers(line)
        if name.lower() == b"variable":
            self._variable = value
        body, end = (value[:-1], b"\r") if value.endswith(b"\r") else (value, b"")
        return name + colon + self._value(name, body) + end

    def _value(self, name: bytes, value: bytes) -> bytes:
        text = value.strip()
        if not text or _TIMES.fullmatch(name):
            return value
        secret = name.lower() == b"value" and _SECRET_VARIABLE.search(self._variable)
        if secret or _SECRETS.fullmatch(name):
            return b" " + MASK
        if _NAMES.fullmatch(name) and text != b"<unknown>" and not text.lstrip(b"+").isdigit():
            return b" " + self._names.setdefault(text, b"Name %d" % (len(self._names) + 1))
        return self._numbers(_SECRET_ARGUMENT.sub(rb"\1" + MASK, value))

    def _numbers(self, text: bytes) -> bytes:
        return _NUMBER.sub(self._made_up, text)

    def _made_up(self, found: re.Match[bytes]) -> bytes:
        number: bytes | None = found["number"]
        if number is None:
            return found[0]
        # by the last digits alone: 8 916…, +7 916… and 916… of one person stay one person
        known = number[-TAIL:]
        tail = self._tails.get(known)
        while tail is None or (known not in self._tails and tail in self._taken):
            tail = b"%0*d" % (TAIL, self._draw(10**TAIL))
        self._tails[known] = tail
        self._taken.add(tail)
        return number[:-TAIL] + tail


async def record(
    pbx: PbxRow,
    out: BinaryIO,
    *,
    scrub: bool = False,
    stop: asyncio.Event,
    tls: ssl.SSLContext | None = None,
    timing: Timing | None = None,
) -> int:
    """Write what the PBX sends until `stop` is set; the number of bytes that came. Lost links are taken up again.

    Raises PbxUnavailable when the first attempt comes to nothing, OSError when `out` cannot be written.
    """
    scrubber = Scrubber() if scrub else None
    failed: list[OSError] = []

    def write(data: bytes) -> None:
        try:
            out.write(data if scrubber is None else scrubber.feed(data))
            out.flush()
        except OSError as error:  # a full disk
            failed.append(error)
            stop.set()

    manager = Manager(pbx, tap=write, tls=tls, timing=timing, wanted=frozenset())
    manager.start()
    try:
        await manager.settled()
        if manager.state != "up":
            raise PbxUnavailable(manager.problem, state=manager.state)
        await stop.wait()
        if failed:
            raise failed[0]
    finally:
        manager.close()
        await manager.wait_closed()
        if scrubber is not None and not failed:
            out.write(scrubber.flush())
            out.flush()
    return manager.counters.bytes
