"""All that was stored of one call of Mango's, in any order and any number of copies, into the call as a person sees it.

Theory of operation. Mango tells of a call (`entry_id`) by its legs (`call_id`), and at the end by a summary. Webhooks
come in parallel, so later ones may overtake earlier ones, any may come twice, and some never. Nothing is therefore kept
between them: the call is each time read anew from all there is. The same set of facts gives the same call, and a fact
that comes late makes it better.

Whose talk it is. Of every turn of every leg it is asked what it is to the call (`Role`):

    reaches   the client (in an internal call: who called) calls one of our phones
    dials     one of our phones calls the client
    first     the first half of a callback: our phone is rung, with the client's number shown, before the client is
    consults  one of our phones calls another while the client waits
    menu      a menu or a queue: nobody's phone

Only `reaches` and `dials` are talks when they connect. A client who takes the place of a consulting employee makes
a `reaches` of what was `consults`: that is a transfer.

What ends a call is a verdict (see verdict.py), or that all its legs have ended and nothing more was heard for a while.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from bridge.calls import model
from bridge.calls.model import Call, Direction, EndedBy, Result, Transfer
from bridge.calls.numbers import digits, e164
from bridge.mango import codes
from bridge.mango.events import CallEvent, MangoEvent, Party, StatisticsRow
from bridge.mango.history import legs_of_row
from bridge.mango.legs import Leg, Turn, legs_of, ordered
from bridge.mango.operators import Operator, Operators
from bridge.mango.recordings import CallRecording, recordings_of
from bridge.mango.verdict import Verdict, flat_legs, fullest, verdict_of

QUIET = 60.0
"""Seconds without news after which a call whose legs have all ended is over, should its summary never come."""

Role = Literal["reaches", "dials", "first", "consults", "menu"]


class MangoRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the service knows of an enterprise on Mango: the country of its numbers, and its people."""

    region: str = "RU"
    operators: Operators = msgspec.field(default_factory=Operators)


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one entry.

    call        None while there is nothing that makes one: a recording alone, or the end of a leg that went elsewhere
    settled     somebody who saw it whole has told of it; it may still be refined
    due         when to read it again, should nothing more come (epoch, by the receiver's clock); None: no need
    recordings  those that are there, will be, or never will
    operator    whose call it is, by the phone that talked with the client, else by the line; None: nobody knows
    heard       it was told of by webhooks. False: only Mango's history knows it
    """

    call: Call | None
    settled: bool = False
    due: float | None = None
    recordings: tuple[CallRecording, ...] = ()
    operator: Operator | None = None
    heard: bool = True


def read(events: Iterable[MangoEvent], rules: MangoRules, now: float | None = None) -> Reading:
    """The call that `events`, all of one entry, tell of. `now` (epoch) is the receiver's clock: without it no call is
    over for silence alone."""
    unique = _without_copies(events)
    told = [event for event in unique if isinstance(event, CallEvent)] + flat_legs(unique)
    verdict = verdict_of(unique)
    legs = legs_of(told)
    heard = any(not isinstance(event, StatisticsRow) for event in unique)
    recordings = recordings_of(unique)
    legs = _with_history(legs, [event for event in unique if isinstance(event, StatisticsRow)])
    if verdict is None and not any(_makes_a_call(leg) for leg in legs):
        return Reading(call=None, recordings=recordings, heard=heard)
    due = None
    if verdict is None and all(leg.ended for leg in legs):
        due = max(event.received_at or event.timestamp or 0.0 for event in unique) + QUIET
    over = verdict is not None or (due is not None and now is not None and now >= due)
    entry_id = next(event.entry_id for event in unique if event.entry_id is not None)
    story = _Story(entry_id, legs, verdict, rules, over=over)
    return Reading(
        call=story.call(recordings),
        settled=verdict is not None,
        due=None if over else due,
        recordings=recordings,
        operator=story.operator(),
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


def _makes_a_call(leg: Leg) -> bool:
    """The end of a leg that goes on elsewhere, all that is known of it, is no call."""
    return leg.turns[0].began != "Disconnected" or not codes.only_a_leg(leg.reason)


def _with_history(legs: list[Leg], rows: list[StatisticsRow]) -> list[Leg]:
    """The legs, and from Mango's history what the webhooks did not tell of: legs never heard of, and ends."""
    whole = [row for row in rows if row.whole]
    listed = [leg for row in ([fullest(whole)] if whole else rows) for leg in legs_of_row(row)]
    if not listed:
        return legs
    phones = [leg for leg in legs if not leg.nobodys]
    known = {leg.call_id: leg for leg in legs}
    for leg in listed:
        same = known.get(leg.call_id)
        if same is not None and not same.ended:
            same.state, same.reason = "Disconnected", leg.reason
        elif same is None and not phones:
            known[leg.call_id] = leg
    return ordered(known.values())


class _Talk(msgspec.Struct, frozen=True):
    """One of our phones, or an outside party in its place, with the client."""

    leg: Leg
    turn: Turn
    role: Role
    phone: Party


class _Story:
    """What the legs and the verdict of one entry mean."""

    def __init__(
        self, entry_id: str, legs: list[Leg], verdict: Verdict | None, rules: MangoRules, *, over: bool
    ) -> None:
        self._entry_id = entry_id
        self._legs = legs
        self._by_id = {leg.call_id: leg for leg in legs}
        self._verdict = verdict
        self._said = verdict or Verdict()
        self._region = rules.region
        self._operators = rules.operators
        self._over = over
        self._firsts = self._first_halves()
        self._direction = self._said.direction or self._derived_direction()
        self._talks = self._all_talks()

    # --- who is who ---------------------------------------------------------------------------------------------------

    def _extension(self, party: Party) -> str | None:
        return party.extension or self._operators.at(party.number)

    def _first_halves(self) -> set[str]:
        """Legs that are the first half of a callback. They come of a command or a callback's initiator, from no other
        leg; or they are seen to be one by the leg from the phone they rang to the number they showed."""
        found = {leg.call_id for leg in self._legs if (leg.command_id or leg.callback) and not leg.taken_from}
        for leg in self._legs:
            for other in self._legs:
                if other is not leg and not other.nobodys and _second_half(leg, other):
                    found.add(leg.call_id)
        return {each for each in found if not self._by_id[each].nobodys and not self._extension_calls(each)}

    def _extension_calls(self, call_id: str) -> bool:
        """Whether the leg is an employee's own call to the outside: a campaign's, dialled for an employee at once."""
        leg = self._by_id[call_id]
        return self._extension(leg.caller) is not None and self._extension(leg.callee) is None

    def _derived_direction(self) -> Direction:
        """By the leg that all others come from. While that one has not been heard of, somebody is taken to have called
        us: for an internal call too much is shown then, else a client's call would be lost."""
        for leg in self._legs:
            if leg.call_id in self._firsts:
                return "internal" if self._extension(leg.caller) is not None else "outbound"
        root = next((leg for leg in self._legs if not leg.nobodys), None)
        if root is None or self._legs[0].nobodys or root.depth > 0:
            return "inbound"
        if self._extension(root.caller) is None and not self._a_phone_dials_out(root):
            return "inbound"
        return "internal" if self._extension(root.callee) is not None else "outbound"

    def _a_phone_dials_out(self, leg: Leg) -> bool:
        """An employee without a short number, by the device's SIP address."""
        return _is_sip(leg.caller.number) and leg.callee.line_number is None and self._number(leg.callee) is not None

    def _role(self, leg: Leg, turn: Turn) -> Role:
        if leg.nobodys:
            return "menu"
        ours = self._extension(turn.caller) is not None
        if self._direction == "inbound":
            return "consults" if ours and self._consultation(leg) else "reaches"
        if leg.call_id in self._firsts:
            return "first"
        if self._direction == "outbound":
            if ours or (leg.depth == 0 and self._a_phone_dials_out(leg)):
                return "consults" if self._extension(leg.callee) is not None and self._consultation(leg) else "dials"
            return "reaches" if leg.depth > 0 or self._dialled_before(leg) else "first"
        return "reaches" if self._called(turn.caller) or not self._consultation(leg) else "consults"

    def _consultation(self, leg: Leg) -> bool:
        """Whether an employee's leg serves another leg, and is not the call itself or the second half of a callback."""
        if leg.taken_from in self._firsts:
            return False
        return leg.depth > 0 or len(leg.turns) > 1 or leg is not self._root()

    def _root(self) -> Leg | None:
        return next((leg for leg in self._legs if not leg.nobodys and leg.call_id not in self._firsts), None)

    def _dialled_before(self, leg: Leg) -> bool:
        before = self._legs[: self._legs.index(leg)]
        return any(self._extension(each.caller) is not None and not each.nobodys for each in before)

    def _called(self, party: Party) -> bool:
        """Whether `party` is who called, in an internal call."""
        caller = self._internal_caller()
        return caller is not None and self._extension(party) == caller

    def _internal_caller(self) -> str | None:
        first = next((leg for leg in self._legs if leg.call_id in self._firsts), None)
        if first is not None:
            return self._extension(first.callee)
        root = self._root()
        return self._extension(self._said.caller) or (self._extension(root.caller) if root is not None else None)

    def _all_talks(self) -> list[_Talk]:
        """In the order in which they began."""
        found = []
        for leg in self._legs:
            for turn in leg.turns:
                role = self._role(leg, turn)
                if turn.talking and role in ("reaches", "dials"):
                    found.append(_Talk(leg, turn, role, turn.caller if role == "dials" else leg.callee))
        return sorted(found, key=lambda talk: (talk.turn.talked_at or 0.0, talk.leg.depth, talk.leg.call_id))

    # --- the call -----------------------------------------------------------------------------------------------------

    def call(self, recordings: tuple[CallRecording, ...]) -> Call:
        said, legs, talks = self._said, self._legs, self._talks
        talked = self._talked()
        status: Result = "active" if not self._over else "answered" if talked else self._unanswered()
        names = self._talkers() if talked else []
        started = said.created_at or self._legs_started()
        answered = (said.answered_at or next((talk.turn.talked_at for talk in talks), None)) if talked else None
        ended = (said.ended_at or _latest(legs)) if self._over else None
        if said.ended_at is not None and said.created_at is not None and said.answered_at is None and talked:
            # the legs' times are another teller's, if it was the history that told of the end
            answered = _within(answered, said.created_at, said.ended_at)
        extensions = self._rang()
        extensions += [name for name in dict.fromkeys(names) if name not in extensions]
        return Call(
            call_id=self._entry_id,
            direction=self._direction,
            client_number=self._client_number(),
            line=None if self._direction == "internal" else self._line(),
            status=status,
            extensions=extensions,
            answered_by=names[-1] if names else None,
            answered_first=names[0] if names else None,
            started_at=started,
            answered_at=answered,
            ended_at=ended,
            wait_seconds=_between(started, answered if talked else ended),
            talk_seconds=self._talk_seconds(answered, ended, talked=talked),
            ended_by=self._ended_by(talked=talked) if self._over else None,
            transfers=self._transfers(),
            holds=sum(self._waits(talk) for talk in talks),
            on_hold=not self._over and any(_held_now(talk) for talk in talks),
            queue=next((leg.callee.acd_group for leg in legs if leg.callee.acd_group), None),
            recording=self._recording(recordings) if talked else None,
            legs=self._all_legs(),
        )

    def operator(self) -> Operator | None:
        talked = self._talks[-1].phone if self._talks and self._talked() else Party()
        if not talked.extension and not talked.number and self._talked() and self._verdict is not None:
            talked = self._said_phone()
        return self._operators.choose(talked.extension, talked.number, self._line())

    def _talked(self) -> bool:
        if self._said.talked is None:
            return bool(self._talks)
        return self._said.talked and (not self._said.doubtful or bool(self._talks))

    def _talkers(self) -> list[str]:
        """The extensions that talked, in order. Of a first talk on a phone that is not known the line may tell; what
        a client was given to outside the house has no extension."""
        if not self._talks:
            phone = self._said_phone()
            return self._only(self._operators.choose(phone.extension, phone.number, self._line()))
        first, *others = self._talks
        names = self._only(self._operators.choose(first.phone.extension, first.phone.number, self._line()))
        for talk in others:
            name = self._extension(talk.phone)
            if name is not None:
                names.append(name)
        return names

    @staticmethod
    def _only(operator: Operator | None) -> list[str]:
        return [operator.extension] if operator is not None else []

    def _said_phone(self) -> Party:
        return self._said.caller if self._direction == "outbound" else self._said.called

    def _rang(self) -> list[str]:
        """Our phones in the order in which they rang; for an outbound call, first the one that dials."""
        rang: list[tuple[int, float, str]] = []
        for leg in self._legs:
            for turn in leg.turns:
                role = self._role(leg, turn)
                phone = turn.caller if role == "dials" else leg.callee
                name = None if role == "menu" else self._extension(phone)
                if name is not None:
                    rang.append((role not in ("dials", "first"), leg.at or 0.0, name))
        if self._direction == "outbound" and (dialler := self._extension(self._said.caller)) is not None:
            rang.append((False, float("-inf"), dialler))
        names = [name for _, _, name in sorted(rang)]
        if not names and self._direction != "outbound" and self._said.called.number is not None:
            # a summary of a group that nobody answered names the group, and no number
            names = [name for name in (self._extension(self._said.called),) if name is not None]
        return list(dict.fromkeys(names))

    def _client_number(self) -> str | None:
        if self._direction == "internal":
            return None
        if self._direction == "inbound":
            heard = [turn.caller for leg in self._legs for turn in leg.turns if self._role(leg, turn) != "consults"]
            ends = [self._said.caller, *heard]
        else:
            dialled = [leg.callee for leg in self._legs for turn in leg.turns if self._role(leg, turn) == "dials"]
            shown = [leg.caller for leg in self._legs for turn in leg.turns if self._role(leg, turn) != "dials"]
            ends = [self._said.called, *dialled, *shown]
        # a client's number may be known as an employee's second phone, but others are likelier the client's
        for party in sorted(ends, key=lambda end: end.extension is not None):
            number = self._number(party)
            if number is not None:
                return number
        return None

    def _number(self, party: Party) -> str | None:
        """As E.164; a short or unknown one as its digits; None for an address that is no number."""
        if party.number is None:
            return None
        number = e164(party.number, self._region)
        bare = party.number.removeprefix("sip:").partition("@")[0]
        if number is not None or any(character.isalpha() for character in bare):
            return number
        return digits(bare) or None

    def _line(self) -> str | None:
        """The company's number, as it is given. A menu is what a line leads to, so its number is the line's."""
        if self._said.line is not None:
            return self._said.line
        ends = [end for leg in self._legs for end in (leg.callee, leg.caller)]
        named = next((end.line_number for end in ends if end.line_number), None)
        if named is not None or self._direction != "inbound":
            return named
        return next((leg.callee.number for leg in self._legs if leg.nobodys and leg.callee.number), None)

    def _legs_started(self) -> float | None:
        return self._legs[0].started_at if self._legs and self._legs[0].depth == 0 else None

    def _talk_seconds(self, answered: float | None, ended: float | None, *, talked: bool) -> int | None:
        if not talked:
            return 0 if self._over else None
        return self._said.talk_seconds if self._said.talk_seconds is not None else _between(answered, ended)

    def _recording(self, recordings: tuple[CallRecording, ...]) -> str | None:
        return next((each.url or each.recording_id for each in recordings if each.state == "ready"), None)

    # --- how it went --------------------------------------------------------------------------------------------------

    def _unanswered(self) -> Result:
        """The status of a call without talk."""
        if self._direction == "inbound":
            return self._missed()
        firsts = [leg for leg in self._legs if leg.call_id in self._firsts]
        if firsts and len(firsts) == len(self._legs) and not any(turn.talking for leg in firsts for turn in leg.turns):
            return "cancelled"  # the phone that was to make the call never answered
        return codes.outcome(self._reason(), self._direction)

    def _missed(self) -> Result:
        status = codes.outcome(self._reason(), "inbound")
        if status != "busy":
            return status
        # one of several phones was busy: nobody picked up
        fates = [codes.outcome(leg.reason, "inbound") for leg in self._tried() if not codes.only_a_leg(leg.reason)]
        queued = any(leg.callee.acd_group or leg.location.startswith("queue") for leg in self._legs)
        return "missed" if queued or any(fate != "busy" for fate in fates) else "busy"

    def _tried(self) -> list[Leg]:
        return [leg for leg in self._legs if self._role(leg, leg.turns[-1]) in ("reaches", "dials")]

    def _reason(self) -> int | None:
        """The code of the end: the verdict's; else the last leg's that was to answer, or the caller's giving up."""
        if self._said.reason is not None:
            return self._said.reason
        ended = [leg for leg in self._tried() or self._legs if leg.reason is not None]
        gave_up = [leg for leg in ended if codes.meaning(leg.reason) == "caller"]
        last = max(gave_up or ended, key=lambda leg: (leg.ended_at or 0.0, leg.depth, leg.call_id), default=None)
        return last.reason if last is not None else None

    def _ended_by(self, *, talked: bool) -> EndedBy | None:
        """Who hung up, of those who talked last; of a call without talk, whether its caller gave up."""
        caller: EndedBy = "client" if self._direction == "inbound" else "extension"
        callee: EndedBy = "client" if self._direction == "outbound" else "extension"
        if talked and self._talks:
            last = self._talks[-1]
            ends: tuple[EndedBy, EndedBy] = (
                ("client", "extension") if last.role == "reaches" else ("extension", "client")
            )
            if self._direction == "internal":
                ends = ("extension", "extension")
            who = codes.ended_by(last.leg.reason, *ends) if last.leg.ended else None
            if who is not None:
                return who
        if talked:
            return codes.ended_by(self._reason(), caller, callee)
        who = codes.ended_by(self._reason(), caller, callee)
        return who if who in (caller, None) else "system"

    def _transfers(self) -> list[Transfer]:
        found = []
        for leg in self._legs:
            for number, turn in enumerate(leg.turns):
                given = self._transfer(leg, number, turn)
                if given is not None:
                    found.append(given)
        return sorted(found, key=lambda each: each.at or 0.0)

    def _transfer(self, leg: Leg, number: int, turn: Turn) -> Transfer | None:
        if self._role(leg, turn) != "reaches":
            return None
        to = self._extension(leg.callee) or self._number(leg.callee)
        if number > 0:
            # a client in the place of a consulting employee: had the colleague answered, it was a consultation
            before = leg.turns[number - 1]
            attended = before.talking or turn.began != "Appeared"
            giver = self._extension(before.caller)
            return Transfer(kind="attended" if attended else "blind", from_=giver, to=to, at=turn.at)
        if leg.taken_from is None:
            return None
        source = self._by_id.get(leg.taken_from)
        talked = source is not None and any(talk.leg is source for talk in self._talks)
        if not talked and leg.transfer is None:
            return None  # a menu, a queue, or another phone that had not answered either
        giver = self._phone_of(source)
        if giver is None and to is None:
            return None
        return Transfer(kind="attended" if leg.transfer == "consultative" else "blind", from_=giver, to=to, at=turn.at)

    def _phone_of(self, leg: Leg | None) -> str | None:
        if leg is None:
            return None
        return self._extension(leg.caller if self._role(leg, leg.turns[0]) == "dials" else leg.callee)

    def _waits(self, talk: _Talk) -> int:
        """How often the client was put on hold. A client who holds us does not wait."""
        client = "caller" if talk.role == "reaches" else "callee"
        return sum(holder != client for holder in talk.turn.holds)

    # --- legs ---------------------------------------------------------------------------------------------------------

    def _all_legs(self) -> list[model.Leg]:
        """The caller's first, then the phones'."""
        client = self._client_number()
        internal = self._direction == "internal"
        caller = model.Leg(
            uniqueid=self._entry_id,
            channel=self._entry_id,
            role="extension" if internal else "client",
            extension=self._internal_caller() if internal else None,
            number=None if internal else client,
            started_at=self._said.created_at or self._legs_started(),
            ended_at=self._said.ended_at,
            cause=self._said.reason,
        )
        return [caller, *(self._leg(leg) for leg in self._legs)]

    def _leg(self, leg: Leg) -> model.Leg:
        turn = leg.turns[-1]
        role = self._role(leg, turn)
        phone = turn.caller if role == "dials" else leg.callee
        return model.Leg(
            uniqueid=leg.call_id,
            channel=phone.number or leg.location or leg.call_id,
            role="client" if role == "menu" else "extension",
            extension=None if role == "menu" else self._extension(phone),
            number=phone.number,
            started_at=leg.started_at,
            answered_at=next((each.talked_at for each in leg.turns if each.talking), None),
            ended_at=leg.ended_at,
            cause=leg.reason,
        )


def _second_half(first: Leg, second: Leg) -> bool:
    """Whether `second` calls, from the phone that `first` rang, the number that `first` showed."""
    phone, shown = first.callee, first.caller
    same_phone = phone.extension is not None and phone.extension == second.caller.extension
    same_number = shown.number is not None and shown.number == second.callee.number
    return same_phone and same_number and second.taken_from in (None, first.call_id)


def _is_sip(number: str | None) -> bool:
    return number is not None and number.lower().startswith("sip:")


def _held_now(talk: _Talk) -> bool:
    if talk.leg.state != "OnHold" or talk.turn is not talk.leg.turns[-1]:
        return False
    client = "caller" if talk.role == "reaches" else "callee"
    return talk.turn.holds[-1] != client


def _latest(legs: list[Leg]) -> float | None:
    return max((leg.ended_at for leg in legs if leg.ended_at is not None), default=None)


def _within(at: float | None, start: float, end: float) -> float | None:
    return at if at is not None and start <= at <= end else None


def _between(start: float | None, end: float | None) -> int | None:
    return None if start is None or end is None else max(0, round(end - start))
