"""A stored webhook into an event. Its path says what it is about; where that is lost or wrong, its fields do."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from bridge.errors import BadInput
from bridge.mango.events import (
    CallEvent,
    Direction,
    Dtmf,
    FlatEvent,
    MangoEvent,
    RecordAdded,
    Recording,
    Result,
    Sms,
    State,
    Summary,
    TransferFlag,
    Unknown,
)
from bridge.mango.history import statistics_row
from bridge.mango.values import callback_initiator, identifier, moment, party, text, whole

FLAT = "flat"
STATISTICS = "statistics"


def subject(path: str) -> str:
    """What a webhook is about, by the end of its path: "events/call", "result/callback"; "" where it does not say.

    Mango appends its own path to the address it was given (2.4): /any/where/events/call, with or without a slash at
    the end; the editions differ in whether results come under /vpbx. "flat" and "statistics" are this house's own.
    """
    bare = path.lower().strip("/")
    if bare in (FLAT, STATISTICS):
        return bare
    found = _SUBJECT.search(bare)
    if found is not None:
        return found[1]
    return "events/recording" if bare.endswith("/recording") or bare == "recording" else ""


def decode(path: str, document: str | bytes | Mapping[str, Any], received_at: float | None = None) -> MangoEvent:
    """The event in a webhook's JSON. Raises BadInput where it is no JSON object; what is not known is Unknown.

    `path` is where it was posted, or `subject` of that. Where the path was lost, or is wrong (an edition of the
    documentation prints summaries under /events/call), the fields tell.
    """
    fields = document if isinstance(document, Mapping) else _parsed(document)
    about = subject(path)
    make = _MAKERS.get(_kind(about, fields))
    event = make(fields, about) if make is not None else None
    if event is None:
        event = Unknown(
            subject=about, entry_id=identifier(fields.get("entry_id")), timestamp=moment(fields.get("timestamp"))
        )
    return msgspec.structs.replace(event, received_at=received_at)


def _parsed(text: str | bytes) -> Mapping[str, Any]:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as problem:
        raise BadInput(f"json: it is not JSON: {problem}", field="json") from None
    if not isinstance(found, dict):
        raise BadInput("json: it must be an object", field="json", found=type(found).__name__)
    return found


_SUBJECT = re.compile(r"(?:^|/)((?:events|result)/[a-z0-9_/-]+)$")


def _kind(about: str, fields: Mapping[str, Any]) -> str:
    if about in (FLAT, STATISTICS):
        return about
    if about.startswith("result/"):
        return "result"
    if about in ("", "events/call", "events/summary", "events/recording"):
        return next((kind for name, kind in _TELLTALES.items() if name in fields), about)
    return about


# A field that only one kind of webhook has
_TELLTALES = {
    "call_direction": "events/summary",
    "call_state": "events/call",
    "recording_state": "events/recording",
    "recording_id": "events/record/added",
    "dtmf": "events/dtmf",
    "result": "result",
    "status": FLAT,
}


# --- one maker per kind: None where what makes the event one is missing ----------------------------------------------


def _call(fields: Mapping[str, Any], _about: str) -> CallEvent | None:
    call_id, entry_id = identifier(fields.get("call_id")), identifier(fields.get("entry_id"))
    state = _STATES.get(str(fields.get("call_state")).lower())
    if call_id is None or entry_id is None or state is None:
        return None
    transfer = str(fields.get("transfer")).lower()
    return CallEvent(
        entry_id=entry_id,
        call_id=call_id,
        seq=whole(fields.get("seq")) or 0,
        state=state,
        timestamp=moment(fields.get("timestamp")),
        # the vendor's own examples misspell it
        location=(text(fields.get("location")) or text(fields.get("locaton")) or "").lower(),
        from_=party(fields.get("from")),
        to=party(fields.get("to")),
        disconnect_reason=whole(fields.get("disconnect_reason")),
        transfer=_TRANSFERS.get(transfer),
        command_id=identifier(fields.get("command_id")),
        task_id=identifier(fields.get("task_id")),
        callback_initiator=callback_initiator(fields.get("callback_initiator")),
        sip_call_id=text(fields.get("sip_call_id")),
    )


def _summary(fields: Mapping[str, Any], _about: str) -> Summary | None:
    entry_id = identifier(fields.get("entry_id"))
    if entry_id is None:
        return None
    return Summary(
        entry_id=entry_id,
        timestamp=moment(fields.get("end_time")),
        direction=_SUMMARY_DIRECTIONS.get(whole(fields.get("call_direction"))),
        from_=party(fields.get("from")),
        to=party(fields.get("to")),
        line_number=text(fields.get("line_number")),
        create_time=moment(fields.get("create_time")),
        forward_time=moment(fields.get("forward_time")),
        talk_time=moment(fields.get("talk_time")),
        end_time=moment(fields.get("end_time")),
        entry_result=whole(fields.get("entry_result")),
        disconnect_reason=whole(fields.get("disconnect_reason")),
    )


def _recording(fields: Mapping[str, Any], _about: str) -> Recording | None:
    recording_id, entry_id = identifier(fields.get("recording_id")), identifier(fields.get("entry_id"))
    if recording_id is None or entry_id is None:
        return None
    return Recording(
        entry_id=entry_id,
        recording_id=recording_id,
        state=(text(fields.get("recording_state")) or "").capitalize(),
        seq=whole(fields.get("seq")) or 0,
        timestamp=moment(fields.get("timestamp")),
        call_id=identifier(fields.get("call_id")),
        extension=text(fields.get("extension")),
        completion_code=whole(fields.get("completion_code")),
        recipient=text(fields.get("recipient")),
        command_id=identifier(fields.get("command_id")),
    )


def _record_added(fields: Mapping[str, Any], _about: str) -> RecordAdded | None:
    recording_id, entry_id = identifier(fields.get("recording_id")), identifier(fields.get("entry_id"))
    if recording_id is None or entry_id is None:
        return None
    return RecordAdded(
        entry_id=entry_id,
        recording_id=recording_id,
        timestamp=moment(fields.get("timestamp")),
        user_id=whole(fields.get("user_id")),
        product_id=whole(fields.get("product_id")),
    )


def _dtmf(fields: Mapping[str, Any], _about: str) -> Dtmf:
    return Dtmf(
        entry_id=identifier(fields.get("entry_id")),
        timestamp=moment(fields.get("timestamp")),
        dtmf=text(fields.get("dtmf")) or "",
        seq=whole(fields.get("seq")) or 0,
        call_id=identifier(fields.get("call_id")),
        location=text(fields.get("location")) or "",
        line_number=text(fields.get("line_number")),
    )


def _sms(fields: Mapping[str, Any], _about: str) -> Sms:
    return Sms(
        timestamp=moment(fields.get("timestamp")),
        command_id=identifier(fields.get("command_id")),
        reason=whole(fields.get("reason")),
    )


def _result(fields: Mapping[str, Any], about: str) -> Result:
    return Result(
        command=about.removeprefix("result/"),
        command_id=identifier(fields.get("command_id")),
        result=whole(fields.get("result")),
        key=identifier(fields.get("key")),
        request_id=identifier(fields.get("request_id")),
    )


def _flat(fields: Mapping[str, Any], _about: str) -> FlatEvent | None:
    call_id = identifier(fields.get("call_id")) or identifier(fields.get("entry_id"))
    status = _FLAT_STATUSES.get(str(fields.get("status")).lower().rpartition("/")[2])
    if call_id is None or status is None:
        return None
    return FlatEvent(
        entry_id=identifier(fields.get("entry_id")) or call_id,
        call_id=call_id,
        status=status,
        timestamp=moment(fields.get("timestamp")),
        direction=_FLAT_DIRECTIONS.get(str(fields.get("direction")).lower()),
        from_number=text(fields.get("from")),
        to_number=text(fields.get("to")),
        line_number=text(fields.get("line_number")),
        location=(text(fields.get("location")) or "").lower(),
        duration=whole(fields.get("duration")),
        record_url=text(fields.get("record_url")),
        reason=text(fields.get("disconnect_reason")),
    )


_MAKERS: dict[str, Callable[[Mapping[str, Any], str], MangoEvent | None]] = {
    "events/call": _call,
    "events/summary": _summary,
    "events/recording": _recording,
    "events/record/added": _record_added,
    "events/record/tagged": _record_added,
    "events/dtmf": _dtmf,
    "events/sms": _sms,
    "result": _result,
    FLAT: _flat,
    STATISTICS: statistics_row,
}

_STATES: dict[str, State] = {
    "appeared": "Appeared",
    "connected": "Connected",
    "onhold": "OnHold",
    "disconnected": "Disconnected",
}
_TRANSFERS: dict[str, TransferFlag] = {
    "consultative": "consultative",
    "blind": "blind",
    "return_blind": "return_blind",
}
_SUMMARY_DIRECTIONS: dict[int | None, Direction] = {0: "internal", 1: "inbound", 2: "outbound"}
_FLAT_DIRECTIONS: dict[str, Direction] = {"in": "inbound", "out": "outbound"}
_FLAT_STATUSES: dict[str, Literal["start", "answer", "end"]] = {"start": "start", "answer": "answer", "end": "end"}
