"""All that was stored of one call of Mango's, in any order and any number of copies, into the call as a person sees it.

Theory of operation. Mango tells of a call (`entry_id`) by its legs (`call_id`), and at the end by a summary. Webhooks
come in parallel, so later ones may overtake earlier ones, any may come twice, and some never. Nothing is therefore kept
between them: the call is each time read anew from all there is. The same set of facts gives the same call, and a fact
that comes late makes it better.

    legs.py      what each leg was, by its events in the order of their `seq`
    verdict.py   what somebody who saw the whole call says of it: the summary, Mango's history, the flat dialect's end
    parties.py   who is who, and what each leg is to the call
    outcome.py   what that means

What ends a call is a verdict, or that all its legs have ended and nothing more was heard for a while. A summary may
overtake what it sums up. Then the call is over, but what is read of it may still become another one, and what cannot be
taken back must wait: until the legs tell the whole story too, or nothing more was heard for a while.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from bridge.calls.model import Call
from bridge.mango import codes
from bridge.mango.events import CallEvent, MangoEvent, RecordAdded, Recording, StatisticsRow, Summary
from bridge.mango.history import legs_of_row
from bridge.mango.legs import Leg, Turn, legs_of, ordered
from bridge.mango.operators import Operator, Operators
from bridge.mango.outcome import Outcome
from bridge.mango.parties import Parties
from bridge.mango.recordings import CallRecording, recordings_of
from bridge.mango.verdict import Verdict, flat_legs, fullest, verdict_of

QUIET = 60.0
"""Seconds without news after which a call whose legs have all ended is over, should its summary never come; and after
which a summary is believed whose call was not heard whole."""

CLOCKS = 2.0
"""Seconds by which a leg and the summary may differ about the same moment."""


class MangoRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the service knows of an enterprise on Mango: the country of its numbers, and its people."""

    region: str = "RU"
    operators: Operators = msgspec.field(default_factory=Operators)


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one entry.

    call        None while there is nothing that makes one: a recording alone, or the end of a leg that went elsewhere
    settled     somebody who saw it whole has told of it; it may still be refined
    final       nothing of it is known to be missing any more, or it was waited for long enough
    due         when to read it again, should nothing more come (epoch, by the receiver's clock); None: no need
    recordings  those that are there, will be, or never will
    operator    whose call it is, by the phone that talked with the client, else by the line; None: nobody knows
    heard       it was told of by webhooks. False: only Mango's history knows it
    """

    call: Call | None
    settled: bool = False
    final: bool = False
    due: float | None = None
    recordings: tuple[CallRecording, ...] = ()
    operator: Operator | None = None
    heard: bool = True


def read(events: Iterable[MangoEvent], rules: MangoRules, now: float | None = None) -> Reading:
    """The call that `events`, all of one entry, tell of. `now` (epoch) is the receiver's clock: without it no call is
    over for silence alone."""
    unique = _without_copies(events)
    rows = [event for event in unique if isinstance(event, StatisticsRow)]
    told = [event for event in unique if isinstance(event, CallEvent)] + flat_legs(unique)
    legs = _with_history(legs_of(told), rows)
    verdict = verdict_of(unique)
    recordings = recordings_of(unique)
    heard = len(rows) < len(unique)
    if verdict is None and not any(_makes_a_call(leg) for leg in legs):
        return Reading(call=None, recordings=recordings, heard=heard)
    due = None
    final = verdict is not None and (rows != [] or _is_whole(legs, unique))
    if not final and (verdict is not None or all(leg.ended for leg in legs)):
        # a recording that becomes known later says nothing of the call's going on
        heard_last = max(event.received_at or event.timestamp or 0.0 for event in unique if not _of_a_recording(event))
        due = heard_last + QUIET
        if now is not None and now >= due:
            due, final = None, True
    over = verdict is not None or final
    entry_id = next(event.entry_id for event in unique if event.entry_id is not None)
    said = verdict or Verdict()
    parties = Parties(legs, said, rules.operators, rules.region)
    outcome = Outcome(entry_id, parties, said, rules.operators, over=over)
    return Reading(
        call=outcome.call(recordings),
        settled=verdict is not None,
        final=final,
        due=due,
        recordings=recordings,
        operator=outcome.operator(),
        heard=heard,
    )


def _without_copies(events: Iterable[MangoEvent]) -> list[MangoEvent]:
    """Each said once, with the time at which it was first received."""
    first: dict[MangoEvent, float | None] = {}
    for event in events:
        said: MangoEvent = msgspec.structs.replace(event, received_at=None)
        times = [at for at in (first.get(said), event.received_at) if at is not None]
        first[said] = min(times, default=None)
    return [msgspec.structs.replace(said, received_at=at) for said, at in first.items()]


def _of_a_recording(event: MangoEvent) -> bool:
    return isinstance(event, Recording | RecordAdded)


def _is_whole(legs: list[Leg], events: list[MangoEvent]) -> bool:
    """Whether the legs tell all that the summary sums up: each from its first event to its last, until the call's end,
    and the talk from its beginning. The flat dialect's end is all there will be."""
    summary = next((event for event in events if isinstance(event, Summary)), None)
    if summary is None:
        return True
    if not legs:
        # out of hours no phone rings and no leg is told of; of a missed call the summary says all that is kept
        return summary.direction == "inbound" and summary.talk_time is None
    if not all(leg.whole and leg.ended for leg in legs):
        return False
    talks = [turn.talked_at for leg in legs if not leg.nobodys for turn in leg.turns if turn.talking]
    return _told_of(summary.end_time, [leg.ended_at for leg in legs]) and _told_of(summary.talk_time, talks)


def _told_of(moment: float | None, times: Iterable[float | None]) -> bool:
    return moment is None or any(at is None or abs(at - moment) <= CLOCKS for at in times)


def _makes_a_call(leg: Leg) -> bool:
    """The end of a leg that goes on elsewhere, all that is known of it, is no call."""
    return leg.turns[0].began != "Disconnected" or not codes.only_a_leg(leg.reason)


def _with_history(legs: list[Leg], rows: list[StatisticsRow]) -> list[Leg]:
    """The legs, and from Mango's history what the webhooks did not tell of: legs never heard of, and ends.

    A leg of the history is known to be another one only where both name their legs alike."""
    whole = [row for row in rows if row.whole]
    rows = [fullest(whole)] if whole else rows
    listed = [leg for row in rows for leg in legs_of_row(row)]
    names = {each.call_id for row in rows for leg in row.legs for each in (leg, *leg.members)}
    known = {leg.call_id: leg for leg in legs}
    comparable = not any(not leg.nobodys for leg in legs) or not names.isdisjoint(known)
    end = max((leg.ended_at for leg in listed if leg.ended_at is not None), default=None)
    for leg in listed:
        same = known.get(leg.call_id)
        if same is not None:
            _complete(same, leg, until_the_end=leg.ended_at == end)
        elif comparable:
            known[leg.call_id] = leg
    return ordered(known.values())


def _complete(leg: Leg, listed: Leg, *, until_the_end: bool) -> None:
    """With what the history lists of the same leg. Not its times: they may be by another clock."""
    known_whole = leg.ended and leg.whole
    if not leg.ended:
        leg.state, leg.reason = "Disconnected", listed.reason
    if known_whole or not listed.turns[0].talking:
        return
    if leg.turns[-1].caller.extension is not None and listed.transfer is not None:
        # begun by a colleague who asked or gave away: whoever is on such a leg at the call's end is the client
        if until_the_end:
            leg.turns.append(Turn(caller=listed.caller, at=leg.at, began="Connected", talking=True, talked_at=leg.at))
    elif not any(turn.talking for turn in leg.turns):
        leg.turns[-1].talking = True
