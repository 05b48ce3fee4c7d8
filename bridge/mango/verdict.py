"""What somebody who saw a whole call says of it: the summary, else Mango's history, else the flat dialect's `end`.

A verdict means that the call is over. Its times come from one teller each: Mango's clocks may differ by a time zone
between webhooks and statistics, so a start from one and an end from another would make nonsense.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from bridge.calls.numbers import SHORTEST
from bridge.mango.codes import of_word
from bridge.mango.events import CallEvent, Direction, FlatEvent, MangoEvent, Party, StatisticsRow, Summary

# what is shorter than any telephone number is a phone of the house
_LONGEST_EXTENSION = SHORTEST - 1


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """`talked` is None where only the legs can tell; `doubtful`: the answer came in the second the call did, which some
    accounts write of calls nobody answered."""

    direction: Direction | None = None
    caller: Party = Party()
    called: Party = Party()
    line: str | None = None
    created_at: float | None = None
    answered_at: float | None = None
    ended_at: float | None = None
    talked: bool | None = None
    doubtful: bool = False
    talk_seconds: int | None = None
    reason: int | None = None


def verdict_of(events: Iterable[MangoEvent]) -> Verdict | None:
    """The best there is; what it does not know of the parties is taken from the others. Order and copies are the same
    to it: of two of a kind the one that tells of more stands."""
    summaries: list[Summary] = []
    whole: list[StatisticsRow] = []
    basic: list[StatisticsRow] = []
    flat: list[FlatEvent] = []
    for event in events:
        match event:
            case Summary():
                summaries.append(event)
            case StatisticsRow():
                (whole if event.whole else basic).append(event)
            case FlatEvent():
                flat.append(event)
            case _:
                pass
    found: list[Verdict] = []
    if summaries:
        found.append(_of_summary(max(summaries, key=_summary_order)))
    if whole:
        found.append(_of_whole_row(fullest(whole)))
    if basic:
        found.append(_of_basic_rows(basic))
    if any(event.status == "end" for event in flat):
        found.append(_of_flat(sorted(flat, key=msgspec.json.encode)))
    if not found:
        return None
    best = found[0]
    return msgspec.structs.replace(
        best,
        direction=next((each.direction for each in found if each.direction), None),
        line=next((each.line for each in found if each.line), None),
        caller=next((each.caller for each in found if each.caller != Party()), Party()),
        called=next((each.called for each in found if each.called != Party()), Party()),
    )


def fullest(rows: Sequence[StatisticsRow]) -> StatisticsRow:
    """Of a call that was fetched several times, what was known last."""
    return max(rows, key=_row_order)


def _summary_order(summary: Summary) -> tuple[float, float, bytes]:
    return summary.end_time or 0.0, summary.talk_time or 0.0, msgspec.json.encode(summary)


def _row_order(row: StatisticsRow) -> tuple[float, int, int, bytes]:
    return row.ended_at or 0.0, len(row.legs), len(row.recordings), msgspec.json.encode(row)


def _of_summary(summary: Summary) -> Verdict:
    talked = summary.talk_time is not None
    return Verdict(
        direction=summary.direction,
        caller=summary.from_,
        called=summary.to,
        line=summary.line_number,
        created_at=summary.create_time,
        answered_at=summary.talk_time,
        ended_at=summary.end_time,
        talked=talked,
        doubtful=talked and summary.talk_time == summary.create_time,
        reason=summary.disconnect_reason,
    )


def _of_whole_row(row: StatisticsRow) -> Verdict:
    talked = None if row.talk_seconds is None else row.talk_seconds > 0
    return Verdict(
        direction=row.direction,
        caller=row.from_,
        called=row.to,
        line=row.line_number,
        created_at=row.created_at,
        ended_at=row.ended_at,
        talked=talked,
        talk_seconds=row.talk_seconds if talked else None,
        reason=_last_reason(row),
    )


def _last_reason(row: StatisticsRow) -> int | None:
    legs = [leg for leg in row.legs if leg.reason is not None]
    return max(legs, key=lambda leg: (leg.ended_at or 0.0, leg.reason or 0)).reason if legs else None


def _of_basic_rows(rows: Sequence[StatisticsRow]) -> Verdict:
    """Who talked with whom is for the legs to say: a row may be a menu's, or the first half of a callback."""
    created = [at for row in rows for at in (row.created_at, row.started_at) if at is not None]
    ended = [row for row in rows if row.ended_at is not None]
    last = max(ended, key=lambda row: (row.ended_at or 0.0, row.reason or 0, msgspec.json.encode(row)), default=None)
    return Verdict(
        line=min((row.line_number for row in rows if row.line_number), default=None),
        created_at=min(created, default=None),
        ended_at=last.ended_at if last else None,
        reason=last.reason if last else None,
    )


# --- the flat dialect -------------------------------------------------------------------------------------------------


def flat_legs(events: Iterable[MangoEvent]) -> list[CallEvent]:
    """The flat dialect's words as the signed one's: start is Appeared, answer Connected, end Disconnected."""
    return [_as_call_event(event) for event in events if isinstance(event, FlatEvent)]


def _as_call_event(event: FlatEvent) -> CallEvent:
    caller, called = _flat_parties(event)
    return CallEvent(
        entry_id=event.entry_id,
        call_id=event.call_id,
        seq={"start": 1, "answer": 2, "end": 3}[event.status],
        state="Appeared" if event.status == "start" else "Connected" if event.status == "answer" else "Disconnected",
        timestamp=event.timestamp,
        location=event.location if event.location in ("ivr", "queue", "abonent") else "",
        from_=caller,
        to=called,
        disconnect_reason=of_word(event.reason),
        received_at=event.received_at,
    )


def _flat_parties(event: FlatEvent) -> tuple[Party, Party]:
    """The ends of a call. Where `to` is the company's own number it names a line, not a phone."""
    caller, called = _flat_party(event.from_number), _flat_party(event.to_number)
    if event.direction != "inbound" or called.extension is not None:
        return caller, called
    line = event.line_number or event.to_number
    phone = None if event.to_number == line else event.to_number
    return caller, Party(number=phone, line_number=line)


def _flat_party(number: str | None) -> Party:
    if number is not None and number.isdigit() and len(number) <= _LONGEST_EXTENSION:
        return Party(extension=number)
    return Party(number=number)


def _of_flat(events: Sequence[FlatEvent]) -> Verdict:
    end = next(event for event in events if event.status == "end")
    caller, called = _flat_parties(end)
    durations = [event.duration for event in events if event.duration is not None]
    answers = [event.timestamp for event in events if event.status == "answer" and event.timestamp is not None]
    starts = [event.timestamp for event in events if event.status == "start" and event.timestamp is not None]
    talked = max(durations) > 0 if durations else any(event.status == "answer" for event in events)
    return Verdict(
        direction=next((event.direction for event in events if event.direction), None),
        caller=caller,
        called=called,
        line=called.line_number or end.line_number or (caller.number if end.direction == "outbound" else None),
        created_at=min(starts, default=None),
        answered_at=min(answers, default=None) if talked else None,
        ended_at=end.timestamp,
        talked=talked,
        talk_seconds=max(durations) if durations and talked else None,
        reason=of_word(end.reason),
    )
