"""Whose phone a channel is: an extension, the world behind a trunk, half of a Local channel, or Asterisk's own tool."""

from __future__ import annotations

import re
from typing import Literal

from bridge.calls.model import Rules
from bridge.calls.numbers import e164

Side = Literal["extension", "trunk", "local", "tool"]

# Channels that Asterisk makes for itself: announcements and recordings of bridges, snooping
_TOOLS = frozenset(
    {"Announcer", "Bridge", "CBAnn", "CBRec", "Message", "MulticastRTP", "Recorder", "Snoop", "Surrogate"}
)
_NUMBERS = re.compile(r"\d+")
_TOKENS = re.compile(r"[/@:;<>\s]+")


class Parties:
    """The rules of one PBX, applied to names and numbers."""

    def __init__(self, rules: Rules) -> None:
        self.region = rules.region
        self.click_to_call = frozenset(rules.click_to_call_contexts)
        self._trunks = frozenset(rules.trunks)
        self._extension = re.compile(rules.extensions)

    def is_extension(self, text: str) -> bool:
        return bool(text) and self._extension.fullmatch(text) is not None

    def side(self, name: str, number: str) -> tuple[Side, str | None]:
        """Whose the channel is, and the extension when it is one.

        `name` is `PJSIP/150-0000002a`: technology, resource and, after the last "-", the channel's own number. A device
        may be called otherwise than its extension (`PJSIP/150-mobile`, `SIP/0367_150`, `IAX2/anna`): then the number in
        it, or the caller id that the device has, tells. What is neither is taken for the outside world.
        """
        technology, _, rest = name.partition("/")
        if technology == "Local":
            return "local", None
        if technology in _TOOLS:
            return "tool", None
        peer = name.rpartition("-")[0] or name
        if peer in self._trunks:
            return "trunk", None
        resource = rest.rpartition("-")[0] or rest
        for candidate in (resource, *_NUMBERS.findall(resource), number):
            if self.is_extension(candidate):
                return "extension", candidate
        return "trunk", None

    def outside(self, text: str) -> str | None:
        """The first outside number in `text`, in E.164: `79031112233@trunk`, `Local/79031112233@inoffice`."""
        for token in _TOKENS.split(text):
            if not self.is_extension(token):
                number = e164(token, self.region)
                if number is not None:
                    return number
        return None

    def inside(self, text: str) -> str | None:
        """The first extension in `text`: `150`, `PJSIP/150`, `Local/150@inoffice`."""
        return next((token for token in _TOKENS.split(text) if self.is_extension(token)), None)
