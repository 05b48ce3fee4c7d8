"""A call at Mango Office as it happens: its legs, and the webhooks that each step of it causes (VPBX API, 3.1). Pure.

One `entry_id` for the whole, one `call_id` for each leg. `seq` counts the events of a leg. Examples of the vendor that
scenarios follow are on pages 328-342 of the edition of 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lab.mango.product import Employee, File, Product

Body = dict[str, Any]
Side = dict[str, Any]
Direction = Literal["inbound", "outbound", "internal"]

SUMMARY_DIRECTION = {"internal": 0, "inbound": 1, "outbound": 2}


@dataclass(frozen=True)
class Webhook:
    """`path` is what Mango appends to the address it was given; `at` is when it is sent."""

    path: str
    body: Body
    at: float

    @property
    def entry_id(self) -> str:
        return str(self.body.get("entry_id", ""))


@dataclass
class Leg:
    """`employee` is whose phone it is, if somebody's. `silent`: no events are sent of it."""

    entry: Entry
    call_id: str
    from_: Side
    to: Side
    location: str = "abonent"
    employee: Employee | None = None
    group: str = ""
    silent: bool = False
    extra: Body = field(default_factory=dict)
    seq: int = 0
    state: str = ""
    began: float = 0.0
    answered: float | None = None
    ended: float | None = None
    held: float = 0.0
    reason: int = 0
    transfer: str = ""
    recordings: list[str] = field(default_factory=list)
    _held_since: float | None = None

    def appears(self, at: float) -> Leg:
        self.began = self.began or at
        return self._now("Appeared", at)

    def connects(self, at: float, **more: Any) -> Leg:
        """Once more after a hold, and when a party is replaced by a consultative transfer."""
        self.answered = self.answered or at
        if self._held_since is not None:
            self.held += at - self._held_since
            self._held_since = None
        return self._now("Connected", at, **more)

    def on_hold(self, at: float, *, by: Literal["from", "to"] = "to") -> Leg:
        self._held_since = at
        return self._now("OnHold", at, **{by: {"hold_initiator": True}})

    def ends(self, at: float, reason: int, **more: Any) -> Leg:
        self.ended, self.reason = at, reason
        return self._now("Disconnected", at, disconnect_reason=reason, **more)

    def _now(self, state: str, at: float, **more: Any) -> Leg:
        self.state = state
        self.began = self.began or at
        sides = {"from": {**self.from_, **more.pop("from", {})}, "to": {**self.to, **more.pop("to", {})}}
        self.seq += 1
        if not self.silent:
            self.entry.send(
                "events/call",
                at,
                call_id=self.call_id,
                timestamp=at,
                seq=self.seq,
                call_state=state,
                location=self.location,
                **sides,
                dct={"type": 0},
                **self.extra,
                **more,
            )
        return self


@dataclass
class Entry:
    """A whole call. `client` is None for a caller who hides the number. What it caused is in `webhooks`, in order."""

    product: Product
    direction: Direction
    client: str | None
    line: str | None
    began: float
    entry_id: str = ""
    caller: Employee | None = None
    init_type: int = 0
    used_ivr: bool = False
    legs: list[Leg] = field(default_factory=list)
    webhooks: list[Webhook] = field(default_factory=list)
    ended: float | None = None
    reason: int = 0

    def __post_init__(self) -> None:
        self.entry_id = self.entry_id or self.product.entry_id()
        self.product.entries[self.entry_id] = self

    # --- parties ------------------------------------------------------------------------------------------------------

    def of_client(self, taken_from: Leg | None = None) -> Side:
        side: Side = {"number": self.client} if self.client else {}
        return side | ({"taken_from_call_id": taken_from.call_id} if taken_from else {})

    def of_line(self) -> Side:
        return {"number": self.line, "line_number": self.line}

    def of_employee(self, employee: Employee, *, called: bool, group: str = "") -> Side:
        side: Side = {"extension": employee.extension, "number": employee.address}
        if called and self.line is not None:
            side["line_number"] = self.line
        return side | ({"acd_group": group} if group else {})

    # --- legs ---------------------------------------------------------------------------------------------------------

    def leg(self, from_: Side, to: Side, **rest: Any) -> Leg:
        leg = Leg(self, self.product.call_id(), from_, to, **rest)
        self.legs.append(leg)
        return leg

    def menu(self, at: float, location: str = "ivr") -> Leg:
        """The client hears the voice menu, or waits in the queue."""
        self.used_ivr = self.used_ivr or location == "ivr"
        leg = self.leg(self.of_client(), self.of_line(), location=location)
        return leg.appears(at).connects(at)

    def ring(self, extension: str, at: float, *, after: Leg | None = None, group: str = "", **extra: Any) -> Leg:
        """The phone of an employee rings for the client."""
        employee = self.product.at(extension)
        to = self.of_employee(employee, called=True, group=group)
        leg = self.leg(self.of_client(after), to, employee=employee, group=group, extra=extra)
        return leg.appears(at)

    def dial(self, extension: str, at: float, *, after: Leg | None = None, **extra: Any) -> Leg:
        """An employee calls the client."""
        employee = self.product.at(extension)
        from_ = self.of_employee(employee, called=False)
        if after is not None:
            from_["taken_from_call_id"] = after.call_id
        leg = self.leg(from_, {"number": self.client}, employee=employee, extra=extra)
        return leg.appears(at)

    # --- what is sent -------------------------------------------------------------------------------------------------

    def send(self, path: str, at: float, /, **fields: Any) -> None:
        # another clock than the receiver's is a fault that can be switched on
        ahead = self.product.faults.clock_ahead
        whole = {name: int(value) + ahead if name in _TIMES and value else value for name, value in fields.items()}
        self.webhooks.append(Webhook(path, {"entry_id": self.entry_id, **whole}, at))

    def digits(self, leg: Leg, dtmf: str, at: float) -> None:
        """What the client entered in the voice menu: a whole sequence."""
        self.send(
            "events/dtmf",
            at,
            call_id=leg.call_id,
            timestamp=at,
            seq=1,
            dtmf=dtmf,
            location="ivr.2",
            initiator=self.client,
            from_number=self.client,
            to_number=self.line,
            line_number=self.line,
        )

    def end(
        self,
        at: float,
        reason: int,
        *,
        from_: Mapping[str, Any],
        to: Mapping[str, Any],
        forwarded: float | None = None,
        talked: float | None = None,
        result: int | None = None,
    ) -> None:
        """The call is over: its summary. `talked` is when the client and somebody began to talk."""
        self.ended, self.reason = at, reason
        outgoing = self.direction == "outbound"
        fields: Body = {
            "call_direction": SUMMARY_DIRECTION[self.direction],
            "from": {name: value for name, value in from_.items() if name in ("extension", "number")},
            "to": {name: value for name, value in to.items() if name in ("extension", "number")},
            "create_time": self.began,
            "forward_time": self.began if outgoing else (forwarded or 0) if talked else 0,
            "talk_time": talked or 0,
            "end_time": at,
            "entry_result": int(bool(talked)) if result is None else result,
            "disconnect_reason": reason,
        }
        if self.direction != "internal":
            fields["line_number"] = self.line
        self.send("events/summary", at, **fields)

    # --- recordings ---------------------------------------------------------------------------------------------------

    def records(self, leg: Leg, at: float, *, command_id: str = "") -> str:
        """A recording begins: its id."""
        recording_id = self.product.recording_id()
        leg.recordings.append(recording_id)
        self._recording(recording_id, "Started", 1, leg, at, **({"command_id": command_id} if command_id else {}))
        return recording_id

    def continues(self, recording_id: str, leg: Leg, at: float) -> None:
        leg.recordings.append(recording_id)
        self._recording(recording_id, "Continued", 2, leg, at)

    def recorded(
        self, recording_id: str, leg: Leg, at: float, *, recipient: str = "Cloud", code: int = 1000, lag: float = 1.0
    ) -> None:
        """It is complete: code 4002 when it was too short to be kept. In the cloud, it can be fetched `lag` later."""
        more: Body = {"completion_code": code}
        if code == 1000:
            more["recipient"] = recipient
        self._recording(recording_id, "Completed", 3, leg, at, **more)
        if code == 1000 and recipient.startswith("Cloud"):
            user_id = leg.employee.user_id if leg.employee else -1
            self.product.files[recording_id] = File(recording_id, _mp3(recording_id), at + lag, user_id=user_id)
            self.send(
                "events/record/added",
                at + lag,
                product_id=self.product.product_id,
                user_id=user_id,
                timestamp=at + lag,
                recording_id=recording_id,
            )

    def _recording(self, recording_id: str, state: str, seq: int, leg: Leg, at: float, **more: Any) -> None:
        who = {"extension": leg.employee.extension} if leg.employee else {}
        self.send(
            "events/recording",
            at,
            recording_id=recording_id,
            recording_state=state,
            seq=seq,
            call_id=leg.call_id,
            **who,
            timestamp=at,
            **more,
        )


_TIMES = frozenset({"timestamp", "create_time", "forward_time", "talk_time", "end_time"})


def _mp3(recording_id: str) -> bytes:
    """Two seconds of silence: MPEG-1 layer III, 32 kbit/s, 32 kHz, mono. An ID3 tag tells one from another."""
    title = recording_id.encode()
    text = b"TIT2" + (len(title) + 1).to_bytes(4) + b"\0\0\0" + title
    tag = b"ID3\x03\0\0" + bytes((len(text) >> shift) & 0x7F for shift in (21, 14, 7, 0)) + text
    frame = b"\xff\xfb\x18\xc4" + bytes(140)
    return tag + frame * 60
