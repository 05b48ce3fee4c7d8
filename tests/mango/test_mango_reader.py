"""Each story, and the call it is: the vendor's scenarios and the quirks of what Mango really sends."""

from __future__ import annotations

from typing import Any

import pytest
from mango_stories import (
    CLIENT,
    ENTRY,
    LINE,
    RULES,
    STORIES,
    Story,
    T,
    Webhook,
    basic_row,
    consultative_transfer,
    decoded,
    flat,
    group_answered,
    group_missed,
    inbound_answered,
    leg,
    outbound_answered,
    phone,
    summary,
    told,
    whole_row,
    without,
)

from bridge.calls.model import Call
from bridge.db.calls import parties
from bridge.mango.operators import Employee, Operator, Operators
from bridge.mango.reader import QUIET, MangoRules, Reading, read

NUMBER = "+79161234567"


def said(call: Call) -> dict[str, Any]:
    """A call in the words of the table below; times are seconds after the beginning."""
    return {
        "direction": call.direction,
        "client": call.client_number,
        "line": call.line,
        "status": call.status,
        "rang": " ".join(call.extensions),
        "first": call.answered_first,
        "last": call.answered_by,
        "started": None if call.started_at is None else call.started_at - T,
        "answered": None if call.answered_at is None else call.answered_at - T,
        "ended": None if call.ended_at is None else call.ended_at - T,
        "wait": call.wait_seconds,
        "talk": call.talk_seconds,
        "by": call.ended_by,
        "transfers": [(each.kind, each.from_, each.to) for each in call.transfers],
        "holds": call.holds,
        "queue": call.queue,
        "recording": call.recording,
    }


INBOUND: dict[str, Any] = {
    "direction": "inbound", "client": NUMBER, "line": LINE, "status": "answered", "rang": "150", "first": "150",
    "last": "150", "started": 0, "transfers": [], "holds": 0, "queue": None, "recording": None,
}  # fmt: skip
MISSED = INBOUND | {"status": "missed", "first": None, "last": None, "answered": None, "talk": 0}
OUTBOUND = INBOUND | {"direction": "outbound"}
UNANSWERED = MISSED | {"direction": "outbound"}

EXPECTED: dict[str, dict[str, Any]] = {
    "inbound_answered": INBOUND | {"answered": 5, "ended": 35, "wait": 5, "talk": 30, "by": "client"},
    "inbound_to_a_busy_phone": MISSED | {"status": "busy", "ended": 1, "wait": 1, "by": "system"},
    "inbound_given_up": MISSED | {"ended": 9, "wait": 9, "by": "client"},
    "inbound_ended_in_the_menu": MISSED | {"rang": "", "ended": 14, "wait": 14, "by": "system"},
    "inbound_anonymous": INBOUND
    | {"client": None, "answered": 4, "ended": 20, "wait": 4, "talk": 16, "by": "extension"},
    "off_hours": MISSED | {"rang": "", "ended": 3, "wait": 3, "by": "system"},
    "group_answered": INBOUND
    | {"rang": "150 151 152", "first": "152", "last": "152", "answered": 6, "ended": 66, "wait": 6, "talk": 60,
       "by": "extension", "queue": "700"},
    "group_missed": MISSED | {"rang": "150 151", "ended": 31, "wait": 31, "by": "system", "queue": "700"},
    "taken_over_while_it_rang": INBOUND
    | {"rang": "150 151", "first": "151", "last": "151", "answered": 5, "ended": 25, "wait": 5, "talk": 20,
       "by": "client"},
    "routed_by_command": INBOUND | {"answered": 12, "ended": 32, "wait": 12, "talk": 20, "by": "extension"},
    "outbound_answered": OUTBOUND | {"answered": 12, "ended": 32, "wait": 12, "talk": 20, "by": "client"},
    "outbound_unanswered": UNANSWERED | {"status": "no_answer", "ended": 30, "wait": 30, "by": None},
    "callback_answered": OUTBOUND | {"answered": 9, "ended": 69, "wait": 9, "talk": 60, "by": "extension"},
    "callback_refused": UNANSWERED | {"status": "busy", "ended": 8, "wait": 8, "by": "system"},
    "callback_without_marks": OUTBOUND | {"answered": 9, "ended": 69, "wait": 9, "talk": 60, "by": "extension"},
    "callback_that_our_phone_did_not_take": UNANSWERED
    | {"status": "cancelled", "ended": 30, "wait": 30, "by": "system"},
    "callback_for_a_missed_group_call": OUTBOUND
    | {"answered": 9, "ended": 69, "wait": 9, "talk": 60, "by": "client"},
    "consultative_transfer": INBOUND
    | {"rang": "150 151", "last": "151", "answered": 7, "ended": 57, "wait": 7, "talk": 50, "by": "client", "holds": 1,
       "transfers": [("attended", "150", "151")]},
    "consultation_without_transfer": INBOUND
    | {"rang": "150 151", "answered": 7, "ended": 50, "wait": 7, "talk": 43, "by": "client", "holds": 1},
    "blind_transfer": INBOUND
    | {"rang": "150 151", "last": "151", "answered": 7, "ended": 67, "wait": 7, "talk": 60, "by": "client", "holds": 1,
       "transfers": [("blind", "150", "151")]},
    "blind_transfer_given_up": INBOUND
    | {"rang": "150 151", "answered": 7, "ended": 47, "wait": 7, "talk": 40, "by": "client", "holds": 1,
       "transfers": [("blind", "150", "151")]},
    "blind_transfer_that_came_back": INBOUND
    | {"rang": "150 151", "answered": 7, "ended": 60, "wait": 7, "talk": 53, "by": "client",
       "transfers": [("blind", "150", "151"), ("blind", "151", "150")]},
    "transferred_by_command": INBOUND
    | {"rang": "150 151", "last": "151", "answered": 7, "ended": 45, "wait": 7, "talk": 38, "by": "client", "holds": 1,
       "transfers": [("attended", "150", "151")]},
    "transferred_and_given_up": INBOUND
    | {"rang": "150 151", "answered": 7, "ended": 40, "wait": 7, "talk": 33, "by": "client",
       "transfers": [("blind", "150", "151")]},
    "outbound_transferred_to_a_mobile": OUTBOUND
    | {"answered": 5, "ended": 61, "wait": 5, "talk": 56, "by": "extension",
       "transfers": [("blind", "150", "+79261112233")]},
    "held_by_both_sides": INBOUND | {"answered": 3, "ended": 40, "wait": 3, "talk": 37, "by": "client", "holds": 2},
    "internal_answered": INBOUND
    | {"direction": "internal", "client": None, "line": None, "rang": "151", "first": "151", "last": "151",
       "answered": 3, "ended": 30, "wait": 3, "talk": 27, "by": "extension"},
    "recorded": INBOUND
    | {"answered": 5, "ended": 35, "wait": 5, "talk": 30, "by": "client", "recording": "MToxMDA+/w=="},
    "digits_in_the_menu": INBOUND | {"answered": 5, "ended": 35, "wait": 5, "talk": 30, "by": "client"},
    "flat_answered": INBOUND
    | {"line": "+" + LINE, "answered": 6, "ended": 126, "wait": 6, "talk": 120, "by": None,
       "recording": "https://files.example/1.mp3"},
    "flat_busy": MISSED
    | {"line": "+" + LINE, "status": "busy", "rang": "", "ended": 2, "wait": 2, "by": "system"},
    "flat_outbound": OUTBOUND
    | {"line": "+" + LINE, "answered": 6, "ended": 66, "wait": 6, "talk": 60, "by": None},
    "history_alone": INBOUND
    | {"rang": "150 151", "first": "151", "last": "151", "answered": 6, "ended": 66, "wait": 6, "talk": 60,
       "by": "client", "queue": "Продажи", "recording": "MToxMDA+/w=="},
    "basic_history_alone": INBOUND
    | {"answered": 5, "ended": 35, "wait": 5, "talk": 30, "by": "client", "recording": "MToxMDA+/w=="},
}  # fmt: skip


@pytest.mark.parametrize("name", STORIES)
def test_a_story_is_one_call(name: str) -> None:
    reading = told(STORIES[name]())

    assert reading.call is not None
    assert said(reading.call) == EXPECTED[name]
    assert (reading.call.call_id, reading.call.on_hold) == (ENTRY, False)
    assert (reading.settled, reading.due) == (True, None)


# --- while it lasts ---------------------------------------------------------------------------------------------------


def live(webhooks: list[Webhook], **more: Any) -> Call:
    reading = told(webhooks, **more)
    assert reading.call is not None
    assert reading.call.status == "active"
    assert not reading.settled
    return reading.call


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


# --- talk time decides ------------------------------------------------------------------------------------------------


def test_the_answer_is_the_talk_time_and_not_the_result() -> None:
    missed = told([summary(1, None, 14, entry_result=1, disconnect_reason=1170)]).call
    answered = told([summary(1, 5, 14, entry_result=0, to=phone("150"))]).call

    assert missed is not None
    assert answered is not None
    assert (missed.status, answered.status) == ("missed", "answered")


def test_an_answer_in_the_second_of_the_call_counts_where_a_phone_was_connected() -> None:
    at_once = summary(1, 0, 20, to=phone("150"))
    ends: dict[str, Any] = {"from_": {"number": CLIENT}, "to": phone("150")}

    alone = told([at_once]).call
    with_leg = told([leg("a", 1, "Connected", 0, **ends), at_once]).call

    assert alone is not None
    assert with_leg is not None
    assert (alone.status, alone.talk_seconds) == ("missed", 0)
    assert (with_leg.status, with_leg.talk_seconds, with_leg.answered_by) == ("answered", 20, "150")


def test_a_phone_that_was_connected_without_talk_time_did_not_answer() -> None:
    ends: dict[str, Any] = {"from_": {"number": CLIENT}, "to": phone("150")}

    call = told([leg("a", 1, "Connected", 2, **ends), summary(1, None, 3, disconnect_reason=1111)]).call

    assert call is not None
    assert (call.status, call.answered_by, call.answered_at, call.extensions) == ("missed", None, None, ["150"])


@pytest.mark.parametrize(
    ("code", "inbound", "outbound"),
    [(1121, "busy", "busy"), (1131, "missed", "failed"), (2219, "failed", "failed"), (1090, "missed", "no_answer"),
     (1110, "missed", "cancelled"), ("1181", "missed", "cancelled"), (1310, "missed", "no_answer")],
)  # fmt: skip
def test_codes_are_read_by_class_where_nobody_talked(code: object, inbound: str, outbound: str) -> None:
    calls = [told([summary(direction, None, 9, disconnect_reason=code)]).call for direction in (1, 2)]
    talked = told([summary(1, 3, 9, disconnect_reason=code)]).call

    assert talked is not None
    assert [call.status for call in calls if call] == [inbound, outbound]
    assert talked.status == "answered"


@pytest.mark.parametrize("code", [1182, 1183, 1000, 1100, "1100"])
def test_the_end_of_a_leg_that_went_elsewhere_is_no_call(code: object) -> None:
    ends: dict[str, Any] = {"from_": {"number": CLIENT}, "to": phone("150")}
    end = leg("a", 3, "Disconnected", 5, **ends, disconnect_reason=code)

    assert told([end], now=T + 10_000.0) == Reading(call=None)
    assert told([end, leg("b", 1, "Appeared", 5, **ends)]).call is not None


def test_one_busy_phone_of_a_group_is_not_why_nobody_answered() -> None:
    webhooks = [*without(group_missed(), "/events/summary"), summary(1, None, 31, disconnect_reason=1121)]

    call = told(webhooks).call

    assert call is not None
    assert call.status == "missed"


def test_two_phones_one_after_the_other_both_busy() -> None:
    rung: list[Webhook] = []
    for name, extension, at in (("a", "150", 0), ("b", "151", 2)):
        ends: dict[str, Any] = {"from_": {"number": CLIENT}, "to": phone(extension)}
        rung.append(leg(name, 1, "Appeared", at, **ends))
        rung.append(leg(name, 2, "Disconnected", at + 1, **ends, disconnect_reason=1121))

    call = told([*rung, summary(1, None, 3, disconnect_reason=1121)]).call

    assert call is not None
    assert (call.status, call.extensions) == ("busy", ["150", "151"])


# --- who is who -------------------------------------------------------------------------------------------------------


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


# --- Mango's history --------------------------------------------------------------------------------------------------


def test_a_call_that_only_the_history_knows_is_marked() -> None:
    alone, both = told([whole_row()]), told([*group_answered(), whole_row()])

    assert not alone.heard
    assert both.heard
    assert both.call is not None
    assert said(both.call) == EXPECTED["group_answered"] | {"rang": "150 151 152", "recording": "MToxMDA+/w=="}


def test_the_history_ends_a_call_whose_end_was_lost() -> None:
    webhooks = group_answered()[:6]

    row = whole_row()
    reading = told([*webhooks, row])

    assert told(webhooks).settled is False
    assert reading.settled
    assert reading.call is not None
    assert (reading.call.status, reading.call.talk_seconds, reading.call.ended_at) == ("answered", 60, T + 66)


def test_clocks_that_differ_by_a_time_zone_are_not_mixed() -> None:
    later = 3 * 3600
    row = whole_row(context_start_time=T - later)
    group = row[1]["context_calls"][0]
    for each in (group, *group["members"]):
        for name in ("call_start_time", "call_answer_time", "call_end_time"):
            if each[name] is not None:
                each[name] -= later

    call = told([*group_answered()[:6], row]).call

    assert call is not None
    assert (call.started_at, call.ended_at) == (T - later, T - later + 66)
    assert (call.answered_at, call.wait_seconds, call.talk_seconds) == (None, None, 60)


def test_an_outbound_call_and_an_internal_one_of_the_history() -> None:
    number = {
        "call_type": "number",
        "call_abonent_id": 300043164,
        "call_start_time": T + 1,
        "call_answer_time": T + 7,
        "call_end_time": T + 18,
        "call_end_reason": 1110,
        "external_call_id": "x",
    }
    outbound = whole_row(
        context_type=2,
        caller_number="sip:anna@june.mangosip.ru",
        called_number=CLIENT,
        talk_duration=11,
        context_calls=[number],
    )
    user = number | {"call_type": "user", "call_abonent_extension": "151", "call_answer_time": None}
    internal = whole_row(
        context_type=3, caller_extension=150, called_number="151", talk_duration=0, context_calls=[user]
    )

    out, inside = told([outbound]).call, told([internal]).call

    assert out is not None
    assert inside is not None
    assert (out.direction, out.client_number, out.extensions, out.status) == ("outbound", NUMBER, ["150"], "answered")
    assert (out.answered_by, out.wait_seconds, out.talk_seconds, out.ended_by) == ("150", 7, 11, "extension")
    assert (inside.direction, inside.client_number, inside.extensions) == ("internal", None, ["151"])
    assert inside.status == "cancelled"
    assert parties(inside) == ("150", "151")


def test_a_callback_in_basic_statistics_is_one_outbound_call() -> None:
    rows = [
        basic_row(records="[]", start=T, answer=T + 2, finish=T + 4, disconnect_reason="1000", line_number=""),
        basic_row(
            start=T + 5,
            answer=T + 9,
            finish=T + 69,
            from_extension="150",
            from_number="sip:anna@june.mangosip.ru",
            to_extension="",
            to_number=CLIENT,
        ),
    ]

    call = told(rows).call

    assert call is not None
    assert (call.direction, call.client_number, call.extensions) == ("outbound", NUMBER, ["150"])
    assert (call.status, call.answered_by, call.answered_at, call.talk_seconds) == ("answered", "150", T + 9, 60)


def test_a_row_that_was_fetched_twice_counts_as_it_was_last() -> None:
    early = whole_row(duration=40, talk_duration=30, context_calls=[])

    call = told([whole_row(), early]).call

    assert call is not None
    assert said(call) == EXPECTED["history_alone"]


# --- the flat dialect -------------------------------------------------------------------------------------------------


def test_flat_calls_are_live_before_they_end() -> None:
    call = live([flat("start", 0), flat("answer", 6)])

    assert (call.direction, call.client_number, call.line, call.answered_at) == (
        "inbound", NUMBER, "+" + LINE, T + 6,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("word", "status"), [("busy", "busy"), ("no_answer", "missed"), (None, "missed"), ("failed", "failed")]
)
def test_flat_words_for_the_end(word: str | None, status: str) -> None:
    call = told([flat("start", 0), flat("end", 20, duration=0, disconnect_reason=word)]).call

    assert call is not None
    assert call.status == status


def test_a_flat_end_alone_is_a_call() -> None:
    answered = told([flat("end", 126, duration=120)]).call
    missed = told([flat("end", 20, duration=0)]).call

    assert answered is not None
    assert missed is not None
    assert (answered.status, answered.talk_seconds, answered.answered_at) == ("answered", 120, None)
    assert (missed.status, missed.client_number) == ("missed", NUMBER)


def test_a_flat_end_without_a_duration_was_answered_if_an_answer_was_told() -> None:
    calls = [told([*begun, flat("end", 20)]).call for begun in ([flat("start", 0)], [flat("answer", 6)])]

    assert [call.status for call in calls if call] == ["missed", "answered"]


# --- what is known in part --------------------------------------------------------------------------------------------


def test_a_hold_told_of_twice_is_one() -> None:
    client, anna = {"number": CLIENT}, phone("150")
    states = ["Appeared", "Connected", "OnHold", "OnHold"]

    call = live([leg("a", seq, state, seq, client, anna) for seq, state in enumerate(states, 1)])

    assert (call.holds, call.on_hold) == (1, True)


def test_a_hold_goes_on_when_another_takes_the_place_of_who_was_held() -> None:
    holds = [leg("a", seq, "OnHold", seq, phone(who), {"number": CLIENT}) for seq, who in ((1, "150"), (2, "151"))]

    assert live(holds).on_hold


def test_a_call_known_only_by_a_hold_has_been_answered_at_a_time_nobody_knows() -> None:
    call = live([leg("a", 3, "OnHold", 9, {"number": CLIENT}, phone("150"))])

    assert (call.answered_by, call.answered_at, call.started_at, call.on_hold) == ("150", None, None, True)


def test_a_consultation_of_a_leg_nobody_has_heard_of_is_a_clients_call_to_be() -> None:
    consulting = phone("150", taken_from_call_id="a")
    webhooks = [
        leg("b", seq, state, 20, consulting, phone("151")) for seq, state in ((1, "Appeared"), (2, "Connected"))
    ]

    lasting, over = live(webhooks), told([*webhooks, summary(1, 7, 50, to=phone("150"))]).call

    assert over is not None
    assert (lasting.direction, lasting.answered_by) == ("inbound", None)
    assert (over.answered_first, over.answered_by, over.extensions) == ("150", "150", ["151", "150"])


def test_a_consultation_that_became_a_transfer_and_does_not_say_where_it_came_from() -> None:
    consulting, client, to = phone("150"), {"number": CLIENT}, phone("151")
    webhooks = [
        leg("b", 1, "Appeared", 27, consulting, to),
        leg("b", 2, "Connected", 30, consulting, to),
        leg("b", 3, "OnHold", 31, consulting, to),
        leg("b", 4, "Connected", 33, consulting, to),
        leg("b", 5, "Connected", 37, client, to),
        summary(1, 7, 57, to=phone("150")),
    ]

    call = told(webhooks).call

    assert call is not None
    assert [(each.kind, each.from_, each.to, each.at) for each in call.transfers] == [
        ("attended", "150", "151", T + 37),
    ]  # fmt: skip
    # the colleague waited for a while, the client was not yet there
    assert (call.answered_by, call.holds) == ("151", 0)


def test_a_client_who_came_into_a_consultations_place_as_it_ended_had_been_there() -> None:
    """The second Connected is lost."""
    webhooks = [each for each in consultative_transfer() if (each[1].get("call_id"), each[1].get("seq")) != ("b", 3)]

    call = told(webhooks).call

    assert call is not None
    assert call.answered_by == "151"
    assert [(each.kind, each.from_, each.to) for each in call.transfers] == [("attended", "150", "151")]


def test_a_client_who_gave_up_while_passed_on_was_not_consulted_about() -> None:
    """The second Appeared is lost."""
    story = STORIES["blind_transfer_given_up"]()
    webhooks = [each for each in story if (each[1].get("call_id"), each[1].get("seq")) != ("b", 2)]

    call = told(webhooks).call

    assert call is not None
    assert call.answered_by == "150"
    assert [(each.kind, each.from_, each.to) for each in call.transfers] == [("blind", "150", "151")]


def test_a_client_taken_from_a_talk_was_transferred_whether_it_is_called_so_or_not() -> None:
    story = STORIES["transferred_and_given_up"]()
    unnamed = [(path, {k: v for k, v in document.items() if k != "transfer"}) for path, document in story]

    assert told(unnamed).call == told(story).call


def test_one_phone_busy_and_the_next_not_answered_is_missed() -> None:
    ends: list[dict[str, Any]] = [{"from_": {"number": CLIENT}, "to": phone(each)} for each in ("150", "151")]
    webhooks = [
        leg("a", 1, "Appeared", 0, **ends[0]),
        leg("a", 2, "Disconnected", 1, **ends[0], disconnect_reason=1121),
        leg("b", 1, "Appeared", 1, **ends[1]),
        leg("b", 2, "Disconnected", 21, **ends[1], disconnect_reason=1111),
        summary(1, None, 21, to=phone("150"), disconnect_reason=1121),
    ]

    call = told(webhooks).call

    assert call is not None
    assert call.status == "missed"


def test_a_queue_whose_only_phone_was_busy_is_missed() -> None:
    ends: dict[str, Any] = {"from_": {"number": CLIENT}, "to": phone("150", acd_group="700")}
    webhooks = [
        leg("a", 1, "Appeared", 0, **ends),
        leg("a", 2, "Disconnected", 1, **ends, disconnect_reason=1121),
        summary(1, None, 9, disconnect_reason=1121),
    ]

    call = told(webhooks).call

    assert call is not None
    assert (call.status, call.queue) == ("missed", "700")


def test_of_a_call_nobody_answered_only_the_caller_can_have_given_up() -> None:
    calls = [told([summary(direction, None, 9, disconnect_reason=1120)]).call for direction in (1, 2)]

    assert [call.ended_by for call in calls if call] == ["system", "system"]


def test_a_client_who_gives_up_as_a_phone_stops_ringing_gave_up() -> None:
    ends: list[dict[str, Any]] = [{"from_": {"number": CLIENT}, "to": phone(each)} for each in ("150", "151")]
    webhooks = [
        leg("a", 1, "Appeared", 0, **ends[0]),
        leg("b", 1, "Appeared", 0, **ends[1]),
        leg("a", 2, "Disconnected", 20, **ends[0], disconnect_reason=1110),
        leg("b", 2, "Disconnected", 20, **ends[1], disconnect_reason=1111),
    ]

    call = told(webhooks, now=T + 10_000.0).call

    assert call is not None
    assert (call.status, call.ended_by) == ("missed", "client")


def test_whom_an_employee_dialled_is_the_client_and_not_whom_the_client_was_given_to() -> None:
    webhooks = [
        *without(outbound_answered(), "/events/summary"),
        summary(2, 12, 32, to={"extension": "151", "number": "79261112233"}, **{"from": phone("150")}),
    ]

    call = told(webhooks).call

    assert call is not None
    assert call.client_number == NUMBER


# --- what the history adds --------------------------------------------------------------------------------------------


def _row_of_one_leg(**of_leg: Any) -> Webhook:
    one = whole_row()[1]["context_calls"][0]["members"][1] | {"call_abonent_extension": "150"}
    return whole_row(context_calls=[one | of_leg])


def test_what_webhooks_told_of_a_leg_stands() -> None:
    row = _row_of_one_leg(external_call_id="a", call_end_reason=1120)

    call = told([*inbound_answered(), row]).call

    assert call is not None
    assert said(call) == EXPECTED["inbound_answered"] | {"recording": "MToxMDA+/w=="}


def test_legs_that_cannot_be_told_apart_are_not_counted_twice() -> None:
    webhooks = [*inbound_answered(), _row_of_one_leg(external_call_id=None)]

    alone, both = told(inbound_answered()).call, told(webhooks).call

    assert alone is not None
    assert both is not None
    assert len(both.legs) == len(alone.legs)


def test_a_leg_of_which_nothing_was_heard_is_taken_from_the_history() -> None:
    first = [each for each in STORIES["blind_transfer_that_came_back"]() if each[1].get("call_id") in ("a", "c")]
    rung = {"call_abonent_extension": "151", "call_answer_time": None, "external_call_id": "b", "call_end_reason": 1111}
    legs = [_row_of_one_leg(external_call_id="a")[1]["context_calls"][0]]
    legs.append(legs[0] | rung | {"call_start_time": T + 20})

    call = told([*first, whole_row(context_calls=legs)]).call

    assert call is not None
    assert call.extensions == ["150", "151"]


def test_of_an_outbound_call_only_the_clients_leg_tells() -> None:
    own = whole_row()[1]["context_calls"]
    row = whole_row(
        context_type=2,
        caller_number="sip:anna@june.mangosip.ru",
        called_number=CLIENT,
        talk_duration=None,
        context_calls=[*own, own[0]["members"][1]],
    )

    call = told([row]).call

    assert call is not None
    assert (call.extensions, call.answered_by, call.status) == (["150"], None, "cancelled")


def test_an_outbound_call_that_was_handed_over_in_basic_statistics() -> None:
    dialled = {"from_extension": "150", "from_number": "", "to_extension": "", "to_number": CLIENT}
    given = {"start": T + 35, "answer": T + 40, "finish": T + 60, "to_extension": "151", "from_number": CLIENT}

    call = told([basic_row(**dialled), basic_row(**given)]).call

    assert call is not None
    assert (call.direction, call.client_number) == ("outbound", NUMBER)
    assert (call.answered_first, call.answered_by, call.talk_seconds) == ("150", "151", 55)


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
