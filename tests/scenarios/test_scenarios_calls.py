"""What the bridge understands of a real Asterisk's event stream is what the people did, on both versions.

Each scenario is heard by two sessions at once: the user that administrators are told to make for the bridge, and one
that gets everything Asterisk has to say. Both must give the same call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bridge.calls.model import Rules
from bridge.replay import replay
from lab.asterisk import Asterisk, Tap
from lab.company import Company
from lab.truth import Truth

RULES = Rules(region="RU", extensions=r"^[12]\d\d$", trunks=("PJSIP/trunk",), click_to_call_contexts=("inoffice",))

Scenario = Callable[[Company], Awaitable[Truth]]

SCENARIOS: dict[str, Scenario] = {
    "answered, the client hangs up": lambda c: c.inbound_answered(ring=1.5, talk=2.5),
    "answered, the manager hangs up": lambda c: c.inbound_answered(by="151", talk=0.2, hangs_up="extension"),
    "answered, the client hides their number": lambda c: c.inbound_answered(None, talk=0.2),
    "nobody comes to the phone": lambda c: c.inbound_missed(),
    "the client gives up": lambda c: c.inbound_abandoned(ring=1.5),
    "the phone refuses": lambda c: c.inbound_busy(),
    "the bridge is not asked in vain: it does not answer": lambda c: c.inbound_routed(talk=0.2),
    "put on hold": lambda c: c.hold(talk=0.2, held=0.5),
    "sent on, answered": lambda c: c.blind_transfer(talk=0.2),
    "sent on to a phone that refuses": lambda c: c.blind_transfer(talk=0.2, outcome="busy"),
    "sent on to an empty desk": lambda c: c.blind_transfer(talk=0.2, outcome="missed"),
    "asked first, then sent on": lambda c: c.attended_transfer(talk=0.2),
    "asked first, then sent on, the manager hangs up": lambda c: c.attended_transfer(
        talk=0.2, to="151", hangs_up="extension"
    ),
    "parked and taken from there": lambda c: c.parked(talk=0.2),
    "a queue, answered": lambda c: c.queue_answered(talk=0.2),
    "a queue, the client gives up": lambda c: c.queue_abandoned(ring=1.2),
    "a group of phones": lambda c: c.ring_group(talk=0.2),
    "called from the office": lambda c: c.outbound(ring=1.5, talk=2.5),
    "called from the office, busy": lambda c: c.outbound_busy(),
    "called from the office, not at home": lambda c: c.outbound_no_answer(),
    "called from the office, given up": lambda c: c.outbound_cancelled(),
    "inside the office": lambda c: c.internal(talk=0.2),
}


async def captured(pbx: Asterisk, tap: Tap) -> list[dict[str, Any]]:
    """The calls of what was heard so far, once no channel is left."""
    await pbx.quiet()
    await tap.send({"Action": "Ping"})  # the stream is in order: its answer comes after what went before
    return list(replay(bytes(tap.captured), RULES))


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())
async def test_a_call_is_understood_as_it_was_made(company: Company, scenario: Scenario) -> None:
    pbx = company.pbx
    async with pbx.tap(pbx.bridge_user, pbx.bridge_secret) as bridge, pbx.tap() as everything:
        truth = await scenario(company)

        for tap in (bridge, everything):
            (call,) = await captured(pbx, tap)
            assert truth.differences(call) == []


async def test_a_click_rings_the_manager_first_and_is_one_call_out(company: Company) -> None:
    pbx = company.pbx

    async def click() -> None:
        await tap.send(
            {
                "Action": "Originate",
                "Channel": "PJSIP/150",
                "Context": "inoffice",
                "Exten": "79031112255",
                "Priority": "1",
                "CallerID": "79031112255",
                "ChannelId": f"click-{pbx.version}-1",
                "Async": "true",
            }
        )

    async with pbx.tap() as tap:
        truth = await company.clicked(click, "79031112255", talk=1.2)
        (call,) = await captured(pbx, tap)

    assert truth.differences(call) == []


async def test_a_waiting_client_who_is_redirected_reaches_that_phone(company: Company) -> None:
    client = "79163334455"

    async def redirect() -> None:
        ringing = await tap.event("Newchannel", CallerIDNum=client)
        await tap.send(
            {
                "Action": "Redirect",
                "Channel": ringing["Channel"],
                "Context": "inoffice",
                "Exten": "152",
                "Priority": "1",
            }
        )

    async with company.pbx.tap() as tap:
        truth = await company.redirected(redirect, client, talk=0.2)
        (call,) = await captured(company.pbx, tap)

    assert truth.differences(call) == []


async def test_two_calls_of_one_client_at_the_same_time_are_two(company: Company) -> None:
    client = "79162223344"
    async with company.pbx.tap() as tap:
        first = await company.inbound(client, by="150")
        second = await company.inbound(client, by="151")
        await first.talk(0.2)
        truths = [await first.end("client"), await second.end("extension")]
        calls = await captured(company.pbx, tap)

    assert len(calls) == 2
    assert [truth.differences(call) for truth, call in zip(truths, calls, strict=True)] == [[], []]


async def test_fifty_calls_at_once_are_kept_apart(company: Company) -> None:
    async with company.pbx.tap(company.pbx.bridge_user, company.pbx.bridge_secret) as tap:
        talking = await company.crowd(50)
        truths = {str(truth.client_number): truth for truth in [await one.end() for one in talking]}
        calls = await captured(company.pbx, tap)

    assert len(calls) == 50
    wrong = {call["client_number"]: truths[call["client_number"]].differences(call) for call in calls}
    assert {client: what for client, what in wrong.items() if what} == {}
