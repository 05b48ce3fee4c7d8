"""What CRMs are owed: pop-ups while it rings, their end, and the finished call. Nothing of internal calls."""

from __future__ import annotations

from bridge.calls.model import Absorbed, Call, Change, Direction, Ended, Notice, Refined, Ringing, Started
from bridge.calls.notices import notices


def call(direction: Direction, *extensions: str) -> Call:
    return Call(call_id="1.1", direction=direction, extensions=list(extensions))


def test_each_phone_that_begins_to_ring_is_announced_once() -> None:
    changes: list[Change] = [
        Started(call=call("inbound")),
        Ringing(call=call("inbound", "150"), extensions=("150",)),
        Ringing(call=call("inbound", "150", "151", "152"), extensions=("151", "152")),
        Ended(call=call("inbound", "150", "151", "152")),
    ]

    assert notices(changes) == [
        Notice(kind="ringing", extensions=("150",), sequence=1),
        Notice(kind="ringing", extensions=("151", "152"), sequence=2),
        Notice(kind="hangup", extensions=("150", "151", "152")),
        Notice(kind="record"),
    ]


def test_an_outbound_call_is_announced_at_the_phone_that_dials_and_rings_at_others() -> None:
    changes: list[Change] = [
        Ringing(call=call("outbound", "150"), extensions=("150",)),
        Ringing(call=call("outbound", "150", "152"), extensions=("152",)),
    ]

    assert notices(changes) == [
        Notice(kind="dialing", extensions=("150",)),
        Notice(kind="ringing", extensions=("152",), sequence=2),
    ]


def test_a_call_that_rang_nowhere_owes_its_record_only() -> None:
    assert notices([Ended(call=call("inbound"))]) == [Notice(kind="record")]


def test_an_internal_call_owes_nothing() -> None:
    internal = call("internal", "150")

    assert notices([Started(call=internal), Ringing(call=internal, extensions=("150",)), Ended(call=internal)]) == []


def test_what_comes_after_the_end_owes_nothing_more() -> None:
    assert notices([Refined(call=call("inbound", "150"))]) == []


def test_an_absorbed_call_closes_its_pop_ups_and_has_no_history() -> None:
    assert notices([Absorbed(call=call("outbound", "150"), into="2.2")]) == [Notice(kind="hangup", extensions=("150",))]
