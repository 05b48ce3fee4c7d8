"""Frames of the Manager Interface into the events of bridge.calls.

Names are looked at first; only what the call machine needs is parsed: VarSet, Newexten and RTCP are half to three
quarters of a busy stream.

Header names are those of Asterisk 16 to 22 (`manager show event NAME`); a second channel's come with a prefix
(`DestChannel`, `TransfererUniqueid`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from bridge.ami.framing import Message, frame_name, parse
from bridge.calls.events import (
    AgentComplete,
    AttendedTransfer,
    BlindTransfer,
    Booted,
    BridgeDestroy,
    BridgeEnter,
    BridgeLeave,
    Cdr,
    Cel,
    ChannelChanged,
    ChannelSeen,
    DialBegin,
    DialEnd,
    DialState,
    Event,
    Hangup,
    HangupRequested,
    Hold,
    LocalBridge,
    Newchannel,
    OriginateResponse,
    Parked,
    Pickup,
    QueueJoin,
    Renamed,
    Shutdown,
    Unparked,
    VariableSet,
    ZoneSeen,
)

# Variables that name a recording, as MixMonitor sets it and as common dialplans call theirs
RECORDING_VARIABLES = frozenset({"MIXMONITOR_FILENAME", "RECFILE", "RECORDING_FILE", "RECORDINGFILE", "RECORDED_FILE"})
# A VarSet is parsed only if one of these is in its bytes
_RECORDING_BYTES = re.compile(rb"\r\nVariable: _{0,2}(?:MIXMONITOR_FILENAME|REC[A-Z_]*FILE)\r\n")

# `2026-11-21T02:08:13.966+0300`
_ZONE = re.compile(r"T[\d:.]+([+-])(\d\d):?(\d\d)$")
_CEL_BRIDGE = re.compile(r'"bridge_id":"([^"]+)"')
# What of CEL tells a time that no other event of the stream has
_CEL_NAMES = frozenset({b"CHAN_START", b"ANSWER", b"BRIDGE_ENTER", b"BRIDGE_EXIT", b"HANGUP", b"CHAN_END"})
_CEL_NAME = re.compile(rb"\r\nEventName: ([A-Z_]+)\r\n")


def translate(frame: bytes) -> Event | None:
    """The event a frame holds, None where it is no event, or none that matters to calls."""
    kind, name = frame_name(frame)
    if kind != b"Event":
        return None
    make = _MAKERS.get(name)
    if make is None:
        return None
    if name == b"VarSet":
        if not _RECORDING_BYTES.search(frame):
            return None
    elif name == b"CEL":
        found = _CEL_NAME.search(frame)
        if found is None or found[1] not in _CEL_NAMES:
            return None
    return make(parse(frame))


def channel_seen(message: Message) -> ChannelSeen:
    """A channel of a snapshot: the item of CoreShowChannels or of Status."""
    seconds = message.get("Duration") or message.get("Seconds")
    return ChannelSeen(
        name=message.get("Channel"),
        uniqueid=message.get("Uniqueid"),
        linkedid=message.get("Linkedid") or message.get("Uniqueid"),
        state=message.get("ChannelStateDesc"),
        number=_known(message.get("CallerIDNum")),
        caller_name=_known(message.get("CallerIDName")),
        context=message.get("Context"),
        exten=message.get("Exten"),
        dialled=_known(message.get("DNID")),
        application=message.get("Application"),
        data=message.get("ApplicationData") or message.get("Data"),
        bridge=message.get("BridgeId") or message.get("BridgeID"),
        seconds=_seconds(seconds),
    )


# --- parts ----------------------------------------------------------------------------------------------------------


def _known(text: str) -> str:
    return "" if text == "<unknown>" else text


def _integer(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def _seconds(text: str) -> int | None:
    """`00:01:07` or `67`."""
    total = 0
    for part in text.split(":"):
        value = _integer(part)
        if value is None:
            return None
        total = total * 60 + value
    return total


def _timestamp(message: Message) -> float | None:
    try:
        seconds = float(message.get("Timestamp"))
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None


def _channel(message: Message, prefix: str = "") -> ChannelSeen:
    get = message.get
    uniqueid = get(prefix + "Uniqueid")
    return ChannelSeen(
        name=get(prefix + "Channel"),
        uniqueid=uniqueid,
        linkedid=get(prefix + "Linkedid") or uniqueid,
        state=get(prefix + "ChannelStateDesc"),
        number=_known(get(prefix + "CallerIDNum")),
        caller_name=_known(get(prefix + "CallerIDName")),
        context=get(prefix + "Context"),
        exten=get(prefix + "Exten"),
    )


def _maybe(message: Message, prefix: str) -> ChannelSeen | None:
    return _channel(message, prefix) if message.get(prefix + "Uniqueid") else None


# --- one maker per event --------------------------------------------------------------------------------------------


def _newchannel(m: Message) -> Event:
    return Newchannel(channel=_channel(m), timestamp=_timestamp(m))


def _changed(m: Message) -> Event:
    return ChannelChanged(channel=_channel(m), timestamp=_timestamp(m))


def _rename(m: Message) -> Event:
    return Renamed(uniqueid=m.get("Uniqueid"), name=m.get("Newname"), timestamp=_timestamp(m))


def _hangup_request(m: Message) -> Event:
    return HangupRequested(channel=_channel(m), by_peer=True, timestamp=_timestamp(m))


def _soft_hangup_request(m: Message) -> Event:
    return HangupRequested(channel=_channel(m), by_peer=False, timestamp=_timestamp(m))


def _hangup(m: Message) -> Event:
    return Hangup(channel=_channel(m), cause=_integer(m.get("Cause")), timestamp=_timestamp(m))


def _dial_begin(m: Message) -> Event:
    return DialBegin(
        channel=_maybe(m, ""), dest=_channel(m, "Dest"), dial_string=m.get("DialString"), timestamp=_timestamp(m)
    )


def _dial_state(m: Message) -> Event:
    return DialState(
        channel=_maybe(m, ""), dest=_channel(m, "Dest"), status=m.get("DialStatus"), timestamp=_timestamp(m)
    )


def _dial_end(m: Message) -> Event:
    return DialEnd(channel=_maybe(m, ""), dest=_channel(m, "Dest"), status=m.get("DialStatus"), timestamp=_timestamp(m))


def _bridge_enter(m: Message) -> Event:
    return BridgeEnter(
        channel=_channel(m),
        bridge=m.get("BridgeUniqueid"),
        kind=m.get("BridgeType"),
        technology=m.get("BridgeTechnology"),
        timestamp=_timestamp(m),
    )


def _bridge_leave(m: Message) -> Event:
    return BridgeLeave(channel=_channel(m), bridge=m.get("BridgeUniqueid"), timestamp=_timestamp(m))


def _bridge_destroy(m: Message) -> Event:
    return BridgeDestroy(bridge=m.get("BridgeUniqueid"), timestamp=_timestamp(m))


def _local_bridge(m: Message) -> Event:
    return LocalBridge(one=_channel(m, "LocalOne"), two=_channel(m, "LocalTwo"), timestamp=_timestamp(m))


def _blind_transfer(m: Message) -> Event:
    return BlindTransfer(
        success=m.get("Result") == "Success",
        transferer=_channel(m, "Transferer"),
        transferee=_maybe(m, "Transferee"),
        exten=m.get("Extension"),
        timestamp=_timestamp(m),
    )


def _attended_transfer(m: Message) -> Event:
    return AttendedTransfer(
        success=m.get("Result") == "Success",
        first=_channel(m, "OrigTransferer"),
        second=_channel(m, "SecondTransferer"),
        transferee=_maybe(m, "Transferee"),
        target=_maybe(m, "TransferTarget"),
        timestamp=_timestamp(m),
    )


def _hold(m: Message) -> Event:
    return Hold(channel=_channel(m), on=True, timestamp=_timestamp(m))


def _unhold(m: Message) -> Event:
    return Hold(channel=_channel(m), on=False, timestamp=_timestamp(m))


def _pickup(m: Message) -> Event:
    return Pickup(channel=_channel(m), target=_channel(m, "Target"), timestamp=_timestamp(m))


def _parked(m: Message) -> Event:
    return Parked(parkee=_channel(m, "Parkee"), timestamp=_timestamp(m))


def _unparked(m: Message) -> Event:
    return Unparked(parkee=_channel(m, "Parkee"), retriever=_maybe(m, "Retriever"), timestamp=_timestamp(m))


def _queue_join(m: Message) -> Event:
    return QueueJoin(channel=_channel(m), queue=m.get("Queue"), timestamp=_timestamp(m))


def _agent_complete(m: Message) -> Event:
    return AgentComplete(
        channel=_channel(m),
        dest=_channel(m, "Dest"),
        wait=_integer(m.get("HoldTime")),
        talk=_integer(m.get("TalkTime")),
        timestamp=_timestamp(m),
    )


def _variable(m: Message) -> Event:
    return VariableSet(
        uniqueid=m.get("Uniqueid"),
        variable=m.get("Variable").lstrip("_"),
        value=m.get("Value"),
        timestamp=_timestamp(m),
    )


def _originate_response(m: Message) -> Event:
    uniqueid = m.get("Uniqueid")
    return OriginateResponse(
        success=m.get("Response") == "Success",
        uniqueid="" if uniqueid in ("<null>", "<unknown>") else uniqueid,
        channel=m.get("Channel"),
        context=m.get("Context"),
        target=m.get("Exten") or m.get("Data"),
        timestamp=_timestamp(m),
    )


def _cel(m: Message) -> Event:
    bridge = _CEL_BRIDGE.search(m.get("Extra"))
    return Cel(
        name=m.get("EventName"),
        uniqueid=m.get("UniqueID"),
        time=m.get("EventTime"),
        bridge=bridge[1] if bridge else "",
        timestamp=_timestamp(m),
    )


def _cdr(m: Message) -> Event:
    return Cdr(
        uniqueid=m.get("UniqueID"),
        channel=m.get("Channel"),
        dest_channel=m.get("DestinationChannel"),
        application=m.get("LastApplication"),
        start=m.get("StartTime"),
        answer=m.get("AnswerTime"),
        end=m.get("EndTime"),
        timestamp=_timestamp(m),
    )


def _zone(m: Message) -> Event | None:
    found = _ZONE.search(m.get("EventTV"))
    if found is None:
        return None
    ahead = int(found[2]) * 3600 + int(found[3]) * 60
    return ZoneSeen(ahead=-ahead if found[1] == "-" else ahead, timestamp=_timestamp(m))


def _booted(m: Message) -> Event:
    return Booted(uptime=_integer(m.get("Uptime")), timestamp=_timestamp(m))


def _shutdown(m: Message) -> Event:
    return Shutdown(timestamp=_timestamp(m))


_MAKERS: dict[bytes, Callable[[Message], Event | None]] = {
    b"Newchannel": _newchannel,
    b"Newstate": _changed,
    b"NewCallerid": _changed,
    b"Rename": _rename,
    b"HangupRequest": _hangup_request,
    b"SoftHangupRequest": _soft_hangup_request,
    b"Hangup": _hangup,
    b"DialBegin": _dial_begin,
    b"DialState": _dial_state,
    b"DialEnd": _dial_end,
    b"BridgeEnter": _bridge_enter,
    b"BridgeLeave": _bridge_leave,
    b"BridgeDestroy": _bridge_destroy,
    b"LocalBridge": _local_bridge,
    b"BlindTransfer": _blind_transfer,
    b"AttendedTransfer": _attended_transfer,
    b"Hold": _hold,
    b"Unhold": _unhold,
    b"Pickup": _pickup,
    b"ParkedCall": _parked,
    b"UnParkedCall": _unparked,
    b"ParkedCallTimeOut": _unparked,
    b"ParkedCallGiveUp": _unparked,
    b"QueueCallerJoin": _queue_join,
    b"AgentComplete": _agent_complete,
    b"VarSet": _variable,
    b"OriginateResponse": _originate_response,
    b"CEL": _cel,
    b"Cdr": _cdr,
    b"SuccessfulAuth": _zone,
    b"FullyBooted": _booted,
    b"Shutdown": _shutdown,
}

# The events worth handing over at all: a connection may drop the others by name
WANTED = frozenset(_MAKERS)
