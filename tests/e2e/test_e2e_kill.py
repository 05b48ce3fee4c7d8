"""SIGKILL in the middle of fifty calls: every one of them reaches the CRM, once, as whole as it was seen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from e2e_verbs import calls_of, eventually, nothing_owed, record, whole

from lab.conversation import Conversation, Who
from lab.retailcrm.account import Faults
from lab.service import Service
from lab.stage import Stage
from lab.truth import TOLERANCE, Truth

CLOSED_WITHIN = 30.0


async def test_sigkill_in_the_middle_of_fifty_calls_loses_none_and_doubles_none(at: Stage) -> None:
    crowd = await at.company.crowd(50)
    await asyncio.sleep(2)  # they talk: how long is told to the CRM
    before, in_the_moment, unseen, outliving = crowd[:10], crowd[10:15], crowd[15:30], crowd[30:]
    # given calls that are over, of which the CRM could not be told yet: it takes what it is sent and never answers
    at.account.faults = Faults(mute=True)
    seen = await end(before)
    await eventually(lambda: all_are(at.service, seen, "answered"))
    assert at.account.calls == []

    # when the service is killed while some calls end, others end while it is down, and it is started again
    ending = asyncio.create_task(end(in_the_moment))
    await asyncio.sleep(0)
    await at.service.kill()
    either = await ending
    lost = await end(unseen)
    at.account.faults = Faults()
    await at.service.start()
    restarted = time.monotonic()
    await eventually(lambda: all_are(at.service, lost, "incomplete"), CLOSED_WITHIN)
    await eventually(lambda: all_are(at.service, either, "answered", "incomplete"), CLOSED_WITHIN)
    assert time.monotonic() - restarted <= CLOSED_WITHIN
    outlived = await end(outliving, "extension")
    await eventually(lambda: all_are(at.service, outlived, "answered"))
    await nothing_owed(at.service)

    # then the CRM has each of the fifty once
    told = sorted(call.phone.lstrip("+") for call in at.account.calls)
    assert told == sorted(client_of(truth) for truth in (*seen, *either, *lost, *outlived))
    # those whose end was seen are whole
    for truth in (*seen, *outlived):
        (call,) = calls_of(at.account, client_of(truth))
        assert (call.type, call.result, call.code) == ("in", "answered", truth.answered_by)
        assert abs((call.duration or 0) - truth.talk_seconds) <= TOLERANCE, truth
        assert not truth.differences(await record(at.service, client_of(truth))), truth
    # of the others is told what is known: who answered, not how it ended
    for truth in lost:
        (call,) = calls_of(at.account, client_of(truth))
        assert (call.result, call.code, call.duration) == ("answered", truth.answered_by, None)
        kept = await record(at.service, client_of(truth))
        assert (kept["status"], kept["answered_by"]) == ("incomplete", truth.answered_by)
        assert (kept["ended_at"], kept["talk_seconds"], kept["ended_by"]) == (None, None, None)


async def end(conversations: Sequence[Conversation], hangs_up: Who = "client") -> list[Truth]:
    return list(await asyncio.gather(*(conversation.end(hangs_up) for conversation in conversations)))


def client_of(truth: Truth) -> str:
    return (truth.client_number or "").lstrip("+")


async def all_are(service: Service, truths: Sequence[Truth], *results: str) -> bool:
    found = {
        call["client_number"]: call["result"] for call in (await whole(service, "/api/v1/calls", limit=100))["data"]
    }
    return all(found.get(truth.client_number) in results for truth in truths)
