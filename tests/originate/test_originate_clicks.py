"""Clicks over a real Postgres: asked once however often clicked, answered in time, settled whatever happens."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import pytest
from originate_pbx import ScriptedPbx, clicks
from two_enterprises import furnish

from bridge.db.pool import Pool
from bridge.errors import (
    ActionFailed,
    ActionTimeout,
    BadInput,
    BridgeError,
    ConnectionLost,
    DatabaseProblem,
    NotFound,
    PbxUnavailable,
)
from bridge.originate import Clicks

PHONE = "+79031112233"


async def click(of: Clicks, extension: str = "150", phone: str = PHONE, enterprise: str = "0367") -> bool:
    """Whether it was a repeated one."""
    answer = await of.start(enterprise, extension=extension, phone=phone, source="retailcrm")
    assert answer.status == "queued"
    return answer.repeated


async def outcomes(pool: Pool) -> list[str | None]:
    return [row["outcome"] for row in await pool.fetch("select outcome from originate_requests order by id")]


async def test_a_click_is_sent_once_with_our_channel_id(pool: Pool) -> None:
    pbx = ScriptedPbx()
    ours, registry = clicks(await furnish(pool), pbx, pool)
    assert not await click(ours)

    (action,) = pbx.sent
    row = await pool.fetchrow("select * from originate_requests")
    assert (action["Channel"], action["Exten"], action["ChannelId"]) == ("PJSIP/150", "79031112233", row["channel_id"])
    assert (row["enterprise_number"], row["extension"], row["phone"], row["outcome"]) == (
        "0367",
        "150",
        "79031112233",
        None,
    )
    assert registry.get_sample_value("bridge_click_requests_total", {"answer": "queued"}) == 1


async def test_an_impatient_click_starts_nothing_new_however_the_number_is_written(pool: Pool) -> None:
    pbx = ScriptedPbx()
    ours, _ = clicks(await furnish(pool), pbx, pool)
    repeated = [await click(ours, phone=phone) for phone in (PHONE, PHONE, "8 (903) 111-22-33", " 79031112233")]

    assert repeated == [False, True, True, True]
    assert len(pbx.sent) == 1


async def test_two_instances_asked_at_once_make_one_call(pool: Pool) -> None:
    pbx = ScriptedPbx()
    directory = await furnish(pool)
    instances = [clicks(directory, pbx, pool, answer_within=5)[0] for _ in range(2)]
    repeated = await asyncio.gather(*(click(instances[number % 2]) for number in range(20)))

    assert sorted(repeated) == [False] + [True] * 19
    assert len(pbx.sent) == 1


async def test_other_people_and_other_numbers_are_other_requests(pool: Pool) -> None:
    pbx = ScriptedPbx()
    ours, _ = clicks(await furnish(pool), pbx, pool)
    repeated = [
        await click(ours),
        await click(ours, extension="151"),
        await click(ours, phone="+79031112244"),
        await click(ours, enterprise="0999"),
    ]
    assert repeated == [False] * 4


async def test_after_its_window_the_same_click_is_a_new_request(pool: Pool) -> None:
    pbx = ScriptedPbx()
    ours, _ = clicks(await furnish(pool), pbx, pool)
    await click(ours)
    await pool.execute("update originate_guards set until = clock_timestamp()")

    assert not await click(ours)
    assert len(pbx.sent) == 2


@pytest.mark.parametrize(
    ("problem", "outcome"),
    [(PbxUnavailable("down"), "unavailable"), (ActionFailed("Originate Access Forbidden"), "refused")],
)
async def test_what_rang_nowhere_is_said_and_may_be_asked_again_at_once(
    pool: Pool, problem: BridgeError, outcome: str
) -> None:
    pbx = ScriptedPbx()
    ours, registry = clicks(await furnish(pool), pbx, pool, answer_within=5)
    pbx.problem = problem
    with pytest.raises(type(problem)):
        await click(ours)
    assert await outcomes(pool) == [outcome]
    assert registry.get_sample_value("bridge_click_outcomes_total", {"outcome": outcome}) == 1

    pbx.problem = None
    assert not await click(ours)


@pytest.mark.parametrize("problem", [ConnectionLost(), ActionTimeout()])
async def test_what_may_have_rung_is_not_rung_twice(pool: Pool, problem: BridgeError) -> None:
    pbx = ScriptedPbx()
    ours, _ = clicks(await furnish(pool), pbx, pool, answer_within=5)
    pbx.problem = problem
    with pytest.raises(type(problem)):
        await click(ours)
    pbx.problem = None

    assert await click(ours)
    assert len(pbx.sent) == 1


async def test_whoever_clicked_is_answered_in_time_and_the_call_is_made_all_the_same(pool: Pool) -> None:
    pbx = ScriptedPbx()
    pbx.hold = asyncio.Event()
    ours, _ = clicks(await furnish(pool), pbx, pool, answer_within=0.05)
    began = time.monotonic()
    assert not await click(ours)
    assert time.monotonic() - began < 0.5

    pbx.hold.set()
    await ours.close()
    assert len(pbx.sent) == 1


@pytest.mark.parametrize(
    ("enterprise", "extension", "phone", "problem"),
    [("0367", "201", PHONE, BadInput), ("0367", "150", "x", BadInput), ("none", "150", PHONE, NotFound)],
)
async def test_a_wrong_request_touches_nothing(
    pool: Pool, enterprise: str, extension: str, phone: str, problem: type[BridgeError]
) -> None:
    pbx = ScriptedPbx()
    ours, registry = clicks(await furnish(pool), pbx, pool)
    with pytest.raises(problem):
        await click(ours, extension, phone, enterprise)

    assert pbx.sent == []
    assert await outcomes(pool) == []
    assert registry.get_sample_value("bridge_click_requests_total", {"answer": problem.code.lower()}) == 1


async def test_without_a_database_nothing_is_called(pool: Pool) -> None:
    pbx = ScriptedPbx()
    ours, _ = clicks(await furnish(pool), pbx, pool, answer_within=5)
    await pool.close()
    with pytest.raises(DatabaseProblem):
        await click(ours)

    assert pbx.sent == []


CALL = """
    insert into calls (enterprise_number, pbx_name, call_id, direction, result)
    select enterprise_number, pbx_name, channel_id, 'outbound', $1 from originate_requests
"""


@pytest.mark.parametrize("result", ["answered", "busy", "no_answer", "cancelled", "failed", "incomplete"])
async def test_the_outcome_is_the_result_of_the_call_it_became(pool: Pool, result: str) -> None:
    ours, registry = clicks(await furnish(pool), ScriptedPbx(), pool)
    await click(ours)
    await pool.execute(CALL, "active")
    await ours.settle()
    assert await outcomes(pool) == [None]

    await pool.execute("update calls set result = $1", result)
    await ours.settle()
    await ours.settle()
    assert await outcomes(pool) == [result]
    assert registry.get_sample_value("bridge_click_outcomes_total", {"outcome": result}) == 1


async def test_two_instances_count_an_outcome_once(pool: Pool) -> None:
    directory = await furnish(pool)
    instances = [clicks(directory, ScriptedPbx(), pool) for _ in range(2)]
    await click(instances[0][0])
    await pool.execute(CALL, "answered")
    await asyncio.gather(*(ours.settle() for ours, _ in instances))

    counted = [
        registry.get_sample_value("bridge_click_outcomes_total", {"outcome": "answered"}) for _, registry in instances
    ]
    assert sorted(value or 0 for value in counted) == [0, 1]


async def test_a_phone_that_was_not_there_is_unreachable_once_its_time_is_over(pool: Pool) -> None:
    ours, _ = clicks(await furnish(pool), ScriptedPbx(), pool)
    await click(ours)
    await ours.settle()
    assert await outcomes(pool) == [None]

    await pool.execute("update originate_requests set created_at = created_at - interval '1 minute'")
    await ours.settle()
    assert await outcomes(pool) == ["unreachable"]


async def test_a_failed_originate_is_settled_soon_unless_it_became_a_call(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.originate._ROW_WRITTEN_WITHIN", 0.0)
    ours, _ = clicks(await furnish(pool), ScriptedPbx(), pool)
    await click(ours)
    await pool.execute(CALL, "active")
    await click(ours, extension="151")
    for channel_id in await pool.fetch("select channel_id from originate_requests"):
        ours.originate_failed(channel_id["channel_id"])
    await ours.settle()

    assert await outcomes(pool) == [None, "unreachable"]


async def test_guards_that_guard_nothing_are_forgotten(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.originate._FORGET_EVERY", -1.0)
    ours, _ = clicks(await furnish(pool), ScriptedPbx(), pool)
    await click(ours)
    await click(ours, extension="151")
    await pool.execute("update originate_guards set until = clock_timestamp() where extension = '150'")
    await ours.settle()

    assert await pool.fetchval("select array_agg(extension) from originate_guards") == ["151"]


@pytest.mark.parametrize(
    ("column", "value"),
    [("endpoint", "150"), ("endpoint", "PJSIP/{extension}&PJSIP/trunk"), ("endpoint", "PJSIP/x"), ("outgoing", "{x}")],
)
async def test_a_pbx_cannot_be_told_to_dial_anything_else(pool: Pool, column: str, value: str) -> None:
    await furnish(pool)
    with pytest.raises(asyncpg.CheckViolationError):
        await pool.execute(f"update pbxs set {column} = $1", value)  # noqa: S608
