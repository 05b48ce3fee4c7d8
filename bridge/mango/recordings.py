"""Which recordings of a call exist, can be fetched, or never will be. Pure.

A recording is there when /events/record/added says so, or Mango's history lists it; `Completed` alone only promises it,
and some are never kept (VPBX API, 3.1.4).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from bridge.mango.codes import meaning
from bridge.mango.events import FlatEvent, MangoEvent, RecordAdded, Recording, StatisticsRow

TOO_SHORT = 4002


class CallRecording(msgspec.Struct, frozen=True, kw_only=True):
    """One recording of a call, which may have several: each employee's own.

    state   running: it is being made; expected: it should come; ready: fetch it; absent: there is none, for `reason`
    reason  too_short, mailed (Mango sent it by e-mail and keeps none), refused (the account is limited), failed
    url     where the flat dialect says it is; Mango's own recordings are asked for by `recording_id`
    """

    recording_id: str
    state: Literal["running", "expected", "ready", "absent"]
    reason: str | None = None
    call_id: str | None = None
    extension: str | None = None
    user_id: int | None = None
    at: float | None = None
    url: str | None = None


def recordings_of(events: Iterable[MangoEvent]) -> tuple[CallRecording, ...]:
    """By the time they began or were first heard of. The same whatever the order of `events`."""
    told: dict[str, list[Recording]] = {}
    added: dict[str, list[RecordAdded]] = {}
    listed: set[str] = set()
    linked: dict[str, FlatEvent] = {}
    for event in events:
        match event:
            case Recording():
                told.setdefault(event.recording_id, []).append(event)
            case RecordAdded():
                added.setdefault(event.recording_id, []).append(event)
            case StatisticsRow():
                listed.update(event.recordings)
            case FlatEvent(record_url=str() as url):
                linked[url] = max(linked.get(url, event), event, key=msgspec.json.encode)
            case _:
                pass
    found = [
        _recording(each, told.get(each, []), added.get(each, []), listed=each in listed)
        for each in told.keys() | added.keys() | listed
    ]
    found += [
        CallRecording(recording_id=event.call_id, state="ready", call_id=event.call_id, at=event.timestamp, url=url)
        for url, event in linked.items()
    ]
    return tuple(sorted(found, key=lambda each: (each.at or 0.0, each.recording_id, each.url or "")))


def _recording(recording_id: str, told: list[Recording], added: list[RecordAdded], *, listed: bool) -> CallRecording:
    in_order = sorted(told, key=lambda event: (event.seq, event.state, msgspec.json.encode(event)))
    times = [event.timestamp for event in [*told, *added] if event.timestamp is not None]
    state: Literal["running", "expected", "ready", "absent"] = "running"
    reason = None
    if added or listed:
        state = "ready"
    else:
        for event in in_order:
            if event.state == "Completed":
                reason = _why_absent(event)
                state = "absent" if reason else "expected"
    return CallRecording(
        recording_id=recording_id,
        state=state,
        reason=reason,
        call_id=next((event.call_id for event in in_order if event.call_id), None),
        extension=next((event.extension for event in in_order if event.extension), None),
        user_id=max(
            (event.user_id for event in added if event.user_id is not None and event.user_id > 0), default=None
        ),
        at=min(times, default=None),
    )


def _why_absent(completed: Recording) -> str | None:
    """None where the recording is kept in the cloud, or nothing says that it is not."""
    code = completed.completion_code
    if code == TOO_SHORT:
        return "too_short"
    if code is not None and meaning(code) == "billing":
        return "refused"
    if code is not None and meaning(code) != "normal":
        return "failed"
    recipient = (completed.recipient or "").lower()
    return "mailed" if recipient and "cloud" not in recipient else None
