"""The order of Asterisk's events is no contract: a phone that never answered may be gone before its Originate is."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.ami.framing import Framer
from bridge.ami.translate import translate
from bridge.calls.events import Hangup, OriginateResponse
from bridge.calls.machine import Exchange
from bridge.calls.model import Ended, Rules

CAPTURE = Path(__file__).parents[1] / "captures" / "d3_click2call_ext_noanswer.v22.ami.txt"
RULES = Rules(extensions=r"^1\d\d$", trunks=("PJSIP/trunk",), click_to_call_contexts=("inoffice",))


@pytest.mark.parametrize("end_first", [False, True])
def test_a_click_nobody_answered_is_one_cancelled_call_in_either_order(end_first: bool) -> None:
    events = [event for frame in Framer().feed(CAPTURE.read_bytes()) if (event := translate(frame)) is not None]
    answer = next(event for event in events if isinstance(event, OriginateResponse))
    if end_first:
        events.remove(answer)
        events.insert(next(at for at, event in enumerate(events) if isinstance(event, Hangup)) + 1, answer)
    exchange = Exchange(RULES, "office")
    calls = [change.call for event in events for change in exchange.feed(event) if isinstance(change, Ended)]

    (call,) = calls
    assert (call.call_id, call.status, call.client_number) == ("lab-c2c-3", "cancelled", "+79031112233")
