"""Rate and breaker as pure arithmetic: what is let through, when, and by how many."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import pacing
from bridge.pacing import Limits, Policy, Rate

RATE = Rate(per_second=10, burst=3)
POLICY = Policy(threshold=3, shortest=5, longest=60, probe=10)
NOW = 1_000_000.0


def opened(failures: int = 3) -> Limits:
    state = Limits()
    for _ in range(failures):
        state = pacing.failed(state, NOW, POLICY, 0.0)
    return state


def test_a_burst_goes_at_once_and_the_rest_in_step() -> None:
    _, waits = pacing.spend(Limits(), NOW, RATE, 5, POLICY)
    assert waits == pytest.approx([0, 0, 0, 0.1, 0.2])


def test_no_more_are_let_in_than_can_go_soon() -> None:
    assert pacing.room(Limits(), NOW, RATE, 100, patience=1.0) == (13, 0.0)


def test_when_the_rate_is_used_up_the_wait_is_named() -> None:
    spent, _ = pacing.spend(Limits(), NOW, RATE, 13, POLICY)
    allowed, ask_again = pacing.room(spent, NOW, RATE, 1, patience=1.0)
    assert allowed == 0
    assert ask_again == pytest.approx(0.1)
    assert pacing.room(spent, NOW + ask_again + 1e-6, RATE, 1, patience=1.0)[0] == 1


@given(
    steps=st.lists(st.tuples(st.floats(0, 2), st.integers(1, 20)), min_size=1, max_size=60),
    per_second=st.floats(1, 50),
    burst=st.integers(1, 10),
)
def test_no_second_ever_sees_more_than_rate_and_burst(
    steps: list[tuple[float, int]], per_second: float, burst: int
) -> None:
    rate = Rate(per_second=per_second, burst=burst)
    state, now, sent = Limits(), NOW, []
    for pause, wanted in steps:
        now += pause
        allowed, _ = pacing.room(state, now, rate, wanted, patience=1.0)
        assert allowed <= wanted
        if allowed:
            state, waits = pacing.spend(state, now, rate, allowed, POLICY)
            assert max(waits) <= 1.0 + 1e-6
            sent += [now + wait for wait in waits]
    sent.sort()
    for first, began in enumerate(sent):
        within = sum(1 for at in sent[first:] if at < began + 1.0 - 1e-6)
        assert within <= per_second + burst


def test_the_breaker_opens_at_the_threshold_and_not_before() -> None:
    assert pacing.room(opened(2), NOW, RATE, 5, 1.0)[0] > 0
    assert pacing.room(opened(3), NOW, RATE, 5, 1.0) == (0, 5.0)


def test_half_open_lets_exactly_one_probe_through() -> None:
    later = NOW + 5.1
    assert pacing.room(opened(), later, RATE, 5, 1.0)[0] == 1
    probing, _ = pacing.spend(opened(), later, RATE, 1, POLICY)
    assert pacing.room(probing, later, RATE, 5, 1.0) == (0, 10.0)


def test_a_probe_that_vanished_gives_its_place_up_in_time() -> None:
    probing, _ = pacing.spend(opened(), NOW + 5.1, RATE, 1, POLICY)
    assert pacing.room(probing, NOW + 15.2, RATE, 5, 1.0)[0] == 1


def test_a_failed_probe_opens_for_twice_as_long_up_to_the_longest() -> None:
    state, now, lengths = opened(), NOW, []
    for _ in range(6):
        assert state.open_until is not None
        lengths.append(state.open_until - now)
        now = state.open_until + 0.1
        state, _ = pacing.spend(state, now, RATE, 1, POLICY)
        state = pacing.failed(state, now, POLICY, 0.0)
    assert lengths == pytest.approx([5, 10, 20, 40, 60, 60])


def test_failures_of_what_was_under_way_do_not_lengthen_the_pause() -> None:
    state = opened()
    assert pacing.failed(state, NOW + 1, POLICY, 0.0) == state


def test_many_accounts_do_not_come_back_at_once() -> None:
    lengths = {pacing.failed(opened(2), NOW, POLICY, luck / 10).open_until for luck in range(10)}
    assert len(lengths) == 10
    assert all(NOW + 2.5 <= (until or 0) <= NOW + 5 for until in lengths)


def test_a_pause_the_crm_asks_for_is_kept_but_not_without_bound() -> None:
    asked = pacing.failed(Limits(), NOW, POLICY, 0.0, retry_after=7)
    assert pacing.room(asked, NOW + 5, RATE, 1, 1.0)[0] == 0
    assert pacing.room(asked, NOW + 7, RATE, 1, 1.0)[0] == 1
    absurd = pacing.failed(Limits(), NOW, POLICY, 0.0, retry_after=10**12)
    assert pacing.room(absurd, NOW + 3601, RATE, 1, 1.0)[0] == 1


@pytest.mark.parametrize(("attempt", "longest"), [(1, 1), (2, 2), (5, 16), (12, 2048), (13, 3600), (10_000, 3600)])
def test_back_off_doubles_from_a_second_to_an_hour_with_full_jitter(attempt: int, longest: float) -> None:
    assert pacing.backoff(attempt, 1.0) == longest
    assert pacing.backoff(attempt, 0.0) == 0


@given(failures=st.integers(0, 100_000), luck=st.floats(0, 0.999))
def test_a_crm_that_is_down_for_ever_overflows_nothing(failures: int, luck: float) -> None:
    state = pacing.failed(Limits(failures=failures), NOW, Policy(), luck)
    assert state.open_until is None or state.open_until <= NOW + Policy().longest
