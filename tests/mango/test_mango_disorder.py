"""Webhooks overtake each other, come twice, and some never come: one call, told once."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mango_stories import RULES, STORIES, T, Webhook, decoded, told, without

from bridge.calls.changes import changes_between
from bridge.calls.model import Call, Ended, Notice
from bridge.calls.notices import notices
from bridge.mango.decode import decode
from bridge.mango.events import MangoEvent
from bridge.mango.reader import Reading, read
from bridge.mango.telling import tell

LONG_AFTER = T + 100_000.0

# What the vendor's own scenarios and the common calls are told of, in the order in which it happens
NOTICES = {
    "inbound_answered": ["ringing 150", "hangup 150", "record"],
    "inbound_given_up": ["ringing 150", "hangup 150", "record"],
    "inbound_ended_in_the_menu": ["record"],
    "group_answered": ["ringing 150", "ringing 151", "ringing 152", "hangup 150 151 152", "record"],
    "group_missed": ["ringing 150", "ringing 151", "hangup 150 151", "record"],
    "outbound_answered": ["dialing 150", "hangup 150", "record"],
    "callback_answered": ["dialing 150", "hangup 150", "record"],
    "callback_refused": ["dialing 150", "hangup 150", "record"],
    "consultative_transfer": ["ringing 150", "ringing 151", "hangup 150 151", "record"],
    "blind_transfer": ["ringing 150", "ringing 151", "hangup 150 151", "record"],
    "blind_transfer_that_came_back": ["ringing 150", "ringing 151", "hangup 150 151", "record"],
    "internal_answered": [],
}


class Teller:
    """Reads after each webhook, as the service does, and tells what is new."""

    def __init__(self) -> None:
        self.told: Call | None = None
        self.owed: list[Notice] = []
        self.ends = 0
        self._stored: list[MangoEvent] = []

    def hear(self, events: Iterable[MangoEvent]) -> Teller:
        for event in events:
            self._stored.append(event)
            self._tell(read(self._stored, RULES))
        return self

    def wait(self) -> Teller:
        self._tell(read(self._stored, RULES, now=LONG_AFTER))
        return self

    def _tell(self, reading: Reading) -> None:
        if reading.call is None or reading.call == self.told:
            return
        changes = changes_between(self.told, reading.call, [], None)
        self.owed += notices(changes)
        self.ends += sum(isinstance(change, Ended) for change in changes)
        self.told = reading.call

    def counted(self) -> Counter[str]:
        return Counter(notice.kind for notice in self.owed)


def words(owed: Sequence[Notice]) -> list[str]:
    return [" ".join([notice.kind, *notice.extensions]) for notice in owed]


@pytest.mark.parametrize(("name", "expected"), NOTICES.items())
def test_crms_are_told_of_a_call_as_of_any_other(name: str, expected: list[str]) -> None:
    assert words(Teller().hear(decoded(STORIES[name]())).owed) == expected


# A history's rows and the flat dialect's words are copies too, when they come twice
SHUFFLED = st.sampled_from(sorted(STORIES)).flatmap(
    lambda name: st.tuples(
        st.just(name),
        st.permutations(list(range(len(STORIES[name]()))) * 2),
    )
)


@given(SHUFFLED)
@settings(max_examples=300, deadline=None)
def test_any_order_and_any_copies_give_one_and_the_same_reading(drawn: tuple[str, list[int]]) -> None:
    name, order = drawn
    webhooks = STORIES[name]()

    assert told([webhooks[index] for index in order]) == told(webhooks)


@given(SHUFFLED)
@settings(max_examples=300, deadline=None)
def test_told_one_by_one_in_any_order_it_is_the_same_call_and_ends_once(drawn: tuple[str, list[int]]) -> None:
    name, order = drawn
    webhooks = STORIES[name]()
    events = decoded(webhooks)

    teller = Teller().hear(events[index] for index in order)

    assert teller.told == told(webhooks).call
    assert teller.told is not None
    internal = teller.told.direction == "internal"
    assert teller.counted()["record"] == (0 if internal else 1)
    assert teller.ends == 1


@pytest.mark.parametrize("name", STORIES)
def test_every_single_webhook_may_come_last_or_first(name: str) -> None:
    webhooks = STORIES[name]()

    for index, moved in enumerate(webhooks):
        others = webhooks[:index] + webhooks[index + 1 :]
        assert told([moved, *others]) == told([*others, moved]) == told(webhooks)


@pytest.mark.parametrize("name", [each for each in STORIES if len(STORIES[each]()) <= 5])
def test_every_order_of_a_short_call(name: str) -> None:
    webhooks = STORIES[name]()
    events = decoded(webhooks)
    whole = told(webhooks).call

    for order in itertools.permutations(events):
        teller = Teller().hear(order)
        assert teller.told == whole
        assert teller.counted()["record"] <= 1


@given(SHUFFLED, st.data())
@settings(max_examples=300, deadline=None)
def test_when_webhooks_get_lost_there_is_still_one_call_with_one_record(
    drawn: tuple[str, list[int]], data: st.DataObject
) -> None:
    name, order = drawn
    webhooks = STORIES[name]()
    lost = data.draw(st.sets(st.integers(0, len(webhooks) - 1), max_size=2))
    kept = [index for index in order if index not in lost]
    summaries = [index for index, (path, _) in enumerate(webhooks) if path == "/events/summary"]
    events = decoded(webhooks)

    teller = Teller().hear(events[index] for index in kept).wait()

    assert teller.ends <= 1
    assert teller.counted()["record"] <= 1
    whole = told(webhooks).call
    assert whole is not None
    if teller.told is not None and any(index in kept for index in summaries):
        known = teller.told
        # whether our phone or the client's did not answer, only the legs can tell
        assert (known.status == "answered", known.direction) == (whole.status == "answered", whole.direction)
        assert (known.client_number, known.started_at, known.ended_at) == (
            whole.client_number, whole.started_at, whole.ended_at,
        )  # fmt: skip
        assert known.talk_seconds == whole.talk_seconds


def test_the_order_of_one_leg_is_its_own_count_and_not_the_clock() -> None:
    """Much happens within a second, and the vendor's own example tells of a later state with an earlier time."""
    webhooks = STORIES["consultative_transfer"]()
    frozen = [(path, document | {"timestamp": T}) for path, document in webhooks if path == "/events/call"]

    calls = []
    for seed in range(20):
        shuffled = frozen.copy()
        random.Random(seed).shuffle(shuffled)
        calls.append(told(shuffled, now=LONG_AFTER).call)

    assert all(call == calls[0] for call in calls)
    assert calls[0] is not None
    assert [(each.kind, each.from_, each.to) for each in calls[0].transfers] == [("attended", "150", "151")]
    assert (calls[0].answered_first, calls[0].answered_by) == ("150", "151")


def test_after_the_end_of_a_leg_nothing_happens_on_it() -> None:
    webhooks = without(STORIES["inbound_given_up"](), "/events/summary")
    (path, rung), (_, ended) = webhooks
    ghost: Webhook = (path, rung | {"call_state": "Connected", "seq": 3, "timestamp": T + 11})

    assert told([*webhooks, ghost], now=LONG_AFTER).call == told(webhooks, now=LONG_AFTER).call
    assert ended["seq"] == 2


def test_the_time_of_receipt_is_no_part_of_what_was_said() -> None:
    webhooks = STORIES["inbound_answered"]()
    now_and_later = [decode(path, document, at) for path, document in webhooks for at in (7.0, 8.0)]

    assert read(now_and_later, RULES) == told(webhooks)


# --- whatever it is that comes ----------------------------------------------------------------------------------------

LEGS = ("a", "b", "c")
PARTIES = st.fixed_dictionaries(
    {},
    optional={
        "extension": st.sampled_from(["150", "151", "152"]),
        "number": st.sampled_from(["79161234567", "79261112233", "sip:anna@june.mangosip.ru", "112", "anonymous"]),
        "taken_from_call_id": st.sampled_from(LEGS),
        "line_number": st.sampled_from(["74951000001", "sip:line@june.mangosip.ru"]),
        "acd_group": st.sampled_from(["700", ""]),
        "hold_initiator": st.booleans(),
        "was_transferred": st.booleans(),
    },
)
CODES = st.sampled_from([1000, 1100, 1110, 1111, 1120, 1121, 1170, 1182, 1183, 2219, 5003])
TIMES = st.integers(0, 30).map(lambda at: T + at)
CALL_EVENTS = st.fixed_dictionaries(
    {
        "entry_id": st.just("entry"),
        "call_id": st.sampled_from(LEGS),
        "call_state": st.sampled_from(["Appeared", "Connected", "OnHold", "Disconnected"]),
        "seq": st.integers(0, 5),
        "timestamp": TIMES,
        "location": st.sampled_from(["abonent", "ivr", "queue", ""]),
        "from": PARTIES,
        "to": PARTIES,
    },
    optional={
        "disconnect_reason": CODES,
        "transfer": st.sampled_from(["consultative", "blind", "return_blind"]),
        "command_id": st.just("cmd"),
        "callback_initiator": st.just("API"),
    },
).map(lambda document: ("/events/call", document))
SUMMARIES = st.fixed_dictionaries(
    {
        "entry_id": st.just("entry"),
        "call_direction": st.integers(0, 3),
        "from": PARTIES,
        "to": PARTIES,
        "create_time": TIMES,
        "talk_time": st.one_of(st.just(0), TIMES),
        "end_time": TIMES,
        "disconnect_reason": CODES,
    }
).map(lambda document: ("/events/summary", document))
ANYTHING = st.lists(st.one_of(CALL_EVENTS, CALL_EVENTS, CALL_EVENTS, SUMMARIES), min_size=1, max_size=10)


@given(ANYTHING, st.randoms(use_true_random=False))
@settings(max_examples=400, deadline=None)
def test_even_what_contradicts_itself_is_one_call_in_any_order(webhooks: list[Webhook], dice: random.Random) -> None:
    shuffled = webhooks * 2
    dice.shuffle(shuffled)

    reading = told(webhooks, now=LONG_AFTER)

    assert told(shuffled, now=LONG_AFTER) == reading
    if reading.call is None:
        return
    call = reading.call
    assert call.status == "active" or call.ended_by in ("client", "extension", "system", None)
    assert (call.answered_first is None) == (call.answered_by is None)
    assert {call.answered_by, call.answered_first} - {None} <= set(call.extensions)
    assert len(set(call.extensions)) == len(call.extensions)
    assert call.direction != "internal" or (call.client_number, call.line) == (None, None)
    assert call.status in ("answered", "active") or call.talk_seconds == 0
    assert all(seconds is None or seconds >= 0 for seconds in (call.wait_seconds, call.talk_seconds))
    assert call.status == "active" or not call.on_hold


@given(ANYTHING)
@settings(max_examples=300, deadline=None)
def test_whatever_comes_a_call_ends_once_and_has_one_record(webhooks: list[Webhook]) -> None:
    teller = Teller().hear(decoded(webhooks)).wait()

    assert teller.ends <= 1
    assert teller.counted()["record"] <= 1
    assert (teller.ends == 0) == (teller.told is None or teller.told.status == "active")


# --- what telling adds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STORIES)
def test_a_call_that_is_over_when_it_is_first_heard_of_makes_no_phone_ring(name: str) -> None:
    call = told(STORIES[name]()).call
    assert call is not None

    changes, owed = tell(None, call, at=1.0)

    assert isinstance(changes[-1], Ended)
    assert words(owed) == ([] if call.direction == "internal" else ["record"])


def test_a_live_call_is_told_as_any_other() -> None:
    webhooks = STORIES["inbound_answered"]()
    told_before: Call | None = None
    owed: list[Notice] = []
    for count in range(1, len(webhooks) + 1):
        call = told(webhooks[:count]).call
        assert call is not None
        changes, more = tell(told_before, call, at=None)
        assert changes == changes_between(told_before, call, [], None)
        owed += more
        told_before = call

    assert words(owed) == NOTICES["inbound_answered"]
    assert told_before is not None
    assert tell(told_before, told_before, at=None) == ([], [])


def test_a_call_taken_for_an_internal_one_gets_its_record_when_the_summary_comes() -> None:
    """All that came of it was a colleague's phone ringing, and silence."""
    story = STORIES["blind_transfer"]()
    of_the_second_leg = [each for each in story if each[1].get("call_id") == "b"][:1]
    ended = (of_the_second_leg[0][0], of_the_second_leg[0][1] | {"call_state": "Disconnected", "seq": 9})

    mistaken = told([*of_the_second_leg, ended], now=LONG_AFTER).call
    whole = told([*of_the_second_leg, ended, story[-1]]).call

    assert mistaken is not None
    assert whole is not None
    assert (mistaken.direction, whole.direction) == ("internal", "inbound")
    assert words(tell(None, mistaken, at=None)[1]) == []
    assert words(tell(mistaken, whole, at=None)[1]) == ["record"]
    assert words(tell(whole, whole, at=None)[1]) == []
