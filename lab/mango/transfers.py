"""Calls in which a client is passed on (VPBX API, pages 337-342). Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from lab.mango.played import (
    CALLED_HUNG_UP,
    CALLER_HUNG_UP,
    CLIENT,
    NO_ANSWER,
    Played,
    answered_truth,
    gives_away,
    inbound_entry,
)
from lab.mango.product import Product


def blind_transfer(
    product: Product,
    client: str | None = CLIENT,
    *,
    at: float,
    by: str,
    to: str,
    talk: float = 10,
    outcome: Literal["answered", "missed", "returned"] = "answered",
) -> Played:
    """`by` gives the client to `to` without asking, who picks up, or does not, or the client comes back to `by`."""
    entry = inbound_entry(product, client, at)
    first = entry.ring(by, at)
    talked = at + 4
    first.connects(talked)
    given = talked + talk
    first.on_hold(given)
    second = entry.leg(
        entry.of_employee(product.at(by), called=False),
        entry.of_employee(product.at(to), called=True),
        employee=product.at(to),
        transfer="blind",
    )
    second.appears(given)
    gives_away(first, given + 1, CALLED_HUNG_UP)
    second.from_ = entry.of_client(first)
    second.extra = {"transfer": "blind"}
    second.appears(given + 1)
    truth = answered_truth(entry, f"blind_transfer_{outcome}", (by, to), by, talked, given + 1, "extension")
    # whether giving away means a hold is a matter of taste
    truth = replace(truth, transfers=(("blind", by, to),), holds=None)
    if outcome == "answered":
        second.connects(given + 4)
        ended = given + 4 + talk
        second.ends(ended, CALLER_HUNG_UP)
        entry.end(ended, CALLER_HUNG_UP, from_=entry.of_client(), to=second.to, forwarded=given, talked=talked)
        return Played(entry, replace(truth, answered_by=to, ended_by="client", talk_seconds=ended - talked))
    if outcome == "missed":
        ended = given + 16
        second.ends(ended, CALLER_HUNG_UP)
        entry.end(ended, CALLER_HUNG_UP, from_=entry.of_client(), to=first.to, forwarded=at, talked=talked)
        return Played(entry, replace(truth, ended_by="client", talk_seconds=ended - talked))
    back = given + 11
    second.ends(back, NO_ANSWER)
    third = entry.ring(by, back, after=second, transfer="return_blind")
    third.connects(back + 2)
    ended = back + 2 + talk
    third.ends(ended, CALLER_HUNG_UP)
    entry.end(ended, CALLER_HUNG_UP, from_=entry.of_client(), to=third.to, forwarded=back, talked=talked)
    # whether the way back is a transfer of its own is a matter of taste
    return Played(entry, replace(truth, ended_by="client", transfers=None, talk_seconds=ended - talked))


def consultative_transfer(
    product: Product,
    client: str | None = CLIENT,
    *,
    at: float,
    by: str,
    to: str,
    talk: float = 10,
    recipient: str = "",
) -> Played:
    """`by` asks `to` first and hangs up: a second Connected on one call_id, with the client in the place of `by`."""
    entry = inbound_entry(product, client, at)
    first = entry.ring(by, at)
    talked = at + 4
    first.connects(talked)
    recording_id = entry.records(first, talked) if recipient else ""
    asked = talked + talk
    first.on_hold(asked)
    asking = {**entry.of_employee(product.at(by), called=False), "taken_from_call_id": first.call_id}
    second = entry.leg(
        asking, entry.of_employee(product.at(to), called=False), employee=product.at(to), transfer="consultative"
    )
    second.appears(asked + 1)
    second.connects(asked + 3)
    given = asked + 3 + talk / 2
    gives_away(first, given, CALLED_HUNG_UP)
    second.from_ = entry.of_client(first)
    second.extra = {"transfer": "consultative"}
    second.connects(given)
    ended = given + talk
    if recording_id:
        entry.continues(recording_id, second, given)
    second.ends(ended, CALLER_HUNG_UP)
    if recording_id:
        entry.recorded(recording_id, second, ended, recipient=recipient)
    entry.end(ended, CALLER_HUNG_UP, from_=entry.of_client(), to=second.to, forwarded=asked + 1, talked=talked)
    truth = answered_truth(entry, "consultative_transfer", (by, to), by, talked, ended, "client")
    return Played(
        entry,
        replace(
            truth, answered_by=to, transfers=(("attended", by, to),), holds=None, recorded=recipient.startswith("Cloud")
        ),
    )
