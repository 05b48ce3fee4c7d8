"""The office's phones really talk through a real Asterisk, and everyone knows what happened."""

from __future__ import annotations

import asyncio
import wave

import pytest

from lab.company import Company
from lab.errors import CallProblem
from lab.phones import Phone, answers, refuses


async def test_a_client_and_a_manager_hear_each_other_and_are_recorded(company: Company) -> None:
    conversation = await company.inbound("79161110001", name="Анна Орлова")

    await conversation.talk(0.5)  # each hears the other's own pitch, or this fails
    truth = await conversation.end("client")
    await company.pbx.quiet()

    assert (truth.answered_by, truth.ended_by, truth.status) == ("150", "client", "answered")
    (recording,) = company.pbx.recordings.rglob("*-79161110001-*.wav")
    with wave.open(str(recording)) as sound:
        assert sound.getframerate() == 8000
        assert 0.4 < sound.getnframes() / 8000 < 3


async def test_a_phone_shows_who_calls(company: Company) -> None:
    expected = company.phones["151"].expect()
    calling = await company.provider.call(company.direct_line("151"), caller="79161110002", name="Анна Орлова")
    call = await expected.within()

    assert (call.caller, call.caller_name) == ("79161110002", "Анна Орлова")

    await calling.hang_up()
    await call.ended()
    assert (call.ended_by, call.answered_at) == ("them", None)


async def test_a_client_on_hold_hears_music(company: Company) -> None:
    truth = await company.hold("79161110003", talk=0.2, held=0.2)

    assert (truth.holds, truth.status) == (1, "answered")


async def test_keys_that_are_pressed_arrive(company: Company) -> None:
    conversation = await company.inbound("79161110004", by="151")
    await conversation.talk(0)
    async with company.pbx.tap() as tap:
        await conversation.outside.press("15")
        for digit in "15":
            await tap.event("DTMFEnd", Digit=digit, Direction="Received")
    await conversation.end()


async def test_a_transfer_by_the_phones_keys_works_too(company: Company) -> None:
    conversation = await company.inbound("79161110005")
    await conversation.talk(0)
    expected = company.phones["152"].expect(caller="79161110005")

    await conversation.inside.press("##152")
    target = await expected.within()
    await target.answer()
    await conversation.inside.ended()

    passed_on = conversation.passed_on(conversation.truth, target)
    await passed_on.talk(0)
    await passed_on.end()


async def test_a_phone_that_forwards_itself_sends_the_caller_on(company: Company) -> None:
    first, second = company.phones["150"].expect(), company.phones["152"].expect()
    calling = await company.provider.call(company.direct_line("150"), caller="79161110006")

    (await first.within()).forward("152")
    call = await second.within()
    await call.answer()
    await calling.until("up")

    await asyncio.gather(calling.hears(company.phones["152"].hertz), call.hears(company.provider.hertz))
    await calling.hang_up()


async def test_phones_do_by_themselves_what_they_are_told(company: Company) -> None:
    company.let_phones(answers(talk=0.1))
    company.let_clients(refuses(486))
    try:
        inbound = await company.provider.call(company.direct_line("150"), caller="79161110007")
        await inbound.until("up")
        await inbound.ended()
        outbound = await company.phones["150"].call("79031112244")
        await outbound.ended()
    finally:
        company.let_phones(None)
        company.let_clients(None)

    assert inbound.ended_by == "them"
    assert outbound.status == 486


async def test_fifty_clients_talk_at_once(company: Company) -> None:
    talking = await company.crowd(50)

    assert "50 active calls" in await company.pbx.cli("core show channels count")
    assert len({conversation.truth.answered_by for conversation in talking}) == 50

    await asyncio.gather(*(conversation.end() for conversation in talking))
    await company.pbx.quiet()


async def test_a_phone_with_a_wrong_password_is_not_let_in(company22: Company) -> None:
    network = company22.pbx.network
    async with Phone(network.phone("153"), "150", server=company22.pbx.host, password="wrong") as stranger:
        with pytest.raises(CallProblem, match="150 cannot register: 401"):
            await stranger.register()


async def test_waiting_for_what_cannot_come_any_more_fails_at_once(company22: Company) -> None:
    expected = company22.phones["150"].expect()
    calling = await company22.provider.call(company22.direct_line("150"), caller="79161110008")
    (await expected.within()).refuse(486)

    with pytest.raises(CallProblem, match="wanted up, but it ended with 486"):
        await calling.until("up", timeout=60)


async def test_a_call_that_does_not_come_is_said_to_have_not_come(company22: Company) -> None:
    with pytest.raises(CallProblem, match=r"a call from 79160009999 to 150 did not come within 0\.1 s"):
        await company22.phones["150"].expect(caller="79160009999").within(0.1)
