"""A PBX that still runs the hook scripts: what they post becomes one call in the CRM."""

from __future__ import annotations

import statistics
import time
from typing import Any

import httpx
from e2e_verbs import calls_of, ended, get, nothing_owed, row, told, visitor

from lab.stage import SECRET, Stage

Post = tuple[str, dict[str, Any]]


def answered(client: str, unique_id: str) -> list[Post]:
    """150 and 151 ring, 151 picks up after seven seconds and talks for sixteen."""
    common = {"UniqueId": unique_id, "Phone": client, "CallType": 0, "Trunk": "74951000001"}
    leg = {"BridgeUniqueid": f"b-{unique_id}"}
    return [
        ("start", common),
        ("dial", {**common, "Extensions": ["150", "151"], "ExtTrunk": "", "ExtPhone": client}),
        ("bridge_create", {"UniqueId": "", **leg, "BridgeNumChannels": "0"}),
        ("bridge", {**leg, "UniqueId": f"{unique_id}9", "Channel": "SIP/151-00000002", "CallerIDNum": "151"}),
        ("bridge", {**leg, "UniqueId": unique_id, "Channel": "PJSIP/trunk-00000001", "CallerIDNum": client}),
        ("bridge_leave", {**leg, "UniqueId": unique_id, "Channel": "PJSIP/trunk-00000001", "BridgeNumChannels": "1"}),
        ("bridge_destroy", {"UniqueId": "", **leg, "BridgeNumChannels": "0"}),
        (
            "hangup",
            {
                **common,
                "Extensions": ["151"],
                "CallStatus": "2",
                "DateReceived": "2026-11-21 02:07:27",
                "StartTime": "2026-11-21 02:07:29",
                "EndTime": "2026-11-21 02:07:52",
            },
        ),
    ]


async def post(at: Stage, posts: list[Post], token: str = SECRET) -> list[tuple[httpx.Response, float]]:
    """The answers, and how long each took."""
    answers = []
    async with visitor(at.service) as client:
        for kind, body in posts:
            began = time.perf_counter()
            answer = await client.post(f"/{kind}", json={**body, "Token": token})
            answers.append((answer, time.perf_counter() - began))
    return answers


async def test_posts_of_a_legacy_pbx_become_one_call_in_the_crm(at: Stage) -> None:
    answers = await post(at, answered("79166000001", "1795224447.1"))

    assert {(answer.status_code, answer.text) for answer, _ in answers} == {(200, '"OK"')}
    call = await told(at, "79166000001")
    assert (call.type, call.result, call.code) == ("in", "answered", "151")
    assert call.external_id == "scripts:1795224447.1"
    listed = await ended(at.service, "79166000001")
    assert (listed["pbx_name"], listed["result"], listed["extensions"]) == ("scripts", "answered", ["150", "151"])
    # both phones were told of the caller, and their pop-ups were closed
    await nothing_owed(at.service)
    events = at.account.events_of("scripts:1795224447.1")
    assert [(event.type, sorted(event.codes)) for event in events] == [
        ("in", ["150", "151"]),
        ("hangup", ["150", "151"]),
    ]


async def test_posts_that_come_twice_are_told_once(at: Stage) -> None:
    posts = answered("79166000002", "1795224448.1")

    await post(at, [each for each in posts for _ in range(2)])
    await post(at, posts)

    await told(at, "79166000002")
    await nothing_owed(at.service)
    assert len(calls_of(at.account, "79166000002")) == 1


async def test_a_stranger_is_refused(at: Stage) -> None:
    answers = await post(at, answered("79166000003", "1795224449.1"), token="0367")

    assert {answer.status_code for answer, _ in answers} == {401}
    assert await row(at.service, "79166000003") is None


async def test_an_answer_means_that_it_is_written_and_comes_at_once(at: Stage) -> None:
    posts = [post for number in range(20) for post in answered(f"791660001{number:02}", f"17952245{number:02}.1")]

    answers = await post(at, posts)

    took = sorted(seconds for _, seconds in answers)
    assert statistics.median(took) < 0.05
    assert took[-1] < 1.0
    # what was answered survives a power cut
    await nothing_owed(at.service)
    await at.service.kill()
    await at.service.start()
    found = await get(at.service, "/api/v1/calls", search="7916600010", limit=100)
    assert len([call for call in found if call["result"] == "answered"]) == 10


async def test_a_call_of_the_scripts_outlives_a_restart_of_the_service(at: Stage) -> None:
    posts = answered("79166000004", "1795224450.1")
    await post(at, posts[:4])
    await nothing_owed(at.service)  # a delivery that is under way when the service dies is made again after 12 s

    await at.service.kill()
    await at.service.start()
    await post(at, posts[4:])

    assert (await told(at, "79166000004")).code == "151"
    listed = await ended(at.service, "79166000004")
    assert (listed["result"], listed["extensions"]) == ("answered", ["150", "151"])
