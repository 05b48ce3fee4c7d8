"""How a call stands right now, and which of its legs a command can take hold of (VPBX API, 3.2). Pure.

route     takes a leg nobody has answered: a menu's or a queue's, else a phone's that rings
transfer  takes the leg of the talk
hangup    takes any leg that a menu or a phone has
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from bridge.mango.events import CallEvent, FlatEvent, MangoEvent, StatisticsRow, Summary
from bridge.mango.legs import Leg, legs_of


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """`waiting`: the leg of a caller nobody talks with yet; `talking`: that of the talk; `alive`: one that can be hung
    up. None: there is none just now."""

    over: bool = False
    waiting: Leg | None = None
    talking: Leg | None = None
    alive: Leg | None = None


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody in a menu or a queue. `number`: None for one who hides it. `since`: when that was first heard of, by the
    receiver's clock."""

    leg: str
    line: str
    number: str | None
    since: float


def standing(events: Iterable[MangoEvent]) -> Standing:
    """What all that was heard of one entry says of it now."""
    heard = list(events)
    if any(isinstance(event, Summary | StatisticsRow) for event in heard) or any(
        isinstance(event, FlatEvent) and event.status == "end" for event in heard
    ):
        return Standing(over=True)
    legs = [leg for leg in legs_of(event for event in heard if isinstance(event, CallEvent)) if not leg.ended]
    talking = [leg for leg in legs if not leg.nobodys and leg.state in ("Connected", "OnHold")]
    if talking:
        return Standing(talking=talking[-1], alive=talking[-1])
    waiting = [leg for leg in legs if leg.nobodys] or [leg for leg in legs if leg.callee.extension is not None]
    alive = [leg for leg in legs if not leg.location.startswith("queue")]
    return Standing(waiting=waiting[-1] if waiting else None, alive=alive[-1] if alive else None)


def caller(events: Iterable[MangoEvent]) -> Caller | None:
    """Who waits in a menu or a queue, having called a line of ours from outside."""
    heard = list(events)
    leg = standing(heard).waiting
    if leg is None or not leg.nobodys or leg.caller.extension is not None or leg.callee.line_number is None:
        return None
    if any(isinstance(event, CallEvent) and (event.command_id or event.callback_initiator) for event in heard):
        return None  # we called them
    times = [event.received_at for event in heard if event.received_at is not None]
    return Caller(
        leg=leg.call_id, line=leg.callee.line_number, number=leg.caller.number, since=min(times) if times else 0.0
    )


def phones(leg: Leg) -> tuple[str, ...]:
    """The employees on a leg, whoever was called first."""
    return tuple(each for each in (leg.callee.extension, leg.turns[-1].caller.extension) if each is not None)
