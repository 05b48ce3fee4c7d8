"""Whether a call was answered, how it went when it was not, and what is told where part of it was lost."""

from __future__ import annotations

from typing import Any

import pytest
from mango_expected import NUMBER, live
from mango_stories import (
    CLIENT,
    STORIES,
    T,
    Webhook,
    consultative_transfer,
    group_missed,
    leg,
    outbound_answered,
    phone,
    summary,
    told,
    without,
)

from bridge.mango.reader import Reading

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
