"""From webhooks that were kept to calls: whatever the order, however often, whoever works, whatever breaks."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import asyncpg
import pytest
from webhook_desk import (
    JULY,
    JUNE,
    JUNES,
    a_worker,
    configured,
    deliveries,
    eventually,
    exchange,
    furnish,
    heard,
    listening,
    open_desk,
    rows,
    states,
    told,
    work_all,
)

from bridge.db.pool import Pool, open_pool
from bridge.mango import fold
from bridge.mango.events import MangoEvent
from bridge.mango.fold import News
from bridge.mango.journal import keep_history
from bridge.mango.products import Products
from bridge.mango.worker import Settings, Worker
from bridge.secrets import Vault
from lab.mango import Played, scenarios

AT = 1_795_224_000.0


@pytest.fixture
async def june(pool: Pool) -> Pool:
    await furnish(pool)
    return pool


def answered(**more: Any) -> Played:
    return scenarios.inbound_answered(exchange(), at=AT, by="150", **more)


# --- a call -----------------------------------------------------------------------------------------------------------


async def test_a_call_in_the_cloud_is_a_call_as_any_other(june: Pool) -> None:
    call = answered(ring=4, talk=30)
    worker = a_worker(june)
    for webhook in call.webhooks:
        await heard(june, [webhook])
        await work_all(worker)

    (row,) = await rows(june)
    assert (row["pbx_name"], row["call_id"], row["direction"]) == ("mango", call.entry_id, "inbound")
    assert (row["result"], row["status"], row["answered_by"]) == ("answered", "completed", "150")
    assert (row["client_number"], row["wait_seconds"], row["talk_seconds"]) == ("+79161234567", 4, 30)
    assert not row["reconciled"]
    assert await deliveries(june) == [(f"mango:{call.entry_id}", kind) for kind in ("ringing", "hangup", "record")]
    timeline = await june.fetch("select change, extract(epoch from at) as at from call_timeline order by id")
    assert [entry["change"] for entry in timeline] == ["started", "ringing", "answered", "ended"]
    assert [float(entry["at"]) - AT for entry in timeline] == [0, 0, 4, 34]
    assert set(await states(june)) == {"worked"}


async def test_the_whole_at_once_gives_the_same_call_and_rings_nobody_any_more(june: Pool) -> None:
    call = answered()
    await heard(june, call.webhooks)
    await work_all(a_worker(june))

    (row,) = await rows(june)
    assert (row["result"], row["answered_by"]) == ("answered", "150")
    assert await deliveries(june) == [(f"mango:{call.entry_id}", "record")]


async def test_browsers_hear_of_it_with_the_commit(june: Pool, database_url: str) -> None:
    async with listening(database_url, "bridge_live") as heard_of:
        await heard(june, answered().webhooks[:1])
        await work_all(a_worker(june))
        (row,) = await rows(june)

        async def told_of() -> bool:
            return [json.loads(each) for each in heard_of] == [{"enterprise_number": JUNE, "calls": [row["id"]]}]

        await eventually(told_of)


# --- any order, any number of times, anybody --------------------------------------------------------------------------


def _same(row: asyncpg.Record) -> dict[str, Any]:
    """A row without what tells when it was written."""
    return {name: value for name, value in row.items() if name not in ("id", "created_at", "updated_at")}


@pytest.mark.parametrize("seed", range(6))
async def test_disorder_and_copies_give_the_same_call_and_one_record(june: Pool, seed: int) -> None:
    """Each webhook is worked before the next comes, twice some, in any order, beside the same call told in order."""
    dice = random.Random(seed)
    made = exchange()
    plays = [
        scenarios.inbound_answered(made, at=AT, by="150"),
        scenarios.blind_transfer(made, at=AT, by="150", to="151"),
        scenarios.inbound_missed(made, at=AT, by="151"),
        scenarios.callback(made, at=AT, by="150", command_id="c-1"),
    ]
    worker = a_worker(june)
    for play in plays:
        await heard(june, play.webhooks)
        await work_all(worker)
        await heard(june, play.webhooks, JULY)
        webhooks = [*play.webhooks, *dice.sample(play.webhooks, 2)]
        await june.execute("delete from mango_webhooks where enterprise_number = $1", JULY)
        dice.shuffle(webhooks)
        for webhook in webhooks:
            await heard(june, [webhook], JULY)
            await work_all(worker)

    orderly, untidy = await rows(june), await rows(june, JULY)
    for one, other in zip(orderly, untidy, strict=True):
        assert _same(one) | {"enterprise_number": JULY} | _users(other) == _same(other)
    records = [external for external, kind in await deliveries(june, JULY) if kind == "record"]
    assert sorted(records) == sorted(f"mango:{play.entry_id}" for play in plays)


def _users(row: asyncpg.Record) -> dict[str, Any]:
    """Whose phone is 150 differs by enterprise."""
    return {name: row[name] for name in ("assigned_user_id", "answered_by_user_id")}


async def test_the_same_call_in_two_enterprises_is_two_calls(june: Pool) -> None:
    call = answered()
    await heard(june, call.webhooks, JUNE)
    await heard(june, call.webhooks[:1], JULY)
    await work_all(a_worker(june))

    (ours,), (theirs,) = await rows(june, JUNE), await rows(june, JULY)
    assert (ours["result"], theirs["result"]) == ("answered", "active")


async def test_two_instances_at_once_make_one_call_of_each(june: Pool, database_url: str) -> None:
    made = exchange()
    plays = [scenarios.inbound_answered(made, f"7916{n:07}", at=AT, by="150") for n in range(150)]
    webhooks = [webhook for play in plays for webhook in [*play.webhooks, *play.webhooks[:2]]]
    random.Random(7).shuffle(webhooks)
    other = await open_pool(database_url)
    workers = [a_worker(june, settings=_small()), a_worker(other, settings=_small())]
    running = [asyncio.create_task(worker.run()) for worker in workers]
    try:
        for start in range(0, len(webhooks), 40):
            await heard(june, webhooks[start : start + 40])
            for worker in workers:
                worker.wake()

        async def done() -> bool:
            return set(await states(june)) == {"worked"}

        await eventually(done, 60)
    finally:
        for worker in workers:
            worker.stop()
        await asyncio.gather(*running)
        await other.close()

    assert [row["call_id"] for row in await rows(june)] == sorted(play.entry_id for play in plays)
    assert {row["result"] for row in await rows(june)} == {"answered"}
    kinds = await deliveries(june)
    assert len(kinds) == len(set(kinds))
    assert sum(kind == "record" for _, kind in kinds) == len(plays)


def _small() -> Settings:
    return Settings(poll=0.05, gather=0.0, together=7)


# --- what breaks ------------------------------------------------------------------------------------------------------


class _Failing:
    """A ledger that writes all but fails for some calls, until it is mended."""

    def __init__(self, real: Any, problem: Callable[[str], Exception | None]) -> None:
        self._real = real
        self.problem = problem

    async def write(
        self, connection: asyncpg.Connection, enterprise_number: str, news: Sequence[News]
    ) -> Mapping[str, int]:
        written: Mapping[str, int] = await self._real.write(connection, enterprise_number, news)
        for each in news:
            if (problem := self.problem(each.call.call_id)) is not None:
                raise problem
        return written


def _with_ledger(pool: Pool, problem: Callable[[str], Exception | None]) -> tuple[Worker, _Failing]:
    ledger = _Failing(a_worker(pool)._ledger, problem)
    return a_worker(pool, ledger=ledger), ledger


async def test_what_fails_half_way_leaves_nothing_and_is_done_later(june: Pool) -> None:
    call = answered()
    await heard(june, call.webhooks)
    worker, ledger = _with_ledger(june, lambda _: ConnectionResetError("the database went away"))

    with pytest.raises(ConnectionResetError):
        await worker.work()
    assert (await rows(june), await deliveries(june), set(await states(june))) == ([], [], {"new"})

    ledger.problem = lambda _: None
    await work_all(worker)
    assert (len(await rows(june)), len(await deliveries(june)), set(await states(june))) == (1, 1, {"worked"})


async def test_one_that_the_database_refuses_costs_the_others_nothing(june: Pool) -> None:
    made = exchange()
    plays = [scenarios.inbound_answered(made, at=AT, by="150") for _ in range(4)]
    bad = plays[1].entry_id
    for play in plays:
        await heard(june, play.webhooks[:-1])
    worker, ledger = _with_ledger(june, lambda each: asyncpg.DataError("no such value") if each == bad else None)
    await work_all(worker)

    assert {row["call_id"] for row in await rows(june)} == {play.entry_id for play in plays} - {bad}
    failed = await june.fetch("select entry_id, reason from mango_webhooks where state = 'failed'")
    assert {row["entry_id"] for row in failed} == {bad}
    assert "no such value" in failed[0]["reason"]

    ledger.problem = lambda _: None
    await heard(june, plays[1].webhooks[-1:])
    await work_all(worker)
    assert {row["result"] for row in await rows(june)} >= {"answered"}
    assert len(await rows(june)) == 4


async def test_a_defect_in_reading_one_call_costs_the_others_nothing(
    june: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = answered(), answered()
    real = fold.read

    def read(events: list[MangoEvent], *more: Any) -> Any:
        if events[0].entry_id == bad.entry_id:
            raise ZeroDivisionError
        return real(events, *more)

    monkeypatch.setattr(fold, "read", read)
    await heard(june, [*bad.webhooks, *good.webhooks])
    await work_all(a_worker(june))

    assert [row["call_id"] for row in await rows(june)] == [good.entry_id]
    assert set(await states(june)) == {"worked", "failed"}


async def test_what_makes_no_sense_is_set_aside_with_its_reason(june: Pool) -> None:
    await heard(june, answered().webhooks[:1])
    await june.execute("update mango_webhooks set body = '{\"entry_id\":\"E\"}', entry_id = 'E'")
    await work_all(a_worker(june))

    assert await rows(june) == []
    assert await states(june) == {"ignored": 1}


# --- silence ----------------------------------------------------------------------------------------------------------


async def _later(pool: Pool, seconds: float) -> None:
    """As if everything had been heard so much earlier."""
    await pool.execute("update mango_webhooks set received_at = received_at - make_interval(secs => $1)", seconds)
    await pool.execute("update mango_calls set due_at = due_at - make_interval(secs => $1)", seconds)


async def test_a_call_whose_summary_never_comes_ends_after_a_silence(june: Pool) -> None:
    call = answered()
    worker = a_worker(june)
    await heard(june, [each for each in call.webhooks if each.path == "events/call"])
    await work_all(worker)
    assert [row["result"] for row in await rows(june)] == ["active"]

    await _later(june, 61)
    await work_all(worker)

    (row,) = await rows(june)
    assert (row["result"], row["answered_by"]) == ("answered", "150")
    assert (f"mango:{call.entry_id}", "record") in await deliveries(june)


async def test_a_summary_after_the_silence_refines_the_call_and_is_no_second_record(june: Pool) -> None:
    call = answered()
    worker = a_worker(june)
    await heard(june, [each for each in call.webhooks if each.path == "events/call"])
    await work_all(worker)
    await _later(june, 61)
    await work_all(worker)

    await heard(june, [each for each in call.webhooks if each.path == "events/summary"])
    await work_all(worker)

    assert [row["result"] for row in await rows(june)] == ["answered"]
    assert [kind for _, kind in await deliveries(june)].count("record") == 1


async def test_a_recording_that_becomes_known_after_the_silence_revives_nothing(june: Pool) -> None:
    call = answered(recipient="Cloud")
    worker = a_worker(june)
    legs = [each for each in call.webhooks if each.path == "events/call"]
    recording = [each for each in call.webhooks if each.path.startswith("events/record")]
    assert recording
    await heard(june, legs)
    await work_all(worker)
    await _later(june, 61)
    await work_all(worker)
    await heard(june, recording)
    await work_all(worker)

    (row,) = await rows(june)
    assert (row["result"], row["ended_at"] is not None) == ("answered", True)


# --- whose call it is -------------------------------------------------------------------------------------------------


async def test_a_call_nobody_answered_is_its_citys_operators(june: Pool) -> None:
    await heard(june, scenarios.menu_abandoned(exchange(), at=AT).webhooks)
    await work_all(a_worker(june))

    (row,) = await rows(june)
    anna = await june.fetchval("select id from users where email = $1", f"150@{JUNE}.example")
    assert (row["result"], row["assigned_user_id"]) == ("missed", anna)


async def test_where_a_city_has_several_it_is_the_configured_default_elses_nobodys(june: Pool) -> None:
    await june.execute("update users set city = 'Москва'")
    products = Products(june, Vault(("k",)))
    await products.refresh()
    await heard(june, scenarios.menu_abandoned(exchange(), at=AT).webhooks)
    await work_all(a_worker(june, products=products))
    assert [row["assigned_user_id"] for row in await rows(june)] == [None]

    config = configured(JUNES, default_operator="151")
    await june.execute("update enterprises set integrations_config = $2 where number = $1", JUNE, config)
    await products.refresh()
    await heard(june, scenarios.menu_abandoned(exchange(), at=AT).webhooks)
    await work_all(a_worker(june, products=products))

    boris = await june.fetchval("select id from users where email = $1", f"151@{JUNE}.example")
    assert boris in [row["assigned_user_id"] for row in await rows(june)]


# --- recordings -------------------------------------------------------------------------------------------------------


async def _recordings(pool: Pool) -> list[asyncpg.Record]:
    return await pool.fetch("select * from recordings order by id")


async def test_a_promised_recording_has_its_link_before_it_is_there(june: Pool) -> None:
    call = answered(recipient="Cloud")
    before = [each for each in call.webhooks if each.path != "events/record/added"]
    worker = a_worker(june)
    await heard(june, before)
    await work_all(worker)

    (row,), (recording,) = await rows(june), await _recordings(june)
    assert row["recording_url"].startswith(f"http://b/api/v1/calls/{row['id']}/recording?token=")
    assert (recording["source"], recording["state"]) == ("mango", "waiting")

    await heard(june, [each for each in call.webhooks if each.path == "events/record/added"])
    await work_all(worker)
    (recording,) = await _recordings(june)
    assert recording["due_at"] is not None
    assert recording["reference"] in json.dumps([each.body for each in call.webhooks])


async def test_a_recording_too_short_to_be_kept_is_never_fetched(june: Pool) -> None:
    await heard(june, answered(recipient="Cloud", short=True, talk=2).webhooks)
    await work_all(a_worker(june))

    assert await _recordings(june) == []
    assert [row["recording_url"] for row in await rows(june)] == [None]


# --- Mango's history --------------------------------------------------------------------------------------------------


def _history(entry_id: str) -> bytes:
    return json.dumps(
        {
            "entry_id": entry_id,
            "context_type": 1,
            "context_start_time": int(AT),
            "caller_number": "79165550000",
            "called_number": "150",
            "talk_duration": 30,
            "duration": 34,
            "recall_status": 0,
            "context_init_type": 1,
            "context_status": 1,
            "context_calls": [],
        }
    ).encode()


async def test_a_call_that_only_the_history_knows_is_marked_and_rings_nobody(june: Pool) -> None:
    async with june.acquire() as connection:
        await keep_history(connection, JUNE, JUNES.name, [("H1", _history("H1"))])
    await work_all(a_worker(june))

    (row,) = await rows(june)
    assert (row["call_id"], row["reconciled"], row["result"] == "active") == ("H1", True, False)
    assert {kind for _, kind in await deliveries(june)} <= {"record"}


async def test_a_call_that_webhooks_tell_of_after_all_is_marked_no_longer(june: Pool) -> None:
    call = answered()
    async with june.acquire() as connection:
        await keep_history(connection, JUNE, JUNES.name, [(call.entry_id, _history(call.entry_id))])
    worker = a_worker(june)
    await work_all(worker)
    await heard(june, call.webhooks)
    await work_all(worker)

    assert [row["reconciled"] for row in await rows(june)] == [False]


# --- commands ---------------------------------------------------------------------------------------------------------


class _Commands:
    def __init__(self) -> None:
        self.results: list[tuple[str, str, int | None]] = []
        self.calls: list[tuple[str, tuple[str, ...], str]] = []

    async def result(self, _: Any, enterprise_number: str, command_id: str, result: int | None) -> None:
        self.results.append((enterprise_number, command_id, result))

    async def made(self, _: Any, enterprise_number: str, command_ids: Sequence[str], entry_id: str) -> None:
        self.calls.append((enterprise_number, tuple(command_ids), entry_id))


async def test_answers_to_commands_and_the_calls_they_made_are_told(june: Pool) -> None:
    commands = _Commands()
    call = scenarios.callback(exchange(), at=AT, by="150", command_id="click-1")
    async with open_desk(june) as desk:
        await desk.say("result/callback", {"command_id": "click-1", "result": "1000"})
        await desk.say("events/unheard/of", {"result": None})
    await heard(june, [each for each in call.webhooks if each.path == "events/call"])
    await work_all(a_worker(june, commands=commands))

    assert commands.results == [(JUNE, "click-1", 1000)]
    assert commands.calls == [(JUNE, ("click-1",), call.entry_id)]
    assert "new" not in await states(june)


async def test_who_listens_hears_all_that_is_known_after_it_is_written(june: Pool) -> None:
    heard_of: list[tuple[str, str, int]] = []
    worker = a_worker(june, listener=lambda number, entry, events: heard_of.append((number, entry, len(events))))
    call = answered()
    await heard(june, call.webhooks[:1])
    await work_all(worker)
    await heard(june, call.webhooks[1:3])
    await work_all(worker)

    assert heard_of == [(JUNE, call.entry_id, 1), (JUNE, call.entry_id, 3)]


# --- the flat dialect -------------------------------------------------------------------------------------------------


def _flat(status: str, **more: Any) -> dict[str, Any]:
    return {
        "call_id": "F1",
        "entry_id": "F1-entry",
        "from": "+79161234567",
        "to": "+74951230001",
        "direction": "in",
        "status": status,
        "timestamp": int(AT) + {"start": 0, "answer": 5, "end": 65}[status],
        "line_number": "+74951230001",
        "location": "abonent",
        "vpbx_api_id": "june-1",
        "vpbx_api_key": JUNES.api_key,
        **more,
    }


FLAT_CALL = [_flat("start"), _flat("answer"), _flat("end", duration=60, record_url="https://files.example/1.mp3")]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 2, 0, 1)])
async def test_the_flat_dialects_table_is_kept_as_it_was_documented(june: Pool, order: tuple[int, ...]) -> None:
    worker = a_worker(june)
    async with open_desk(june) as desk:
        for number in order:
            assert (await desk.say_flat(FLAT_CALL[number])).status_code == 200
            await work_all(worker)

    (kept,) = await june.fetch("select * from mango")
    assert (kept["call_id"], kept["entry_id"], kept["status"]) == ("F1", "F1-entry", "completed")
    assert (kept["from_number"], kept["to_number"], kept["direction"]) == ("+79161234567", "+74951230001", "in")
    assert (kept["duration"], kept["record_url"]) == (60, "https://files.example/1.mp3")
    assert (kept["line_number"], kept["location"]) == ("+74951230001", "abonent")
    assert JUNES.api_key not in json.dumps(kept["raw"])

    (row,) = await rows(june)
    assert (row["call_id"], row["result"], row["talk_seconds"]) == ("F1-entry", "answered", 60)
    assert [kind for _, kind in await deliveries(june)].count("record") == 1
    assert [(each["source"], each["reference"]) for each in await _recordings(june)] == [
        ("address", "https://files.example/1.mp3")
    ]


async def test_the_flat_dialects_rows_go_from_started_to_completed(june: Pool) -> None:
    worker = a_worker(june)
    seen = []
    async with open_desk(june) as desk:
        for each in FLAT_CALL:
            await desk.say_flat(each)
            await work_all(worker)
            seen.append(await june.fetchval("select status from mango"))

    assert seen == ["started", "answered", "completed"]


# --- how long it is kept ----------------------------------------------------------------------------------------------


async def test_what_was_worked_is_swept_in_time_and_its_call_stays(june: Pool) -> None:
    call = answered()
    worker = a_worker(june, settings=Settings(days=30, sweep_most=3))
    await heard(june, call.webhooks)
    await work_all(worker)
    await heard(june, answered().webhooks[:1])
    before = await rows(june)
    await june.execute("update mango_webhooks set received_at = received_at - interval '31 days'")

    await worker._sweep()

    assert await states(june) == {"new": 1}
    await heard(june, call.webhooks[:1])
    await work_all(worker)
    after = {row["call_id"]: row for row in await rows(june)}
    assert after[call.entry_id] == next(row for row in before if row["call_id"] == call.entry_id)
    assert (await states(june))["ignored"] == 1


# --- a life -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("poll", "wakes"), [(60.0, True), (0.05, False)])
async def test_it_works_when_it_is_woken_and_looks_by_itself_too(june: Pool, poll: float, wakes: bool) -> None:
    worker = a_worker(june, settings=Settings(poll=poll, gather=0.0))
    first, second = answered(), answered()

    async def known() -> set[str]:
        return set(await told(june))

    async def first_done() -> bool:
        return first.entry_id in await known()

    async def second_done() -> bool:
        return second.entry_id in await known()

    await heard(june, first.webhooks)
    running = asyncio.create_task(worker.run())
    try:
        await eventually(first_done)
        await heard(june, second.webhooks)
        if wakes:
            worker.wake()
        await eventually(second_done)
    finally:
        worker.stop()
        await running


async def test_a_notify_comes_with_what_was_kept(june: Pool, database_url: str) -> None:
    async with open_desk(june) as desk, listening(database_url, "bridge_mango") as heard_of:
        await desk.say("events/call", {"entry_id": "E", "call_id": "L", "seq": 1, "call_state": "Appeared"})

        async def told_of() -> bool:
            return heard_of == [""]

        await eventually(told_of)
