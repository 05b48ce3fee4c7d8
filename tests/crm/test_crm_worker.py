"""What the worker makes of each outcome, with a CRM that does what the test says and a real Postgres."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crm_office import DIALING, HANGUP, RECORD, RINGING, Office, Running, a_call
from scripted_crm import Crm, Switch, after

from bridge.calls.model import Notice
from bridge.crm import deadletters
from bridge.crm.port import Delivered, Later, Outcome, Refused, Request

Start = Callable[..., Running]


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
