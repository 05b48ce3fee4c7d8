"""Who is who in the legs of one entry, and what each leg is to the call.

Of every turn of every leg it is asked what it is (`Role`):

    reaches   the client (in an internal call: who called) calls one of our phones
    dials     one of our phones calls the client
    first     the first half of a callback: our phone is rung, with the client's number shown, before the client is
    consults  one of our phones calls another while the client waits
    menu      a menu or a queue: nobody's phone

Only `reaches` and `dials` are talks when they connect. A client who takes the place of a consulting employee makes
a `reaches` of what was `consults`: that is a transfer.
"""

from __future__ import annotations

import itertools
from typing import Literal

import msgspec

from bridge.calls.model import Direction
from bridge.calls.numbers import digits, e164
from bridge.mango.events import Party
from bridge.mango.legs import Leg, Turn
from bridge.mango.operators import Operators
from bridge.mango.verdict import Verdict

Role = Literal["reaches", "dials", "first", "consults", "menu"]


class Talk(msgspec.Struct, frozen=True):
    """One of our phones, or an outside party in its place, with the client."""

    leg: Leg
    turn: Turn
    role: Role
    phone: Party


class Parties:
    """Of one entry. `legs` in the order of `bridge.mango.legs`."""

    def __init__(self, legs: list[Leg], said: Verdict, operators: Operators, region: str) -> None:
        self.legs = legs
        self.by_id = {leg.call_id: leg for leg in legs}
        self._said = said
        self._operators = operators
        self._region = region
        self.firsts = self._first_halves()
        self.direction = said.direction or self._derived_direction()
        self.talks = self._talks()

    def extension(self, party: Party) -> str | None:
        """The short number of one of our phones; None for the outside world, and for a phone nobody knows."""
        return party.extension or self._operators.at(party.number)

    def number(self, party: Party) -> str | None:
        """As E.164; a short or unknown one as its digits; None for an address that is no number."""
        if party.number is None:
            return None
        number = e164(party.number, self._region)
        bare = party.number.removeprefix("sip:").partition("@")[0]
        if number is not None or any(character.isalpha() for character in bare):
            return number
        return digits(bare) or None

    def role(self, leg: Leg, turn: Turn) -> Role:
        if leg.nobodys:
            return "menu"
        ours = self.extension(turn.caller) is not None
        if self.direction == "inbound":
            return "consults" if ours and self._serves(leg) else "reaches"
        if leg.call_id in self.firsts:
            return "first"
        if self.direction == "internal":
            return "reaches" if self._is_internal_caller(turn.caller) or not self._serves(leg) else "consults"
        if ours or (leg.depth == 0 and self._a_phone_dials_out(leg)):
            return "consults" if self.extension(leg.callee) is not None and self._serves(leg) else "dials"
        # the client's number as the caller: given to another phone, or shown by a callback
        return "reaches" if leg.depth > 0 or self._dialled_before(leg) else "first"

    def phone(self, leg: Leg, turn: Turn) -> Party:
        """The end of the leg that is ours."""
        return turn.caller if self.role(leg, turn) == "dials" else leg.callee

    def internal_caller(self) -> str | None:
        """Who called, in an internal call: of a callback, whose phone was rung first."""
        first = next((leg for leg in self.legs if leg.call_id in self.firsts), None)
        if first is not None:
            return self.extension(first.callee)
        root = self._root()
        return self.extension(self._said.caller) or (self.extension(root.caller) if root is not None else None)

    # --- what the legs are to each other ------------------------------------------------------------------------------

    def _first_halves(self) -> set[str]:
        """They come of a command or a callback's initiator, and from no other leg; or they are known by the leg from
        the phone they rang to the number they showed."""
        found = {leg.call_id for leg in self.legs if (leg.command_id or leg.callback) and self._begins(leg)}
        for first, second in itertools.combinations(self.legs, 2):
            if _second_half(first, second):
                found.add(first.call_id)
        return {each for each in found if not self.by_id[each].nobodys}

    def _begins(self, leg: Leg) -> bool:
        """Whether a leg that somebody ordered begins the call. One from an employee does not, if it leads out (dialled
        by a campaign for the employee) or comes after another (a transfer by command)."""
        if leg.taken_from is not None:
            return False
        ours = self.extension(leg.caller) is not None
        return not ours or (leg is self.legs[0] and self.extension(leg.callee) is not None)

    def _derived_direction(self) -> Direction:
        """By the leg that all others come from. While that one has not been heard of, somebody is taken to have called
        us: for an internal call too much is shown then, else a client's call would be lost."""
        for leg in self.legs:
            if leg.call_id in self.firsts:
                return "internal" if self.extension(leg.caller) is not None else "outbound"
        root = self.legs[0] if self.legs else None
        if root is None or root.nobodys or root.depth > 0:
            return "inbound"
        if self.extension(root.caller) is None and not self._a_phone_dials_out(root):
            return "inbound"
        return "internal" if self.extension(root.callee) is not None else "outbound"

    def _a_phone_dials_out(self, leg: Leg) -> bool:
        """An employee without a short number, known by the SIP address that calls a number."""
        by_sip = (leg.caller.number or "").lower().startswith("sip:")
        return by_sip and leg.callee.line_number is None and self.number(leg.callee) is not None

    def _serves(self, leg: Leg) -> bool:
        """Whether an employee's leg serves another leg, and is neither the call itself nor a callback's second half."""
        if leg.taken_from in self.firsts:
            return False
        return leg.depth > 0 or len(leg.turns) > 1 or leg is not self._root()

    def _root(self) -> Leg | None:
        return next((leg for leg in self.legs if not leg.nobodys and leg.call_id not in self.firsts), None)

    def _dialled_before(self, leg: Leg) -> bool:
        before = self.legs[: self.legs.index(leg)]
        return any(self.extension(each.caller) is not None and not each.nobodys for each in before)

    def _is_internal_caller(self, party: Party) -> bool:
        caller = self.internal_caller()
        return caller is not None and self.extension(party) == caller

    def _talks(self) -> list[Talk]:
        """In the order in which they began."""
        found = []
        for leg in self.legs:
            for turn in leg.turns:
                role = self.role(leg, turn)
                if turn.talking and role in ("reaches", "dials"):
                    found.append(Talk(leg, turn, role, self.phone(leg, turn)))
        return sorted(found, key=_began)


def _began(talk: Talk) -> tuple[float, int, str]:
    return talk.turn.talked_at or talk.turn.at or 0.0, talk.leg.depth, talk.leg.call_id


def _second_half(first: Leg, second: Leg) -> bool:
    """Whether `second` calls, from the phone that `first` rang, the number that `first` showed."""
    phone, shown = first.callee, first.caller
    same_phone = phone.extension is not None and phone.extension == second.caller.extension
    same_number = shown.number is not None and shown.number == second.callee.number
    return same_phone and same_number and not second.nobodys and second.taken_from in (None, first.call_id)
