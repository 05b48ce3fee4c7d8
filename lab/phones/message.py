"""SIP messages: bytes to requests and responses, and back (RFC 3261 §7). Pure.

Of the grammar, what user agents on loopback meet: no folded headers, one value per header line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

Headers = list[tuple[str, str]]

_COMPACT = {
    "v": "via",
    "f": "from",
    "t": "to",
    "i": "call-id",
    "m": "contact",
    "l": "content-length",
    "c": "content-type",
}
"""RFC 3261 §7.3.3"""


class MalformedMessage(ValueError):
    """Not a SIP message."""


@dataclass
class _Message:
    headers: Headers = field(default_factory=list)
    body: str = ""

    def all(self, name: str) -> list[str]:
        wanted = name.lower()
        return [value for key, value in self.headers if _COMPACT.get(key.lower(), key.lower()) == wanted]

    def get(self, name: str) -> str:
        """The first value, or an empty string."""
        return next(iter(self.all(name)), "")

    @property
    def call_id(self) -> str:
        return self.get("Call-ID")

    @property
    def branch(self) -> str:
        """What makes it part of a transaction (§17.1.3)."""
        found = re.search(r"branch=([^;,\s]+)", self.get("Via"))
        return found.group(1) if found else ""

    @property
    def cseq(self) -> tuple[int, str]:
        number, _, method = self.get("CSeq").partition(" ")
        return int(number), method.strip()

    def _encoded(self, first_line: str) -> bytes:
        body = self.body.encode()
        head = [first_line, *(f"{key}: {value}" for key, value in self.headers), f"Content-Length: {len(body)}"]
        return "\r\n".join([*head, "", ""]).encode() + body


@dataclass
class Request(_Message):
    method: str = ""
    uri: str = ""

    def encode(self) -> bytes:
        return self._encoded(f"{self.method} {self.uri} SIP/2.0")


@dataclass
class Response(_Message):
    status: int = 0
    reason: str = ""

    def encode(self) -> bytes:
        return self._encoded(f"SIP/2.0 {self.status} {self.reason}")


def parse(data: bytes) -> Request | Response:
    """Raises MalformedMessage."""
    head, _, body = data.decode("utf-8", "replace").partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    headers = [(key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in lines)]
    headers = [(key, value) for key, value in headers if _COMPACT.get(key.lower(), key.lower()) != "content-length"]
    if status := re.fullmatch(r"SIP/2\.0 (\d{3})(?: (.*))?", first):
        return Response(headers, body, int(status.group(1)), status.group(2) or "")
    if request := re.fullmatch(r"([A-Z]+) (\S+) SIP/2\.0", first):
        return Request(headers, body, request.group(1), request.group(2))
    raise MalformedMessage(f"not a SIP message: {first[:60]!r}")


def answer(
    request: Request, status: int, reason: str, tag: str = "", headers: Iterable[tuple[str, str]] = (), body: str = ""
) -> Response:
    """A response to `request` (§8.2.6): what must be copied is, `tag` completes To where it has none."""
    to = request.get("To")
    if tag and ";tag=" not in to:
        to = f"{to};tag={tag}"
    copied = [
        *(("Via", value) for value in request.all("Via")),
        *(("Record-Route", value) for value in request.all("Record-Route")),
        ("From", request.get("From")),
        ("To", to),
        ("Call-ID", request.call_id),
        ("CSeq", request.get("CSeq")),
    ]
    return Response([*copied, *headers], body, status, reason)


# --- parts of header values -----------------------------------------------------------------------------------------


def tag_of(address: str) -> str:
    """The tag of a From or To, or an empty string."""
    found = re.search(r";tag=([^;>\s]+)", address)
    return found.group(1) if found else ""


def without_tag(address: str) -> str:
    return re.sub(r";tag=[^;>\s]+", "", address)


def uri_of(address: str) -> str:
    """The URI of a Contact, From or To."""
    found = re.search(r"<([^>]+)>", address)
    return found.group(1) if found else address.partition(";")[0].strip()


def user_of(address: str) -> str:
    """The user part of an address or URI: the number as a person would dial it."""
    found = re.search(r"sips?:([^@;>]+)@", address)
    return found.group(1) if found else ""


def name_of(address: str) -> str:
    """The display name of an address, without its quotes."""
    return address.partition("<")[0].strip().strip('"') if "<" in address else ""
