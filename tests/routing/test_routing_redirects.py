"""Smart redirect: the hard deadline, the documented fallback, and the reason kept with the call."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from routing_crm import KNOWN, MARIA, STRANGER, Config, House, ScriptedCrm, look_ups
from two_enterprises import furnish

from bridge.db import routes
from bridge.db.pool import Pool
from bridge.errors import NotFound
from bridge.redirect import Redirects, RoutingMetrics
from bridge.routing import Answer

LINE, NAME_LINE, OFF_LINE = "74951000004", "84951000005", "74951000006"


class NoPbx:
    def manager_for(self, enterprise_number: str, name: str | None = None) -> Any:
        raise NotFound()


async def redirects(pool: Pool, crm: ScriptedCrm, house: House | None = None) -> Redirects:
    directory = await furnish(pool)
    registry = CollectorRegistry()
    return Redirects(directory, look_ups(crm, house or House()), NoPbx(), pool, RoutingMetrics(registry))


async def test_a_known_caller_goes_to_the_responsible_managers_phone(pool: Pool) -> None:
    router = await redirects(pool, ScriptedCrm(), House(configs={"0367": Config(user_extensions={"16": "151"})}))

    answer = await router.who("0367", "79165550152", line=LINE, pbx="office")
    assert answer == Answer(extension="151", name="Кузнецова Мария", reason="mapped")


@pytest.mark.parametrize("phone", ["79165550152", "+7 916 555-01-52", "89165550152"])
async def test_the_caller_is_found_however_the_pbx_writes_the_number(pool: Pool, phone: str) -> None:
    crm = ScriptedCrm()
    answer = await (await redirects(pool, crm)).who("0367", phone, line=LINE)

    assert (answer.extension, crm.asked) == ("152", [("0367", KNOWN)])


@pytest.mark.parametrize("line", [LINE, "+74951000004", "84951000004", "0001001"])
async def test_a_line_is_found_however_the_pbx_writes_it(pool: Pool, line: str) -> None:
    assert (await (await redirects(pool, ScriptedCrm())).who("0367", KNOWN, line=line)).extension == "152"


@pytest.mark.parametrize(
    ("line", "answer", "questions"),
    [
        (NAME_LINE, Answer(name="Кузнецова Мария", reason="line_name"), 1),
        (OFF_LINE, Answer(reason="line_off"), 0),
        ("74959999999", Answer(reason="line_off"), 0),
        ("", Answer(reason="line_off"), 0),
    ],
)
async def test_lines_that_do_not_want_routing_get_none(pool: Pool, line: str, answer: Answer, questions: int) -> None:
    crm = ScriptedCrm()
    assert await (await redirects(pool, crm)).who("0367", KNOWN, line=line) == answer
    assert len(crm.asked) == questions


@pytest.mark.parametrize("phone", [None, "", "anonymous", "150"])
async def test_a_caller_without_a_number_gets_the_fallback_and_no_crm_is_asked(pool: Pool, phone: str | None) -> None:
    crm = ScriptedCrm()
    answer = await (await redirects(pool, crm)).who("0367", phone, line=LINE)

    assert (answer.extension, answer.reason, answer.fallback, crm.asked) == ("150", "anonymous", True, [])


async def test_an_unknown_caller_a_dead_crm_and_a_disabled_one_get_the_fallback(pool: Pool) -> None:
    crm, house = ScriptedCrm(), House()
    router = await redirects(pool, crm, house)
    reasons = [(await router.who("0367", STRANGER, line=LINE)).reason]
    crm.down = True
    reasons.append((await router.who("0367", KNOWN, line=LINE)).reason)
    house.matrix["0367"] = {"retailcrm": False}
    last = await router.who("0367", KNOWN, line=LINE)

    assert [*reasons, last.reason] == ["unknown_caller", "crm_failed", "no_crm"]
    assert last.extension == "150"


async def test_a_slow_crm_never_holds_a_caller_and_its_late_answer_serves_the_next_call(pool: Pool) -> None:
    crm = ScriptedCrm(hold=asyncio.Event())
    router = await redirects(pool, crm)
    began = time.monotonic()
    answer = await router.who("0367", KNOWN, line=LINE, deadline=0.15)

    assert 0.14 < time.monotonic() - began < 0.6
    assert (answer.extension, answer.reason, answer.fallback) == ("150", "crm_deadline", True)
    assert crm.hold is not None
    crm.hold.set()
    async with asyncio.timeout(5):
        while (await router.who("0367", KNOWN, line=LINE)).extension != "152":  # noqa: ASYNC110 - until it is kept
            await asyncio.sleep(0)
    assert len(crm.asked) == 1


async def test_the_deadline_counts_from_the_questions_arrival(pool: Pool) -> None:
    router = await redirects(pool, ScriptedCrm(hold=asyncio.Event()))
    began = time.monotonic()
    answer = await router.who("0367", KNOWN, line=LINE, arrived=began - 10)

    assert answer.reason == "crm_deadline"
    assert time.monotonic() - began < 0.5


async def test_a_warm_answer_takes_no_time(pool: Pool) -> None:
    """given a caller of the last minute, then a question is answered from memory, even past its deadline"""
    router = await redirects(pool, ScriptedCrm())
    await router.who("0367", KNOWN, line=LINE)
    answers = [await router.who("0367", KNOWN, line=LINE, arrived=time.monotonic() - 1) for _ in range(100)]

    assert {answer.extension for answer in answers} == {"152"}


async def test_only_extensions_of_the_asking_pbx_count(pool: Pool) -> None:
    crm = ScriptedCrm(people={KNOWN: MARIA})
    router = await redirects(pool, crm, House(configs={"0367": Config(user_extensions={"16": "201"})}))

    assert (await router.who("0367", KNOWN, line=LINE, pbx="office")).reason == "foreign_extension"


async def test_another_enterprises_callers_and_fallback_are_its_own(pool: Pool) -> None:
    crm = ScriptedCrm()
    router = await redirects(pool, crm)
    await router.who("0367", KNOWN)

    assert await router.who("0999", KNOWN) == Answer(reason="no_crm")
    assert await router.who("none", KNOWN) == Answer(reason="unknown_enterprise")


CALL = "insert into calls (enterprise_number, pbx_name, call_id, direction, state) values ($1, $2, $3, $4, '{}')"
ROUTED = "select routed_to, route_reason from calls where enterprise_number = $1 and call_id = '1.1'"


async def kept(pool: Pool, enterprise: str = "0367") -> tuple[str | None, str | None]:
    return tuple(await pool.fetchrow(ROUTED, enterprise))  # type: ignore[return-value]


async def test_the_reason_is_kept_with_a_call_that_has_its_row_already(pool: Pool) -> None:
    router = await redirects(pool, ScriptedCrm())
    await pool.execute(CALL, "0367", "office", "1.1", "inbound")
    router.keep("0367", "office", "1.1", Answer(extension="152", reason="mapped"))
    await router.close()

    assert await kept(pool) == ("152", "mapped")


async def test_the_reason_waits_for_a_call_that_has_no_row_yet(pool: Pool) -> None:
    router = await redirects(pool, ScriptedCrm())
    router.keep("0367", "office", "1.1", Answer(queue="sales", reason="crm_failed", fallback=True))
    await router.close()
    await pool.execute(CALL, "0999", "office", "1.1", "inbound")
    await pool.execute(CALL, "0367", "office", "1.1", "inbound")

    assert await kept(pool) == ("queue:sales", "crm_failed")
    assert await kept(pool, "0999") == (None, None)


async def test_a_note_written_while_the_row_is_reaches_it_with_the_next_change(pool: Pool) -> None:
    router = await redirects(pool, ScriptedCrm())
    async with pool.acquire() as writer:
        async with writer.transaction():
            await writer.execute(CALL, "0367", "office", "1.1", "inbound")
            router.keep("0367", "office", "1.1", Answer(extension="152", reason="mapped"))
            await router.close()  # the note is written; the row is not yet seen
        await writer.execute("update calls set result = 'answered' where call_id = '1.1'")

    assert await kept(pool) == ("152", "mapped")


async def test_a_second_question_about_a_call_replaces_the_first(pool: Pool) -> None:
    router = await redirects(pool, ScriptedCrm())
    await pool.execute(CALL, "0367", "office", "1.1", "inbound")
    for answer in (Answer(reason="crm_failed"), Answer(extension="152", reason="mapped")):
        router.keep("0367", "office", "1.1", answer)
        await router.close()

    assert await kept(pool) == ("152", "mapped")


async def test_notes_of_many_calls_are_written_together_and_each_reaches_its_own(pool: Pool) -> None:
    router = await redirects(pool, ScriptedCrm())
    for number in range(300):
        if number % 2:
            await pool.execute(CALL, "0367", "office", f"9.{number}", "inbound")
        router.keep("0367", "office", f"9.{number}", Answer(extension=str(100 + number % 50), reason="mapped"))
    router.keep("gone", "office", "9.1", Answer(reason="no_crm"))
    await router.close()
    for number in range(0, 300, 2):
        await pool.execute(CALL, "0367", "office", f"9.{number}", "inbound")

    rows = await pool.fetch("select call_id, routed_to from calls")
    assert {row["call_id"]: row["routed_to"] for row in rows} == {f"9.{n}": str(100 + n % 50) for n in range(300)}


async def test_old_notes_are_forgotten(pool: Pool) -> None:
    router = await redirects(pool, ScriptedCrm())
    router.keep("0367", "office", "1.1", Answer(reason="crm_failed"))
    await router.close()
    async with pool.acquire() as connection:
        await routes.forget(connection, 1)
        assert await connection.fetchval("select count(*) from route_notes") == 1
        await connection.execute("update route_notes set created_at = created_at - interval '2 hours'")
        await routes.forget(connection, 1)
        assert await connection.fetchval("select count(*) from route_notes") == 0


async def test_a_database_that_is_away_costs_the_note_and_nothing_else(pool: Pool) -> None:
    router = await redirects(pool, ScriptedCrm())
    await pool.close()
    router.keep("0367", "office", "1.1", Answer(extension="152", reason="mapped"))
    await router.close()

    assert (await router.who("0367", KNOWN, line=LINE)).extension == "152"
