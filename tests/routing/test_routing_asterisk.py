"""A call that rings or waits is sent to another phone on a real Asterisk, and only by those whose call it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry
from routing_crm import House, ScriptedCrm, look_ups
from two_enterprises import furnish

from bridge.ami.manager import Manager
from bridge.ami.pbx import PbxRow
from bridge.db.pool import Pool
from bridge.errors import BadInput, CallNotFound, Conflict
from bridge.redirect import Redirects, RoutingMetrics
from bridge.routing import Answer
from lab.company import Company
from lab.office import MAIN_LINE, QUEUE_LINE, WAITING_LINE

CLIENT = "79165550152"


@asynccontextmanager
async def redirects(company: Company, pool: Pool) -> AsyncIterator[Redirects]:
    """Enterprise 0367 has this office; 0999 has the same address, and so sees what nobody else's PBX may show it."""
    directory = await furnish(pool)
    up = asyncio.Event()
    row = PbxRow(
        id=1,
        enterprise_number="0367",
        name="office",
        host=company.pbx.host,
        username=company.pbx.bridge_user,
        secret=company.pbx.bridge_secret,
    )
    manager = Manager(row, on_up=lambda _: up.set())

    class Links:
        def manager_for(self, enterprise_number: str, name: str | None = None) -> Manager:
            if (enterprise_number, name) != ("0367", "office"):
                raise CallNotFound()
            return manager

    manager.start()
    try:
        await asyncio.wait_for(up.wait(), 10)
        yield Redirects(directory, look_ups(ScriptedCrm(), House()), Links(), pool, RoutingMetrics(CollectorRegistry()))
    finally:
        manager.close()
        await manager.wait_closed()


async def uniqueid(company: Company, peer: str) -> str:
    """Of the channel of that peer."""
    async with company.pbx.tap() as tap:
        await tap.send({"Action": "CoreShowChannels"})
        found = await tap.until(
            lambda m: m.get("Event") == "CoreShowChannel" and m["Channel"].startswith(f"PJSIP/{peer}-")
        )
        return found["Uniqueid"]


async def test_a_ringing_call_goes_to_another_phone_and_the_reason_is_kept(company: Company, pool: Pool) -> None:
    async with redirects(company, pool) as router:
        first, second = company.phones["150"].expect(), company.phones["151"].expect()
        outside = await company.provider.call(MAIN_LINE, caller=CLIENT)
        (ringing := await first.within()).ring()
        await outside.until("ringing")
        call_id = await uniqueid(company, "trunk")
        await pool.execute(
            "insert into calls (enterprise_number, pbx_name, call_id, direction) values ($1, 'office', $2, 'inbound')",
            "0367",
            call_id,
        )
        await router.live_redirect("0367", call_id, "151", because=Answer(extension="151", reason="mapped"))
        await (await second.within()).answer()

        await ringing.ended()
        await outside.until("up")
        await outside.hang_up()
        await router.close()
        kept = await pool.fetchrow("select routed_to, route_reason from calls")
        assert tuple(kept) == ("151", "mapped")


@pytest.mark.parametrize("line", [WAITING_LINE, QUEUE_LINE])
async def test_a_caller_who_waits_goes_to_a_phone(company: Company, pool: Pool, line: str) -> None:
    async with redirects(company, pool) as router:
        expected = company.phones["152"].expect()
        outside = await company.provider.call(line, caller=CLIENT)
        await outside.until("ringing", "up")
        await router.live_redirect("0367", await uniqueid(company, "trunk"), "152")
        await (await expected.within()).answer()

        await outside.until("up")
        await outside.hang_up()


async def test_who_talks_already_is_not_torn_away(company: Company, pool: Pool) -> None:
    async with redirects(company, pool) as router:
        conversation = await company.inbound(CLIENT)
        with pytest.raises(Conflict):
            await router.live_redirect("0367", await uniqueid(company, "trunk"), "151")

        await conversation.talk(0.2)
        assert (await conversation.end("client")).status == "answered"


async def test_what_is_not_a_clients_waiting_call_of_this_enterprise_stays_as_it_is(
    company: Company, pool: Pool
) -> None:
    async with redirects(company, pool) as router:
        expected = company.phones["150"].expect()
        outside = await company.provider.call(MAIN_LINE, caller=CLIENT)
        (ringing := await expected.within()).ring()
        await outside.until("ringing")
        call_id = await uniqueid(company, "trunk")
        with pytest.raises(CallNotFound):
            await router.live_redirect("0999", call_id, "151")
        with pytest.raises(CallNotFound):
            await router.live_redirect("0367", "1.1", "151")
        with pytest.raises(Conflict):
            await router.live_redirect("0367", await uniqueid(company, "150"), "151")
        for extension in ("999", "151\r\nAction: Hangup", "151&PJSIP/trunk", ""):
            with pytest.raises(BadInput):
                await router.live_redirect("0367", call_id, extension)
        with pytest.raises(BadInput):
            await router.live_redirect("0367", f"{call_id}\r\nAction: Hangup", "151")

        await ringing.answer()
        await outside.until("up")
        await outside.hang_up()
