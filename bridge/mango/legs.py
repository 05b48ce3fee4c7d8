"""A leg's events, in any order and any number of copies, into what the leg was.

Theory of operation. `seq` numbers the events of one leg, so they are put in its order whatever way they came; of two
with one `seq` the later state holds. Disconnected is final: what claims to follow it is not looked at.

The callee of a leg stays, the caller may not. An employee who consults a colleague is the caller of the consultation's
leg; when the employee hangs up, the client takes that place, on the same leg: a second Connected if the colleague had
answered, a second Appeared if not (VPBX API, scenarios of transfers). So a leg has one `Turn` for each of its callers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from bridge.mango.events import CallEvent, Party, State, TransferFlag

End = Literal["caller", "callee"]

_RANKS: dict[State, int] = {"Appeared": 0, "Connected": 1, "OnHold": 2, "Disconnected": 3}


class Turn(msgspec.Struct, kw_only=True):
    """The time of one caller on a leg.

    `began` is the state it began with; `talking`: both ends were connected. `holds` has one entry for each time the leg
    was put on hold: the end that did it, where that is said.
    """

    caller: Party
    at: float | None
    began: State
    talking: bool = False
    talked_at: float | None = None
    holds: list[End | None] = []


class Leg(msgspec.Struct, kw_only=True):
    """`at`: its first event; `started_at` the same, where that event is known to be its first. `state` is the last one.

    taken_from  the leg its caller was in before
    depth       how many legs its caller was in before, as far as they are known
    whole       no event of it is missing, by their numbers
    """

    call_id: str
    callee: Party
    turns: list[Turn]
    state: State
    at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    reason: int | None = None
    location: str = ""
    taken_from: str | None = None
    transfer: TransferFlag | None = None
    command_id: str | None = None
    callback: bool = False
    depth: int = 0
    whole: bool = True

    @property
    def ended(self) -> bool:
        return self.state == "Disconnected"

    @property
    def nobodys(self) -> bool:
        """A menu's or a queue's, not a phone's."""
        return self.location.partition(".")[0] in ("ivr", "queue")

    @property
    def caller(self) -> Party:
        return self.turns[0].caller


def legs_of(events: Iterable[CallEvent]) -> list[Leg]:
    """The legs of one entry, those first whose callers were in no other; the same whatever the order of `events`."""
    by_leg: dict[str, list[CallEvent]] = {}
    for event in events:
        by_leg.setdefault(event.call_id, []).append(event)
    return ordered([_leg(each) for each in by_leg.values()])


def ordered(legs: Iterable[Leg]) -> list[Leg]:
    """By the number of legs that the callers were in before, then by time. Sets `depth`."""
    by_id = {leg.call_id: leg for leg in legs}
    for leg in by_id.values():
        leg.depth = _depth(leg, by_id)
    return sorted(by_id.values(), key=lambda leg: (leg.depth, leg.at or 0.0, leg.call_id))


def _depth(leg: Leg, by_id: dict[str, Leg]) -> int:
    seen = {leg.call_id}
    depth = 0
    current: Leg | None = leg
    while current is not None and current.taken_from is not None and current.taken_from not in seen:
        depth += 1
        seen.add(current.taken_from)
        current = by_id.get(current.taken_from)
    return depth


def _order(event: CallEvent) -> tuple[int, int, float, bytes]:
    return event.seq, _RANKS[event.state], event.timestamp or 0.0, msgspec.json.encode(event)


def _leg(events: list[CallEvent]) -> Leg:
    in_order = sorted(events, key=_order)
    first = in_order[0]
    leg = Leg(call_id=first.call_id, callee=Party(), turns=[], state=first.state, at=first.timestamp)
    if first.seq <= 1 or first.state == "Appeared":
        leg.started_at = first.timestamp
    for event in in_order:
        _hear(leg, event)
        if event.state == "Disconnected":
            break
    leg.whole = {event.seq for event in in_order} >= set(range(1, in_order[-1].seq + 1))
    leg.taken_from = next((t.caller.taken_from_call_id for t in leg.turns if t.caller.taken_from_call_id), None)
    return leg


def _hear(leg: Leg, event: CallEvent) -> None:
    leg.callee = _joined(leg.callee, event.to)
    leg.location = event.location or leg.location
    leg.transfer = event.transfer or leg.transfer
    leg.command_id = event.command_id or leg.command_id
    leg.callback = leg.callback or event.callback_initiator is not None or event.task_id is not None
    before = leg.state if leg.turns else None
    leg.state = event.state
    turn = _turn(leg, event, again=before == event.state == "Connected")
    match event.state:
        case "Connected":
            if not turn.talking:
                turn.talking, turn.talked_at = True, event.timestamp
        case "OnHold":
            turn.talking = True  # only who talks can be held; since when, the lost Connected would have told
            if before != "OnHold" or not turn.holds:
                turn.holds.append(_holder(event))
        case "Disconnected":
            leg.ended_at, leg.reason = event.timestamp, event.disconnect_reason
            if turn.began == "Disconnected" and before in ("Connected", "OnHold"):
                turn.talking = True  # in the place of one who talked: the second Connected is lost
        case "Appeared":
            pass


def _holder(event: CallEvent) -> End | None:
    if event.from_.hold_initiator:
        return "caller"
    return "callee" if event.to.hold_initiator else None


def _turn(leg: Leg, event: CallEvent, *, again: bool) -> Turn:
    if leg.turns and not _another(leg.turns[-1].caller, event.from_, again=again):
        leg.turns[-1].caller = _joined(leg.turns[-1].caller, event.from_)
    else:
        leg.turns.append(Turn(caller=event.from_, at=event.timestamp, began=event.state))
    return leg.turns[-1]


def _another(known: Party, said: Party, *, again: bool) -> bool:
    """Whether `said` is somebody else, in an employee's place. Events leave out what they cannot tell, so absence says
    nothing; but a client who hides the number is told by it: connected `again`, or taken from another leg."""
    if known.extension is None or said.extension == known.extension:
        return False
    if said.extension is not None:
        return True
    if said.number is not None:
        return said.number != known.number
    return again or said.taken_from_call_id is not None


def _joined(known: Party, said: Party) -> Party:
    """What is known of one end, and what an event adds."""
    return Party(
        extension=said.extension or known.extension,
        number=said.number or known.number,
        line_number=said.line_number or known.line_number,
        acd_group=said.acd_group or known.acd_group,
        taken_from_call_id=known.taken_from_call_id or said.taken_from_call_id,
        was_transferred=said.was_transferred or known.was_transferred,
    )
