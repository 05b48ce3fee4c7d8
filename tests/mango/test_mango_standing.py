"""Which leg of a call a command can take hold of."""

from __future__ import annotations

from typing import Any

import pytest
from mango_stories import CLIENT, LINE, STORIES, Webhook, decoded, in_menu, leg, phone

from bridge.mango.standing import caller, phones, standing


def held(webhooks: list[Webhook]) -> tuple[Any, ...]:
    found = standing(decoded(webhooks))
    return found.over, *(each.call_id if each else None for each in (found.waiting, found.talking, found.alive))


@pytest.mark.parametrize(
    ("story", "heard", "over", "waiting", "talking", "alive"),
    [
        ("inbound_answered", 0, False, None, None, None),
        ("inbound_answered", 1, False, "menu", None, "menu"),
        ("inbound_answered", 2, False, None, None, None),  # between the menu and a phone
        ("inbound_answered", 3, False, "a", None, "a"),
        ("inbound_answered", 4, False, None, "a", "a"),
        ("inbound_answered", 5, False, None, None, None),
        ("inbound_answered", 6, True, None, None, None),
        ("group_answered", 1, False, "queue", None, None),  # a queue cannot be hung up
        ("group_answered", 4, False, "queue", None, "c"),
        ("group_answered", 7, False, None, "c", "c"),
        ("outbound_answered", 1, False, None, None, "a"),  # the client's phone rings: nobody of ours waits
        ("outbound_answered", 2, False, None, "a", "a"),
    ],
)
def test_what_can_be_taken_hold_of(
    story: str, heard: int, over: bool, waiting: str | None, talking: str | None, alive: str | None
) -> None:
    assert held(STORIES[story]()[:heard]) == (over, waiting, talking, alive)


def test_the_order_in_which_it_was_heard_does_not_matter() -> None:
    webhooks = STORIES["group_answered"]()[:7]
    assert held(webhooks[::-1] * 2) == held(webhooks)


def test_who_waits_in_a_menu_having_called_a_line() -> None:
    [first, _] = in_menu(2)
    events = decoded([first], received_at=7.0) + decoded([first], received_at=9.0)
    found = caller(events)
    assert found is not None
    assert (found.leg, found.line, found.number, found.since) == ("menu", LINE, CLIENT, 7.0)


def test_who_hides_the_number_waits_too() -> None:
    queue = leg("q", 1, "Appeared", 0, {}, {"line_number": LINE}, location="queue")
    found = caller(decoded([queue]))
    assert found is not None
    assert found.number is None


@pytest.mark.parametrize(
    "webhooks",
    [
        in_menu(2),
        [*in_menu(2)[:1], leg("a", 1, "Connected", 2, {"number": CLIENT}, phone("150"))],
        [leg("a", 1, "Appeared", 0, {"number": CLIENT}, phone("150", line_number=LINE))],
        [leg("m", 1, "Appeared", 0, phone("150"), {"line_number": LINE}, location="ivr")],
        [leg("m", 1, "Appeared", 0, {"number": CLIENT}, {"line_number": LINE}, location="ivr", command_id="c")],
        [leg("m", 1, "Appeared", 0, {"number": CLIENT}, {}, location="ivr")],
    ],
    ids=["gone on", "talks", "rings", "our own", "called by us", "on no line"],
)
def test_who_does_not_wait(webhooks: list[Webhook]) -> None:
    assert caller(decoded(webhooks)) is None


def test_the_employees_on_a_leg() -> None:
    talk = standing(decoded([leg("a", 1, "Connected", 0, phone("150"), phone("151"))])).talking
    assert talk is not None
    assert phones(talk) == ("151", "150")
