"""Mango's own history of calls (VPBX API, 3.4) into events, and into the legs that webhooks would have told of.

Basic statistics are CSV with a row for each leg; whoever fetched them names the columns. Extended ones are JSON with a
call and its legs. Both are written when a call is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.mango.events import Direction, Party, StatisticsLeg, StatisticsRow
from bridge.mango.legs import Leg, Turn
from bridge.mango.values import identifier, moment, recordings, text, whole

_STATISTICS_DIRECTIONS: dict[int | None, Direction] = {1: "inbound", 2: "outbound", 3: "internal"}
_WHOLE_ROW = frozenset({"context_type", "context_start_time", "context_calls"})


def statistics_row(fields: Mapping[str, Any], _about: str) -> StatisticsRow | None:
    entry_id = identifier(fields.get("entry_id"))
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
        timestamp=moment(fields.get("finish")),
        from_=Party(extension=text(fields.get("from_extension")), number=text(fields.get("from_number"))),
        to=Party(extension=text(fields.get("to_extension")), number=text(fields.get("to_number"))),
        line_number=text(fields.get("line_number")),
        created_at=moment(fields.get("create")),
        started_at=moment(fields.get("start")),
        answered_at=moment(fields.get("answer")),
        ended_at=moment(fields.get("finish")),
        reason=whole(fields.get("disconnect_reason")),
        location=(text(fields.get("location")) or "").lower(),
        recordings=recordings(fields.get("records")),
    )


def _whole_row(entry_id: str, fields: Mapping[str, Any]) -> StatisticsRow:
    """A call of extended statistics (3.4.2.3). Their directions are 1, 2, 3 where a summary's are 1, 2, 0.

    They name employees by user_id; `caller_extension` and a leg's `call_abonent_extension` are what whoever fetched
    them put beside that.
    """
    direction = _STATISTICS_DIRECTIONS.get(whole(fields.get("context_type")))
    started = moment(fields.get("context_start_time"))
    duration, talk = whole(fields.get("duration")), whole(fields.get("talk_duration"))
    legs = _legs(fields.get("context_calls"))
    called = text(fields.get("called_number"))
    ended = max((leg.ended_at for leg in legs if leg.ended_at is not None), default=None)
    if ended is None and started is not None and duration is not None:
        ended = started + duration
    return StatisticsRow(
        whole=True,
        entry_id=entry_id,
        timestamp=ended,
        direction=direction,
        from_=Party(extension=text(fields.get("caller_extension")), number=text(fields.get("caller_number"))),
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
            kind=(text(fields.get("call_type")) or "").lower(),
            call_id=identifier(fields.get("external_call_id")),
            extension=text(fields.get("call_abonent_extension")),
            address=text(fields.get("call_abonent_number")),
            name=text(fields.get("call_abonent_info")),
            user_id=whole(fields.get("call_abonent_id")),
            started_at=moment(fields.get("call_start_time")),
            answered_at=moment(fields.get("call_answer_time")),
            ended_at=moment(fields.get("call_end_time")),
            talk_seconds=whole(fields.get("talk_duration")),
            reason=whole(fields.get("call_end_reason")),
            recordings=recordings(fields.get("recording_id")),
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


# --- the same facts as a webhook's ------------------------------------------------------------------------------------


def legs_of_row(row: StatisticsRow) -> list[Leg]:
    """The phones' legs of a row. What a row does not say (which leg a caller came from) is not made up, so there are no
    transfers among them, only who talked when."""
    if not row.whole:
        return [_basic_leg(row)]
    found: list[Leg] = []
    for number, leg in enumerate(row.legs):
        found += _whole_legs(row, leg, f"{row.entry_id}#{number}")
    return found


def _basic_leg(row: StatisticsRow) -> Leg:
    ends = "-".join(str(end.extension or end.number or "") for end in (row.from_, row.to))
    called = Party(extension=row.to.extension, number=row.to.number, line_number=row.line_number)
    leg = _leg(f"{row.entry_id}#{row.started_at or 0:.0f}-{ends}", row.from_, called, row.started_at)
    return _told(leg, row.answered_at, row.ended_at, row.reason, row.location)


def _whole_legs(row: StatisticsRow, leg: StatisticsLeg, name: str) -> list[Leg]:
    if leg.kind == "group":
        members = [_member(row, member, f"{name}.{number}", leg.name) for number, member in enumerate(leg.members)]
        return [] if row.direction == "outbound" else members
    if row.direction != "outbound":
        return [_member(row, leg, name, None)]
    # in an outbound call only the leg to a number is the client's; an employee's own tells nothing of the outcome
    if leg.kind != "number":
        return []
    made = _leg(leg.call_id or name, row.from_, row.to, leg.started_at)
    return [_told(made, leg.answered_at, leg.ended_at, leg.reason, "abonent")]


def _member(row: StatisticsRow, leg: StatisticsLeg, name: str, group: str | None) -> Leg:
    phone = Party(extension=leg.extension, number=leg.address, line_number=row.line_number, acd_group=group)
    made = _leg(leg.call_id or name, row.from_, phone, leg.started_at)
    made.transfer = "consultative" if leg.consultative else "blind" if leg.blind else None
    return _told(made, leg.answered_at, leg.ended_at, leg.reason, "abonent")


def _leg(call_id: str, caller: Party, callee: Party, at: float | None) -> Leg:
    turn = Turn(caller=caller, at=at, began="Appeared")
    return Leg(call_id=call_id, callee=callee, turns=[turn], state="Disconnected", at=at, started_at=at)


def _told(leg: Leg, answered: float | None, ended: float | None, reason: int | None, location: str) -> Leg:
    leg.turns[0].talking, leg.turns[0].talked_at = answered is not None, answered
    leg.ended_at, leg.reason, leg.location = ended, reason, location
    return leg
