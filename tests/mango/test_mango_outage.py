"""Calls of which only a part was heard, because the service was away meanwhile: Mango's history tells the rest."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.calls.model import Call
from bridge.mango.decode import decode
from bridge.mango.reader import MangoRules, read
from lab.mango import Group, Played, Product, scenarios
from lab.mango.statistics import call as whole_row
from lab.mango.transfers import blind_transfer, consultative_transfer
from lab.truth import TOLERANCE

T = 1_795_224_000.0

CALLS: dict[str, Any] = {
    "answered": lambda p: scenarios.inbound_answered(p, at=T, by="170", menu=6),
    "group answered": lambda p: scenarios.group_answered(p, at=T, group="999", by="171"),
    "group missed": lambda p: scenarios.group_missed(p, at=T, group="999"),
    "passed on": lambda p: blind_transfer(p, at=T, by="170", to="171"),
    "passed on in vain": lambda p: blind_transfer(p, at=T, by="170", to="171", outcome="missed"),
    "asked first": lambda p: consultative_transfer(p, at=T, by="170", to="171"),
    "held": lambda p: scenarios.hold(p, at=T, by="170"),
    "called out": lambda p: scenarios.outbound(p, at=T, by="170"),
    "busy": lambda p: scenarios.outbound(p, at=T, by="170", outcome="busy"),
    "called back": lambda p: scenarios.callback(p, at=T, by="170", command_id="c1"),
    "called back, refused": lambda p: scenarios.callback(p, at=T, by="170", outcome="rejected", command_id="c1"),
}


def company() -> Product:
    product = Product("june")
    for extension in ("170", "171", "172"):
        product.hire(extension, f"Employee {extension}")
    product.groups.append(Group(7001, "999", "Sales", ("170", "171", "172")))
    return product


def history(played: Played) -> dict[str, Any]:
    """The call in Mango's history, with the extensions that whoever fetched it put beside the employees' numbers."""
    extensions = {one.user_id: one.extension for one in played.entry.product.employees}
    row = whole_row(played.entry)
    for leg in row["context_calls"]:
        for each in (leg, *leg["members"]):
            each["call_abonent_extension"] = extensions.get(each["call_abonent_id"])
    return row | {"caller_extension": extensions.get(row["caller_id"])}


def wrong(played: Played, call: Call | None) -> list[str]:
    assert call is not None
    truth = played.truth
    said = {name: getattr(call, name) for name in ("direction", "client_number", "status", "answered_by")}
    found = [f"{name}: {value!r}" for name, value in said.items() if value != getattr(truth, name)]
    if abs((call.talk_seconds or 0) - truth.talk_seconds) > TOLERANCE:
        found.append(f"talk: {call.talk_seconds}")
    return found


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("part", ["before", "after"])
def test_outage_in_the_middle_of_a_call_costs_nothing_that_a_crm_keeps(name: str, part: str) -> None:
    played = CALLS[name](company())
    row = decode("statistics", history(played))
    webhooks = [decode(each.path, each.body) for each in played.webhooks]
    for cut in range(len(webhooks) + 1):
        heard = webhooks[:cut] if part == "before" else webhooks[cut:]
        reading = read([*heard, row], MangoRules())
        assert not wrong(played, reading.call), (cut, heard)
        assert reading.final
