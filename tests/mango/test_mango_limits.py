"""How fast a product is asked, and the two-minute penalty: the arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.mango.limits import RATES, Kind, Pace, Refused, exceeded, refused, take, worked

NOW = 1_000_000.0
ALLOWED: dict[Kind, tuple[int, float]] = {
    "callback": (4, 1.0),
    "hangup": (4, 1.0),
    "route": (1, 2.0),
    "transfer": (1, 2.0),
    "recording": (10, 1.0),
    "users": (1, 2.0),
    "balance": (2, 1.0),
    "statistics": (1, 2.0),
    "result": (10, 1.0),
}
"""So many in so many seconds (VPBX API, 1.4.2)."""


def sent(pace: Pace, kind: Kind, gaps: list[float], patience: float = 60.0) -> list[float]:
    """When requests go out that are asked for with these gaps."""
    now, times = NOW, []
    for gap in gaps:
        now += gap
        found = take(pace, now, kind, patience)
        if not isinstance(found, Refused):
            pace, wait = found
            times.append(now + wait)
    return times


@given(kind=st.sampled_from(sorted(ALLOWED)), gaps=st.lists(st.floats(0, 3), max_size=60))
def test_no_window_of_time_has_more_than_is_allowed(kind: Kind, gaps: list[float]) -> None:
    count, seconds = ALLOWED[kind]
    times = sent(Pace(), kind, gaps)
    for first, last in zip(times, times[count:], strict=False):
        assert last - first >= seconds


@given(kinds=st.lists(st.sampled_from(["recording", "result"]), min_size=11, max_size=60))
def test_two_kinds_together_keep_to_the_rate_of_the_product(kinds: list[Kind]) -> None:
    pace, times = Pace(), []
    for kind in kinds:
        found = take(pace, NOW, kind, 1e9)
        assert not isinstance(found, Refused)
        pace, wait = found
        times.append(NOW + wait)
    for first, last in zip(times, times[10:], strict=False):
        assert last - first >= 1.0


def test_who_cannot_wait_is_told_when_there_will_be_a_place() -> None:
    found = take(Pace(), NOW, "route", 0.0)
    assert not isinstance(found, Refused)
    second = take(found[0], NOW, "route", 0.5)
    assert isinstance(second, Refused)
    assert not second.penalty
    assert second.seconds == pytest.approx(2.2)


def test_the_first_refusal_closes_the_product_for_two_minutes() -> None:
    pace = refused(Pace(), NOW)
    for kind in RATES:
        found = take(pace, NOW + 120, kind, 60.0)
        assert isinstance(found, Refused)
        assert found.penalty
        assert found.seconds == pytest.approx(5)
    assert not isinstance(take(pace, NOW + 126, "balance", 0.0), Refused)


def test_after_the_penalty_one_request_goes_alone() -> None:
    pace = refused(Pace(), NOW)
    found = take(pace, NOW + 126, "balance", 0.0)
    assert not isinstance(found, Refused)
    alone, _ = found
    assert isinstance(take(alone, NOW + 127, "hangup", 0.0), Refused)
    # and opens it for all if it was right
    assert not isinstance(take(worked(alone, NOW + 127, "balance"), NOW + 127, "hangup", 0.0), Refused)


def test_what_is_refused_again_and_again_is_asked_ever_more_seldom() -> None:
    pace, now, pauses = Pace(), NOW, []
    for _ in range(8):
        pace = refused(pace, now)
        found = take(pace, now, "balance", 0.0)
        assert isinstance(found, Refused)
        pauses.append(found.seconds)
        now += found.seconds + 1
    assert pauses == [125, 250, 500, 1000, 2000, 3600, 3600, 3600]


def test_a_success_of_before_the_refusal_does_not_open_what_was_closed() -> None:
    pace = worked(refused(Pace(), NOW), NOW + 1, "callback")
    assert isinstance(take(pace, NOW + 2, "callback", 0.0), Refused)


def test_an_excess_slows_its_own_kind_each_time_longer_until_it_works_again() -> None:
    pace, pauses = Pace(), []
    for _ in range(3):
        pace = exceeded(pace, NOW, "callback")
        found = take(pace, NOW, "callback", 0.0)
        assert isinstance(found, Refused)
        assert not found.penalty
        pauses.append(found.seconds)
    assert pauses == pytest.approx([2, 4, 8])
    assert not isinstance(take(pace, NOW, "hangup", 0.0), Refused)

    calm = worked(pace, NOW + 8, "callback")
    found = take(exceeded(calm, NOW + 9, "callback"), NOW + 9, "callback", 0.0)
    assert isinstance(found, Refused)
    assert found.seconds == pytest.approx(2)
