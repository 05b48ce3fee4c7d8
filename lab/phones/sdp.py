"""Session descriptions of one audio stream, A-law with telephone events (RFC 4566, RFC 3264, RFC 4733). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]

MIRRORED: dict[Direction, Direction] = {
    "sendrecv": "sendrecv",
    "sendonly": "recvonly",
    "recvonly": "sendonly",
    "inactive": "inactive",
}
"""What the answer to an offer says (RFC 3264 §6.1)."""

CONTENT_TYPE = ("Content-Type", "application/sdp")


@dataclass(frozen=True)
class Description:
    """Where one side hears, and which ways sound flows as that side sees it."""

    host: str
    port: int
    direction: Direction = "sendrecv"

    def write(self, session: int, version: int) -> str:
        lines = [
            "v=0",
            f"o=- {session} {version} IN IP4 {self.host}",
            "s=-",
            f"c=IN IP4 {self.host}",
            "t=0 0",
            f"m=audio {self.port} RTP/AVP 8 101",
            "a=rtpmap:8 PCMA/8000",
            "a=rtpmap:101 telephone-event/8000",
            "a=fmtp:101 0-15",
            "a=ptime:20",
            f"a={self.direction}",
        ]
        return "".join(f"{line}\r\n" for line in lines)


def read(text: str) -> Description | None:
    """None where the text describes no audio."""
    host = re.search(r"^c=IN IP4 (\S+)", text, re.MULTILINE)
    port = re.search(r"^m=audio (\d+)", text, re.MULTILINE)
    direction = re.search(r"^a=(sendrecv|sendonly|recvonly|inactive)", text, re.MULTILINE)
    if not host or not port:
        return None
    says = cast(Direction, direction.group(1)) if direction else "sendrecv"
    return Description(host.group(1), int(port.group(1)), says)
