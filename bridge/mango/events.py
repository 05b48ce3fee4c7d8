"""What Mango Office says, as small immutable structs. `MangoEvent` names them all; `bridge.mango.decode` makes them.

They carry facts only, in Mango's own terms (VPBX API, 3.1); what they mean for a call is the reader's business.
Identifiers are opaque, of 128 bytes at most. Times are seconds since the epoch.

`received_at` is the receiver's clock. It is no part of what was said: two copies of a webhook differ in nothing else.
"""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["Appeared", "Connected", "OnHold", "Disconnected"]
TransferFlag = Literal["consultative", "blind", "return_blind"]
Direction = Literal["inbound", "outbound", "internal"]


class Party(msgspec.Struct, frozen=True, kw_only=True):
    """One end of a leg.

    extension           the employee's short number; "0511" is one too
    number              what the phone network or the device is called: digits or a SIP URI
    line_number         the company's number that was dialled: digits or a SIP URI
    acd_group           the short number of the group that rings
    taken_from_call_id  the leg in which this party was before
    was_transferred     it was given away by the other end, who left
    hold_initiator      it put the other end on hold
    """

    extension: str | None = None
    number: str | None = None
    line_number: str | None = None
    acd_group: str | None = None
    taken_from_call_id: str | None = None
    was_transferred: bool = False
    hold_initiator: bool = False


class _Event(msgspec.Struct, frozen=True, kw_only=True):
    received_at: float | None = None
    entry_id: str | None = None
    timestamp: float | None = None


class CallEvent(_Event, frozen=True, kw_only=True):
    """/events/call: one leg has another state. `seq` counts per leg, and later ones may arrive earlier."""

    call_id: str
    seq: int
    state: State
    location: str = ""
    from_: Party = Party()
    to: Party = Party()
    disconnect_reason: int | None = None
    transfer: TransferFlag | None = None
    command_id: str | None = None
    task_id: str | None = None
    callback_initiator: str | None = None
    sip_call_id: str | None = None


class Summary(_Event, frozen=True, kw_only=True):
    """/events/summary: the call is over. A time of 0 is None: a call nobody answered has no `talk_time`."""

    direction: Direction | None = None
    from_: Party = Party()
    to: Party = Party()
    line_number: str | None = None
    create_time: float | None = None
    forward_time: float | None = None
    talk_time: float | None = None
    end_time: float | None = None
    entry_result: int | None = None
    disconnect_reason: int | None = None


class Recording(_Event, frozen=True, kw_only=True):
    """/events/recording: a recording is made. `call_id` changes when it goes on in another leg."""

    recording_id: str
    state: str
    seq: int = 0
    call_id: str | None = None
    extension: str | None = None
    completion_code: int | None = None
    recipient: str | None = None
    command_id: str | None = None


class RecordAdded(_Event, frozen=True, kw_only=True):
    """/events/record/added: a recording can be fetched. `user_id` is an employee's, Admin's, or -1.

    /events/record/tagged says the same of a recording that was also recognised, should the other have been lost."""

    recording_id: str
    user_id: int | None = None
    product_id: int | None = None


class Dtmf(_Event, frozen=True, kw_only=True):
    """/events/dtmf: a whole sequence that a caller entered, not a single key."""

    dtmf: str
    seq: int = 0
    call_id: str | None = None
    location: str = ""
    line_number: str | None = None


class Sms(_Event, frozen=True, kw_only=True):
    """/events/sms: what became of a message."""

    command_id: str | None = None
    reason: int | None = None


class Result(_Event, frozen=True, kw_only=True):
    """/result/…: the late answer to a command (`command_id`, `result`), or statistics that are ready (`key`)."""

    command: str
    command_id: str | None = None
    result: int | None = None
    key: str | None = None
    request_id: str | None = None


class StatisticsLeg(msgspec.Struct, frozen=True, kw_only=True):
    """A leg of extended statistics. `members` are the phones that a group rang; `name` is the group's or employee's."""

    kind: str = ""
    call_id: str | None = None
    extension: str | None = None
    address: str | None = None
    name: str | None = None
    user_id: int | None = None
    started_at: float | None = None
    answered_at: float | None = None
    ended_at: float | None = None
    talk_seconds: int | None = None
    reason: int | None = None
    recordings: tuple[str, ...] = ()
    inbound: bool = False
    blind: bool = False
    consultative: bool = False
    members: tuple[StatisticsLeg, ...] = ()


class StatisticsRow(_Event, frozen=True, kw_only=True):
    """What Mango's history says. `whole`: a call with its legs (extended statistics); else one leg (basic ones).

    The basic kind names no direction. Neither kind is written before the call is over.
    """

    whole: bool
    direction: Direction | None = None
    from_: Party = Party()
    to: Party = Party()
    line_number: str | None = None
    created_at: float | None = None
    started_at: float | None = None
    answered_at: float | None = None
    ended_at: float | None = None
    talk_seconds: int | None = None
    reason: int | None = None
    location: str = ""
    recordings: tuple[str, ...] = ()
    legs: tuple[StatisticsLeg, ...] = ()


class FlatEvent(_Event, frozen=True, kw_only=True):
    """The flat JSON dialect: not Mango's own, but what older installations send. `reason` is busy, no_answer, …

    Its entry is `entry_id`, else `call_id`. The keys it is authenticated by are not kept."""

    call_id: str
    status: Literal["start", "answer", "end"]
    direction: Direction | None = None
    from_number: str | None = None
    to_number: str | None = None
    line_number: str | None = None
    location: str = ""
    duration: int | None = None
    record_url: str | None = None
    reason: str | None = None


class Unknown(_Event, frozen=True, kw_only=True):
    """Something this house has no use for, or lacks what it needs. Kept for people to look at."""

    subject: str = ""


MangoEvent = (
    CallEvent | Summary | Recording | RecordAdded | Dtmf | Sms | Result | StatisticsRow | FlatEvent | Unknown
)  # fmt: skip
