"""What the worker makes of each outcome, with a CRM that does what the test says and a real Postgres."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import asyncpg
import msgspec
import pytest
from crm_office import DIALING, HANGUP, QUICK, RECORD, RINGING, Office, Running, a_call, eventually

from bridge.calls.model import Notice
from bridge.crm import deadletters, limits
from bridge.crm.port import Delivered, Delivery, Later, Outcome, Rate, Refused, Request
from bridge.routing.model import Responsible

Start = Callable[..., Running]
Behaviour = Callable[[str, Request], Outcome]


class Switch(msgspec.Struct):
    """The only thing every configuration has."""

    enabled: bool = True


class Crm:
    """A CRM of the tests' own behind the port: remembers what it was sent, answers as it is told."""

    kind = "retailcrm"
    rate = Rate(per_second=1000, burst=100)
    timeout = 1.0

    def __init__(self, behave: Behaviour | None = None) -> None:
        self.behave: Behaviour = behave or (lambda enterprise, request: Delivered())
        self.sent: list[tuple[str, str, str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.at_work = 0
        self.most_at_work = 0

    def map(self, delivery: Delivery, config: Switch) -> Request | None:
        if delivery.call.client_number is None:
            return None
        if delivery.call.client_name == "defect":
            raise ZeroDivisionError("a defect of ours")
        body = {"call": delivery.external_id, "codes": list(delivery.notice.extensions)}
        return Request(event_type=delivery.notice.kind, body=body)

    async def deliver(self, enterprise_number: str, request: Request, config: Switch) -> Outcome:
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        try:
            self.sent.append((enterprise_number, request.body["call"], request.event_type))
            await self.gate.wait()
            return self.behave(enterprise_number, request)
        finally:
            self.at_work -= 1

    async def responsible(
        self, enterprise_number: str, phone: str, config: Switch, timeout: float
    ) -> Responsible | None:
        return None

    async def close(self) -> None:
        """Nothing is open."""


def after(failures: int, failure: Outcome, then: Outcome | None = None) -> Behaviour:
    """Fail so many times, then succeed."""
    left = [failures]

    def behave(enterprise: str, request: Request) -> Outcome:
        left[0] -= 1
        return failure if left[0] >= 0 else (then or Delivered())

    return behave


@pytest.fixture
async def june(office: Office) -> Office:
    await office.enterprise("0367")
    office.configurations.configs["0367", "retailcrm"] = Switch()
    return office


async def test_deliveries_of_a_call_come_in_their_order(june: Office, start: Start) -> None:
    crm = Crm()
    await june.owe("0367", a_call(), RINGING, HANGUP, RECORD)
    start(crm)
    await june.until_over()
    assert [kind for _, _, kind in crm.sent] == ["ringing", "hangup", "record"]
    assert {state for _, state in await june.states()} == {"delivered"}


async def test_order_holds_though_the_first_has_to_be_tried_again(june: Office, start: Start) -> None:
    crm = Crm(after(2, Later(reason="HTTP 500", account=False)))
    await june.owe("0367", a_call(), RINGING, HANGUP, RECORD)
    start(crm)
    await june.until_over()
    assert [kind for _, _, kind in crm.sent] == ["ringing", "ringing", "ringing", "hangup", "record"]


async def test_a_call_that_has_trouble_does_not_hold_up_the_others(june: Office, start: Start) -> None:
    def behave(enterprise: str, request: Request) -> Outcome:
        return (
            Later(reason="no", account=False, retry_after=60) if request.body["call"] == "office:1.1" else Delivered()
        )

    crm = Crm(behave)
    await june.owe("0367", a_call("1.1"), RECORD)
    await june.owe("0367", a_call("2.1"), RECORD)
    start(crm)
    await june.until(lambda rows: [row["state"] for row in rows] == ["pending", "delivered"])


async def test_every_attempt_is_logged_with_what_was_said(june: Office, start: Start) -> None:
    crm = Crm(after(1, Later(reason="HTTP 500", response={"n\0": "x\0"}), Delivered(response={"success": True})))
    await june.owe("0367", a_call(), RECORD)
    start(crm)
    await june.until_over()
    first, second = await june.logs()
    assert (first["status"], first["error_message"], first["event_type"]) == ("error", "HTTP 500", "record")
    assert first["request_data"] == {"call": "office:1.1", "codes": []}
    assert first["response_data"] == {"n\ufffd": "x\ufffd"}
    assert (second["status"], second["error_message"], second["response_data"]) == ("success", None, {"success": True})
    assert second["enterprise_number"] == "0367"
    assert second["integration_type"] == "retailcrm"


async def test_a_refusal_is_a_dead_letter_at_once_and_the_call_goes_on(june: Office, start: Start) -> None:
    crm = Crm(lambda _, request: Refused(reason="no such thing") if request.event_type == "hangup" else Delivered())
    await june.owe("0367", a_call(), HANGUP, RECORD)
    running = start(crm)
    await june.until_over()
    assert await june.states() == [("hangup", "dead"), ("record", "delivered")]
    assert (await june.journal())[0]["reason"] == "no such thing"
    dead = {"integration": "retailcrm", "kind": "hangup", "outcome": "dead"}
    assert running.counted("bridge_deliveries_total", dead) == 1


async def test_a_refused_popup_is_over_and_nobodys_task(june: Office, start: Start) -> None:
    await june.owe("0367", a_call(), RINGING)
    start(Crm(lambda *_: Refused(reason="no")))
    await june.until_over()
    assert await june.states() == [("ringing", "skipped")]


async def test_what_means_nothing_to_the_crm_is_skipped(june: Office, start: Start) -> None:
    await june.owe("0367", a_call(client_number=None), HANGUP, RECORD)
    crm = Crm()
    start(crm)
    await june.until_over()
    assert {state for _, state in await june.states()} == {"skipped"}
    assert crm.sent == []
    assert await june.logs() == []


async def test_a_popup_that_comes_too_late_is_not_sent_but_the_end_of_the_call_is(june: Office, start: Start) -> None:
    crm = Crm()
    await june.owe("0367", a_call("1.1"), RINGING, HANGUP, RECORD)
    await june.owe("0367", a_call("2.1", direction="outbound"), DIALING, HANGUP, RECORD)
    await june.age(61)
    start(crm)
    await june.until_over()
    assert [kind for _, _, kind in crm.sent].count("record") == 2
    assert {kind for _, _, kind in crm.sent} == {"hangup", "record"}
    assert [state for _, state in await june.states()] == ["expired", "delivered", "delivered"] * 2


async def test_a_popup_in_its_time_is_sent(june: Office, start: Start) -> None:
    crm = Crm()
    await june.owe("0367", a_call(), RINGING)
    await june.age(50)
    start(crm)
    await june.until_over()
    assert await june.states() == [("ringing", "delivered")]


async def test_phones_that_begin_to_ring_while_a_popup_is_under_way_get_their_own(june: Office, start: Start) -> None:
    crm = Crm()
    crm.gate.clear()
    await june.owe("0367", a_call(), Notice(kind="ringing", extensions=("150",), sequence=1))
    running = start(crm)
    await june.until(lambda rows: rows[0]["state"] == "sending")
    # when two more begin to ring, one after the other, before the first pop-up is out
    await june.owe("0367", a_call(), Notice(kind="ringing", extensions=("151",), sequence=2))
    await june.owe("0367", a_call(), Notice(kind="ringing", extensions=("152",), sequence=3))
    crm.gate.set()
    await june.until_over()
    assert [row["extensions"] for row in await june.journal()] == [["150"], ["151", "152"]]
    await running.stop()


async def test_a_delivery_is_retried_until_the_horizon_and_then_is_a_dead_letter_that_can_be_resent(
    june: Office, start: Start
) -> None:
    # given a CRM that answers nonsense for three days
    crm = Crm(lambda *_: Later(reason="HTTP 500", account=False))
    await june.owe("0367", a_call(), RECORD)
    start(crm)
    await june.until(lambda rows: rows[0]["attempts"] >= 1 and rows[0]["state"] == "pending")
    await june.age(72 * 3600 + 1)
    await june.until_over()
    # then a person finds it, and why
    async with june.pool.acquire() as conn:
        [letter] = await deadletters.list_dead(conn, "0367")
        assert await deadletters.list_dead(conn, "0400") == []
    assert (letter.kind, letter.phone, letter.external_id) == ("record", "+79161234567", "office:1.1")
    assert letter.reason is not None
    assert letter.reason.startswith("not delivered in 72 h")
    # and sends it again once the CRM is well, from its own enterprise only
    crm.behave = lambda *_: Delivered()
    async with june.pool.acquire() as conn:
        assert await deadletters.resend(conn, "0400", [letter.id]) == 0
        assert await deadletters.resend(conn, "0367", [letter.id]) == 1
        assert await deadletters.resend(conn, "0367", [letter.id]) == 0
    await june.until_over()
    assert await june.states() == [("record", "delivered")]


async def test_a_delivery_that_was_never_tried_gets_its_try_however_old(june: Office, start: Start) -> None:
    await june.owe("0367", a_call(), RECORD)
    await june.age(100 * 3600)
    crm = Crm()
    start(crm)
    await june.until_over()
    assert await june.states() == [("record", "delivered")]


async def test_all_dead_letters_of_an_enterprise_or_of_all_are_resent_in_order(office: Office, start: Start) -> None:
    for number in ("0367", "0400"):
        await office.enterprise(number)
        office.configurations.configs[number, "retailcrm"] = Switch()
        for n in range(3):
            await office.owe(number, a_call(f"{n}.1"), HANGUP, RECORD)
    crm = Crm(lambda *_: Refused(reason="no"))
    start(crm)
    await office.until(lambda rows: all(row["state"] == "dead" for row in rows))
    crm.sent.clear()
    crm.behave = lambda *_: Delivered()
    async with office.pool.acquire() as conn:
        assert len(await deadletters.list_dead(conn, None)) == 12
        first_page = await deadletters.list_dead(conn, None, limit=5)
        assert len(await deadletters.list_dead(conn, None, before=first_page[-1].id)) == 7
        assert await deadletters.resend(conn, "0400") == 6
    await office.until_over()
    assert {number for number, _, _ in crm.sent} == {"0400"}
    for n in range(3):
        assert [kind for _, call, kind in crm.sent if call == f"office:{n}.1"] == ["hangup", "record"]
    async with office.pool.acquire() as conn:
        assert await deadletters.resend(conn, None) == 6
    await office.until(lambda rows: all(row["state"] == "delivered" for row in rows))


async def test_an_integration_that_was_switched_off_is_told_nothing(june: Office, start: Start) -> None:
    await june.owe("0367", a_call(), RINGING, RECORD)
    june.configurations.configs["0367", "retailcrm"] = Switch(enabled=False)
    crm = Crm()
    start(crm)
    await june.until_over()
    assert crm.sent == []
    assert await june.states() == [("ringing", "skipped"), ("record", "dead")]
    assert (await june.journal())[1]["reason"] == "the integration is switched off"


async def test_a_defect_of_ours_costs_its_own_delivery_time_and_nothing_else(june: Office, start: Start) -> None:
    await june.owe("0367", a_call("1.1", client_name="defect"), RECORD)
    await june.owe("0367", a_call("2.1"), RECORD)
    crm = Crm()
    start(crm)
    await june.until(
        lambda rows: rows[0]["attempts"] >= 2 and [row["state"] for row in rows] == ["pending", "delivered"]
    )
    [row, _] = await june.journal()
    assert row["reason"] == "internal error: ZeroDivisionError"
    assert (await june.account("0367"))["failures"] == 0


async def test_configurations_that_cannot_be_read_delay_and_lose_nothing(june: Office, start: Start) -> None:
    class Slow:
        def __init__(self) -> None:
            self.asked = 0

        async def get(self, enterprise_number: str, integration_type: str) -> Any:
            self.asked += 1
            if self.asked == 1:
                raise ConnectionRefusedError("the database restarts")
            return Switch()

    june.configurations = Slow()  # type: ignore[assignment]
    await june.owe("0367", a_call(), RECORD)
    start(Crm())
    await june.until_over()
    assert await june.states() == [("record", "delivered")]


# --- the breaker ----------------------------------------------------------------------------------------------------


async def test_an_account_that_is_down_is_left_alone_then_probed_by_one(june: Office, start: Start) -> None:
    crm = Crm(lambda *_: Later(reason="ConnectError"))
    for n in range(30):
        await june.owe("0367", a_call(f"{n}.1"), RECORD)
    patient = limits.Policy(threshold=5, shortest=1.0, longest=1.0, probe=5.0)
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
