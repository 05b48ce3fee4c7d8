"""The dialplan's hook on a real Asterisk: it routes, and whatever happens to the bridge, no caller is lost or held."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bridge.agi.questions import RouteQuestion
from bridge.agi.server import AgiServer, Limits
from bridge.routing import Answer, display_name
from lab.company import Company
from lab.office import ROUTED_LINE
from lab.phones import Call, Incoming

TOKEN = "lab-token"
CLIENT = "79165550152"


class House:
    """Decides as it was told, and remembers what it was asked."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.questions: list[tuple[str, str | None, str | None, str | None]] = []
        self.kept: list[tuple[str, str, str]] = []

    async def who(
        self, enterprise_number: str, phone: str | None, *, line: str | None, pbx: str | None, arrived: float | None
    ) -> Answer:
        self.questions.append((enterprise_number, phone, line, pbx))
        return self.answer

    def keep(self, enterprise_number: str, pbx: str, call_id: str, answer: Answer) -> None:
        self.kept.append((enterprise_number, pbx, call_id))

    def pbx_credential(self, pbx_name: str, token: str) -> str | None:
        return "0367" if (pbx_name, token) == ("office", TOKEN) else None


@asynccontextmanager
async def bridge(company: Company, house: House) -> AsyncIterator[AgiServer]:
    server = AgiServer({"/route": RouteQuestion(house, house)}, Limits(question=0.5, command=0.5, conversation=1.0))
    host, port = await server.start("127.0.0.1", 0)
    await company.pbx.set_global("BRIDGE_AGI", f"{host}:{port}")
    await company.pbx.set_global("BRIDGE_TOKEN", TOKEN)
    try:
        yield server
    finally:
        await server.stop(grace=0)


@asynccontextmanager
async def frozen_bridge(company: Company) -> AsyncIterator[asyncio.Event]:
    """Connections are accepted, nothing is ever said; the event tells of the first."""
    connected = asyncio.Event()
    writers: list[asyncio.StreamWriter] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        connected.set()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    await company.pbx.set_global("BRIDGE_AGI", f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        yield connected
    finally:
        for writer in writers:
            writer.transport.abort()
        server.close()
        await server.wait_closed()


async def call_in(company: Company, rings: str, caller_name: str = "") -> tuple[Call, Incoming]:
    """A client calls the routed line and `rings` is the phone that must ring."""
    expected = company.phones[rings].expect()
    outside = await company.provider.call(ROUTED_LINE, caller=CLIENT, name=caller_name)
    return outside, await expected.within(10)


async def done(outside: Call, inside: Incoming) -> None:
    await outside.hang_up()
    await inside.ended()


async def test_the_answer_rings_the_managers_phone_and_shows_the_name(company: Company) -> None:
    house = House(Answer(extension="152", name="Кузнецова Мария: VIP (2)", reason="mapped"))
    async with bridge(company, house) as server:
        outside, inside = await call_in(company, rings="152")

        assert inside.caller == CLIENT
        assert inside.caller_name == "Кузнецова Мария: VIP (2)"
        assert house.questions == [("0367", CLIENT, ROUTED_LINE, "office")]
        await done(outside, inside)
        assert house.kept[0][:2] == ("0367", "office")
        assert server.counters.served == 1


async def test_an_empty_answer_lets_the_pbx_go_on_as_it_would(company: Company) -> None:
    async with bridge(company, House(Answer(reason="unknown_caller"))):
        outside, inside = await call_in(company, rings="150", caller_name="As Sent")

        assert inside.caller_name == "As Sent"
        await done(outside, inside)


async def test_the_fallback_may_be_a_queue(company: Company) -> None:
    async with bridge(company, House(Answer(queue="sales", reason="unknown_caller", fallback=True))):
        outside, inside = await call_in(company, rings="151")

        await outside.until("up")  # the queue answers
        await done(outside, inside)


@pytest.mark.parametrize("name", ["a" * 79, "%${}[]\\\"',;", "x=y?z:w|v&u@t", "Ю" * 60])
async def test_no_customers_name_disturbs_the_dialplan(company: Company, name: str) -> None:
    """given whatever a customer is called, then the sanitised name arrives whole and the call is routed"""
    shown = display_name(name)
    async with bridge(company, House(Answer(extension="152", name=shown, reason="mapped"))):
        outside, inside = await call_in(company, rings="152", caller_name="As Sent")

        assert inside.caller_name == (shown or "As Sent")
        await done(outside, inside)


async def test_a_wrong_token_is_told_nothing(company: Company) -> None:
    house = House(Answer(extension="152", reason="mapped"))
    async with bridge(company, house):
        await company.pbx.set_global("BRIDGE_TOKEN", "another")
        outside, inside = await call_in(company, rings="150")

        assert house.questions == []
        await done(outside, inside)


async def test_nobody_listening_costs_the_caller_nothing(company: Company) -> None:
    async with frozen_bridge(company):
        pass  # its port is free now, and nobody listens there
    began = time.monotonic()
    outside, inside = await call_in(company, rings="150")

    assert time.monotonic() - began < 2
    await done(outside, inside)


async def test_a_frozen_bridge_never_holds_a_caller(company: Company) -> None:
    async with frozen_bridge(company) as connected:
        began = time.monotonic()
        outside, inside = await call_in(company, rings="150")

        assert connected.is_set()
        assert 2.5 < time.monotonic() - began < 6
        await inside.answer()
        await outside.until("up")  # and the time-out does not strike again
        await asyncio.sleep(3.2)
        assert outside.ended_at is None
        await done(outside, inside)


async def test_a_caller_who_gives_up_while_the_bridge_is_frozen_is_gone(company: Company) -> None:
    async with frozen_bridge(company) as connected:
        outside = await company.provider.call(ROUTED_LINE, caller=CLIENT)
        await asyncio.wait_for(connected.wait(), 5)
        began = time.monotonic()
        await outside.hang_up()
        await company.pbx.quiet()

        assert time.monotonic() - began < 2


async def test_a_bridge_that_answers_late_is_not_waited_for(company: Company) -> None:
    """given a router slower than the conversation's deadline, then the server ends it and the PBX goes on"""

    class Slow(House):
        async def who(self, *args: object, **kwargs: object) -> Answer:  # type: ignore[override]
            await asyncio.Event().wait()
            raise AssertionError

    async with bridge(company, Slow(Answer(extension="152", reason="mapped"))) as server:
        outside, inside = await call_in(company, rings="150")

        assert server.counters.overdue == 1
        await done(outside, inside)
