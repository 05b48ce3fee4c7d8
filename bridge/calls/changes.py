"""The changes between what was last told of a call and what is known of it now."""

from __future__ import annotations

from bridge.calls.model import (
    Absorbed,
    Answered,
    Call,
    Change,
    Ended,
    Held,
    Recorded,
    Refined,
    Ringing,
    Started,
    Transferred,
)


def changes_between(told: Call | None, call: Call, absorbed: list[Call], at: float | None) -> list[Change]:
    """In the order in which they happen to a call. Every change carries the whole call as it is now."""
    changes: list[Change] = []
    if told is None:
        changes.append(Started(call=call, at=at))
    changes += [Absorbed(call=other, into=call.call_id, at=at) for other in absorbed if other.call_id != call.call_id]
    if told is not None and told.status != "active":
        return [*changes, Refined(call=call, at=at)] if told != call else changes

    known = set(told.extensions) if told else set()
    ringing = tuple(extension for extension in call.extensions if extension not in known)
    if ringing:
        changes.append(Ringing(call=call, at=at, extensions=ringing))
    for transfer in call.transfers[len(told.transfers) if told else 0 :]:
        changes.append(Transferred(call=call, at=at, transfer=transfer))
    if call.answered_first is not None and (told is None or told.answered_by != call.answered_by):
        first = told is None or told.answered_first is None
        changes.append(Answered(call=call, at=at, extension=call.answered_by, first=first))
    if call.on_hold != (told.on_hold if told else False):
        changes.append(Held(call=call, at=at, on=call.on_hold))
    if call.recording is not None and (told is None or told.recording != call.recording):
        changes.append(Recorded(call=call, at=at, file=call.recording))
    if call.status != "active":
        changes.append(Ended(call=call, at=at))
    return changes
