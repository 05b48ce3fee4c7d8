"""A CRM's record cannot be taken back: it waits until the legs tell all that the summary sums up, or for a while."""

from __future__ import annotations

import random

import pytest
from mango_stories import RULES, STORIES, T, Webhook, decoded

from bridge.calls.model import Call, Notice
from bridge.mango.reader import QUIET, Reading, read
from bridge.mango.telling import recorded, tell

WHAT_A_CRM_KEEPS = ("direction", "client_number", "status", "answered_by", "talk_seconds")


class Service:
    """Hears one webhook after another, and tells what it owes for each."""

    def __init__(self) -> None:
        self.heard: list[Webhook] = []
        self.told: Call | None = None
        self.due: float | None = None
        self.owed: list[Notice] = []
        self.recorded: Call | None = None
        self.now = T

    def hears(self, *webhooks: Webhook) -> Reading:
        self.heard += webhooks
        return self._reads()

    def waits(self, seconds: float) -> Reading:
        self.now += seconds
        return self._reads()

    def _reads(self) -> Reading:
        reading = read(decoded(self.heard, received_at=T), RULES, now=self.now)
        if reading.call is not None:
            _, owed = tell(self.told, reading.call, None, final=reading.final, due=self.due)
            if any(notice.kind == "record" for notice in owed):
                assert self.recorded is None, "recorded twice"
                self.recorded = reading.call
            self.owed += owed
            self.due = None if recorded(self.told, self.due) else reading.due
            self.told = reading.call
        return reading


def kept(call: Call | None) -> dict[str, object]:
    return {name: getattr(call, name) for name in WHAT_A_CRM_KEEPS}


def test_a_summary_that_overtakes_a_transfer_credits_nobody_before_the_other_leg_is_heard_of() -> None:
    story = STORIES["blind_transfer"]()
    summary = story[-1]
    first = [each for each in story if each[1].get("call_id") == "a"]
    second = [each for each in story if each[1].get("call_id") == "b"]

    service = Service()
    early = service.hears(*first, summary)

    assert early.call is not None
    assert (early.call.status, early.settled, early.final) == ("answered", True, False)
    assert service.recorded is None
    whole = service.hears(*second)
    assert (whole.final, whole.due) == (True, None)
    assert service.recorded is not None
    assert service.recorded.answered_by == "151"


def test_what_never_comes_is_not_waited_for_for_ever() -> None:
    story = STORIES["inbound_answered"]()
    service = Service()
    service.hears(*[each for each in story if each[1].get("call_state") != "Disconnected"])
    assert service.recorded is None
    assert service.due == T + QUIET

    assert not service.waits(QUIET - 1).final
    assert service.recorded is None
    assert service.waits(1).final
    assert service.recorded is not None
    assert service.recorded.answered_by == "150"
    assert service.due is None


def test_a_missed_call_of_which_no_leg_was_told_is_believed_at_once() -> None:
    service = Service()
    assert service.hears(STORIES["off_hours"]()[-1]).due is None
    assert service.recorded is not None
    assert service.recorded.status == "missed"


def test_the_summary_alone_of_an_answered_call_is_believed_after_a_while() -> None:
    service = Service()
    assert service.hears(STORIES["inbound_answered"]()[-1]).due == T + QUIET
    service.waits(QUIET)
    assert service.recorded is not None
    assert service.recorded.status == "answered"


@pytest.mark.parametrize("name", [name for name in STORIES if not name.startswith("internal")])
def test_in_any_order_the_record_is_that_of_the_whole_call(name: str) -> None:
    story = STORIES[name]()
    whole = read(decoded(story), RULES).call
    dice = random.Random(name)
    for _ in range(40):
        service = Service()
        for webhook in dice.sample(story, len(story)):
            service.hears(webhook)
        service.waits(QUIET)
        assert kept(service.recorded) == kept(whole), [webhook[1] for webhook in service.heard]
        assert [notice.kind for notice in service.owed].count("record") == 1
