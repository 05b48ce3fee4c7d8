"""What becomes of an entry: all that was kept of it and what was told of it last, into what is told now. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bridge.calls.model import Answered, Call, Change, Ended, Notice, Started, Transferred
from bridge.errors import BadInput
from bridge.mango.entries import Remembered, Said, Settled, Told
from bridge.mango.events import CallEvent, Dtmf, FlatEvent, MangoEvent, Sms, Unknown
from bridge.mango.intake import event_of
from bridge.mango.reader import MangoRules, read
from bridge.mango.recordings import CallRecording
from bridge.mango.telling import recorded, tell


class News(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to write of a call. Without `changes` its row stands, and only its recordings or `notices` are
    news.

    operator    the extension whose call it is, though its phone may never have rung
    reconciled  no webhook told of the call: it is known from Mango's history"""

    call: Call
    call_pk: int | None
    changes: Sequence[Change]
    notices: Sequence[Notice]
    recordings: Sequence[CallRecording]
    operator: str | None
    reconciled: bool


class Folded(msgspec.Struct, frozen=True, kw_only=True):
    """`news` None: there is nothing to write. `fresh`: events of webhooks that were not worked before; `commands`: ids
    of commands that they name; `flat`: the flat dialect's events by call_id, should there be fresh ones."""

    entry_id: str
    due: float | None
    call: Call | None
    news: News | None
    events: Sequence[MangoEvent]
    fresh: Sequence[MangoEvent]
    settled: Sequence[Settled]
    commands: Sequence[str]
    flat: dict[str, list[tuple[FlatEvent, bytes]]]

    def remembered(self, call_pk: int | None) -> Remembered:
        return Remembered(entry_id=self.entry_id, call=self.call, call_pk=call_pk, due=self.due)


def fold(entry_id: str, said: Sequence[Said], told: Told, rules: MangoRules, now: float) -> Folded:
    """`now`: the clock by which webhooks were received."""
    if told.swept:
        gone = "what was kept of this call is gone: nothing can be added"
        return nothing(entry_id, told, [Settled(id=each.id, state="ignored", reason=gone) for each in _new(said)])
    settled: list[Settled] = []
    events: list[MangoEvent] = []
    fresh: list[MangoEvent] = []
    flat: dict[str, list[tuple[FlatEvent, bytes]]] = {}
    for each in said:
        try:
            event = event_of(each.dialect, each.path, each.body, each.at)
        except BadInput as problem:
            settled.append(Settled(id=each.id, state="malformed", reason=problem.message))
            continue
        events.append(event)
        if each.state == "new":
            fresh.append(event)
            settled.append(_settled(each.id, event))
        if isinstance(event, FlatEvent) and each.dialect == "flat":
            flat.setdefault(event.call_id, []).append((event, each.body))
    if not events:
        return nothing(entry_id, told, settled)
    reading = read(events, rules, now)
    news = None
    if reading.call is not None:
        changes, notices = tell(told.call, reading.call, _newest(fresh, now), final=reading.final, due=told.due)
        if changes or notices or (fresh and reading.recordings):
            news = News(
                call=reading.call,
                call_pk=told.call_pk,
                changes=[_dated(change) for change in changes],
                notices=notices,
                recordings=reading.recordings,
                operator=reading.operator.extension if reading.operator is not None else None,
                reconciled=not reading.heard,
            )
    return Folded(
        entry_id=entry_id,
        due=None if recorded(told.call, told.due) else reading.due,
        call=reading.call if reading.call is not None else told.call,
        news=news,
        events=events,
        fresh=fresh,
        settled=settled,
        commands=sorted({event.command_id for event in fresh if isinstance(event, CallEvent) and event.command_id}),
        flat=flat if any(isinstance(event, FlatEvent) for event in fresh) else {},
    )


def nothing(entry_id: str, told: Told, settled: Sequence[Settled], due: float | None = None) -> Folded:
    """What was told stands."""
    return Folded(
        entry_id=entry_id,
        due=due,
        call=told.call,
        news=None,
        events=(),
        fresh=(),
        settled=settled,
        commands=(),
        flat={},
    )


def _settled(webhook: int, event: MangoEvent) -> Settled:
    match event:
        case Unknown():
            return Settled(id=webhook, state="ignored", reason="nothing known here, or it lacks what makes it so")
        case Sms() | Dtmf():
            return Settled(id=webhook, state="ignored", reason="kept for the record only")
        case _:
            return Settled(id=webhook, state="worked")


def _new(said: Sequence[Said]) -> list[Said]:
    return [each for each in said if each.state == "new"]


def _newest(fresh: Sequence[MangoEvent], now: float) -> float:
    return max((event.timestamp or event.received_at or 0.0 for event in fresh), default=now)


def _dated(change: Change) -> Change:
    """Several changes may be learnt of at once: each has the time at which it happened, where the call has one."""
    call = change.call
    at = change.at
    match change:
        case Started():
            at = call.started_at or at
        case Answered(first=True):
            at = call.answered_at or at
        case Transferred(transfer=transfer):
            at = transfer.at or at
        case Ended():
            at = call.ended_at or at
        case _:
            pass
    return msgspec.structs.replace(change, at=at)
