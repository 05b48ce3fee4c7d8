"""A call in RetailCRM's words. Pure: a delivery and a configuration in, the JSON of one request out.

Two endpoints, two vocabularies: an event's `hangupStatus` says "no answered", an upload's `result` says "no answer",
and "cancel" exists only in the first, "unknown" only in the second. Phones have a "+" in events and none in uploads.
Dates are the account's local time, without a zone.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bridge.calls.model import Call
from bridge.calls.numbers import e164
from bridge.crm.port import Delivery, Request
from bridge.crm.retailcrm.config import RetailcrmConfig
from bridge.errors import BadInput

_DATE = "%Y-%m-%d %H:%M:%S"

_EVENT_TYPES = {"ringing": "in", "dialing": "out", "hangup": "hangup"}

_HANGUP = {
    "answered": "answered",
    "busy": "busy",
    "missed": "no answered",
    "no_answer": "no answered",
    "cancelled": "cancel",
    "failed": "failed",
    "incomplete": "failed",
}

_RESULT = {
    "answered": "answered",
    "busy": "busy",
    "missed": "no answer",
    "no_answer": "no answer",
    "cancelled": "no answer",
    "failed": "failed",
    "incomplete": "unknown",
}


def map_delivery(delivery: Delivery, config: RetailcrmConfig) -> Request | None:
    """The request for a delivery; None where RetailCRM has no use for it.

    That is: an internal call, a client whose number is hidden (the number is what it files calls under), a pop-up for
    nobody, and a call of which not even the time is known.
    """
    call = delivery.call
    if call.direction == "internal" or call.client_number is None:
        return None
    if delivery.notice.kind == "record":
        return _upload(delivery, config)
    return _event(delivery, config)


def _event(delivery: Delivery, config: RetailcrmConfig) -> Request | None:
    call, notice = delivery.call, delivery.notice
    codes = list(dict.fromkeys(code for code in notice.extensions if code))
    if not codes:
        return None
    kind = _EVENT_TYPES[notice.kind]
    body: dict[str, Any] = {"phone": call.client_number, "type": kind, "codes": codes}
    if notice.kind == "hangup":
        body["hangupStatus"] = hangup_status(call)
    body |= _common(call, config)
    body["callExternalId"] = delivery.external_id
    return Request(event_type=f"call_event:{kind}", body=body)


def _upload(delivery: Delivery, config: RetailcrmConfig) -> Request | None:
    call = delivery.call
    began = next((at for at in (call.started_at, call.answered_at, call.ended_at) if at is not None), None)
    if began is None:
        return None
    outcome = result(call)
    body: dict[str, Any] = {
        "date": datetime.fromtimestamp(began, _zone(config)).strftime(_DATE),
        "type": "in" if call.direction == "inbound" else "out",
        "phone": (call.client_number or "").removeprefix("+"),
        "result": outcome,
    }
    if code := handler(call):
        body["code"] = code
    if outcome != "answered":
        if outcome != "unknown":
            body["duration"] = 0
    elif call.talk_seconds is not None:
        body["duration"] = call.talk_seconds
    if call.wait_seconds is not None:
        body["durationWaiting"] = call.wait_seconds
    body["externalId"] = delivery.external_id
    if delivery.recording_url:
        body["recordUrl"] = delivery.recording_url
    return Request(event_type="calls_upload", body=body | _common(call, config))


def hangup_status(call: Call) -> str:
    """How the call ended, in an event's words. A client who gave up while it rang "cancelled"."""
    if _was_answered(call):
        return "answered"
    if call.status == "missed" and call.ended_by == "client":
        return "cancel"
    return _HANGUP[call.status]


def result(call: Call) -> str:
    """How the call ended, in an upload's words."""
    if _was_answered(call):
        return "answered"
    return _RESULT[call.status]


def handler(call: Call) -> str | None:
    """The extension the call is filed under: who talked last; who dialled; who alone was busy. Nobody is guessed."""
    if call.answered_by is not None and _was_answered(call):
        return call.answered_by
    if call.direction == "outbound":
        return call.extensions[0] if call.extensions else None
    if call.status == "busy" and len(call.extensions) == 1:
        return call.extensions[0]
    return None


def _was_answered(call: Call) -> bool:
    """Of a call whose end nobody saw, an answer that was seen is certain."""
    seen = call.answered_at is not None or call.answered_by is not None
    return call.status == "answered" or (call.status == "incomplete" and seen)


def _common(call: Call, config: RetailcrmConfig) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if call.line:
        # The CRM knows its lines as E.164; a trunk's own name stays what it is.
        fields["externalPhone"] = e164(call.line, config.region) or call.line
    if config.site:
        fields["site"] = config.site
    return fields


def _zone(config: RetailcrmConfig) -> ZoneInfo:
    try:
        return ZoneInfo(config.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise BadInput(f"timezone: {config.timezone!r} is not a time zone", field="timezone") from None
