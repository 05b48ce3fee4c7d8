"""A day of calls at the emulated Mango Office: what is read of them is what the people did."""

from __future__ import annotations

import random
from typing import Any

import pytest

from bridge.calls.model import Call
from bridge.mango.decode import decode
from bridge.mango.events import MangoEvent
from bridge.mango.operators import Employee, Operators
from bridge.mango.reader import MangoRules, read
from bridge.replay import printed
from lab.mango.played import Played
from lab.mango.product import Group, Line, Product
from lab.mango.scenarios import SCENARIOS, blind_transfer, callback, consultative_transfer, inbound_answered, outbound
from lab.mango.statistics import call as whole_row
from lab.mango.traffic import traffic

T = 1_795_224_000.0


def company() -> Product:
    product = Product("june", lines=[Line(1, "74951000001"), Line(2, "78431000002")])
    for extension in ("150", "151", "0152", "153"):
        product.hire(extension, f"Employee {extension}")
    product.groups.append(Group(10, "700", "Sales", ("150", "151", "0152")))
    return product


def rules(product: Product) -> MangoRules:
    people = [
        Employee(extensions=(one.extension,), addresses=dict.fromkeys(one.sips, one.extension))
        for one in product.employees
    ]
    return MangoRules(operators=Operators(people))


def events_of(played: Played) -> list[MangoEvent]:
    return [decode(webhook.path, webhook.body) for webhook in played.webhooks]


def differences(played: Played, call: Call | None, **changed: Any) -> list[str]:
    assert call is not None
    return played.truth.differences(printed(call, []) | changed)


OPTIONS: dict[str, dict[str, Any]] = {
    "group_answered": {"group": "700", "by": "151"},
    "group_missed": {"group": "700"},
    "menu_abandoned": {},
    "blind_transfer": {"by": "150", "to": "151"},
    "consultative_transfer": {"by": "0152", "to": "151"},
    "internal": {"by": "150", "to": "151"},
}


def played_of(product: Product) -> list[Played]:
    found = [make(product, at=T, **OPTIONS.get(name, {"by": "150"})) for name, make in SCENARIOS.items()]
    for outcome in ("busy", "no_answer", "cancelled"):
        found.append(outbound(product, at=T, by="150", outcome=outcome))
    for how in ("rejected", "unanswered"):
        found.append(callback(product, at=T, by="150", outcome=how, command_id="c1"))
    for end in ("missed", "returned"):
        found.append(blind_transfer(product, at=T, by="150", to="151", outcome=end))
    found.append(inbound_answered(product, at=T, by="150", menu=6, recipient="Cloud"))
    found.append(inbound_answered(product, at=T, by="150", short=True))
    found.append(inbound_answered(product, at=T, by="150", recipient="Mail", hangs_up="extension"))
    found.append(consultative_transfer(product, at=T, by="150", to="151", recipient="CloudAndMail"))
    return found


NUMBERS = range(len(played_of(company())))


@pytest.mark.parametrize("number", NUMBERS)
def test_a_call_is_what_the_people_did(number: int) -> None:
    product = company()
    played = played_of(product)[number]

    assert differences(played, read(events_of(played), rules(product)).call) == []


@pytest.mark.parametrize("number", NUMBERS)
def test_a_call_without_its_summary_is_what_the_people_did(number: int) -> None:
    product = company()
    played = played_of(product)[number]
    if played.truth.scenario == "off_hours":
        return  # nothing else is told of it
    heard = [decode(each.path, each.body) for each in played.webhooks if each.path != "events/summary"]

    call = read(heard, rules(product), now=T + 10_000.0).call

    assert differences(played, call) == []


@pytest.mark.parametrize("number", NUMBERS)
def test_the_history_alone_gives_what_it_knows_of_a_call(number: int) -> None:
    """Who gave whom away, who put whom on hold, and a group's short number are not in it."""
    product = company()
    played = played_of(product)[number]
    row = whole_row(played.entry)
    row["caller_extension"] = played.entry.caller.extension if played.entry.caller else None

    reading = read([decode("statistics", row)], rules(product))

    assert reading.call is not None
    truth = played.truth
    found = printed(reading.call, [])
    for name in ("direction", "client_number", "answered_first"):
        assert found[name] == getattr(truth, name), name
    assert (found["status"] == "answered") == (truth.status == "answered")
    assert set(found["extensions"]) <= {*truth.extensions, *truth.tried}
    assert abs((found["talk_seconds"] or 0) - truth.talk_seconds) <= 1.25
    assert not reading.heard


def test_a_day_of_shuffled_and_doubled_calls() -> None:
    product = company()
    day = traffic(product, [f"79160{number:06d}" for number in range(140)], since=T, until=T + 86_400)
    dice = random.Random(7)

    wrong = {}
    for played in day:
        events = events_of(played) * 2
        dice.shuffle(events)
        if found := differences(played, read(events, rules(product)).call):
            wrong[played.truth.scenario] = found

    assert wrong == {}


@pytest.mark.parametrize("number", NUMBERS)
def test_any_one_webhook_may_be_lost_if_the_history_is_asked(number: int) -> None:
    product = company()
    played = played_of(product)[number]
    events, row = events_of(played), decode("statistics", whole_row(played.entry))
    truth = played.truth

    for index, lost in enumerate(events):
        call = read([*events[:index], *events[index + 1 :], row], rules(product)).call
        assert call is not None
        assert (call.direction, call.client_number) == (truth.direction, truth.client_number), lost
        assert (call.status == "answered") == (truth.status == "answered"), lost
        assert (call.answered_first, call.answered_by) == (truth.answered_first, truth.answered_by), lost
        assert set(call.extensions) - set(truth.tried) == set(truth.extensions), lost
        assert abs((call.talk_seconds or 0) - truth.talk_seconds) <= 1.25, lost
