"""What Mango's own history and the flat dialect tell, alone and beside the webhooks."""

from __future__ import annotations

from typing import Any

import pytest
from mango_expected import EXPECTED, NUMBER, live, said
from mango_stories import (
    CLIENT,
    LINE,
    STORIES,
    T,
    Webhook,
    basic_row,
    flat,
    group_answered,
    inbound_answered,
    told,
    whole_row,
)

from bridge.db.calls import parties

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
