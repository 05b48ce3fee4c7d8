"""Calls from the posts of legacy PBX scripts: the same changes as from an event stream, as far as the posts tell.

Theory of operation. The scripts post what a dialplan and a small listener saw, each post by itself: some are lost, some
come twice, some late. Rules, all forced by what the posts lack:

* The call is the main channel of `start`, `dial` and `hangup` (inbound the client's, outbound the manager's). Whatever
  of them comes first opens it; what repeats adds nothing; what comes after `hangup` is ignored.
* `hangup` has no time of the answer: its StartTime is when the dialling began. Talk begins when the main channel first
  enters a bridge (`bridge`). Answered without a bridge: how long they talked is not known, and stays so.
* CallStatus "2" is answered; "0" is busy, cancelled or no answer in one, so an inbound call was missed and an outbound
  one got no answer. A bridge of the main channel is proof of an answer, whatever the status says.
* `Extensions` of `hangup` is who answered, or one empty string: who rang is known from `dial` alone.
* A consultation and a mobile in a ring group have main channels and a `hangup` of their own: a call whose manager is in
  a client's call just now, or whose number that call is ringing, is part of it and none of its own.
* Times in posts are the PBX's local ones without a zone: only their differences count. Moments are ours, at receipt.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime
from typing import assert_never

import msgspec

from bridge.calls.model import (
    Answered,
    Call,
    Change,
    Direction,
    Ended,
    Result,
    Ringing,
    Rules,
    Started,
    Transfer,
    TransferKind,
    Transferred,
)
from bridge.calls.parties import Parties
from bridge.calls.script_events import ScriptEvent
from bridge.calls.timeline import epoch

SILENT = 4 * 3600.0
"""Seconds without a post after which a call is given up as incomplete: one `hangup` in thirty never arrives."""

_REMEMBERED = 2000
"""Main channels of calls that are over, and bridged channels that belong to no call yet."""
_LATE = 2.0
_DIRECTIONS: tuple[Direction, Direction, Direction] = ("inbound", "outbound", "internal")


class _Live(msgspec.Struct, kw_only=True):
    """A call that goes on. `outside`: numbers in its ring group that are no extensions; `parts`: main channels of its
    consultations and mobile legs; `consulted`: whom the manager asked; `bridges`: those its main channel was in."""

    call: Call
    heard_at: float
    outside: list[str] = []
    parts: list[str] = []
    consulted: list[str] = []
    bridges: list[str] = []


class _Bridged(msgspec.Struct, frozen=True):
    """An extension's channel in a bridge, and whom it is connected with."""

    extension: str
    bridge_id: str
    connected_number: str


class ScriptExchange:
    """One PBX that runs the scripts. `feed` returns what a post changed; times are seconds since the epoch."""

    def __init__(self, rules: Rules) -> None:
        self._parties = Parties(rules)
        self._calls: OrderedDict[str, _Live] = OrderedDict()
        self._over: OrderedDict[str, None] = OrderedDict()
        self._bridged: OrderedDict[str, _Bridged] = OrderedDict()
        self._touched: dict[str, Call] = {}

    def feed(self, event: ScriptEvent, at: float) -> list[Change]:
        changes = self._expire(at)
        if event.unique_id not in self._over:
            changes += self._take(event, at)
        return changes

    def live(self) -> list[Call]:
        return [live.call for live in self._calls.values()]

    def touched(self) -> list[Call]:
        """Calls whose memory changed since this was last asked."""
        touched, self._touched = self._touched, {}
        return list(touched.values())

    def dump(self, call_id: str) -> bytes | None:
        """The memory of a call that goes on, None for any other."""
        live = self._calls.get(call_id)
        return msgspec.json.encode(live) if live else None

    def restore(self, states: Iterable[bytes]) -> None:
        for state in states:
            live = msgspec.json.decode(state, type=_Live)
            self._calls[live.call.call_id] = live

    # --- one post ---------------------------------------------------------------------------------------------------

    def _take(self, event: ScriptEvent, at: float) -> list[Change]:
        match event.kind:
            case "start" | "dial" if self._part_of_another(event, at):
                return []
            case "start":
                return self._open(event, at, "inbound")
            case "dial":
                return self._dial(event, at)
            case "bridge":
                return self._bridge(event, at)
            case "hangup":
                return self._hangup(event, at)
            case "new_callerid":
                self._name(event)
                return []
            case "bridge_create" | "bridge_leave" | "bridge_destroy":
                return []  # who talks with whom is said by `bridge`, that it is over by `hangup`
        assert_never(event.kind)

    def _open(self, event: ScriptEvent, at: float, direction: Direction) -> list[Change]:
        """Opens the call of a post, or adds to it what it did not know."""
        known = self._calls.get(event.unique_id)
        client = None if direction == "internal" else self._parties.outside(event.phone)
        if known is not None:
            call = known.call
            self._keep(known, at, client_number=call.client_number or client, line=call.line or event.trunk or None)
            return []
        call = Call(
            call_id=event.unique_id,
            direction=direction,
            client_number=client,
            client_name=event.caller_name or None,
            line=event.trunk or None,
            started_at=at,
        )
        self._calls[event.unique_id] = _Live(call=call, heard_at=at)
        self._touched[event.unique_id] = call
        return [Started(call=call, at=at)]

    def _dial(self, event: ScriptEvent, at: float) -> list[Change]:
        direction = _DIRECTIONS[event.call_type or 0]
        changes = self._open(event, at, direction)
        live = self._calls[event.unique_id]
        wanted = (event.phone,) if direction == "internal" else event.extensions
        rings = [number for number in wanted if self._parties.is_extension(number)]
        live.outside += [number for number in wanted if number not in rings and number not in live.outside]
        if direction == "outbound" and not rings and (manager := self._connected_with(event.phone)):
            rings = [manager]
        new = tuple(extension for extension in rings if extension not in live.call.extensions)
        if new:
            self._keep(live, at, extensions=[*live.call.extensions, *new])
            changes.append(Ringing(call=live.call, at=at, extensions=new))
        return changes

    def _bridge(self, event: ScriptEvent, at: float) -> list[Change]:
        live = self._calls.get(event.unique_id)
        if live is not None:
            if event.bridge_id and event.bridge_id not in live.bridges:
                live.bridges.append(event.bridge_id)
            return self._talk(live, self._partner(live, event), at)
        side, extension = self._parties.side(event.channel, event.caller_number)
        if side != "extension" or extension is None:
            return []
        self._remember_bridged(event, extension)
        met = self._met_by(event)
        return self._talk(met, extension, at) if met is not None and met.call.answered_at is not None else []

    def _hangup(self, event: ScriptEvent, at: float) -> list[Change]:
        changes: list[Change] = []
        owner = next((live for live in self._calls.values() if event.unique_id in live.parts), None)
        if owner is not None or (event.unique_id not in self._calls and self._part_of_another(event, at)):
            self._remember_over(event.unique_id)
            return []
        if event.unique_id not in self._calls:
            changes += self._late(event, at)
        live = self._calls[event.unique_id]
        answerer = next((number for number in event.extensions if self._parties.is_extension(number)), None)
        call = live.call
        status = _result(call, event.call_status)
        started_at, ended_at = _edges(call.started_at, at, event)
        answered_at = call.answered_at if status == "answered" else None
        if status == "answered" and call.direction == "internal":
            answerer = next(iter(call.extensions), None)
        last = (answerer or call.answered_by) if status == "answered" else None
        self._keep(
            live,
            at,
            status=status,
            client_number=call.client_number or self._parties.outside(event.phone),
            line=call.line or event.trunk or None,
            extensions=call.extensions if last is None or last in call.extensions else [*call.extensions, last],
            answered_by=last,
            answered_first=(call.answered_first or last) if status == "answered" else None,
            started_at=started_at,
            ended_at=ended_at,
            wait_seconds=_between(started_at, answered_at if status == "answered" else ended_at),
            talk_seconds=_between(answered_at, ended_at) if status == "answered" else 0,
        )
        return [*changes, self._close(live, at)]

    def _late(self, event: ScriptEvent, at: float) -> list[Change]:
        """A call of which `hangup` is the first post that arrived: opened as if it had just been heard of."""
        direction = _DIRECTIONS[event.call_type or 0]
        began = epoch(event.unique_id)
        total = _seconds(event.received_at, event.ended_at)
        if began is None or not at - 30 * 86400 < began <= at:
            began = at - (total or 0)
        changes = self._open(event, began, direction)
        live = self._calls[event.unique_id]
        live.heard_at = at
        rings = [event.phone] if direction == "internal" else list(event.extensions)
        rings = [number for number in rings if self._parties.is_extension(number)]
        if rings:
            self._keep(live, at, extensions=rings)
            changes.append(Ringing(call=live.call, at=None, extensions=tuple(rings)))
        return changes

    def _name(self, event: ScriptEvent) -> None:
        live = self._calls.get(event.unique_id)
        if (
            live is not None
            and event.caller_name
            and live.call.client_name is None
            and live.call.direction == "inbound"
        ):
            self._keep(live, live.heard_at, client_name=event.caller_name)

    # --- who talks with whom ----------------------------------------------------------------------------------------

    def _talk(self, live: _Live, extension: str | None, at: float) -> list[Change]:
        """The client and `extension` (None: not known who) are connected."""
        call = live.call
        if call.answered_at is None:
            self._keep(live, at, answered_at=at, answered_by=extension, answered_first=extension)
            return [Answered(call=live.call, at=at, extension=extension, first=True)]
        if extension is None or extension == call.answered_by or call.direction != "inbound":
            return []
        if call.answered_by is None:
            self._keep(live, at, answered_by=extension, answered_first=call.answered_first or extension)
            return [Answered(call=live.call, at=at, extension=extension, first=True)]
        kind: TransferKind = "attended" if extension in live.consulted else "blind"
        transfer = Transfer(kind=kind, from_=call.answered_by, to=extension, at=at)
        self._keep(live, at, answered_by=extension, transfers=[*call.transfers, transfer])
        return [
            Transferred(call=live.call, at=at, transfer=transfer),
            Answered(call=live.call, at=at, extension=extension, first=False),
        ]

    def _partner(self, live: _Live, event: ScriptEvent) -> str | None:
        """Who is on the other end when the main channel enters a bridge."""
        if live.call.direction != "inbound":
            return next(iter(live.call.extensions), None)
        if self._parties.is_extension(event.connected_number):
            return event.connected_number
        if event.bridge_id:
            inside = [one.extension for one in self._bridged.values() if one.bridge_id == event.bridge_id]
            if inside:
                return inside[-1]
        alone = len(live.call.extensions) == 1 and not live.outside
        return live.call.extensions[0] if alone else None

    def _met_by(self, event: ScriptEvent) -> _Live | None:
        """The client's call that an extension's channel meets in this bridge; by its number where the post names no
        bridge, as long as only one call has that number."""
        if event.bridge_id:
            return next((live for live in self._calls.values() if event.bridge_id in live.bridges), None)
        number = self._parties.outside(event.connected_number)
        found = [live for live in self._calls.values() if number is not None and live.call.client_number == number]
        return found[0] if len(found) == 1 else None

    def _connected_with(self, phone: str) -> str | None:
        """The manager of a click-to-call: his phone was bridged with this number before anything was dialled."""
        number = self._parties.outside(phone)
        for one in reversed(self._bridged.values()):
            if number is not None and self._parties.outside(one.connected_number) == number:
                return one.extension
        return None

    def _part_of_another(self, event: ScriptEvent, at: float) -> bool:
        """Whether the post is of a consultation or a mobile in a ring group; its channel is then put to that call."""
        if event.kind == "start" or event.unique_id in self._calls or event.call_type in (None, 0):
            return False
        if any(event.unique_id in live.parts for live in self._calls.values()):
            return True
        ours = {number for number in (*event.extensions, event.phone) if self._parties.is_extension(number)}
        outside = self._parties.outside(event.phone)
        for live in self._calls.values():
            if live.call.direction == "internal":
                continue
            talking = live.call.answered_at is not None and live.call.answered_by in ours
            ringing = outside is not None and outside in map(self._parties.outside, live.outside)
            if talking or ringing:
                live.parts.append(event.unique_id)
                live.consulted += [number for number in ours if number != live.call.answered_by]
                self._keep(live, at)
                return True
        return False

    # --- memory -----------------------------------------------------------------------------------------------------

    def _keep(self, live: _Live, at: float, **changed: object) -> None:
        live.call = msgspec.structs.replace(live.call, **changed)
        live.heard_at = max(live.heard_at, at)
        self._touched[live.call.call_id] = live.call

    def _close(self, live: _Live, at: float) -> Ended:
        call_id = live.call.call_id
        del self._calls[call_id]
        for unique_id in (call_id, *live.parts):
            self._remember_over(unique_id)
        return Ended(call=live.call, at=at)

    def _expire(self, at: float) -> list[Change]:
        silent = [live for live in self._calls.values() if live.heard_at < at - SILENT]
        for live in silent:
            self._keep(live, live.heard_at, status="incomplete")
        return [self._close(live, at) for live in silent]

    def _remember_over(self, unique_id: str) -> None:
        self._over[unique_id] = None
        if len(self._over) > _REMEMBERED:
            self._over.popitem(last=False)

    def _remember_bridged(self, event: ScriptEvent, extension: str) -> None:
        self._bridged[event.unique_id] = _Bridged(extension, event.bridge_id, event.connected_number)
        self._bridged.move_to_end(event.unique_id)
        if len(self._bridged) > _REMEMBERED:
            self._bridged.popitem(last=False)


def _result(call: Call, call_status: str) -> Result:
    """The status "2" is answered, "0" not answered, "1" something else, "5" still talking when it was posted."""
    if call.answered_at is not None or call_status == "2":
        return "answered"
    if call_status == "5":
        return "incomplete"
    if call.direction == "inbound":
        return "missed"
    return "no_answer" if call_status == "0" else "failed"


def _edges(started_at: float | None, at: float, event: ScriptEvent) -> tuple[float | None, float]:
    """When the call began and ended, by our clock. The PBX's own length of it corrects a post that came late, and a
    call whose first posts were lost."""
    total = _seconds(event.received_at, event.ended_at)
    if total is None or started_at is None:
        return started_at, at
    if started_at + total > at + _LATE:
        return at - total, at
    return started_at, started_at + total


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    if start is None or end is None or end < start:
        return None
    return (end - start).total_seconds()


def _between(start: float | None, end: float | None) -> int | None:
    return None if start is None or end is None else max(0, round(end - start))
