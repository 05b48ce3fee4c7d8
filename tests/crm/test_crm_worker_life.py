"""Accounts that fail, workers that stop or die, databases that restart: who is delayed, and that nobody else is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import asyncpg
import msgspec
from crm_office import HANGUP, QUICK, RECORD, Office, Running, a_call, eventually
from scripted_crm import Crm, Switch, after

from bridge import pacing
from bridge.crm.port import Delivered, Later, Outcome, Refused, Request

Start = Callable[..., Running]


# --- the breaker ----------------------------------------------------------------------------------------------------


async def test_an_account_that_is_down_is_left_alone_then_probed_by_one(june: Office, start: Start) -> None:
    crm = Crm(lambda *_: Later(reason="ConnectError"))
    for n in range(30):
        await june.owe("0367", a_call(f"{n}.1"), RECORD)
    patient = pacing.Policy(threshold=5, shortest=1.0, longest=1.0, probe=5.0)
    settings = msgspec.structs.replace(QUICK, breaker=patient)
    running = start(crm, settings=settings)
    second = start(crm, settings=settings)

    # when it fails, the breaker opens and nobody asks any more
    async def is_open() -> bool:
        return (await june.account("0367"))["open_until"] is not None

    await eventually(is_open)
    await eventually(lambda: crm.at_work == 0)
    account = await june.account("0367")
    assert account["last_error"] == "ConnectError"
    tried = len(crm.sent)
    assert tried <= 5 + 2 * settings.slots

    # when its time has passed, exactly one of two workers tries exactly one delivery
    crm.gate.clear()
    crm.most_at_work = 0
    await eventually(lambda: crm.at_work)
    for _ in range(20):
        running.worker.wake()
        second.worker.wake()
        await asyncio.sleep(0.01)
    assert crm.most_at_work == 1
    assert len(crm.sent) == tried + 1

    # when the probe succeeds, everything goes
    crm.behave = lambda *_: Delivered()
    crm.gate.set()
    await june.until_over()
    account = await june.account("0367")
    assert (account["failures"], account["open_until"], account["last_error"]) == (0, None, None)


async def test_one_accounts_failure_never_delays_another(office: Office, start: Start) -> None:
    crm = Crm()
    crm.gate.clear()  # the first account hangs; the second answers
    for number in ("0367", "0400"):
        await office.enterprise(number)
        office.configurations.configs[number, "retailcrm"] = Switch()

    class Both(Crm):
        async def deliver(self, enterprise_number: str, request: Request, config: Switch) -> Outcome:
            if enterprise_number == "0367":
                return await crm.deliver(enterprise_number, request, config)
            return await super().deliver(enterprise_number, request, config)

    for n in range(50):
        await office.owe("0367", a_call(f"{n}.1"), RECORD)
    start(Both())
    await office.until(lambda rows: any(row["state"] == "sending" for row in rows))
    for n in range(50):
        await office.owe("0400", a_call(f"{n}.1"), RECORD)
    await office.until(lambda rows: sum(row["state"] == "delivered" for row in rows) == 50, seconds=5)
    assert {row["state"] for row in await office.journal("0400")} == {"delivered"}
    crm.gate.set()
    await office.until_over()


async def test_the_rate_of_an_account_is_kept_over_two_workers(june: Office, start: Start) -> None:
    crm = Crm()
    await june.owe("0367", a_call("0.1"), RECORD)
    await june.pool.execute("update crm_accounts set rate_per_second = 20")
    for n in range(1, 21):
        await june.owe("0367", a_call(f"{n}.1"), RECORD)
    began = asyncio.get_running_loop().time()
    start(crm)
    start(crm)
    await june.until_over()
    assert asyncio.get_running_loop().time() - began >= 20 / 20 - 0.05
    assert len(crm.sent) == 21


# --- life -----------------------------------------------------------------------------------------------------------


async def test_a_wake_up_is_quicker_than_looking(june: Office, start: Start, database_url: str) -> None:
    crm = Crm()
    running = start(crm, settings=msgspec.structs.replace(QUICK, poll=30.0))
    await june.owe("0367", a_call("0.1"), RECORD)
    running.worker.wake()  # as after the listening connection was lost: look at everything
    await june.until_over(5)
    listener = await asyncpg.connect(database_url)
    try:
        await listener.add_listener("bridge_deliveries", lambda *args: running.worker.wake(args[3]))
        await june.owe("0367", a_call("1.1"), RECORD)
        await june.until_over(5)
    finally:
        await listener.close()
    assert len(crm.sent) == 2


async def test_stopping_lets_what_is_under_way_finish_and_begins_nothing_new(june: Office, start: Start) -> None:
    crm = Crm()
    crm.gate.clear()
    await june.owe("0367", a_call(), HANGUP, RECORD)
    running = start(crm)
    await june.until(lambda rows: rows[0]["state"] == "sending")
    running.worker.stop()
    await asyncio.sleep(0)
    assert not running.task.done()
    crm.gate.set()
    await asyncio.wait_for(running.task, 5)
    assert await june.states() == [("hangup", "delivered"), ("record", "pending")]


async def test_a_database_that_restarts_meanwhile_costs_no_second_attempt(june: Office, start: Start) -> None:
    crm = Crm()
    crm.gate.clear()
    await june.owe("0367", a_call(), RECORD)
    start(crm)
    await june.until(lambda rows: rows[0]["state"] == "sending")
    await june.pool.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )
    crm.gate.set()
    await june.until_over()
    assert len(crm.sent) == 1
    assert await june.states() == [("record", "delivered")]


async def test_an_attempt_that_vanished_is_made_again_and_counted(june: Office, start: Start) -> None:
    # given a delivery that a worker began and never finished: its process was killed
    await june.owe("0367", a_call(), RECORD)
    await june.pool.execute("update deliveries set state = 'sending', attempts = 1")
    crm = Crm()
    start(crm)
    await june.until_over()
    [row] = await june.journal()
    assert (row["state"], row["attempts"]) == ("delivered", 2)


async def test_a_delivery_that_is_over_is_not_made_again(june: Office, start: Start) -> None:
    # given a message whose delivery the journal says is done: a worker was killed between two statements
    await june.owe("0367", a_call(), HANGUP, RECORD)
    await june.pool.execute("update deliveries set state = 'delivered' where kind = 'hangup'")
    crm = Crm()
    start(crm)
    await june.until_over()
    assert [kind for _, _, kind in crm.sent] == ["record"]


async def test_a_late_worker_does_not_overwrite_who_took_over(june: Office, start: Start) -> None:
    crm = Crm(lambda *_: Refused(reason="too late to say"))
    crm.gate.clear()
    await june.owe("0367", a_call(), RECORD)
    start(crm)
    await june.until(lambda rows: rows[0]["state"] == "sending")
    # when another worker has taken the delivery over and made it
    await june.pool.execute("update deliveries set attempts = attempts + 1, state = 'delivered'")
    crm.gate.set()
    await eventually(june.logs)
    assert await june.states() == [("record", "delivered")]


async def test_an_enterprise_that_is_deleted_takes_its_deliveries_along(june: Office, start: Start) -> None:
    crm = Crm()
    crm.gate.clear()
    await june.owe("0367", a_call(), RECORD)
    running = start(crm)
    await june.until(lambda rows: rows[0]["state"] == "sending")
    await june.pool.execute("delete from enterprises")
    crm.gate.set()
    await june.enterprise("0400")
    june.configurations.configs["0400", "retailcrm"] = Switch()
    await june.owe("0400", a_call(), RECORD)
    await june.until_over()
    assert await june.states() == [("record", "delivered")]
    assert not running.task.done()


async def test_metrics_count_attempts_and_what_is_owed(june: Office, start: Start) -> None:
    crm = Crm(after(1, Later(reason="HTTP 500", account=False)))
    await june.owe("0367", a_call(), RECORD)
    running = start(crm, settings=msgspec.structs.replace(QUICK, gauges=0.05))
    await june.until_over()
    labels = {"integration": "retailcrm", "kind": "record"}
    assert running.counted("bridge_delivery_attempts_total", labels | {"outcome": "retried"}) == 1
    assert running.counted("bridge_delivery_attempts_total", labels | {"outcome": "delivered"}) == 1
    assert running.counted("bridge_deliveries_total", labels | {"outcome": "delivered"}) == 1
    assert running.counted("bridge_delivery_lag_seconds_count", labels) == 1
    crm.gate.clear()
    await june.owe("0367", a_call("2.1"), RECORD)
    await eventually(lambda: running.counted("bridge_deliveries_owed", {"integration": "retailcrm"}) == 1)
    crm.gate.set()
    await eventually(lambda: running.counted("bridge_deliveries_owed", {"integration": "retailcrm"}) == 0)


async def test_what_was_owed_can_be_read_without_python(june: Office, start: Start) -> None:
    """The journal is for people with psql too: plain words, plain types."""
    await june.owe("0367", a_call(), RECORD)
    start(Crm(lambda *_: Delivered(remark="the CRM had this call already")))
    await june.until_over()
    row = await june.pool.fetchrow("select to_jsonb(d) as row from deliveries d")
    shown = row["row"] if isinstance(row["row"], dict) else json.loads(row["row"])
    assert shown["reason"] == "the CRM had this call already"
    assert shown["call"]["client_number"] == "+79161234567"
