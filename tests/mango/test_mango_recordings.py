"""Which recordings of a call can be fetched, which are to come, and which never will be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mango_stories import (
    ENTRY,
    T,
    Webhook,
    basic_row,
    decoded,
    flat,
    inbound_answered,
    inbound_given_up,
    told,
    whole_row,
)

from bridge.mango.recordings import CallRecording, recordings_of

ID = "MToxMDA+/w=="


def recording(state: str, seq: int, recording_id: str = ID, **more: Any) -> Webhook:
    document = {
        "recording_id": recording_id,
        "recording_state": state,
        "seq": seq,
        "entry_id": ENTRY,
        "call_id": "a",
        "extension": "150",
        "timestamp": T + seq,
    }
    return "/events/recording", document | more


def completed(code: object, recipient: str | None, seq: int = 2) -> Webhook:
    return recording("Completed", seq, completion_code=code, recipient=recipient)


def added(recording_id: str = ID, user_id: int = 300043164, at: int = 40) -> Webhook:
    document = {"entry_id": ENTRY, "product_id": 1, "user_id": user_id, "recording_id": recording_id}
    return "/events/record/added", document | {"timestamp": T + at}


def known(*webhooks: Webhook) -> list[tuple[str, str, str | None]]:
    return [(each.recording_id, each.state, each.reason) for each in recordings_of(decoded(webhooks))]


def test_a_recording_is_made_then_to_come_then_there() -> None:
    webhooks = [recording("Started", 1), completed(1000, "Cloud"), added()]

    assert known(*webhooks[:1]) == [(ID, "running", None)]
    assert known(*webhooks[:2]) == [(ID, "expected", None)]
    assert known(*webhooks) == [(ID, "ready", None)]


@pytest.mark.parametrize(
    ("code", "recipient", "state", "reason"),
    [
        (1000, "Cloud", "expected", None),
        ("1000", "CloudAndMail", "expected", None),
        (1000, "cloudandmail", "expected", None),
        (1000, None, "expected", None),
        (None, None, "expected", None),
        (1000, "Mail", "absent", "mailed"),
        (4002, None, "absent", "too_short"),
        ("4002", "Cloud", "absent", "too_short"),
        (2219, None, "absent", "refused"),
        (5003, None, "absent", "failed"),
    ],
)
def test_what_completion_promises(code: object, recipient: str | None, state: str, reason: str | None) -> None:
    assert known(recording("Started", 1), completed(code, recipient)) == [(ID, state, reason)]


def test_it_is_there_when_mango_says_so_before_the_call_is_over_or_without_ever_starting_it() -> None:
    assert known(added(user_id=-1)) == [(ID, "ready", None)]
    assert recordings_of(decoded([added(user_id=-1)]))[0].user_id is None
    assert recordings_of(decoded([added(user_id=7), added(user_id=-1, at=41)]))[0].user_id == 7


def test_what_was_added_is_there_whatever_was_said_of_its_completion() -> None:
    assert known(completed(4002, None), added()) == [(ID, "ready", None)]


def test_a_recording_that_was_recognised_is_there() -> None:
    tagged = ("/events/record/tagged", added()[1])

    assert known(recording("Started", 1), tagged) == [(ID, "ready", None)]


def test_the_history_lists_what_webhooks_did_not_tell_of() -> None:
    assert known(recording("Started", 1), completed(1000, "Cloud"), whole_row()) == [(ID, "ready", None)]
    assert known(basic_row(records="[a==,b==]")) == [("a==", "ready", None), ("b==", "ready", None)]


def test_each_employee_has_a_recording_of_a_call_that_was_handed_over() -> None:
    webhooks = [
        recording("Started", 1, "first"),
        recording("Started", 5, "second", extension="151", call_id="b"),
        recording("Continued", 7, "first", call_id="b"),
    ]

    found = recordings_of(decoded(webhooks))

    assert [(each.recording_id, each.extension, each.call_id) for each in found] == [
        ("first", "150", "a"),
        ("second", "151", "b"),
    ]


def test_a_recording_in_the_flat_dialect_is_where_its_link_says() -> None:
    url = "https://files.example/1.mp3"

    found = recordings_of(decoded([flat("end", 126, duration=120, record_url=url)]))

    assert found == (CallRecording(recording_id="flat-1", state="ready", call_id="flat-1", at=float(T + 126), url=url),)


def test_a_call_names_its_recording_when_somebody_talked_and_it_is_there() -> None:
    talked = told([*inbound_answered(), recording("Started", 1), completed(1000, "Cloud")])
    there = told([*inbound_answered(), added()])
    unanswered = told([*inbound_given_up(), added()])

    assert talked.call is not None
    assert there.call is not None
    assert unanswered.call is not None
    assert (talked.call.recording, there.call.recording, unanswered.call.recording) == (None, ID, None)
    assert [each.state for each in unanswered.recordings] == ["ready"]


WEBHOOKS = [
    recording("Started", 1),
    recording("Continued", 2, call_id="b"),
    completed(1000, "Mail", seq=3),
    completed(1000, "Cloud", seq=4),
    added("other"),
    added("other", user_id=-1, at=44),
    flat("end", 126, record_url="https://files.example/1.mp3"),
    flat("end", 127, record_url="https://files.example/1.mp3"),
    whole_row(),
]


@given(st.permutations(WEBHOOKS * 2))
def test_any_order_and_any_copies_give_the_same_recordings(webhooks: list[Webhook]) -> None:
    assert recordings_of(decoded(webhooks)) == recordings_of(decoded(WEBHOOKS))
