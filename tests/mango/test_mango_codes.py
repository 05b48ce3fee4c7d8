"""What Mango's codes say of a call nobody answered, class by class."""

from __future__ import annotations

import pytest

from bridge.calls.model import Direction, EndedBy, Result
from bridge.mango.codes import Meaning, ended_by, meaning, of_word, only_a_leg, outcome

INBOUND_AND_OUTBOUND = [
    (1110, "missed", "cancelled"),
    (1111, "missed", "no_answer"),
    (1163, "missed", "no_answer"),
    (1121, "busy", "busy"),
    (1122, "busy", "busy"),
    (1123, "busy", "busy"),
    (1124, "busy", "busy"),
    (1131, "missed", "failed"),
    (1132, "missed", "failed"),
    (1133, "missed", "failed"),
    (3200, "missed", "failed"),
    (4200, "missed", "failed"),
    (1140, "failed", "failed"),
    (1150, "failed", "failed"),
    (1151, "failed", "failed"),
    (4502, "failed", "failed"),
    (1160, "missed", "no_answer"),
    (1162, "missed", "no_answer"),
    (1164, "missed", "no_answer"),
    (1170, "missed", "no_answer"),
    (1171, "missed", "no_answer"),
    (1181, "missed", "cancelled"),
    (1190, "missed", "no_answer"),
    (1192, "missed", "no_answer"),
    (1193, "busy", "busy"),
    (1310, "missed", "no_answer"),
    (1314, "missed", "no_answer"),
    (2240, "failed", "failed"),
    (4500, "failed", "failed"),
    (5003, "failed", "failed"),
    (1100, "missed", "no_answer"),
    (1120, "missed", "no_answer"),
    (None, "missed", "no_answer"),
]


@pytest.mark.parametrize(("code", "inbound", "outbound"), INBOUND_AND_OUTBOUND)
def test_the_status_of_a_call_nobody_answered(code: int | None, inbound: Result, outbound: Result) -> None:
    assert outcome(code, "inbound") == inbound
    assert outcome(code, "outbound") == outbound
    assert outcome(code, "internal") == outbound


@pytest.mark.parametrize(
    ("unknown", "known"),
    [(2219, 2210), (2219, 2000), (1090, 1000), (1129, 1120), (1139, 1130), (1169, 1160), (1189, 1180), (1199, 1190),
     (4299, 4200), (4599, 4500), (5999, 5000), (1399, 1300), (3210, 3200)],
)  # fmt: skip
def test_an_unknown_code_means_what_its_class_does(unknown: int, known: int) -> None:
    assert meaning(unknown) == meaning(known) != "unknown"


@pytest.mark.parametrize("code", [None, 0, -5, 7, 3104, 4101, 9999, 10**9])
def test_a_code_of_no_class_says_nothing(code: int | None) -> None:
    assert meaning(code) == "unknown"


@pytest.mark.parametrize(
    ("code", "leg_only"),
    [(1182, True), (1183, True), (1000, True), (1100, True), (1090, True), (1110, False), (1181, False), (None, False)],
)
def test_codes_that_end_a_leg_and_not_the_call(code: int | None, leg_only: bool) -> None:
    assert only_a_leg(code) is leg_only


@pytest.mark.parametrize(
    ("code", "who"),
    [(1110, "client"), (1119, "client"), (1120, "extension"), (1111, "system"), (1181, "system"), (1170, "system"),
     (2240, "system"), (1100, None), (1000, None), (1182, None), (None, None), (9999, None)],
)  # fmt: skip
def test_who_ended_it(code: int | None, who: EndedBy | None) -> None:
    # 1119 is not known: it is of the callers' subclass
    assert ended_by(code, "client", "extension") == who


@pytest.mark.parametrize(
    ("word", "said"),
    [("busy", "busy"), ("NO_ANSWER", "timeout"), ("no answer", "timeout"), ("cancel", "caller"), ("1121", "busy"),
     ("rejected", "refused"), ("failed", "technical"), ("something", "unknown"), ("", "unknown"), (None, "unknown"),
     ("１１２１", "unknown")],
)  # fmt: skip
def test_the_words_of_the_flat_dialect(word: str | None, said: Meaning) -> None:
    assert meaning(of_word(word)) == said


@pytest.mark.parametrize("direction", ["inbound", "outbound", "internal"])
def test_no_code_makes_an_answered_call(direction: Direction) -> None:
    assert {outcome(code, direction) for code in range(1000, 6000)} <= {
        "missed", "busy", "no_answer", "cancelled", "failed",
    }  # fmt: skip
