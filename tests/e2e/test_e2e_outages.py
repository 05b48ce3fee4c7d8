"""What the service leans on goes away in the middle of calls: its database, its PBX, the wire between them, the CRM."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator

import pytest
from e2e_verbs import (
    apply,
    calls_of,
    company_at,
    database,
    ended,
    eventually,
    health,
    is_up,
    nothing_owed,
    record,
    row,
    told,
    visitor,
)
from wire import Wire

from lab.service import Service
from lab.stage import Stage, company_file, connected
from lab.truth import TOLERANCE, Truth

NOTICED_WITHIN = 15.0
CLOSED_WITHIN = 30.0


async def told_once_and_right(at: Stage, client: str, truth: Truth) -> None:
    """In the API whole, in the CRM once with the right talk time."""
    await ended(at.service, client)
    call = await told(at, client)
    assert (call.result, call.code) == (truth.status, truth.answered_by)
    assert abs((call.duration or 0) - truth.talk_seconds) <= TOLERANCE
    assert not truth.differences(await record(at.service, client))


# --- the database ---------------------------------------------------------------------------------------------------


async def test_calls_are_whole_though_postgres_is_killed_under_them(at: Stage) -> None:
    before = await at.company.inbound("79163000001", by="150")
    across = await at.company.inbound("79163000002", by="151")
    await eventually(lambda: row(at.service, "79163000002"))
    # when the embedded Postgres dies, calls end, and one begins
    kill_postmaster(at.service)
    ended_meanwhile = await before.end()
    began_meanwhile = await at.company.inbound("79163000003", by="152")
    await eventually(lambda: answers(at.service), 20)
    outlived = await across.end()
    last = await began_meanwhile.end("extension")

    # then it is brought back, and nothing is lost, told twice or guessed
    for client, truth in (("79163000001", ended_meanwhile), ("79163000002", outlived), ("79163000003", last)):
        await told_once_and_right(at, client, truth)


async def test_postgres_killed_again_and_again_loses_nothing(at: Stage) -> None:
    truths = {}
    for number in range(3):
        client = f"7916300001{number}"
        conversation = await at.company.inbound(client, by="150")
        kill_postmaster(at.service)
        truths[client] = await conversation.end()
        await eventually(lambda: answers(at.service), 20)

    for client, truth in truths.items():
        await told_once_and_right(at, client, truth)


async def test_a_power_cut_loses_no_call_that_was_written(at: Stage) -> None:
    outliving = await at.company.inbound("79163000004", by="150")
    over = await at.company.inbound_answered("79163000005", by="151", talk=0.5)
    await ended(at.service, "79163000005")
    # when the service and its database are gone at once, as with the machine's power
    kill_postmaster(at.service)
    await at.service.kill()
    await at.service.start()
    await connected(at.service)
    truth = await outliving.end()

    await told_once_and_right(at, "79163000004", truth)
    await told_once_and_right(at, "79163000005", over)


def kill_postmaster(service: Service) -> None:
    pid = int((service.data / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGKILL)


async def answers(service: Service) -> bool:
    async with visitor(service) as client:
        return (await client.get("/health")).status_code == 200


# --- the PBX --------------------------------------------------------------------------------------------------------


async def test_a_restart_of_the_pbx_closes_its_calls_and_the_service_goes_on(at: Stage) -> None:
    conversation = await at.company.inbound("79163000021", by="150")
    await conversation.talk(1)
    await eventually(lambda: row(at.service, "79163000021"))

    await at.company.pbx.restart()
    await conversation.outside.ended()
    await at.company.register()

    call = await ended(at.service, "79163000021", CLOSED_WITHIN)
    assert (call["result"], call["ended_by"]) == ("answered", "system")
    assert (await told(at, "79163000021")).code == "150"
    await eventually(lambda: is_up(at.service), CLOSED_WITHIN)
    await told_once_and_right(at, "79163000022", await at.company.inbound_answered("79163000022"))


async def test_calls_of_a_pbx_that_lost_its_power_are_closed_as_incomplete(at: Stage) -> None:
    conversation = await at.company.inbound("79163000031", by="151")
    await conversation.talk(0.5)
    await eventually(lambda: row(at.service, "79163000031"))

    await at.company.pbx.kill()
    await eventually(lambda: is_down(at.service), NOTICED_WITHIN)
    await at.company.pbx.start()
    for phone in (at.company.provider, *at.company.phones.values()):
        phone.abandon_calls()
    await at.company.register()
    started = time.monotonic()

    call = await ended(at.service, "79163000031", CLOSED_WITHIN)
    assert time.monotonic() - started < CLOSED_WITHIN
    assert (call["result"], call["answered_by"], call["ended_at"]) == ("incomplete", "151", None)
    assert (await told(at, "79163000031")).duration is None
    await told_once_and_right(at, "79163000032", await at.company.inbound_answered("79163000032"))


async def is_down(service: Service) -> bool:
    return not await is_up(service)


# --- the wire between them ------------------------------------------------------------------------------------------


@pytest.fixture
async def wire(at: Stage) -> AsyncIterator[Wire]:
    """The service reaches the PBX over it."""
    async with Wire(at.company.pbx.host, 5038) as wire:
        await apply(at, company_at(at, "127.0.0.1", wire.port))
        await eventually(lambda: is_up(at.service))
        yield wire
        await apply(at, company_file(at.company, at.account))
    await eventually(lambda: is_up(at.service))


async def test_a_wire_cut_without_a_word_is_noticed_and_what_ended_meanwhile_is_closed(at: Stage, wire: Wire) -> None:
    unseen = await at.company.inbound("79163000041", by="150")
    outliving = await at.company.inbound("79163000042", by="151")
    await eventually(lambda: row(at.service, "79163000042"))
    await eventually(lambda: row(at.service, "79163000041"))
    # when nothing passes any more, and neither side is told
    cut = time.time()
    wire.cut()
    lost = await unseen.end()
    await eventually(lambda: is_down(at.service), NOTICED_WITHIN + 5)
    noticed = time.time()
    began_unseen = await at.company.inbound("79163000043", by="152")
    reasons = (await health(at.service))["reasons"]
    wire.mend()
    mended = time.time()

    # then it is noticed, said, and made good
    assert noticed - cut < NOTICED_WITHIN
    assert any("silent" in reason for reason in reasons), reasons
    closed = await ended(at.service, "79163000041", CLOSED_WITHIN)
    assert time.time() - mended < CLOSED_WITHIN
    assert (closed["result"], closed["answered_by"]) == ("incomplete", lost.answered_by)
    await eventually(lambda: is_up(at.service))
    await told_once_and_right(at, "79163000042", await outliving.end())
    # whoever was first seen in the middle of a call is told of as far as is known
    last = await began_unseen.end("extension")
    call = await told(at, "79163000043")
    assert (call.result, call.code) == ("answered", last.answered_by)
    assert (await record(at.service, "79163000043"))["line"] == last.line
    # and the time during which nobody watched is kept
    async with database(at.service) as connection:
        gap = await connection.fetchrow("select * from pbx_gaps order by id desc limit 1")
    assert cut - 8 < gap["began_at"].timestamp() <= cut + 1
    assert mended <= gap["ended_at"].timestamp() <= time.time()


# --- the CRM --------------------------------------------------------------------------------------------------------


async def test_a_crm_that_was_down_is_told_later_of_each_call_once(at: Stage) -> None:
    await at.crm.down("june")
    truths = {}
    for number in range(3):
        client = f"7916300005{number}"
        truths[client] = await at.company.inbound_answered(client, talk=0.2)
        await ended(at.service, client)
    await eventually(lambda: is_left_alone(at), 20)
    assert not [call for client in truths for call in calls_of(at.account, client)]

    await at.crm.up("june")

    for client, truth in truths.items():
        await told_once_and_right(at, client, truth)
    await nothing_owed(at.service)
    for client in truths:
        assert len(calls_of(at.account, client)) == 1


async def is_left_alone(at: Stage) -> bool:
    """Whether so many attempts failed that the CRM is spared for a while."""
    async with database(at.service) as connection:
        return bool(await connection.fetchval("select open_until is not null from crm_accounts"))
