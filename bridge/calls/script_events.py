"""What the legacy PBX scripts post, made into one typed event whatever types and spellings they chose.

The scripts are an AMI listener on the PBX that posts JSON to /start, /dial, /bridge, /hangup, /bridge_create,
/bridge_leave, /bridge_destroy and /new_callerid. Their versions differ: `CallType` and `CallStatus` are numbers or
strings, `Extensions` a list, a list holding one empty string, or "152&151"; numbers come with and without "+".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, get_args

import msgspec

from bridge.errors import BadInput

ScriptKind = Literal[
    "start", "dial", "bridge", "hangup", "bridge_create", "bridge_leave", "bridge_destroy", "new_callerid"
]
KINDS: tuple[ScriptKind, ...] = get_args(ScriptKind)

_LONGEST = 128
"""Characters kept of a field: the longest thing they send is a channel's name."""
_MOST_EXTENSIONS = 100
_NOBODY = frozenset({"", "<unknown>", "unknown", "anonymous", "restricted", "unavailable", "none", "null", "s"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_WHOLE = re.compile(r"\s*-?\d+\s*")


class ScriptEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One post. `unique_id` is a channel's; of `start`, `dial` and `hangup` the call's main one (inbound the client's,
    outbound the manager's). Times of `hangup` are the PBX's own clock without a zone, so only differences are sure."""

    kind: ScriptKind
    unique_id: str = ""
    phone: str = ""
    extensions: tuple[str, ...] = ()
    call_type: Literal[0, 1, 2] | None = None
    call_status: str = ""
    trunk: str = ""
    bridge_id: str = ""
    channel: str = ""
    caller_number: str = ""
    caller_name: str = ""
    connected_number: str = ""
    received_at: datetime | None = None
    dialled_at: datetime | None = None
    ended_at: datetime | None = None
    click_to_call: bool = False


def read(kind: ScriptKind, body: Mapping[str, Any]) -> ScriptEvent:
    """The event a script meant. Raises BadInput when it lacks what makes it one: the channel's id, or the bridge's."""
    fields = {str(name).lower(): value for name, value in body.items()}
    event = ScriptEvent(
        kind=kind,
        unique_id=_text(fields.get("uniqueid")),
        phone=_number(fields.get("phone")),
        extensions=_extensions(fields.get("extensions", fields.get("extension"))),
        call_type=_call_type(fields.get("calltype")),
        call_status=_text(fields.get("callstatus")),
        trunk=_text(fields.get("trunk")),
        bridge_id=_text(fields.get("bridgeuniqueid")),
        channel=_text(fields.get("channel")),
        caller_number=_number(fields.get("calleridnum")),
        caller_name=_name(fields.get("calleridname")),
        connected_number=_number(fields.get("connectedlinenum")),
        received_at=_time("DateReceived", fields.get("datereceived")),
        dialled_at=_time("StartTime", fields.get("starttime")),
        ended_at=_time("EndTime", fields.get("endtime")),
        click_to_call=_text(fields.get("externalinitiated")).lower() in ("true", "1"),
    )
    if kind in ("bridge_create", "bridge_destroy"):
        if not event.bridge_id:
            raise BadInput("BridgeUniqueid: missing", field="BridgeUniqueid")
    elif not event.unique_id:
        raise BadInput("UniqueId: missing", field="UniqueId")
    return event


def _text(value: Any) -> str:
    if value is None or isinstance(value, dict | list):
        return ""
    return _CONTROL.sub("", str(value)).strip()[:_LONGEST]


def _number(value: Any) -> str:
    text = _text(value)
    return "" if text.lower() in _NOBODY else text


def _name(value: Any) -> str:
    """Their placeholder for a name that is not known is the number behind a dash."""
    text = _number(value)
    return "" if text.lstrip("-+").isdigit() else text


def _extensions(value: Any) -> tuple[str, ...]:
    items = value if isinstance(value, list) else _text(value).replace(",", "&").split("&")
    named = dict.fromkeys(number for item in items[:_MOST_EXTENSIONS] if (number := _number(item)))
    return tuple(named)


def _call_type(value: Any) -> Literal[0, 1, 2] | None:
    text = _text(value)
    if not text:
        return None
    if not _WHOLE.fullmatch(text) or int(text) not in (0, 1, 2):
        raise BadInput(f"CallType: {text!r} is not 0, 1 or 2", field="CallType", found=text, allowed=[0, 1, 2])
    return (0, 1, 2)[int(text)]


def _time(field: str, value: Any) -> datetime | None:
    """A time of the PBX's own clock: "2025-12-13 10:11:12", with a T or fractions of a second."""
    text = _text(value)
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        example = "2025-12-13 10:11:12"
        raise BadInput(f"{field}: {text!r} is not a time", field=field, found=text, allowed=example) from None
