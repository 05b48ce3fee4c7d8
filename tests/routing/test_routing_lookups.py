"""Look-ups: a CRM is asked once, answers are kept and bounded, a failing CRM is spared, nobody takes another's room."""

from __future__ import annotations

import asyncio
import time

import pytest
from routing_crm import KNOWN, MARIA, STRANGER, Clock, Config, House, ScriptedCrm, look_ups

from bridge.lookups import Lookups
from bridge.pacing import Policy, Rate
from bridge.routing import Finding, Responsible, Silence


async def said(lookups: Lookups, phone: str, enterprise: str = "0367") -> Responsible | Silence:
    ((_, pending),) = lookups.ask(enterprise, phone)
    return await asyncio.shield(pending)


@pytest.mark.parametrize(("phone", "answer"), [(KNOWN, MARIA), (STRANGER, Silence("unknown"))])
async def test_an_answer_is_kept_for_its_time_also_that_nobody_is_known(
    phone: str, answer: Responsible | Silence
) -> None:
    crm, clock = ScriptedCrm(), Clock()
    lookups = look_ups(crm, House(), clock, keep=60.0)

    assert [await said(lookups, phone) for _ in range(3)] == [answer] * 3
    assert len(crm.asked) == 1
    clock.now += 60.1
    assert await said(lookups, phone) == answer
    assert len(crm.asked) == 2


async def test_many_who_ask_at_once_are_one_question() -> None:
    crm = ScriptedCrm(hold=asyncio.Event())
    lookups = look_ups(crm, House())
    waiting = [asyncio.ensure_future(said(lookups, KNOWN)) for _ in range(100)]
    await asyncio.sleep(0)
    crm.hold.set()  # type: ignore[union-attr]

    assert await asyncio.gather(*waiting) == [MARIA] * 100
    assert len(crm.asked) == 1


async def test_who_stops_waiting_takes_the_answer_from_nobody() -> None:
    crm = ScriptedCrm(hold=asyncio.Event())
    lookups = look_ups(crm, House())
    ((name, pending),) = lookups.ask("0367", KNOWN)
    impatient = await lookups.hear("0367", name, pending, time.monotonic() + 0.02)
    crm.hold.set()  # type: ignore[union-attr]

    assert impatient == Finding(crm="retailcrm", said=Silence("deadline"))
    assert await said(lookups, KNOWN) == MARIA
    assert len(crm.asked) == 1


async def test_failures_are_not_kept_and_a_failing_crm_is_spared_then_probed_by_one() -> None:
    crm, clock = ScriptedCrm(down=True), Clock()
    lookups = look_ups(
        crm, House(), clock, rate=Rate(per_second=1000, burst=1000), breaker=Policy(threshold=3, shortest=5, longest=60)
    )
    assert [await said(lookups, KNOWN) for _ in range(5)] == [Silence("failed")] * 3 + [Silence("open")] * 2
    assert len(crm.asked) == 3

    crm.down, crm.hold = False, asyncio.Event()
    clock.now += 5.1
    first = asyncio.ensure_future(said(lookups, KNOWN))
    await asyncio.sleep(0)
    assert await said(lookups, STRANGER) == Silence("open")  # one probe at a time
    crm.hold.set()
    assert await first == MARIA
    assert await said(lookups, STRANGER) == Silence("unknown")


async def test_a_crm_that_takes_too_long_counts_as_failing() -> None:
    crm = ScriptedCrm(hold=asyncio.Event())
    lookups = look_ups(crm, House(), patience=0.02, breaker=Policy(threshold=1))

    assert await said(lookups, KNOWN) == Silence("failed")
    assert await said(lookups, KNOWN) == Silence("open")


async def test_one_enterprises_flood_takes_no_others_room() -> None:
    crm = ScriptedCrm(hold=asyncio.Event())
    house = House(matrix={"0367": {"retailcrm": True}, "0999": {"retailcrm": True}})
    lookups = look_ups(crm, house, at_once=4, rate=Rate(per_second=1000, burst=1000))
    flood = [lookups.ask("0367", f"+7916000000{number}")[0][1] for number in range(6)]
    assert [future.result() for future in flood if future.done()] == [Silence("busy")] * 2

    other = asyncio.ensure_future(said(lookups, KNOWN, "0999"))
    await asyncio.sleep(0)
    crm.hold.set()  # type: ignore[union-attr]
    assert await other == MARIA
    await asyncio.gather(*flood)
    assert await said(lookups, "+79160000009") == Silence("unknown")


async def test_questions_keep_to_their_part_of_the_crms_rate() -> None:
    crm, clock = ScriptedCrm(), Clock()
    lookups = look_ups(crm, House(), clock, rate=Rate(per_second=1, burst=2), at_once=100)
    answers = [await said(lookups, f"+7916000000{number}") for number in range(3)]

    assert answers == [Silence("unknown")] * 2 + [Silence("busy")]


async def test_what_is_kept_is_bounded_and_one_enterprises_answers_are_not_anothers() -> None:
    crm = ScriptedCrm()
    house = House(matrix={"0367": {"retailcrm": True}, "0999": {"retailcrm": True}})
    lookups = look_ups(crm, house, capacity=10, rate=Rate(per_second=1000, burst=1000))
    for number in range(50):
        await said(lookups, f"+791600000{number:02}")
    assert lookups.figures()["kept"] == 10

    await said(lookups, KNOWN)
    await said(lookups, KNOWN, "0999")
    assert crm.asked[-2:] == [("0367", KNOWN), ("0999", KNOWN)]


async def test_a_changed_configuration_forgets_what_was_said_also_by_those_still_asked() -> None:
    crm = ScriptedCrm()
    lookups = look_ups(crm, House())
    await said(lookups, KNOWN)
    lookups.forget("0367")
    crm.hold = asyncio.Event()
    pending = asyncio.ensure_future(said(lookups, KNOWN))
    while len(crm.asked) < 2:  # noqa: ASYNC110 - until the task has read the configuration
        await asyncio.sleep(0)
    lookups.forget("0367")
    crm.hold.set()
    await pending
    await said(lookups, KNOWN)

    assert len(crm.asked) == 3


async def test_a_defect_in_one_integration_is_a_failed_look_up() -> None:
    class Defective(ScriptedCrm):
        async def responsible(self, *args: object, **kwargs: object) -> Responsible | None:  # type: ignore[override]
            raise KeyError("a defect")

    assert await said(look_ups(Defective(), House()), KNOWN) == Silence("failed")


async def test_without_a_configuration_the_crm_is_not_asked() -> None:
    crm = ScriptedCrm()
    assert await said(look_ups(crm, House(configs={})), KNOWN) == Silence("failed")
    assert crm.asked == []


async def test_only_enabled_crms_that_are_known_here_are_asked() -> None:
    lookups = look_ups(ScriptedCrm(), House(matrix={"0367": {"retailcrm": False, "amocrm": True}}))
    assert lookups.ask("0367", KNOWN) == []


async def test_the_extensions_are_those_of_now_not_of_when_the_answer_was_kept() -> None:
    house = House()
    lookups = look_ups(ScriptedCrm(), house)
    await said(lookups, KNOWN)
    house.configs["0367"] = Config(user_extensions={"16": "151"})
    ((name, pending),) = lookups.ask("0367", KNOWN)

    finding = await lookups.hear("0367", name, pending, time.monotonic() + 1)
    assert finding == Finding(crm="retailcrm", said=MARIA, extensions={"16": "151"})


async def test_a_configuration_that_cannot_be_read_is_a_failure_not_a_crash() -> None:
    class Away(House):
        async def get(self, enterprise_number: str, integration_type: str) -> Config | None:
            raise ConnectionError("the database is away")

    lookups = look_ups(ScriptedCrm(), Away())
    ((name, pending),) = lookups.ask("0367", KNOWN)
    assert (await lookups.hear("0367", name, pending, time.monotonic() + 1)).said == Silence("failed")


async def test_closing_leaves_no_task_behind() -> None:
    lookups = look_ups(ScriptedCrm(hold=asyncio.Event()), House())
    ((_, pending),) = lookups.ask("0367", KNOWN)
    await lookups.close()
    assert pending.cancelled()
    assert lookups.figures()["under_way"] == 0


async def test_what_postgres_notifies_is_understood_and_what_nobody_can_is_survived() -> None:
    crm = ScriptedCrm()
    lookups = look_ups(crm, House())
    for payload in ('{"enterprise_number": "0999", "integration_type": "*", "version": 2}', "{", "null"):
        await said(lookups, KNOWN)
        lookups.changed(payload)
    assert len(crm.asked) == 1

    lookups.changed('{"enterprise_number": "0367", "integration_type": "retailcrm", "version": 3}')
    await said(lookups, KNOWN)
    assert len(crm.asked) == 2
