"""RetailCRM answers 503 to the 41st telephony request of a second, whoever of us sent the other forty."""

from __future__ import annotations

from bisect import bisect_left

from bridge.crm.retailcrm.integration import RetailcrmIntegration
from bridge.lookups import LookupLimits
from bridge.pacing import Limits, Policy, Rate, room, spend

ALLOWED = 40


def sent_by(rate: Rate, seconds: float) -> list[float]:
    """When requests go out if there are always more of them waiting."""
    state, sent = Limits(), []
    for millisecond in range(int(seconds * 1000)):
        now = 1000.0 + millisecond / 1000
        places, _ = room(state, now, rate, 1000, 0.0)
        if places:
            state, _ = spend(state, now, rate, places, Policy())
            sent += [now] * places
    return sent


def test_deliveries_and_questions_together_stay_within_what_the_crm_allows() -> None:
    sent = sorted(sent_by(RetailcrmIntegration.rate, 5.0) + sent_by(LookupLimits().rate, 5.0))

    busiest = max(bisect_left(sent, began + 1.0) - first for first, began in enumerate(sent))

    assert ALLOWED - 2 <= busiest <= ALLOWED, "no more than allowed, and little of it wasted"
