"""Who gets a caller: asked by a real dialplan, answered in time, and the reason kept with the call."""

from __future__ import annotations

import time

import httpx
from e2e_verbs import ended, eventually, get, told, visitor

from lab.office import ROUTED_LINE
from lab.retailcrm import Customer
from lab.retailcrm.account import Faults
from lab.stage import KNOWN_CLIENT, KNOWN_CLIENTS_MANAGER, SECRET, Stage

DEADLINE = 0.8
FALLBACK = "150"


async def test_a_known_caller_reaches_the_manager_who_looks_after_them(at: Stage) -> None:
    truth = await at.company.inbound_routed(KNOWN_CLIENT, talk=0.5)

    assert truth.answered_by == KNOWN_CLIENTS_MANAGER
    call = await ended(at.service, KNOWN_CLIENT)
    assert (call["routed_to"], call["route_reason"]) == (KNOWN_CLIENTS_MANAGER, "mapped")
    assert (await told(at, KNOWN_CLIENT)).code == KNOWN_CLIENTS_MANAGER


async def test_a_caller_nobody_knows_gets_the_fallback(at: Stage) -> None:
    truth = await at.company.inbound_routed("79165000001", talk=0.2)

    assert truth.answered_by == FALLBACK
    call = await ended(at.service, "79165000001")
    assert (call["routed_to"], call["route_reason"]) == (FALLBACK, "unknown_caller")


async def test_a_crm_that_hangs_does_not_hold_the_caller(at: Stage) -> None:
    at.account.customers.append(Customer(8, "Пётр", ("79165000002",), manager_id=16))
    at.account.faults = Faults(hang=True)

    rings = at.company.phones[FALLBACK].expect(caller="79165000002")
    called = time.monotonic()
    outside = await at.company.provider.call(ROUTED_LINE, caller="79165000002")
    inside = await rings.within()
    waited = time.monotonic() - called
    await inside.answer()
    await outside.until("up")
    await outside.hang_up()
    await inside.ended()

    assert DEADLINE * 0.9 < waited < DEADLINE + 0.5
    call = await ended(at.service, "79165000002")
    assert (call["routed_to"], call["route_reason"]) == (FALLBACK, "crm_deadline")
    at.account.faults = Faults()
    assert (await told(at, "79165000002", 30)).code == FALLBACK


async def test_a_call_that_waits_is_moved_to_the_manager_by_the_crm(at: Stage) -> None:
    at.account.customers.append(Customer(9, "Вера", ("79165000003",), manager_id=16))
    said: list[httpx.Response] = []

    async def redirect() -> None:
        call = await eventually(lambda: active(at, "79165000003"))
        channel = call["call_id"]
        async with visitor(at.service) as client:
            said.append(
                await client.post(
                    "/retailcrm/api/smart-redirect",
                    json={"enterprise_number": "0367", "phone": "79165000003", "call_unique_id": channel},
                    headers={"Token": SECRET},
                )
            )

    truth = await at.company.redirected(redirect, "79165000003", by="152", talk=0.5)

    assert said[0].json() == {
        "success": True,
        "data": {"extension": "152", "name": "Вера", "reason": "mapped", "redirected": True},
    }
    call = await ended(at.service, "79165000003")
    assert (call["answered_by"], call["routed_to"], call["route_reason"]) == ("152", "152", "mapped")
    assert (await told(at, "79165000003")).code == truth.answered_by


async def active(at: Stage, client: str) -> dict[str, object] | None:
    calls = await get(at.service, "/api/v1/calls/active")
    return next((call for call in calls if call["client_number"] == f"+{client}"), None)


async def test_a_call_is_moved_for_nobody_without_the_enterprises_secret(at: Stage) -> None:
    outside = await at.company.provider.call("74951000003", caller="79165000004")
    await outside.until("ringing")
    call = await eventually(lambda: active(at, "79165000004"))
    asked = {"enterprise_number": "0367", "phone": "79165000004", "call_unique_id": call["call_id"]}
    async with visitor(at.service) as client:
        for headers in ({}, {"Token": "0367"}, {"Token": "x"}):
            answer = await client.post("/retailcrm/api/smart-redirect", json=asked, headers=headers)
            assert answer.status_code == 401
    assert outside.state == "ringing"
    await outside.hang_up()


async def test_without_the_service_callers_go_where_they_always_did(at: Stage) -> None:
    await at.service.stop()
    try:
        called = time.monotonic()
        truth = await at.company.inbound_routed(KNOWN_CLIENT, talk=0.2)
        assert truth.answered_by == FALLBACK
        assert (truth.wait_seconds or 0) < 1.0
        assert time.monotonic() - called < 5
    finally:
        await at.service.start()
