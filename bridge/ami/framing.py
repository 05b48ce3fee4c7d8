"""The Manager Interface's bytes, taken apart: a stream into frames, a frame into its headers. No I/O.

A frame is a run of `Name: value` lines, each ended by CR LF, and an empty line after the last. What the protocol's
description leaves out, and real Asterisks do:

* The greeting (`Asterisk Call Manager/11.0.0`) is one line with no empty line after it.
* `CoreShowChannelMap` ends its frame with CR LF LF (asterisk#761), so both endings are taken.
* A value may hold a bare LF (a variable, a UserEvent). It is part of the value and starts no header: whoever can set a
  variable must not be able to forge an event.
* A read may end anywhere, in the middle of a UTF-8 character too: bytes are decoded only when their frame is whole.
* A value may be empty, and a header may repeat (`Variable`, `Output`, and `Event` itself in a UserEvent).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# The largest frame that Asterisk makes (a `Command` with thousands of lines) is far below 1 MiB.
MAX_FRAME = 8 * 1024 * 1024
GREETING = b"Asterisk Call Manager/"

_END = re.compile(rb"\r\n\r?\n")


class FramingError(ValueError):
    """The peer sends no end of frame: it does not speak AMI."""


class Framer:
    """Bytes in, whole frames out, in order, without their ending empty line.

    `version` is what the greeting said (`11.0.0`), once it has been seen; it may be seen again in a transcript that
    holds several connections.
    """

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self.limit = limit
        self.version: str | None = None
        self._rest = b""
        self._searched = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Frames completed by `data`. Raises FramingError when the frame begun is longer than `limit` bytes."""
        buffer = self._rest + data
        frames: list[bytes] = []
        start = 0
        # the last bytes already searched may be the first of an ending
        search = max(self._searched - 3, 0)
        while (end := _END.search(buffer, max(search, start))) is not None:
            start = self._greeted(buffer, start)
            # an ending that lies inside the greeting's own line break belongs to an empty frame
            if end.start() > start:
                frames.append(buffer[start : end.start()])
            start = max(end.end(), start)
        start = self._greeted(buffer, start)
        self._rest = buffer[start:]
        self._searched = len(self._rest)
        if len(self._rest) > self.limit:
            raise FramingError(f"no end of a frame in {self.limit} bytes")
        return frames

    def _greeted(self, buffer: bytes, start: int) -> int:
        """Where the frame begins: after the greeting's line when there is one."""
        if not buffer.startswith(GREETING, start):
            return start
        end = buffer.find(b"\r\n", start)
        if end < 0:
            return start
        self.version = buffer[start + len(GREETING) : end].decode("ascii", "replace")
        return end + 2


class Message:
    """A frame's headers in order, as written; looked up without regard to case, as Asterisk does.

    `get` and `[]` give the first of a repeated header, `all` every one.
    """

    __slots__ = ("_first", "fields")

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self.fields = fields
        self._first: dict[str, str] = {}
        for name, value in fields:
            self._first.setdefault(name.lower(), value)

    def get(self, name: str, default: str = "") -> str:
        return self._first.get(name.lower(), default)

    def all(self, name: str) -> list[str]:
        wanted = name.lower()
        return [value for key, value in self.fields if key.lower() == wanted]

    def __getitem__(self, name: str) -> str:
        return self._first[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._first

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Message) and self.fields == other.fields

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Message({self.fields!r})"


def frame_name(frame: bytes) -> tuple[bytes, bytes]:
    """The first header of a frame: (b"Event", b"Newchannel"), (b"Response", b"Success"); (b"", b"") when it has none.

    Only the first line says what a frame is: a UserEvent's body may hold an `Event:` header of its own.
    """
    end = frame.find(b"\r\n")
    kind, colon, name = frame[: end if end >= 0 else len(frame)].partition(b":")
    return (kind, name.strip()) if colon else (b"", b"")


def parse(frame: bytes) -> Message:
    """A frame's headers. Bytes that are not UTF-8 become U+FFFD, NUL is dropped (Postgres takes none of it)."""
    fields: list[tuple[str, str]] = []
    for line in frame.decode("utf-8", "replace").replace("\0", "").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            # one space follows the colon; the value's own are the value's
            fields.append((name, value[1:] if value.startswith(" ") else value))
    return Message(fields)
