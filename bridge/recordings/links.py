"""The link of a recording: stable, signed, opening that recording and nothing else. Pure.

It is made when the recording is first heard of and goes to CRMs, which cannot be told of another one later. Its token
is the recording's link id and a MAC over the enterprise and that id; whoever gives the recording another link id has
revoked every link that was given out. Keys are derived from the service's secrets: the newest signs, all verify.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence

_PURPOSE = b"asterisk-bridge recording link"
_MAC_BYTES = 16  # RFC 2104 §5: a MAC may be cut to half of the hash
_TOKEN = re.compile(r"([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{22})")


def new_link_id() -> str:
    """128 random bits in 22 characters."""
    return secrets.token_urlsafe(16)


class Links:
    """`keys` newest first; `public_url` is what the outside world reaches us by."""

    def __init__(self, keys: Sequence[str], public_url: str) -> None:
        self._keys = [hmac.digest(key.encode(), _PURPOSE, hashlib.sha256) for key in keys]
        self._base = public_url.rstrip("/")

    def url(self, enterprise_number: str, call_pk: int, link_id: str) -> str:
        """Where `link_id` of this call's recording is played."""
        return f"{self._base}/api/v1/calls/{call_pk}/recording?token={self.token(enterprise_number, link_id)}"

    def token(self, enterprise_number: str, link_id: str) -> str:
        return f"{link_id}.{_mac(self._keys[0], enterprise_number, link_id)}"

    def holds(self, token: str, enterprise_number: str) -> bool:
        """Whether one of our keys signed this token for a recording of this enterprise."""
        found = _TOKEN.fullmatch(token)
        if found is None:
            return False
        link_id, mac = found.groups()
        return any(hmac.compare_digest(mac, _mac(key, enterprise_number, link_id)) for key in self._keys)


def link_id_of(token: str) -> str | None:
    """The link id a token speaks of; nothing is verified yet."""
    found = _TOKEN.fullmatch(token)
    return found[1] if found else None


def _mac(key: bytes, enterprise_number: str, link_id: str) -> str:
    digest = hmac.digest(key, f"{enterprise_number}\0{link_id}".encode("utf-8", "replace"), hashlib.sha256)
    return base64.urlsafe_b64encode(digest[:_MAC_BYTES]).rstrip(b"=").decode()
