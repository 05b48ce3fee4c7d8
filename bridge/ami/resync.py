"""The channels a PBX has, read right after login: what the machine closes and adopts calls by.

The list is handed over in the read path when its last frame has come, so that it stands exactly between the events
before it and those after. Events are on since the login: none is missed. One that Asterisk had queued while it made the
list comes after it: a Hangup of a channel that is not listed, say. Whoever takes the events must bear that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from bridge.ami.actions import Action, Reply
from bridge.ami.connection import Connection
from bridge.ami.framing import Message
from bridge.calls.events import ChannelSeen

Seen = Callable[[Sequence[ChannelSeen] | None], None]

# Not CoreShowChannels: of a call that is on its way through the dialplan, only Status still knows what was dialled
# (DNID). It is open to the classes system, call and reporting.
_LIST, _ITEMS = "Status", frozenset({"Status", "CoreShowChannel"})


async def resync(connection: Connection, seen: Seen, *, timeout: float) -> None:
    """Ask for the channels; `seen` is called once, with None where the user may not list them.

    Raises PbxUnavailable when the link ends, or does not answer within `timeout` seconds.
    """

    def hand_over(reply: Reply) -> None:
        if reply.success:
            seen(channels(reply.events))

    reply = await connection.ask(Action({"Action": _LIST}, at_once=hand_over), timeout)
    if not reply.success:
        seen(None)


def channels(events: Iterable[Message]) -> list[ChannelSeen]:
    """The items of Status, or of CoreShowChannels, in Asterisk's order."""
    return [_channel(event) for event in events if event.get("Event") in _ITEMS]


def _channel(event: Message) -> ChannelSeen:
    return ChannelSeen(
        name=event.get("Channel"),
        uniqueid=event.get("Uniqueid"),
        linkedid=event.get("Linkedid"),
        state=event.get("ChannelStateDesc"),
        number=_known(event.get("CallerIDNum")),
        caller_name=_known(event.get("CallerIDName")),
        context=event.get("Context"),
        exten=event.get("Exten"),
        dialled=_known(event.get("DNID")),
        application=event.get("Application"),
        data=event.get("ApplicationData") or event.get("Data"),
        bridge=event.get("BridgeId"),  # Status writes BridgeID: names are looked up without regard to case
        seconds=_seconds(event.get("Duration") or event.get("Seconds")),
    )


def _known(value: str) -> str:
    return "" if value == "<unknown>" else value


def _seconds(value: str) -> int | None:
    """`01:02:03` of CoreShowChannels (hours may pass 99) or `3723` of Status."""
    parts = value.split(":")
    if not all(part.isdecimal() for part in parts):
        return None
    total = 0
    for part in parts:
        total = total * 60 + int(part)
    return total
