"""A stored webhook into an event.

The vendor's own examples write the same number as an integer in one place and as a text in another, leave fields out
and misspell them, so everything is read tolerantly: a value that makes no sense is as good as absent.
"""

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
    Party,
    RecordAdded,
    Recording,
    Result,
    Sms,
    State,
    StatisticsLeg,
    StatisticsRow,
    Summary,
    TransferFlag,
    Unknown,
)

LONGEST_ID = 128
LONGEST_TEXT = 1024

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
        event = Unknown(subject=about, entry_id=_id(fields.get("entry_id")), timestamp=_time(fields.get("timestamp")))
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
    call_id, entry_id = _id(fields.get("call_id")), _id(fields.get("entry_id"))
    state = _STATES.get(str(fields.get("call_state")).lower())
    if call_id is None or entry_id is None or state is None:
        return None
    transfer = str(fields.get("transfer")).lower()
    return CallEvent(
        entry_id=entry_id,
        call_id=call_id,
        seq=_whole(fields.get("seq")) or 0,
        state=state,
        timestamp=_time(fields.get("timestamp")),
        # the vendor's own examples misspell it
        location=(_text(fields.get("location")) or _text(fields.get("locaton")) or "").lower(),
        from_=_party(fields.get("from")),
        to=_party(fields.get("to")),
        disconnect_reason=_whole(fields.get("disconnect_reason")),
        transfer=_TRANSFERS.get(transfer),
        command_id=_id(fields.get("command_id")),
        task_id=_id(fields.get("task_id")),
        callback_initiator=_initiator(fields.get("callback_initiator")),
        sip_call_id=_text(fields.get("sip_call_id")),
    )


def _summary(fields: Mapping[str, Any], _about: str) -> Summary | None:
    entry_id = _id(fields.get("entry_id"))
    if entry_id is None:
        return None
    return Summary(
        entry_id=entry_id,
        timestamp=_time(fields.get("end_time")),
        direction=_SUMMARY_DIRECTIONS.get(_whole(fields.get("call_direction"))),
        from_=_party(fields.get("from")),
        to=_party(fields.get("to")),
        line_number=_text(fields.get("line_number")),
        create_time=_time(fields.get("create_time")),
        forward_time=_time(fields.get("forward_time")),
        talk_time=_time(fields.get("talk_time")),
        end_time=_time(fields.get("end_time")),
        entry_result=_whole(fields.get("entry_result")),
        disconnect_reason=_whole(fields.get("disconnect_reason")),
    )


def _recording(fields: Mapping[str, Any], _about: str) -> Recording | None:
    recording_id, entry_id = _id(fields.get("recording_id")), _id(fields.get("entry_id"))
    if recording_id is None or entry_id is None:
        return None
    return Recording(
        entry_id=entry_id,
        recording_id=recording_id,
        state=(_text(fields.get("recording_state")) or "").capitalize(),
        seq=_whole(fields.get("seq")) or 0,
        timestamp=_time(fields.get("timestamp")),
        call_id=_id(fields.get("call_id")),
        extension=_text(fields.get("extension")),
        completion_code=_whole(fields.get("completion_code")),
        recipient=_text(fields.get("recipient")),
        command_id=_id(fields.get("command_id")),
    )


def _record_added(fields: Mapping[str, Any], _about: str) -> RecordAdded | None:
    recording_id, entry_id = _id(fields.get("recording_id")), _id(fields.get("entry_id"))
    if recording_id is None or entry_id is None:
        return None
    return RecordAdded(
        entry_id=entry_id,
        recording_id=recording_id,
        timestamp=_time(fields.get("timestamp")),
        user_id=_whole(fields.get("user_id")),
        product_id=_whole(fields.get("product_id")),
    )


def _dtmf(fields: Mapping[str, Any], _about: str) -> Dtmf:
    return Dtmf(
        entry_id=_id(fields.get("entry_id")),
        timestamp=_time(fields.get("timestamp")),
        dtmf=_text(fields.get("dtmf")) or "",
        seq=_whole(fields.get("seq")) or 0,
        call_id=_id(fields.get("call_id")),
        location=_text(fields.get("location")) or "",
        line_number=_text(fields.get("line_number")),
    )


def _sms(fields: Mapping[str, Any], _about: str) -> Sms:
    return Sms(
        timestamp=_time(fields.get("timestamp")),
        command_id=_id(fields.get("command_id")),
        reason=_whole(fields.get("reason")),
    )


def _result(fields: Mapping[str, Any], about: str) -> Result:
    return Result(
        command=about.removeprefix("result/"),
        command_id=_id(fields.get("command_id")),
        result=_whole(fields.get("result")),
        key=_id(fields.get("key")),
        request_id=_id(fields.get("request_id")),
    )


def _flat(fields: Mapping[str, Any], _about: str) -> FlatEvent | None:
    call_id = _id(fields.get("call_id")) or _id(fields.get("entry_id"))
    status = _FLAT_STATUSES.get(str(fields.get("status")).lower().rpartition("/")[2])
    if call_id is None or status is None:
        return None
    return FlatEvent(
        entry_id=_id(fields.get("entry_id")) or call_id,
        call_id=call_id,
        status=status,
        timestamp=_time(fields.get("timestamp")),
        direction=_FLAT_DIRECTIONS.get(str(fields.get("direction")).lower()),
        from_number=_text(fields.get("from")),
        to_number=_text(fields.get("to")),
        line_number=_text(fields.get("line_number")),
        location=(_text(fields.get("location")) or "").lower(),
        duration=_whole(fields.get("duration")),
        record_url=_text(fields.get("record_url")),
        reason=_text(fields.get("disconnect_reason")),
    )


def _statistics(fields: Mapping[str, Any], _about: str) -> StatisticsRow | None:
    entry_id = _id(fields.get("entry_id"))
    if entry_id is None:
        return None
    if _WHOLE_ROW.isdisjoint(fields):
        return _basic_row(entry_id, fields)
    return _whole_row(entry_id, fields)


def _basic_row(entry_id: str, fields: Mapping[str, Any]) -> StatisticsRow:
    """A row of basic statistics, its columns by name (3.4.1)."""
    return StatisticsRow(
        whole=False,
        entry_id=entry_id,
        timestamp=_time(fields.get("finish")),
        from_=Party(extension=_text(fields.get("from_extension")), number=_text(fields.get("from_number"))),
        to=Party(extension=_text(fields.get("to_extension")), number=_text(fields.get("to_number"))),
        line_number=_text(fields.get("line_number")),
        created_at=_time(fields.get("create")),
        started_at=_time(fields.get("start")),
        answered_at=_time(fields.get("answer")),
        ended_at=_time(fields.get("finish")),
        reason=_whole(fields.get("disconnect_reason")),
        location=(_text(fields.get("location")) or "").lower(),
        recordings=_recordings(fields.get("records")),
    )


def _whole_row(entry_id: str, fields: Mapping[str, Any]) -> StatisticsRow:
    """A call of extended statistics (3.4.2.3). Their directions are 1, 2, 3 where a summary's are 1, 2, 0.

    They name employees by user_id; `caller_extension` and a leg's `call_abonent_extension` are what whoever fetched
    them put beside that.
    """
    direction = _STATISTICS_DIRECTIONS.get(_whole(fields.get("context_type")))
    started = _time(fields.get("context_start_time"))
    duration, talk = _whole(fields.get("duration")), _whole(fields.get("talk_duration"))
    legs = _legs(fields.get("context_calls"))
    called = _text(fields.get("called_number"))
    ended = max((leg.ended_at for leg in legs if leg.ended_at is not None), default=None)
    if ended is None and started is not None and duration is not None:
        ended = started + duration
    return StatisticsRow(
        whole=True,
        entry_id=entry_id,
        timestamp=ended,
        direction=direction,
        from_=Party(extension=_text(fields.get("caller_extension")), number=_text(fields.get("caller_number"))),
        to=Party(number=None if direction == "inbound" else called),
        line_number=called if direction == "inbound" else None,
        created_at=started,
        started_at=started,
        ended_at=ended,
        talk_seconds=talk,
        recordings=tuple(sorted({recording for leg in _flattened(legs) for recording in leg.recordings})),
        legs=legs,
    )


def _legs(value: Any, depth: int = 0) -> tuple[StatisticsLeg, ...]:
    # a group's members are legs, and theirs are not looked for
    if not isinstance(value, list) or depth > 1:
        return ()
    return tuple(
        StatisticsLeg(
            kind=(_text(fields.get("call_type")) or "").lower(),
            call_id=_id(fields.get("external_call_id")),
            extension=_text(fields.get("call_abonent_extension")),
            address=_text(fields.get("call_abonent_number")),
            name=_text(fields.get("call_abonent_info")),
            user_id=_whole(fields.get("call_abonent_id")),
            started_at=_time(fields.get("call_start_time")),
            answered_at=_time(fields.get("call_answer_time")),
            ended_at=_time(fields.get("call_end_time")),
            talk_seconds=_whole(fields.get("talk_duration")),
            reason=_whole(fields.get("call_end_reason")),
            recordings=_recordings(fields.get("recording_id")),
            inbound=fields.get("DirectionInbound") is True,
            blind=fields.get("BlindTransfer") is True,
            consultative=fields.get("ConsultTransfer") is True,
            members=_legs(fields.get("members"), depth + 1),
        )
        for fields in value
        if isinstance(fields, Mapping)
    )


def _flattened(legs: tuple[StatisticsLeg, ...]) -> list[StatisticsLeg]:
    return [each for leg in legs for each in (leg, *leg.members)]


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
    STATISTICS: _statistics,
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
_STATISTICS_DIRECTIONS: dict[int | None, Direction] = {1: "inbound", 2: "outbound", 3: "internal"}
_FLAT_DIRECTIONS: dict[str, Direction] = {"in": "inbound", "out": "outbound"}
_FLAT_STATUSES: dict[str, Literal["start", "answer", "end"]] = {"start": "start", "answer": "answer", "end": "end"}
_WHOLE_ROW = frozenset({"context_type", "context_start_time", "context_calls"})


# --- values ----------------------------------------------------------------------------------------------------------


def _party(value: Any) -> Party:
    if not isinstance(value, Mapping):
        return Party(number=_text(value))
    return Party(
        extension=_text(value.get("extension")),
        number=_text(value.get("number")),
        line_number=_text(value.get("line_number")),
        acd_group=_text(value.get("acd_group")),
        taken_from_call_id=_id(value.get("taken_from_call_id")),
        was_transferred=_yes(value.get("was_transferred")),
        hold_initiator=_yes(value.get("hold_initiator")),
    )


def _text(value: Any) -> str | None:
    """A text, also where a number is written; without what Postgres refuses. Empty is absent."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).replace("\0", "").strip()[:LONGEST_TEXT] or None


def _id(value: Any) -> str | None:
    text = _text(value)
    return text if text is not None and len(text.encode("utf-8", "surrogatepass")) <= LONGEST_ID else None


def _whole(value: Any) -> int | None:
    if isinstance(value, str):
        value = int(value) if _INTEGER.fullmatch(value.strip()) else None
    if isinstance(value, float):
        value = int(value) if value.is_integer() else None
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _LARGEST:
        return None
    return value


def _time(value: Any) -> float | None:
    """Seconds since the epoch, milliseconds too; 0 is how Mango writes that it never happened."""
    seconds = _whole(value)
    if seconds is None or seconds <= 0:
        return None
    return seconds / 1000 if seconds >= _MILLISECONDS else float(seconds)


def _yes(value: Any) -> bool:
    return value is True or str(value).lower() in ("1", "true")


def _recordings(value: Any) -> tuple[str, ...]:
    """A list of ids, or the text `[id,id]` of basic statistics; ids are base64, without commas or brackets."""
    ids = value.strip().strip("[]").split(",") if isinstance(value, str) else value
    if not isinstance(ids, list):
        return ()
    return tuple(dict.fromkeys(each for item in ids if (each := _id(item)) is not None))


def _initiator(value: Any) -> str | None:
    """Whose wish a callback was. The documentation prints some of these words with a Cyrillic С."""
    text = _text(value)
    if text is None:
        return None
    latin = text.translate(_CYRILLIC)
    return _INITIATORS.get(latin.lower(), latin)


_CYRILLIC = str.maketrans("АВСЕНКМОРТХасеорх", "ABCEHKMOPTXaceopx")
_INITIATORS = {
    name.lower(): name
    for name in ("CC", "API", "WEB", "ObDial", "CallbackWidget", "MissGroupCallCallback", "MissInIvrCallCallback")
}
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_LARGEST = 2**62
_MILLISECONDS = 100_000_000_000
