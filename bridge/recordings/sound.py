"""What a recording is, from its first bytes. Pure.

Asterisk writes a WAVE header with lengths of zero when it begins, and the true ones when it closes the file: a file
whose header speaks of other lengths than it has is still being written, or was left by a PBX that died. One that is
nothing but a header is what MixMonitor leaves of a call without talk.
"""

from __future__ import annotations

from typing import Literal

import msgspec

HEAD = 64
"""Bytes that are enough to tell."""

_WAVE_HEADER = 44
_LARGEST_HEADER = 4096


class Sound(msgspec.Struct, frozen=True):
    """A file name's extension, and the type that a browser is told."""

    extension: str
    content_type: str


_BY_HEAD = (
    (b"ID3", Sound("mp3", "audio/mpeg")),
    (b"OggS", Sound("ogg", "audio/ogg")),
    (b"fLaC", Sound("flac", "audio/flac")),
    (b"\x1aE\xdf\xa3", Sound("webm", "audio/webm")),
    (b"#!AMR", Sound("amr", "audio/amr")),
)
_BY_NAME = {
    "gsm": Sound("gsm", "audio/x-gsm"),
    "ulaw": Sound("ulaw", "audio/basic"),
    "alaw": Sound("alaw", "audio/x-alaw"),
    "sln": Sound("sln", "application/octet-stream"),
}
_UNKNOWN = Sound("bin", "application/octet-stream")

State = Literal["empty", "growing", "whole"]


def sound(head: bytes, name: str) -> Sound:
    """By the content; by the name only for formats that have no mark of their own. Never what the source claims: a
    page that calls itself a recording must not become one of ours."""
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return Sound("wav", "audio/wav")
    for mark, kind in _BY_HEAD:
        if head.startswith(mark):
            return kind
    if head[4:8] == b"ftyp":
        return Sound("m4a", "audio/mp4")
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2:  # the frame sync of MPEG audio, layer III
        return Sound("mp3", "audio/mpeg")
    return _BY_NAME.get(name.rpartition(".")[2].lower(), _UNKNOWN)


def state(head: bytes, size: int) -> State:
    """`size`: bytes of the whole file. Only a WAVE tells; anything else is taken to be whole unless it has no bytes."""
    if size == 0:
        return "empty"
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return "whole"
    if size <= _WAVE_HEADER:
        return "empty"
    found = _data(head)
    if found is None:
        return "whole"
    begins, length = found
    if begins >= size:
        return "empty"
    return "whole" if begins + length <= size <= begins + length + _LARGEST_HEADER and length else "growing"


def _data(head: bytes) -> tuple[int, int] | None:
    """Where the data chunk's content begins and how long it says it is; None when it is not within the head."""
    at = 12
    while at + 8 <= len(head):
        name, length = head[at : at + 4], int.from_bytes(head[at + 4 : at + 8], "little")
        if name == b"data":
            return at + 8, length
        at += 8 + length + length % 2
    return None
