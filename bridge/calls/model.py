"""The call as a person sees it, its legs, and the changes a PBX's event stream makes to it.

Times are seconds since the epoch (float) or None where the stream does not carry them: nothing is invented.
Everything here encodes with msgspec, so that a live call survives a restart of the service as a row's `state`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Direction = Literal["inbound", "outbound", "internal"]
Result = Literal["active", "answered", "missed", "busy", "no_answer", "cancelled", "failed", "incomplete"]
EndedBy = Literal["client", "extension", "system"]
TransferKind = Literal["blind", "attended"]


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What the service knows of one PBX (the RULES.toml of `replay`, a row of `pbxs` in the service)."""

    region: str = "RU"
    extensions: str = r"^\d{2,5}$"
    trunks: tuple[str, ...] = ()
    click_to_call_contexts: tuple[str, ...] = ()


class Transfer(msgspec.Struct, kw_only=True):
    """One hand-over: who gave the client away, to whom. `kind` is how."""

    kind: TransferKind
    from_: str | None = msgspec.field(name="from")
    to: str | None
    at: float | None = None


class Leg(msgspec.Struct, kw_only=True):
    """One channel's part in the call. `role` says whose phone it is; Local channels have no leg of their own."""

    uniqueid: str
    channel: str
    role: Literal["client", "extension"]
    extension: str | None = None
    number: str | None = None
    started_at: float | None = None
    answered_at: float | None = None
    ended_at: float | None = None
    cause: int | None = None
    dial_status: str | None = None


class Call(msgspec.Struct, kw_only=True):
    """One conversation as a person sees it, whatever Asterisk makes of it. Fields as in the contract of `replay`."""

    call_id: str
    direction: Direction
    client_number: str | None = None
    client_name: str | None = None
    line: str | None = None
    status: Result = "active"
    extensions: list[str] = []
    answered_by: str | None = None
    answered_first: str | None = None
    started_at: float | None = None
    answered_at: float | None = None
    ended_at: float | None = None
    wait_seconds: int | None = None
    talk_seconds: int | None = None
    ended_by: EndedBy | None = None
    transfers: list[Transfer] = []
    holds: int = 0
    on_hold: bool = False
    queue: str | None = None
    recording: str | None = None
    legs: list[Leg] = []


# --- changes: what the machine tells its shell, in order ------------------------------------------------------------


class _Change(msgspec.Struct, frozen=True, kw_only=True, tag_field="change"):
    call: Call
    at: float | None = None


class Started(_Change, frozen=True, kw_only=True, tag="started"):
    """A new call is known. Nobody's phone need ring yet."""


class Ringing(_Change, frozen=True, kw_only=True, tag="ringing"):
    """`extensions` began to ring with this change (outbound: the one that dials)."""

    extensions: tuple[str, ...]


class Answered(_Change, frozen=True, kw_only=True, tag="answered"):
    """`extension` talks with the client now; `first` when nobody had before."""

    extension: str | None
    first: bool


class Held(_Change, frozen=True, kw_only=True, tag="held"):
    """The client waits (`on` true) or is back (`on` false)."""

    on: bool


class Transferred(_Change, frozen=True, kw_only=True, tag="transferred"):
    """The client was handed over, or a hand-over was begun whose target now rings."""

    transfer: Transfer


class Recorded(_Change, frozen=True, kw_only=True, tag="recorded"):
    """The name of the recording's file became known."""

    file: str


class Ended(_Change, frozen=True, kw_only=True, tag="ended"):
    """The call is over; `call.status` is final."""


class Refined(_Change, frozen=True, kw_only=True, tag="refined"):
    """What came after the end (a Cdr, a CEL, the answer to an Originate) made the finished call's record better."""


class Absorbed(_Change, frozen=True, kw_only=True, tag="absorbed"):
    """What was taken for a call of its own was part of `into`: its row must go."""

    into: str


Change = Started | Ringing | Answered | Held | Transferred | Recorded | Ended | Refined | Absorbed


# --- notices: what a CRM must be told of a change, before any CRM's own words ---------------------------------------


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One thing every CRM of the enterprise must be told.

    ringing     pop up at `extensions` (inbound; only those that began to ring since the last notice of the kind)
    dialing     the manager at `extensions[0]` dials the client (outbound)
    hangup      the call is over: close the pop-ups of `extensions` (all that rang)
    record      the finished call, for the history
    """

    kind: Literal["ringing", "dialing", "hangup", "record"]
    extensions: tuple[str, ...] = ()
    sequence: int = 1
