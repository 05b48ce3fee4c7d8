"""A record that says anything else than what the people did is caught, field by field."""

from __future__ import annotations

from typing import Any

import pytest

from lab.truth import Truth

TRUTH = Truth(
    scenario="blind_transfer",
    direction="inbound",
    client_number="+79161234567",
    status="answered",
    extensions=("150", "152"),
    line="74951000001",
    answered_by="152",
    answered_first="150",
    ended_by="client",
    transfers=(("blind", "150", "152"),),
    recorded=True,
    wait_seconds=2.4,
    talk_seconds=5.2,
)

RECORD: dict[str, Any] = {
    "direction": "inbound",
    "client_number": "+79161234567",
    "status": "answered",
    "extensions": ["152", "150"],
    "line": "74951000001",
    "answered_by": "152",
    "answered_first": "150",
    "ended_by": "client",
    "transfers": [{"kind": "blind", "from": "150", "to": "152"}],
    "holds": 0,
    "queue": None,
    "recording": "a.wav",
    "wait_seconds": 2,
    "talk_seconds": 5,
}


def test_an_honest_record_has_no_differences() -> None:
    assert TRUTH.differences(RECORD) == []


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("direction", "outbound"),
        ("client_number", None),
        ("status", "missed"),
        ("extensions", ["150"]),
        ("line", "74951000002"),
        ("answered_by", "150"),
        ("answered_first", None),
        ("ended_by", "system"),
        ("transfers", []),
        ("holds", 1),
        ("queue", "sales"),
        ("wait_seconds", 4),
        ("wait_seconds", None),
        ("talk_seconds", 7),
        ("talk_seconds", None),
    ],
)
def test_a_wrong_field_is_named(field: str, said: Any) -> None:
    (difference,) = TRUTH.differences({**RECORD, field: said})

    assert difference.startswith(f"{field}: {said!r}, in truth ")


def test_a_recording_that_is_missing_is_named() -> None:
    assert TRUTH.differences({**RECORD, "recording": None}) == ["recorded: False, in truth True"]


def test_what_was_only_tried_may_be_listed_or_not() -> None:
    truth = Truth(
        scenario="busy", direction="inbound", client_number=None, status="busy", extensions=(), tried=("150",)
    )
    record = {"direction": "inbound", "client_number": None, "status": "busy", "holds": 0}

    assert truth.differences({**record, "extensions": ["150"]}) == truth.differences({**record, "extensions": []}) == []
