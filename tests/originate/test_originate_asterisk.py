"""Clicks on a real Asterisk: the manager's phone rings once, then the client's, and it is one outbound call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from originate_pbx import clicks
from two_enterprises import furnish

from bridge.ami.manager import Manager
from bridge.ami.pbx import PbxRow
from bridge.ami.translate import translate
from bridge.calls.events import OriginateResponse
from bridge.calls.machine import Exchange
from bridge.calls.model import Call, Ended, Rules
from bridge.db.pool import Pool
from bridge.errors import ActionFailed, PbxUnavailable
from bridge.originate import Clicks
from lab.company import Company
from lab.phones import answers, refuses, rings

CLIENT = "79031112233"
RULES = Rules(extensions=r"^1\d\d$", trunks=("PJSIP/trunk",), click_to_call_contexts=("inoffice", "bridge-click"))


@dataclass
class Desk:
    """The service around one PBX: its link, its machine, and who makes the calls."""

    clicks: Clicks
    manager: Manager
    failed: list[str] = field(default_factory=list)
    ended: list[Call] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def one_call(self) -> Call:
        async with asyncio.timeout(15):
            while not self.ended:
                self.changed.clear()
                await self.changed.wait()
        (call,) = self.ended
        return call


@asynccontextmanager
async def desk(company: Company, pool: Pool, *, ring_seconds: float = 10.0, **pbx: object) -> AsyncIterator[Desk]:
    directory = await furnish(pool)
    for column, value in pbx.items():
        await pool.execute(f"update pbxs set {column} = $1 where name = 'office'", value)  # noqa: S608
    await directory.refresh()
    exchange = Exchange(RULES, "office")

    def on_frame(frame: bytes) -> None:
        event = translate(frame)
        if event is None:
            return
        ours.ended += [change.call for change in exchange.feed(event) if isinstance(change, Ended)]
        if isinstance(event, OriginateResponse) and not event.success:
            ours.failed.append(event.uniqueid)
        ours.changed.set()

    up = asyncio.Event()
    row = PbxRow(
        id=1,
        enterprise_number="0367",
        name="office",
        host=company.pbx.host,
        username=company.pbx.bridge_user,
        secret=company.pbx.bridge_secret,
    )
    manager = Manager(row, on_frame=on_frame, on_up=lambda _: up.set())

    class Links:
        def manager_for(self, enterprise_number: str, name: str | None = None) -> Manager:
            assert (enterprise_number, name) == ("0367", "office")
            return manager

    ours = Desk(clicks(directory, Links(), pool, answer_within=5.0, ring_seconds=ring_seconds)[0], manager)
    manager.start()
    try:
        await asyncio.wait_for(up.wait(), 10)
        yield ours
    finally:
        await ours.clicks.close()
        manager.close()
        await manager.wait_closed()


async def click(of: Desk, extension: str = "150", phone: str = "+79031112233", external: str | None = None) -> bool:
    answer = await of.clicks.start(
        "0367", extension=extension, phone=phone, external_phone=external, source="retailcrm"
    )
    return answer.repeated


async def test_a_click_rings_the_manager_then_the_client_and_is_one_outbound_call(company: Company, pool: Pool) -> None:
    async with desk(company, pool) as service:
        manager, client = company.phones["150"].expect(), company.provider.expect(called=CLIENT)
        await click(service)
        ringing = await manager.within()
        assert (ringing.caller, ringing.caller_name) == ("150", CLIENT)
        ringing.ring()
        await ringing.answer()
        called = await client.within()
        assert called.caller == "150"
        called.ring()
        await called.answer()
        await called.hears()
        await called.hang_up()
        await ringing.ended()

        call = await service.one_call()
        assert (call.direction, call.status, call.client_number) == ("outbound", "answered", "+79031112233")
        assert call.extensions == ["150"]
        assert call.call_id == await pool.fetchval("select channel_id from originate_requests")


async def test_an_impatient_manager_is_rung_once(company: Company, pool: Pool) -> None:
    company.let_phones(answers(talk=0.3))
    company.let_clients(answers())
    async with desk(company, pool) as service, company.pbx.tap() as tap:
        assert [await click(service) for _ in range(5)] == [False, True, True, True, True]
        await service.one_call()
        await company.pbx.quiet()
        ours = [m for m in tap.messages if m.get("Event") == "Newchannel" and m["Channel"].startswith("PJSIP/150-")]

        assert len(ours) == 1


@pytest.mark.parametrize(
    ("manager", "client", "result"),
    [("rings", "answers", "cancelled"), ("answers", "busy", "busy"), ("answers", "rings", "no_answer")],
)
async def test_how_it_ended_is_told_by_the_call(
    company: Company, pool: Pool, manager: str, client: str, result: str
) -> None:
    policies = {"rings": rings(), "answers": answers(), "busy": refuses(486)}
    company.let_phones(policies[manager])
    company.let_clients(policies[client])
    async with desk(company, pool, ring_seconds=1.0 if manager == "rings" else 10.0) as service:
        await click(service)
        call = await service.one_call()

        assert (call.status, call.direction, call.client_number) == (result, "outbound", "+79031112233")


async def test_a_phone_that_is_not_there_is_known_not_to_have_rung(company: Company, pool: Pool) -> None:
    """given an extension of the rule without a registered phone, then Asterisk queues, fails, and says whose it was"""
    async with desk(company, pool) as service:
        await click(service, extension="199")
        channel_id = await pool.fetchval("select channel_id from originate_requests")
        async with asyncio.timeout(5):
            while not service.failed:
                service.changed.clear()
                await service.changed.wait()

        assert service.failed == [channel_id]


async def test_a_pbx_may_have_numbers_rewritten_and_the_line_is_named_to_it(company: Company, pool: Pool) -> None:
    """given the context of click-to-call.conf, then the office's own dialplan gets the number, and may see the line"""
    company.let_phones(answers())
    async with desk(company, pool, click_to_call_contexts=["bridge-click"], outgoing="{e164}") as service:
        client = company.provider.expect(called=CLIENT)
        async with company.pbx.tap() as tap:
            await click(service, external="+74951000001")
            called = await client.within()
            line = await tap.send(
                {"Action": "Getvar", "Channel": await trunk_channel(company), "Variable": "BRIDGE_LINE"}
            )
        assert line["Value"] == "+74951000001"
        await called.answer()
        await called.hears()
        await called.hang_up()
        call = await service.one_call()

        assert (call.direction, call.status, call.client_number) == ("outbound", "answered", "+79031112233")


async def trunk_channel(company: Company) -> str:
    async with company.pbx.tap() as tap:
        await tap.send({"Action": "CoreShowChannels"})
        found = await tap.until(
            lambda m: m.get("Event") == "CoreShowChannel" and m["Channel"].startswith("PJSIP/trunk-")
        )
        return found["Channel"]


async def test_a_pbx_whose_link_is_down_is_said_at_once_and_may_be_tried_again(company: Company, pool: Pool) -> None:
    async with desk(company, pool) as service:
        service.manager.close()
        with pytest.raises(PbxUnavailable):
            await click(service)
        assert await pool.fetchval("select outcome from originate_requests") == "unavailable"
        assert await pool.fetchval("select count(*) from originate_guards") == 0


async def test_what_the_pbx_refuses_is_said(company: Company, pool: Pool) -> None:
    """given a technology that runs programs, then the rights of the sample manager.conf refuse it"""
    async with desk(company, pool) as service:
        with pytest.raises(ActionFailed):
            await service.manager.send(
                {"Action": "Originate", "Channel": "PJSIP/150", "Application": "System", "Data": "id"}
            )
