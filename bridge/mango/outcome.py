"""What the legs of an entry and the verdict on it mean: the call as a person sees it. Pure."""

from __future__ import annotations

from bridge.calls import model
from bridge.calls.model import Call, EndedBy, Result, Transfer
from bridge.mango import codes
from bridge.mango.events import Party
from bridge.mango.legs import Leg, Turn
from bridge.mango.operators import Operator, Operators
from bridge.mango.parties import Parties, Talk
from bridge.mango.recordings import CallRecording
from bridge.mango.verdict import Verdict


class Outcome:
    """Of one entry; `over`: nothing more of it is to come."""

    def __init__(self, entry_id: str, parties: Parties, said: Verdict, operators: Operators, *, over: bool) -> None:
        self._entry_id = entry_id
        self._parties = parties
        self._said = said
        self._operators = operators
        self._over = over
        self._direction = parties.direction
        self._talked = self._somebody_talked()
        self._talkers = self._who_talked() if self._talked else []

    def call(self, recordings: tuple[CallRecording, ...]) -> Call:
        said, legs, talks = self._said, self._parties.legs, self._parties.talks
        status: Result = "active" if not self._over else "answered" if self._talked else self._unanswered()
        names = [operator.extension for operator in self._talkers]
        extensions = self._rang()
        started = self._started()
        answered = self._answered()
        ended = (said.ended_at or _latest(legs)) if self._over else None
        return Call(
            call_id=self._entry_id,
            direction=self._direction,
            client_number=self._client_number(),
            line=None if self._direction == "internal" else self._line(),
            status=status,
            extensions=extensions + [name for name in dict.fromkeys(names) if name not in extensions],
            answered_by=names[-1] if names else None,
            answered_first=names[0] if names else None,
            started_at=started,
            answered_at=answered,
            ended_at=ended,
            wait_seconds=_between(started, answered if self._talked else ended),
            talk_seconds=self._talk_seconds(answered, ended),
            ended_by=self._ended_by() if self._over else None,
            transfers=self._transfers(),
            holds=sum(holder != _clients_end(talk) for talk in talks for holder in talk.turn.holds),
            on_hold=not self._over and any(_waits(talk) for talk in talks),
            queue=next((leg.callee.acd_group for leg in legs if leg.callee.acd_group), None),
            recording=self._recording(recordings),
            legs=self._legs(),
        )

    def operator(self) -> Operator | None:
        """Who talked last; else who dialled, or whose phone alone rang; else whom the line's calls belong to."""
        if self._talkers:
            return self._talkers[-1]
        rang = self._rang()
        if len(rang) == 1 or (rang and self._direction == "outbound"):
            return Operator(extension=rang[0], reason="extension")
        return self._operators.choose(None, None, self._line())

    # --- who ----------------------------------------------------------------------------------------------------------

    def _who_talked(self) -> list[Operator]:
        """In order. Of a first talk on a phone that is not known the line tells; what a client was given to outside the
        house is nobody's."""
        talks = self._parties.talks
        first = talks[0].phone if talks else self._said_phone()
        operator = self._operators.choose(first.extension, first.number, self._line())
        found = [operator] if operator is not None else []
        for talk in talks[1:]:
            if (name := self._parties.extension(talk.phone)) is not None:
                found.append(Operator(extension=name, reason="extension" if talk.phone.extension else "address"))
        return found

    def _said_phone(self) -> Party:
        return self._said.caller if self._direction == "outbound" else self._said.called

    def _rang(self) -> list[str]:
        """Our phones in the order in which they rang; for an outbound call, first the one that dials."""
        extension = self._parties.extension
        rang: list[tuple[bool, float, str]] = []
        for leg, turn in self._turns():
            role = self._parties.role(leg, turn)
            name = extension(self._parties.phone(leg, turn)) if role != "menu" else None
            if name is not None:
                rang.append((role not in ("dials", "first"), leg.at or 0.0, name))
        if self._direction == "outbound" and (dialler := extension(self._said.caller)) is not None:
            rang.append((False, float("-inf"), dialler))
        if not rang and self._direction != "outbound" and self._said.called.number is not None:
            # of a group that nobody answered, a summary names the group's extension and no number
            return [name for name in [extension(self._said.called)] if name is not None]
        return list(dict.fromkeys(name for _, _, name in sorted(rang)))

    def _client_number(self) -> str | None:
        if self._direction == "internal":
            return None
        callers = {role: [turn.caller for leg, turn in self._turns() if self._parties.role(leg, turn) == role]
                   for role in ("reaches", "menu", "first")}  # fmt: skip
        if self._direction == "inbound":
            ends = [self._said.caller, *callers["reaches"], *callers["menu"]]
        else:
            dialled = [leg.callee for leg, turn in self._turns() if self._parties.role(leg, turn) == "dials"]
            ends = [self._said.called, *dialled, *callers["first"], *callers["reaches"]]
        # a client's number may be an employee's second phone too, but one that is not is likelier the client's
        for party in sorted(ends, key=lambda end: end.extension is not None):
            number = self._parties.number(party)
            if number is not None:
                return number
        return None

    def _line(self) -> str | None:
        """The company's number, as it is given. A menu is what a line leads to, so its number is the line's."""
        if self._said.line is not None:
            return self._said.line
        ends = [end for leg in self._parties.legs for end in (leg.callee, leg.caller)]
        named = next((end.line_number for end in ends if end.line_number), None)
        if named is not None or self._direction != "inbound":
            return named
        return next((leg.callee.number for leg in self._parties.legs if leg.nobodys and leg.callee.number), None)

    def _turns(self) -> list[tuple[Leg, Turn]]:
        return [(leg, turn) for leg in self._parties.legs for turn in leg.turns]

    # --- when ---------------------------------------------------------------------------------------------------------

    def _started(self) -> float | None:
        first = self._parties.legs[0] if self._parties.legs else None
        if self._said.created_at is not None:
            return self._said.created_at
        return first.started_at if first is not None and first.depth == 0 else None

    def _answered(self) -> float | None:
        if not self._talked:
            return None
        if self._said.answered_at is not None:
            return self._said.answered_at
        answered = next((talk.turn.talked_at for talk in self._parties.talks), None)
        begin, end = self._said.created_at, self._said.ended_at
        if answered is not None and begin is not None and end is not None and not begin <= answered <= end:
            return None  # by another clock: the history's and the webhooks' may differ
        return answered

    def _talk_seconds(self, answered: float | None, ended: float | None) -> int | None:
        if not self._talked:
            return 0 if self._over else None
        return self._said.talk_seconds if self._said.talk_seconds is not None else _between(answered, ended)

    # --- how it went --------------------------------------------------------------------------------------------------

    def _somebody_talked(self) -> bool:
        if self._said.talked is None:
            return bool(self._parties.talks)
        return self._said.talked and (not self._said.doubtful or bool(self._parties.talks))

    def _unanswered(self) -> Result:
        if self._direction == "inbound":
            return self._missed()
        legs = self._parties.legs
        only_first = bool(legs) and all(leg.call_id in self._parties.firsts for leg in legs)
        if only_first and not any(turn.talking for _, turn in self._turns()):
            return "cancelled"  # the phone that was to make the call never answered
        return codes.outcome(self._reason(), self._direction)

    def _missed(self) -> Result:
        status = codes.outcome(self._reason(), "inbound")
        if status != "busy":
            return status
        # that one of several phones was busy is not why nobody picked up
        fates = [codes.outcome(leg.reason, "inbound") for leg in self._tried() if not codes.only_a_leg(leg.reason)]
        queued = any(leg.callee.acd_group or leg.location.startswith("queue") for leg in self._parties.legs)
        return "missed" if queued or any(fate != "busy" for fate in fates) else "busy"

    def _tried(self) -> list[Leg]:
        return [leg for leg in self._parties.legs if self._parties.role(leg, leg.turns[-1]) in ("reaches", "dials")]

    def _reason(self) -> int | None:
        """The code of the end: the verdict's; else that of the caller's giving up, or of the last leg to end."""
        if self._said.reason is not None:
            return self._said.reason
        ended = [leg for leg in self._tried() or self._parties.legs if leg.reason is not None]
        gave_up = [leg for leg in ended if codes.meaning(leg.reason) == "caller"]
        last = max(gave_up or ended, key=lambda leg: (leg.ended_at or 0.0, leg.depth, leg.call_id), default=None)
        return last.reason if last is not None else None

    def _ended_by(self) -> EndedBy | None:
        """Who hung up; of a call without talk, whether its caller gave up."""
        caller: EndedBy = "client" if self._direction == "inbound" else "extension"
        callee: EndedBy = "client" if self._direction == "outbound" else "extension"
        if not self._talked:
            who = codes.ended_by(self._reason(), caller, callee)
            return who if who in (caller, None) else "system"
        last = self._parties.talks[-1] if self._parties.talks else None
        leg = self._given_on(last.leg) if last is not None else None
        if last is not None and leg is not None and leg.ended:
            client: EndedBy = "extension" if self._direction == "internal" else "client"
            reached = last.role == "reaches" or leg is not last.leg
            ends: tuple[EndedBy, EndedBy] = (client, "extension") if reached else ("extension", client)
            who = codes.ended_by(leg.reason, *ends)
            if who is not None:
                return who
        return codes.ended_by(self._reason(), caller, callee)

    def _given_on(self, leg: Leg) -> Leg:
        """The leg in which the client was last who was once in `leg`: hanging up on one given away ends no call."""
        parties = self._parties
        # those come later whose callers were in more legs before
        for other in parties.legs[parties.legs.index(leg) + 1 :]:
            for turn in other.turns:
                if turn.caller.taken_from_call_id == leg.call_id and parties.role(other, turn) == "reaches":
                    leg = other
        return leg

    def _transfers(self) -> list[Transfer]:
        found = [
            given
            for leg in self._parties.legs
            for number in range(len(leg.turns))
            if (given := self._transfer(leg, number)) is not None
        ]
        return sorted(found, key=lambda each: each.at or 0.0)

    def _transfer(self, leg: Leg, number: int) -> Transfer | None:
        """What brought the caller of the leg's turn of that number here, if somebody gave the client away."""
        parties, turn = self._parties, leg.turns[number]
        if parties.role(leg, turn) != "reaches":
            return None
        to = parties.extension(leg.callee) or parties.number(leg.callee)
        if number > 0:
            # in the place of a consulting employee: had the colleague answered, it was a consultation
            before = leg.turns[number - 1]
            attended = before.talking or turn.began in ("Connected", "OnHold")
            giver = parties.extension(before.caller)
            return Transfer(kind="attended" if attended else "blind", from_=giver, to=to, at=turn.at)
        source = parties.by_id.get(leg.taken_from or "")
        talked = any(talk.leg is source for talk in parties.talks)
        if leg.taken_from is None or not (talked or leg.transfer):
            return None  # from a menu, a queue, or another phone that had not answered either
        giver = parties.extension(parties.phone(source, source.turns[0])) if source is not None else None
        return Transfer(kind="attended" if leg.transfer == "consultative" else "blind", from_=giver, to=to, at=turn.at)

    def _recording(self, recordings: tuple[CallRecording, ...]) -> str | None:
        """What a call that nobody answered recorded is no recording of it."""
        if not self._talked:
            return None
        return next((each.url or each.recording_id for each in recordings if each.state == "ready"), None)

    # --- legs ---------------------------------------------------------------------------------------------------------

    def _legs(self) -> list[model.Leg]:
        """The caller's first, or the client's, then the phones' and menus'."""
        internal = self._direction == "internal"
        first = model.Leg(
            uniqueid=self._entry_id,
            channel=self._entry_id,
            role="extension" if internal else "client",
            extension=self._parties.internal_caller() if internal else None,
            number=self._client_number(),
            started_at=self._started(),
            ended_at=self._said.ended_at,
            cause=self._said.reason,
        )
        return [first, *(self._leg(leg) for leg in self._parties.legs)]

    def _leg(self, leg: Leg) -> model.Leg:
        turn = leg.turns[-1]
        phone = self._parties.phone(leg, turn)
        return model.Leg(
            uniqueid=leg.call_id,
            channel=phone.number or leg.location or leg.call_id,
            role="client" if leg.nobodys else "extension",
            extension=None if leg.nobodys else self._parties.extension(phone),
            number=phone.number,
            started_at=leg.started_at,
            answered_at=next((each.talked_at for each in leg.turns if each.talking), None),
            ended_at=leg.ended_at,
            cause=leg.reason,
        )


def _clients_end(talk: Talk) -> str:
    """A client who puts us on hold does not wait."""
    return "caller" if talk.role == "reaches" else "callee"


def _waits(talk: Talk) -> bool:
    now = talk.leg.state == "OnHold" and talk.turn is talk.leg.turns[-1]
    return now and talk.turn.holds[-1] != _clients_end(talk)


def _latest(legs: list[Leg]) -> float | None:
    return max((leg.ended_at for leg in legs if leg.ended_at is not None), default=None)


def _between(start: float | None, end: float | None) -> int | None:
    return None if start is None or end is None else max(0, round(end - start))
