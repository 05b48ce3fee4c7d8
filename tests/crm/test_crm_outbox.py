"""What a call owes to CRMs is written with the call or not at all, once, and to nobody else."""

from __future__ import annotations

import asyncio

import asyncpg
import msgspec
import pytest
from crm_office import DIALING, HANGUP, RECORD, RINGING, Office, a_call

from bridge.calls.model import Leg, Notice


async def test_notices_of_a_call_become_deliveries_in_their_order(office: Office) -> None:
    await office.enterprise("0367")
    assert await office.owe("0367", a_call(), RINGING) == 1
    assert await office.owe("0367", a_call(), HANGUP, RECORD) == 2
    assert await office.states() == [("ringing", "pending"), ("hangup", "pending"), ("record", "pending")]
    account = await office.account("0367")
    queued = await office.pool.fetch(f'select message, headers from pgmq."q_{account["queue"]}" order by msg_id')  # noqa: S608
    assert [row["message"]["delivery"] for row in queued] == [row["id"] for row in await office.journal()]
    assert {row["headers"]["x-pgmq-group"] for row in queued} == {"office:1.1"}


async def test_what_is_rolled_back_is_not_owed(office: Office) -> None:
    await office.enterprise("0367")
    with pytest.raises(RuntimeError):
        async with office.pool.acquire() as conn, conn.transaction():
            await office.outbox.enqueue(conn, "0367", None, "office:1.1", a_call(), [RECORD])
            raise RuntimeError("the call could not be stored")
    assert await office.journal() == []
    assert await office.account("0367") is None


async def test_the_same_notice_is_not_owed_twice(office: Office) -> None:
    await office.enterprise("0367")
    assert await office.owe("0367", a_call(), RECORD) == 1
    assert await office.owe("0367", a_call(), RECORD) == 0
    assert len(await office.journal()) == 1


async def test_a_ring_group_is_one_popup_while_nobody_has_begun_to_send_it(office: Office) -> None:
    await office.enterprise("0367")
    await office.owe("0367", a_call(), Notice(kind="ringing", extensions=("150",), sequence=1))
    assert await office.owe("0367", a_call(), Notice(kind="ringing", extensions=("151", "150"), sequence=2)) == 0
    assert await office.owe("0367", a_call(), Notice(kind="ringing", extensions=("152",), sequence=3)) == 0
    [row] = await office.journal()
    assert row["extensions"] == ["150", "151", "152"]
    assert row["sequence"] == 3
    # what was united is not owed again either
    assert await office.owe("0367", a_call(), Notice(kind="ringing", extensions=("151",), sequence=2)) == 0
    assert len(await office.journal()) == 1


@pytest.mark.parametrize("state", ["sending", "delivered", "expired"])
async def test_a_popup_on_its_way_is_followed_by_one_for_who_rings_next(office: Office, state: str) -> None:
    await office.enterprise("0367")
    await office.owe("0367", a_call(), Notice(kind="ringing", extensions=("150",), sequence=1))
    await office.pool.execute("update deliveries set state = $1", state)
    assert await office.owe("0367", a_call(), Notice(kind="ringing", extensions=("151",), sequence=2)) == 1
    assert [row["extensions"] for row in await office.journal()] == [["150"], ["151"]]


async def test_a_call_that_rings_again_after_something_else_is_not_united_with_the_past(office: Office) -> None:
    await office.enterprise("0367")
    await office.owe("0367", a_call(), Notice(kind="ringing", extensions=("150",), sequence=1), DIALING)
    assert await office.owe("0367", a_call(), Notice(kind="ringing", extensions=("151",), sequence=2)) == 1


async def test_internal_calls_owe_nothing(office: Office) -> None:
    await office.enterprise("0367")
    assert await office.owe("0367", a_call(direction="internal"), RINGING, HANGUP, RECORD) == 0
    assert await office.journal() == []


async def test_only_enabled_integrations_that_are_told_of_calls_are_owed(office: Office) -> None:
    await office.enterprise("0367")
    await office.enterprise("0400")
    office.enabled["0400"] = {"retailcrm": False, "mango": True}
    await office.owe("0367", a_call(), RECORD)
    await office.owe("0400", a_call(), RECORD)
    await office.owe("unheard-of", a_call(), RECORD)
    assert [(row["enterprise_number"], row["integration_type"]) for row in await office.journal()] == [
        ("0367", "retailcrm")
    ]


async def test_the_journal_keeps_the_call_as_it_was_without_channels(office: Office) -> None:
    await office.enterprise("0367")
    legs = [Leg(uniqueid="1.1", channel="PJSIP/trunk-1", role="client")]
    await office.owe("0367", a_call(legs=legs, client_name="Анна"), RECORD)
    [row] = await office.journal()
    assert row["call"]["client_name"] == "Анна"
    assert row["call"]["legs"] == []


async def test_what_postgres_cannot_hold_does_not_lose_a_call(office: Office) -> None:
    await office.enterprise("0367")
    call = a_call(client_name="A\0nna\ud800", extensions=["1\x0050"])
    await office.owe("0367", call, msgspec.structs.replace(RINGING, extensions=("1\x0050",)))
    [row] = await office.journal()
    assert row["call"]["client_name"] == "A\ufffdnna\ufffd"
    assert row["extensions"] == ["1\ufffd50"]


async def test_two_lines_of_one_enterprise_may_owe_at_once_the_first_time(office: Office) -> None:
    await office.enterprise("0367")
    await asyncio.gather(*(office.owe("0367", a_call(f"{n}.1"), RINGING, HANGUP, RECORD) for n in range(8)))
    assert len(await office.journal()) == 24
    assert await office.pool.fetchval("select count(*) from crm_accounts") == 1


async def test_a_call_that_was_part_of_another_is_not_sent(office: Office) -> None:
    await office.enterprise("0367")
    await office.owe("0367", a_call(), RINGING)
    async with office.pool.acquire() as conn, conn.transaction():
        await office.outbox.withdraw(conn, "0367", "office:1.1", "office:1.0")
    [row] = await office.journal()
    assert (row["state"], row["reason"]) == ("skipped", "part of the call office:1.0")


async def test_each_writing_transaction_wakes_the_workers_once(office: Office, database_url: str) -> None:
    await office.enterprise("0367")
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = await asyncpg.connect(database_url)
    try:
        await listener.add_listener("bridge_deliveries", lambda *args: heard.put_nowait(args[3]))
        await office.owe("0367", a_call(), RINGING, HANGUP, RECORD)
        account = await office.account("0367")
        assert await asyncio.wait_for(heard.get(), 5) == str(account["id"])
        await listener.execute("select 1")  # whatever else was sent has arrived with this
        assert heard.empty()
    finally:
        await listener.close()


async def test_finding_a_calls_last_delivery_uses_its_index(office: Office) -> None:
    await office.enterprise("0367")
    await office.owe("0367", a_call(), RECORD)
    await office.pool.execute(
        """insert into deliveries (account_id, enterprise_number, integration_type, external_id, kind, call)
           select account_id, enterprise_number, integration_type, 'office:' || n, kind, call
           from deliveries, generate_series(1, 5000) as n"""
    )
    await office.pool.execute("analyze deliveries")
    plan = await office.pool.fetch(
        "explain select max(id) from deliveries where account_id = any('{1}') and external_id = 'office:7'"
        " group by account_id"
    )
    assert "Seq Scan on deliveries" not in "\n".join(row[0] for row in plan)
