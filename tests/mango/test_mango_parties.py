"""Whose phone it is, who the client is, and whose call it was."""

from __future__ import annotations

from typing import Any

import pytest
from mango_expected import EXPECTED, NUMBER, live, said
from mango_stories import (
    CLIENT,
    LINE,
    STORIES,
    T,
    consultative_transfer,
    group_missed,
    leg,
    phone,
    summary,
    told,
)

from bridge.db.calls import parties
from bridge.mango.operators import Employee, Operator, Operators
from bridge.mango.reader import MangoRules


def test_addresses_tell_whose_a_phone_is() -> None:
    ends: dict[str, Any] = {
        "from_": {"number": CLIENT},
        "to": {"number": "sip:boris@june.mangosip.ru", "line_number": "sip:line00000@tech.mangosip.ru"},
    }

    reading = told([leg("a", 1, "Appeared", 0, **ends), leg("a", 2, "Connected", 4, **ends)])

    assert reading.call is not None
    assert (reading.call.extensions, reading.call.answered_by) == (["151"], "151")
    assert reading.call.line == "sip:line00000@tech.mangosip.ru"
    assert reading.operator == Operator(extension="151", reason="address")


def test_a_phone_nobody_knows_is_the_lines_operators_once_it_talks() -> None:
    ends: dict[str, Any] = {
        "from_": {"number": CLIENT},
        "to": {"number": "sip:new@june.mangosip.ru", "line_number": LINE},
    }
    webhooks = [leg("a", 1, "Appeared", 0, **ends), leg("a", 2, "Connected", 4, **ends)]

    ringing, talking = told(webhooks[:1]), told(webhooks)
    of_two = told(webhooks, MangoRules(operators=Operators([], {})))

    assert ringing.call is not None
    assert talking.call is not None
    assert of_two.call is not None
    assert ringing.call.extensions == []
    assert (talking.call.extensions, talking.call.answered_by) == (["150"], "150")
    assert talking.operator == Operator(extension="150", reason="city")
    assert (of_two.call.answered_by, of_two.call.answered_at, of_two.operator) == (None, T + 4, None)


def test_an_employee_without_a_short_number_dials_out() -> None:
    ends: dict[str, Any] = {"from_": {"number": "sip:anna@june.mangosip.ru"}, "to": {"number": CLIENT}}
    stranger: dict[str, Any] = {"from_": {"number": "sip:new@june.mangosip.ru"}, "to": {"number": CLIENT}}

    call, unknown = live([leg("a", 1, "Appeared", 0, **ends)]), live([leg("a", 1, "Appeared", 0, **stranger)])

    assert (call.direction, call.client_number, call.extensions) == ("outbound", NUMBER, ["150"])
    assert (unknown.direction, unknown.client_number, unknown.extensions) == ("outbound", NUMBER, [])


def test_a_client_who_is_known_as_an_employees_second_phone() -> None:
    """The vendor's own scenario of a callback: the number dialled is an employee's."""
    first: dict[str, Any] = {"from_": {"extension": "5555", "number": "74955404444"}, "to": phone("150")}
    second: dict[str, Any] = {
        "from_": phone("150", taken_from_call_id="first"),
        "to": {"extension": "5555", "number": "74955404444"},
    }
    webhooks = [
        leg("first", 1, "Appeared", 0, **first, command_id="cmd.2"),
        leg("first", 2, "Connected", 2, **first, command_id="cmd.2"),
        leg("first", 3, "Disconnected", 4, **first, command_id="cmd.2", disconnect_reason="1000"),
        leg("second", 1, "Appeared", 5, **second, command_id="cmd.2"),
        leg("second", 2, "Disconnected", 8, **second, command_id="cmd.2", disconnect_reason="1124"),
    ]
    outbound = summary(2, None, 8, to=second["to"], disconnect_reason=1124, **{"from": phone("150")})

    internal = live(webhooks)
    call = told([*webhooks, outbound]).call

    assert call is not None
    assert (internal.direction, internal.extensions) == ("internal", ["150", "5555"])
    assert parties(internal) == ("150", "150")
    assert (call.direction, call.client_number, call.status) == ("outbound", "+74955404444", "busy")
    assert call.extensions == ["150"]


def test_an_anonymous_client_in_the_place_of_a_consulting_employee() -> None:
    anonymous = [
        (path, document | {"from": {k: v for k, v in document["from"].items() if k != "number"}})
        if "extension" not in document["from"]
        else (path, document)
        for path, document in consultative_transfer()
    ]

    call = told(anonymous).call

    assert call is not None
    assert said(call) == EXPECTED["consultative_transfer"] | {"client": None}


def test_numbers_are_read_by_the_enterprises_country() -> None:
    webhooks = [summary(1, None, 5, **{"from": {"number": "80291234567"}})]

    call = told(webhooks, MangoRules(region="BY")).call

    assert call is not None
    assert call.client_number == "+375291234567"


@pytest.mark.parametrize(
    ("number", "known"),
    [("112", "112"), ("sip:79161234567@trunk.example", NUMBER), ("sip:ivan@example.org", None), ("anonymous", None)],
)
def test_clients_that_are_no_common_numbers(number: str, known: str | None) -> None:
    call = told([summary(1, None, 5, **{"from": {"number": number}})]).call

    assert call is not None
    assert call.client_number == known


def test_the_database_finds_who_called_and_who_was_called() -> None:
    found = {name: parties(call) for name, make in STORIES.items() if (call := told(make()).call) is not None}

    assert found["inbound_answered"] == (NUMBER, LINE)
    assert found["callback_answered"] == found["outbound_answered"] == ("150", NUMBER)
    assert found["internal_answered"] == ("150", "151")


def test_whose_a_missed_call_is() -> None:
    """The only phone that rang, else the line's operator, else the default; never the first of several."""
    default = MangoRules(operators=Operators([Employee(extensions=("150",))], default="199"))

    assert told(STORIES["inbound_given_up"]()).operator == Operator(extension="150", reason="extension")
    assert told(group_missed()).operator == Operator(extension="150", reason="city")
    assert told(group_missed(), default).operator == Operator(extension="199", reason="default")
    assert told(group_missed(), MangoRules()).operator is None
