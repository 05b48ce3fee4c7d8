"""Each story, and the call it is: the vendor's scenarios and the quirks of what Mango really sends."""

from __future__ import annotations

from typing import Any

import pytest
from mango_expected import EXPECTED, NUMBER, live, said
from mango_stories import (
    CLIENT,
    ENTRY,
    LINE,
    RULES,
    STORIES,
    Story,
    T,
    Webhook,
    consultative_transfer,
    decoded,
    group_answered,
    inbound_answered,
    leg,
    outbound_answered,
    phone,
    told,
    without,
)

from bridge.mango.reader import QUIET, MangoRules, Reading, read


@pytest.mark.parametrize("name", STORIES)
def test_a_story_is_one_call(name: str) -> None:
    reading = told(STORIES[name]())

    assert reading.call is not None
    assert said(reading.call) == EXPECTED[name]
    assert (reading.call.call_id, reading.call.on_hold) == (ENTRY, False)
    assert (reading.settled, reading.due) == (True, None)


# --- while it lasts ---------------------------------------------------------------------------------------------------


def test_a_phone_that_rings_and_one_that_talks() -> None:
    webhooks = inbound_answered()

    ringing, talking = live(webhooks[:3]), live(webhooks[:4])

    assert (ringing.extensions, ringing.answered_by, ringing.wait_seconds) == (["150"], None, None)
    assert (talking.answered_by, talking.wait_seconds, talking.talk_seconds) == ("150", 5, None)
    assert (ringing.direction, ringing.client_number, ringing.line) == ("inbound", NUMBER, LINE)


def test_a_client_who_waits_is_on_hold_and_one_who_holds_us_is_not() -> None:
    client, anna = {"number": CLIENT}, phone("150", line_number=LINE)
    begun = [leg("a", 1, "Appeared", 0, client, anna), leg("a", 2, "Connected", 3, client, anna)]

    by_us = live([*begun, leg("a", 3, "OnHold", 9, client, {**anna, "hold_initiator": True})])
    by_nobody_named = live([*begun, leg("a", 3, "OnHold", 9, client, anna)])
    by_client = live([*begun, leg("a", 3, "OnHold", 9, {**client, "hold_initiator": "true"}, anna)])
    back = live([*begun, leg("a", 3, "OnHold", 9, client, anna), leg("a", 4, "Connected", 12, client, anna)])

    assert [(call.on_hold, call.holds) for call in (by_us, by_nobody_named, by_client, back)] == [
        (True, 1), (True, 1), (False, 0), (False, 1),
    ]  # fmt: skip


def test_a_menu_or_queue_that_connects_is_no_answer() -> None:
    at: dict[str, Any] = {"from_": {"number": CLIENT}, "to": {"number": LINE, "line_number": LINE}}

    for location in ("ivr", "ivr.2", "queue"):
        call = live([leg("menu", 1, "Connected", 0, **at, location=location)])
        assert (call.answered_by, call.answered_at, call.extensions, call.line) == (None, None, [], LINE)


def test_our_phone_taking_a_callback_is_no_answer() -> None:
    webhooks = STORIES["callback_answered"]()

    rung, second, talking = live(webhooks[:2]), live(webhooks[:5]), live(webhooks[:6])

    for call in (rung, second):
        assert (call.direction, call.extensions, call.answered_by) == ("outbound", ["150"], None)
        assert call.client_number == NUMBER
    assert (talking.answered_by, talking.answered_at) == ("150", T + 9)


def test_a_consultation_is_no_talk_with_the_client() -> None:
    webhooks = consultative_transfer()

    call = live(webhooks[:3] + webhooks[4:6])

    assert (call.answered_by, call.extensions, call.transfers) == ("150", ["150", "151"], [])
    assert call.on_hold


def test_a_leg_that_a_transfers_command_made_does_not_begin_a_call() -> None:
    webhooks = STORIES["transferred_by_command"]()

    call = live([each for each in webhooks[:7] if each[1].get("call_state") != "Disconnected"])

    assert (call.direction, call.client_number, call.extensions) == ("inbound", NUMBER, ["150", "151"])
    assert (call.answered_by, call.on_hold, call.transfers) == ("150", True, [])


def test_a_campaigns_call_from_an_employee_to_a_client_is_no_first_half() -> None:
    mark = {"callback_initiator": "ObDial", "task_id": 1549362305}
    dials = [phone("150"), {"number": CLIENT}]
    webhooks = [leg("a", seq, state, seq, *dials, **mark) for seq, state in ((1, "Appeared"), (2, "Connected"))]

    call = live(webhooks)

    assert (call.direction, call.client_number, call.extensions) == ("outbound", NUMBER, ["150"])
    assert (call.answered_by, call.answered_at) == ("150", T + 2)


# --- the end ----------------------------------------------------------------------------------------------------------


def test_without_a_summary_a_call_ends_when_all_its_legs_have_and_it_is_quiet() -> None:
    events = decoded(without(inbound_answered(), "/events/summary"), received_at=9000.0)

    waiting = read(events, RULES, now=9000.0 + QUIET - 0.1)
    over = read(events, RULES, now=9000.0 + QUIET)

    assert waiting.call is not None
    assert over.call is not None
    assert (waiting.call.status, waiting.due) == ("active", 9000.0 + QUIET)
    assert (over.due, over.settled) == (None, False)
    assert said(over.call) == EXPECTED["inbound_answered"]


@pytest.mark.parametrize("name", [each for each in STORIES if "history" not in each and not each.startswith("flat")])
def test_the_summary_says_nothing_that_the_legs_do_not_where_they_are_all_known(name: str) -> None:
    reading = told(without(STORIES[name](), "/events/summary"), now=T + 10_000.0)

    assert reading.call is not None
    # an outgoing line, and which code a whole call is given, are only in the summary
    unsaid = {"line", "by"} if EXPECTED[name]["direction"] == "outbound" else {"by"}
    if name in ("off_hours", "inbound_ended_in_the_menu"):
        unsaid = {"by"}
    want = EXPECTED[name]
    found = said(reading.call)
    if name.startswith("group"):  # the first second of a group's call is its queue's
        unsaid |= {"started", "wait"}
    assert {key: found[key] for key in want if key not in unsaid} == {
        key: want[key] for key in want if key not in unsaid
    }


def test_a_call_with_a_leg_still_up_does_not_end_by_silence() -> None:
    webhooks = group_answered()
    up = [each for each in without(webhooks, "/events/summary") if each[1]["call_state"] != "Disconnected"]

    reading = told([*up, webhooks[4]], now=T + 10_000_000.0)

    assert reading.call is not None
    assert (reading.call.status, reading.due) == ("active", None)


def test_a_copy_that_comes_later_does_not_put_off_the_end() -> None:
    webhooks = without(inbound_answered(), "/events/summary")

    reading = read([*decoded(webhooks, 9000.0), *decoded(webhooks, 9050.0)], RULES, now=9001.0)

    assert reading.due == 9000.0 + QUIET


def test_a_summary_ends_a_call_whose_last_leg_has_not_been_heard_of() -> None:
    webhooks = inbound_answered()

    for kept in range(len(webhooks)):
        reading = told([*webhooks[:kept], webhooks[-1]])
        assert reading.call is not None
        found = said(reading.call)
        # who hung up is in the last leg's end; the rest is in the summary alone
        assert found | {"by": None} == EXPECTED["inbound_answered"] | {"by": None}


def test_nothing_of_the_end_is_invented_where_it_was_not_told() -> None:
    ends: dict[str, Any] = {"from_": {"number": CLIENT}, "to": phone("150")}
    webhooks = [leg("a", 4, "Disconnected", 30, **ends, disconnect_reason=1110)]

    call = told(webhooks, now=T + 10_000.0).call

    assert call is not None
    assert (call.status, call.started_at, call.wait_seconds, call.ended_at) == ("missed", None, None, T + 30)


# --- what makes no call -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "webhook",
    [
        ("/events/record/added", {"entry_id": ENTRY, "recording_id": "r", "user_id": -1}),
        ("/events/dtmf", {"entry_id": ENTRY, "dtmf": "1", "call_id": "a"}),
        ("/result/callback", {"command_id": "c", "result": 1000}),
        ("/events/sms", {"command_id": "c", "reason": 1000}),
        ("/events/call", {"entry_id": ENTRY}),
    ],
)
def test_what_is_said_beside_a_call_is_no_call(webhook: Webhook) -> None:
    reading = told([webhook], now=T + 10_000.0)

    assert (reading.call, reading.settled, reading.due) == (None, False, None)


def test_nothing_at_all() -> None:
    assert read([], RULES) == Reading(call=None, heard=False)


@pytest.mark.parametrize("make", STORIES.values())
def test_extensions_and_lines_nobody_told_of_are_not_guessed(make: Story) -> None:
    """Without people, what is known of a call is what was said of it."""
    told_of = told(make(), MangoRules()).call

    assert told_of is not None
    written = str(make())
    assert all(f"'{extension}'" in written for extension in told_of.extensions)


def test_legs_that_lead_in_a_ring_are_read_all_the_same() -> None:
    ends: dict[str, Any] = {"to": phone("150")}
    ring = [
        leg("a", 1, "Appeared", 0, {"number": CLIENT, "taken_from_call_id": "b"}, **ends),
        leg("b", 1, "Appeared", 0, {"number": CLIENT, "taken_from_call_id": "a"}, **ends),
        leg("c", 1, "Appeared", 0, {"number": CLIENT, "taken_from_call_id": "c"}, **ends),
    ]

    assert live(ring).extensions == ["150"]


def test_a_talk_of_an_outbound_call_that_was_lost_is_the_diallers() -> None:
    call = told([outbound_answered()[-1]]).call

    assert call is not None
    assert (call.extensions, call.answered_by, call.client_number) == (["150"], "150", NUMBER)
