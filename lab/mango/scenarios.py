"""Calls at Mango Office, each a function that gives all webhooks of it and what the people did. Pure.

    played = scenarios.inbound_answered(product, "79161234567", at=time.time(), by="170", talk=30)
    played.webhooks, played.truth

`at` is when the call begins; all times are seconds. Clients' numbers are as Mango sends them, without "+".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from lab.mango.entry import Entry, Leg
from lab.mango.played import (
    BUSY,
    CALLED_HUNG_UP,
    CALLER_HUNG_UP,
    CLIENT,
    DO_NOT_DISTURB,
    DONE,
    MENU_ENDED,
    NO_ANSWER,
    NORMAL,
    OFF_HOURS,
    PICKED_UP_ELSEWHERE,
    QUEUE_TIMED_OUT,
    Played,
    Who,
    answered_truth,
    called_truth,
    extensions_of,
    inbound_entry,
    lost_truth,
    outbound_entry,
    reason_of,
)
from lab.mango.product import Product
from lab.mango.transfers import blind_transfer, consultative_transfer
from lab.truth import Truth

# --- a client calls ---------------------------------------------------------------------------------------------------


def inbound_answered(
    product: Product,
    client: str | None = CLIENT,
    *,
    at: float,
    by: str,
    line: str | None = None,
    ring: float = 4,
    talk: float = 30,
    hangs_up: Who = "client",
    menu: float = 0,
    recipient: str = "",
    short: bool = False,
) -> Played:
    """`menu`: seconds in the voice menu. `recipient`: where the recording goes; `short`: it is too short to be kept."""
    entry = inbound_entry(product, client, at, line)
    after = None
    if menu:
        after = entry.menu(at)
        entry.digits(after, "2", at + menu / 2)
        after.ends(at + menu, NORMAL)
    rang = at + menu
    leg = entry.ring(by, rang, after=after)
    talked = rang + ring
    leg.connects(talked)
    recording_id = entry.records(leg, talked) if recipient or short else ""
    ended = talked + talk
    leg.ends(ended, reason_of(hangs_up))
    if recording_id:
        entry.recorded(recording_id, leg, ended, recipient=recipient or "Cloud", code=4002 if short else 1000)
    entry.end(ended, reason_of(hangs_up), from_=leg.from_, to=leg.to, forwarded=rang, talked=talked)
    truth = answered_truth(entry, "inbound_answered", (by,), by, talked, ended, hangs_up)
    return Played(entry, replace(truth, recorded=recipient.startswith("Cloud") and not short))


def inbound_missed(
    product: Product, client: str | None = CLIENT, *, at: float, by: str, ring: float = 20, gives_up: bool = True
) -> Played:
    """Nobody comes to the phone; the client gives up, or Mango does."""
    entry = inbound_entry(product, client, at)
    reason = CALLER_HUNG_UP if gives_up else NO_ANSWER
    leg = entry.ring(by, at).ends(at + ring, reason)
    entry.end(at + ring, reason, from_=leg.from_, to=leg.to)
    return Played(entry, lost_truth(entry, "inbound_missed", (by,), ended_by="client" if gives_up else None))


def inbound_busy(product: Product, client: str | None = CLIENT, *, at: float, by: str) -> Played:
    entry = inbound_entry(product, client, at)
    leg = entry.ring(by, at).ends(at + 1, BUSY)
    entry.end(at + 1, BUSY, from_=leg.from_, to=leg.to)
    return Played(entry, replace(lost_truth(entry, "inbound_busy", (), status="busy"), tried=(by,)))


def group_answered(
    product: Product, client: str | None = CLIENT, *, at: float, group: str, by: str, ring: float = 5, talk: float = 30
) -> Played:
    """All phones of a group ring; the first to pick up has the call."""
    entry, queue, legs = _group_rings(product, client, at, group)
    talked = at + 1 + ring
    (winner,) = (leg for leg in legs if leg.employee is not None and leg.employee.extension == by)
    winner.connects(talked)
    queue.ends(talked, NORMAL)
    for leg in legs:
        if leg is not winner:
            leg.ends(talked, PICKED_UP_ELSEWHERE)
    winner.ends(talked + talk, CALLER_HUNG_UP)
    entry.end(
        talked + talk, CALLER_HUNG_UP, from_=winner.from_, to=winner.to, forwarded=winner.began, talked=talked
    )  # fmt: skip
    truth = answered_truth(entry, "group_answered", extensions_of(legs), by, talked, talked + talk, "client")
    return Played(entry, replace(truth, queue=group))


def group_missed(
    product: Product, client: str | None = CLIENT, *, at: float, group: str, ring: float = 25, gives_up: bool = True
) -> Played:
    """All phones of a group ring and nobody comes. The summary then has no `to.number`."""
    entry, queue, legs = _group_rings(product, client, at, group)
    ended, reason = at + 1 + ring, CALLER_HUNG_UP if gives_up else QUEUE_TIMED_OUT
    for leg in legs:
        leg.ends(ended, reason if gives_up else NO_ANSWER)
    queue.ends(ended, reason)
    entry.end(ended, reason, from_=queue.from_, to={"extension": group})
    truth = lost_truth(entry, "group_missed", extensions_of(legs), ended_by="client" if gives_up else None)
    return Played(entry, replace(truth, queue=group))


def menu_abandoned(product: Product, client: str | None = CLIENT, *, at: float, menu: float = 12) -> Played:
    """The client hangs up in the voice menu: an `entry_result` of 1 with no talk at all (3.1.6, second example)."""
    entry = inbound_entry(product, client, at)
    leg = entry.menu(at).ends(at + menu, MENU_ENDED)
    entry.end(at + menu, MENU_ENDED, from_=leg.from_, to={"number": entry.line}, result=1)
    return Played(entry, lost_truth(entry, "menu_abandoned", (), ended_by=None))


def off_hours(product: Product, client: str | None = CLIENT, *, at: float, by: str) -> Played:
    """Outside working hours the employee's leg may cause no event at all (3.1.2): there is only a summary."""
    entry = inbound_entry(product, client, at)
    leg = entry.leg(
        entry.of_client(), entry.of_employee(product.at(by), called=True), employee=product.at(by), silent=True
    )
    leg.appears(at).ends(at + 2, OFF_HOURS)
    entry.end(at + 2, OFF_HOURS, from_=leg.from_, to=leg.to)
    return Played(entry, replace(lost_truth(entry, "off_hours", (), ended_by=None), tried=(by,)))


def anonymous(product: Product, *, at: float, by: str, ring: float = 3, talk: float = 20) -> Played:
    played = inbound_answered(product, None, at=at, by=by, ring=ring, talk=talk)
    return replace(played, truth=replace(played.truth, scenario="anonymous"))


def sip_line(
    product: Product, client: str | None = CLIENT, *, at: float, by: str, ring: float = 3, talk: float = 20
) -> Played:
    """The line that was called is no number but a SIP URI."""
    line = f"sip:site-0758@{product.domain}"
    played = inbound_answered(product, client, at=at, by=by, line=line, ring=ring, talk=talk)
    return replace(played, truth=replace(played.truth, scenario="sip_line"))


def hold(
    product: Product, client: str | None = CLIENT, *, at: float, by: str, talk: float = 10, held: float = 8
) -> Played:
    entry = inbound_entry(product, client, at)
    leg = entry.ring(by, at)
    talked = at + 3
    leg.connects(talked)
    leg.on_hold(talked + talk)
    leg.connects(talked + talk + held)
    ended = talked + talk + held + talk
    leg.ends(ended, CALLER_HUNG_UP)
    entry.end(ended, CALLER_HUNG_UP, from_=leg.from_, to=leg.to, forwarded=at, talked=talked)
    return Played(entry, replace(answered_truth(entry, "hold", (by,), by, talked, ended, "client"), holds=1))


def _group_rings(product: Product, client: str | None, at: float, group: str) -> tuple[Entry, Leg, list[Leg]]:
    entry = inbound_entry(product, client, at)
    queue = entry.menu(at, "queue")
    found = product.group(group)
    assert found is not None, f"there is no group {group}"
    return entry, queue, [entry.ring(one, at + 1, after=queue, group=group) for one in found.members]


# --- the company calls ------------------------------------------------------------------------------------------------


def outbound(
    product: Product,
    client: str = CLIENT,
    *,
    at: float,
    by: str,
    ring: float = 6,
    talk: float = 30,
    outcome: Literal["answered", "busy", "no_answer", "cancelled"] = "answered",
    hangs_up: Who = "extension",
) -> Played:
    entry = outbound_entry(product, client, at, by)
    leg = entry.dial(by, at)
    if outcome == "answered":
        leg.connects(at + ring)
        ended = at + ring + talk
        reason = CALLER_HUNG_UP if hangs_up == "extension" else CALLED_HUNG_UP
        leg.ends(ended, reason)
        entry.end(ended, reason, from_=leg.from_, to=leg.to, talked=at + ring)
        return Played(entry, called_truth(entry, "outbound", by, "answered", ended_by=hangs_up, talk=talk))
    ended, reason = at + ring, {"busy": BUSY, "no_answer": NO_ANSWER, "cancelled": CALLER_HUNG_UP}[outcome]
    leg.ends(ended, reason)
    entry.end(ended, reason, from_=leg.from_, to=leg.to)
    who: Who | None = "extension" if outcome == "cancelled" else None
    return Played(entry, called_truth(entry, f"outbound_{outcome}", by, outcome, ended_by=who))


def callback(
    product: Product,
    client: str = CLIENT,
    *,
    at: float,
    by: str,
    ring: float = 2,
    talk: float = 20,
    outcome: Literal["answered", "rejected", "unanswered"] = "answered",
    command_id: str = "",
    initiator: str = "API",
) -> Played:
    """An employee's phone rings first, then the client's: two legs, the first of which looks like a call in.

    `unanswered`: the employee does not pick up.
    """
    entry = outbound_entry(product, client, at, by)
    entry.init_type = 4
    extra: dict[str, Any] = {"callback_initiator": initiator} | ({"command_id": command_id} if command_id else {})
    employee = product.at(by)
    first = entry.leg(
        entry.of_client(), entry.of_employee(employee, called=False), employee=employee, extra=extra
    ).appears(at)
    if outcome == "unanswered":
        ended = at + 15
        first.ends(ended, NO_ANSWER)
        entry.end(ended, NO_ANSWER, from_=first.to, to={"number": client})
        return Played(entry, called_truth(entry, "callback_unanswered", by, "cancelled", ended_by=None))
    first.connects(at + ring)
    first.ends(at + ring, DONE)
    second = entry.dial(by, at + ring, after=first, **extra)
    if outcome == "rejected":
        ended = at + ring + 4
        second.ends(ended, DO_NOT_DISTURB)
        entry.end(ended, DO_NOT_DISTURB, from_=second.from_, to=second.to)
        # the client's phone said no: busy by one word, no answer by another
        return Played(entry, called_truth(entry, "callback_rejected", by, "busy", ended_by=None))
    talked = at + ring + 4
    second.connects(talked)
    second.ends(talked + talk, CALLED_HUNG_UP)
    entry.end(talked + talk, CALLED_HUNG_UP, from_=second.from_, to=second.to, talked=talked)
    return Played(entry, called_truth(entry, "callback", by, "answered", ended_by="client", talk=talk))


def internal(product: Product, *, at: float, by: str, to: str, ring: float = 2, talk: float = 10) -> Played:
    """Colleagues: no CRM's business."""
    entry = Entry(product, "internal", None, None, at, caller=product.at(by))
    callee = product.at(to)
    leg = entry.leg(
        entry.of_employee(product.at(by), called=False), entry.of_employee(callee, called=True), employee=callee
    )
    leg.appears(at).connects(at + ring).ends(at + ring + talk, CALLER_HUNG_UP)
    entry.end(at + ring + talk, CALLER_HUNG_UP, from_=leg.from_, to=leg.to, forwarded=at, talked=at + ring)
    truth = Truth(
        scenario="internal",
        direction="internal",
        client_number=None,
        status="answered",
        extensions=(to,),
        tried=(by,),
        answered_by=to,
        answered_first=to,
        talk_seconds=talk,
        began_at=at,
    )
    return Played(entry, truth)


SCENARIOS: dict[str, Callable[..., Played]] = {
    make.__name__: make
    for make in (
        inbound_answered,
        inbound_missed,
        inbound_busy,
        group_answered,
        group_missed,
        menu_abandoned,
        off_hours,
        anonymous,
        sip_line,
        hold,
        blind_transfer,
        consultative_transfer,
        outbound,
        callback,
        internal,
    )
}
"""By name, for whoever asks from another process."""
