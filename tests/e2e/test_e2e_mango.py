"""Every kind of call in the cloud: Mango's webhooks in, a row in the API and a call in the CRM out."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import Any

import pytest
from cloud_verbs import record, wrong_in_crm
from e2e_verbs import calls_of, eventually, nothing_owed

from lab.cloud import GROUP, Cloud
from lab.mango import Knobs, Played, Product, scenarios

pytestmark = pytest.mark.xdist_group("e2e_mango")

UNTIDY = Knobs(shuffle="across", doubled=0.5, as_text=0.5, spaced=0.5, escaped=0.5, cyrillic=True, parallel=4)


CALLS: dict[str, Callable[[Product, str, float], Played]] = {
    "answered": lambda p, who, at: scenarios.inbound_answered(p, who, at=at, by="170", hangs_up="extension"),
    "through the menu": lambda p, who, at: scenarios.inbound_answered(p, who, at=at, by="0511", menu=6),
    "recorded": lambda p, who, at: scenarios.inbound_answered(p, who, at=at, by="170", recipient="CloudAndMail"),
    "too short to be kept": lambda p, who, at: scenarios.inbound_answered(p, who, at=at, by="170", short=True, talk=2),
    "missed": lambda p, who, at: scenarios.inbound_missed(p, who, at=at, by="171"),
    "nobody came": lambda p, who, at: scenarios.inbound_missed(p, who, at=at, by="171", gives_up=False),
    "busy": lambda p, who, at: scenarios.inbound_busy(p, who, at=at, by="170"),
    "group answered": lambda p, who, at: scenarios.group_answered(p, who, at=at, group=GROUP, by="172"),
    "group missed": lambda p, who, at: scenarios.group_missed(p, who, at=at, group=GROUP),
    "queue timed out": lambda p, who, at: scenarios.group_missed(p, who, at=at, group=GROUP, gives_up=False),
    "left the menu": lambda p, who, at: scenarios.menu_abandoned(p, who, at=at),
    "off hours": lambda p, who, at: scenarios.off_hours(p, who, at=at, by="170"),
    "anonymous": lambda p, who, at: scenarios.anonymous(p, at=at, by="170"),
    "a line that is no number": lambda p, who, at: scenarios.sip_line(p, who, at=at, by="170"),
    "held": lambda p, who, at: scenarios.hold(p, who, at=at, by="170"),
    "passed on": lambda p, who, at: scenarios.blind_transfer(p, who, at=at, by="170", to="171"),
    "passed on in vain": lambda p, who, at: scenarios.blind_transfer(
        p, who, at=at, by="170", to="171", outcome="missed"
    ),
    "passed on and back": lambda p, who, at: scenarios.blind_transfer(
        p, who, at=at, by="170", to="171", outcome="returned"
    ),
    "asked first, then passed on": lambda p, who, at: scenarios.consultative_transfer(
        p, who, at=at, by="170", to="172", recipient="Cloud"
    ),
    "called out": lambda p, who, at: scenarios.outbound(p, who, at=at, by="171"),
    "called out, busy": lambda p, who, at: scenarios.outbound(p, who, at=at, by="171", outcome="busy"),
    "called out, no answer": lambda p, who, at: scenarios.outbound(p, who, at=at, by="171", outcome="no_answer"),
    "called out, gave up": lambda p, who, at: scenarios.outbound(p, who, at=at, by="171", outcome="cancelled"),
    "called back": lambda p, who, at: scenarios.callback(p, who, at=at, by="172", initiator="MissGroupCallCallback"),
    "called back, refused": lambda p, who, at: scenarios.callback(p, who, at=at, by="172", outcome="rejected"),
    "called back, nobody there": lambda p, who, at: scenarios.callback(p, who, at=at, by="172", outcome="unanswered"),
    "inside": lambda p, who, at: scenarios.internal(p, at=at, by="170", to="171"),
}


@pytest.mark.parametrize("knobs", [Knobs(), UNTIDY], ids=["tidy", "untidy"])
@pytest.mark.parametrize("kind", CALLS)
async def test_each_call_is_told_once_and_right(cloud_at: Cloud, kind: str, knobs: Knobs) -> None:
    at = cloud_at
    client = f"7916{list(CALLS).index(kind):03}{int(knobs is UNTIDY)}000"
    played = CALLS[kind](at.product, client, time.time() - 300)

    await at.mango.storm(at.product, played.webhooks, knobs)

    await right_in_the_end(lambda: wrong_in_the_api(at, played))
    await right_in_the_end(lambda: wrong_in_crm(played.truth, calls_of(at.account, client)))
    await nothing_owed(at.service)
    assert not wrong_in_crm(played.truth, calls_of(at.account, client)), "told again"
    assert all(sent.status == 200 for sent in at.mango.delivery(at.product).sent)


async def wrong_in_the_api(at: Cloud, played: Played) -> list[str]:
    kept = await record(at.service, played.entry_id)
    if kept is None:
        return ["not over"]
    return played.truth.differences(kept) + ([] if kept["pbx_name"] == "mango" else [kept["pbx_name"]])


async def right_in_the_end(look: Callable[[], Any], seconds: float = 10.0) -> None:
    """Webhooks are worked after they were answered, and a later one makes a call better. Fails with what is wrong."""
    wrong: Any = None

    async def right() -> bool:
        nonlocal wrong
        wrong = look()
        if inspect.isawaitable(wrong):
            wrong = await wrong
        return not wrong

    try:
        await eventually(right, seconds)
    except TimeoutError:
        pytest.fail(f"after {seconds:g} s: {wrong}")
