"""The ledger on a real Postgres: a batch of calls is written whole with what CRMs are owed, or not at all."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from mailbox_office import NOON, ScriptedMachine, a_call, answered, began, ended, writing, written

from bridge.calls.model import Absorbed, Change, Started
from bridge.crm.outbox import Outbox
from bridge.db import leases
from bridge.db.pool import Connection, Pool
from bridge.errors import DatabaseProblem
from bridge.ledger import CallLedger
from bridge.mailbox import Fenced, Mailbox, Unwritable, Work


@pytest.fixture
async def ledger(pool: Pool) -> CallLedger:
    """Of the PBX `office` of an enterprise with RetailCRM."""
    await pool.execute("insert into enterprises (number) values ('0367')")
    return CallLedger(pool, Outbox(lambda _: {"retailcrm": True}, ("retailcrm",)), "0367", "office")


def work(changes: list[Change], state: bytes | None = b"live", into: str | None = None) -> Work:
    return Work(call=changes[-1].call, changes=changes, state=state, into=into)


async def rows(pool: Pool) -> dict[str, asyncpg.Record]:
    return {row["call_id"]: row for row in await pool.fetch("select * from calls order by id")}


async def owed(pool: Pool) -> list[tuple[str, str, str]]:
    found = await pool.fetch("select external_id, kind, state from deliveries order by id")
    return [(row["external_id"], row["kind"], row["state"]) for row in found]


async def test_a_call_its_timeline_and_what_its_crm_is_owed_are_one_transaction(pool: Pool, ledger: CallLedger) -> None:
    await ledger.write([work(began())])
    await ledger.write([work(answered()), work(began("1.2"))])
    await ledger.write([work(ended(), state=None)])

    call = (await rows(pool))["1.1"]
    assert (call["result"], call["talk_seconds"], call["state"]) == ("answered", 7, None)
    timeline = await pool.fetch("select change from call_timeline where call_pk = $1 order by id", call["id"])
    assert [entry["change"] for entry in timeline] == ["started", "ringing", "answered", "ended"]
    assert await owed(pool) == [
        ("office:1.1", "ringing", "pending"),
        ("office:1.2", "ringing", "pending"),
        ("office:1.1", "hangup", "pending"),
        ("office:1.1", "record", "pending"),
    ]
    assert list(await ledger.states()) == [b"live"]


async def test_of_a_batch_with_an_unwritable_call_nothing_is_written(pool: Pool, ledger: CallLedger) -> None:
    await pool.execute("alter table calls add constraint no_queue check (queue is null)")
    unwritable = work([Started(call=a_call("1.2", queue="sales"))])

    with pytest.raises(Unwritable):
        await ledger.write([work(began("1.1")), unwritable])

    assert await rows(pool) == {}
    assert await owed(pool) == []


async def test_the_mailbox_writes_the_others_and_counts_the_unwritable(pool: Pool, ledger: CallLedger) -> None:
    await pool.execute("alter table calls add constraint no_queue check (queue is null)")
    machine = ScriptedMachine()
    mailbox = Mailbox("office", machine, ledger)
    mailbox.changed(machine.say(began("1.1")))
    mailbox.changed(machine.say([Started(call=a_call("1.2", queue="sales"))]))
    mailbox.changed(machine.say(began("1.3")))

    async with writing(mailbox):
        await written(mailbox)

    assert list(await rows(pool)) == ["1.1", "1.3"]
    assert mailbox.unwritable == 1


async def test_a_database_that_is_away_is_said_so_and_written_to_when_it_is_back(
    database_url: str, pool: Pool, ledger: CallLedger
) -> None:
    machine = ScriptedMachine()
    mailbox = Mailbox("office", machine, ledger)
    # given a writer that waits for somebody's lock
    administrator: asyncpg.Connection = await asyncpg.connect(database_url)
    try:
        lock = administrator.transaction()
        await lock.start()
        await administrator.execute("lock table calls in exclusive mode")
        async with writing(mailbox):
            mailbox.changed(machine.say(began()))
            # when its connection is cut, as all are when Postgres goes down
            await _cut_a_waiting_writer(pool)
            await _cut_a_waiting_writer(pool)
            mailbox.changed(machine.say(ended()))
            # and it is back
            await lock.rollback()
            await written(mailbox)
    finally:
        await administrator.close()

    assert (await rows(pool))["1.1"]["result"] == "answered"
    assert [kind for _, kind, _ in await owed(pool)] == ["ringing", "hangup", "record"]


async def _cut_a_waiting_writer(pool: Pool) -> None:
    """Once there is one."""
    cut = """
        select pg_terminate_backend(pid) from pg_stat_activity
        where wait_event_type = 'Lock' and datname = current_database()
    """
    async with asyncio.timeout(10):
        while not await pool.fetchval(cut):  # noqa: ASYNC110 - no event tells of another connection's wait
            await asyncio.sleep(0.01)


async def test_states_of_an_unreachable_database_are_a_plain_problem(pool: Pool, ledger: CallLedger) -> None:
    pool.terminate()

    with pytest.raises(DatabaseProblem):
        await ledger.states()
    with pytest.raises(DatabaseProblem):
        await ledger.write([work(began())])


# --- whose the PBX is -----------------------------------------------------------------------------------------------


async def test_the_late_owner_of_a_pbx_is_fenced(database_url: str, pool: Pool, ledger: CallLedger) -> None:
    pbx = await pool.fetchval(
        "insert into pbxs (enterprise_number, name, ami_host, ami_username) values ('0367', 'office', 'h', 'u')"
        " returning id"
    )
    # given an owner
    await pool.execute(
        "insert into pbx_leases (pbx_id, owner, epoch, expires_at) values ($1, 'late', 1, now() + interval '1 h')", pbx
    )
    late = leases.Leases(database_url, instance="late")

    async def still_owned(connection: Connection) -> bool:
        return await late.owns(connection, pbx, 1)

    outbox = Outbox(lambda _: {"retailcrm": True}, ("retailcrm",))
    fenced = CallLedger(pool, outbox, "0367", "office", still_owned)
    await fenced.write([work(began())])
    # when another takes over
    await pool.execute("update pbx_leases set owner = 'other', epoch = 2 where pbx_id = $1", pbx)

    # then what the first one heard is no longer written
    with pytest.raises(Fenced):
        await fenced.write([work(ended(), state=None)])
    assert (await rows(pool))["1.1"]["result"] == "active"
    assert await owed(pool) == [("office:1.1", "ringing", "pending")]


# --- calls that were part of another --------------------------------------------------------------------------------


def absorbed(call_id: str, into: str, **fields: Any) -> list[Change]:
    return [Absorbed(call=a_call(call_id, extensions=["150"], **fields), into=into, at=NOON + 5)]


async def test_an_absorbed_calls_row_goes_and_what_was_not_sent_of_it_is_withdrawn(
    pool: Pool, ledger: CallLedger
) -> None:
    await ledger.write([work(began("1.1")), work(began("1.2"))])
    gone = (await rows(pool))["1.2"]["id"]

    await ledger.write([work(answered("1.1")), work(absorbed("1.2", "1.1"), None, "1.1")])

    assert list(await rows(pool)) == ["1.1"]
    assert await pool.fetchval("select count(*) from call_timeline where call_pk = $1", gone) == 0
    # its pop-up is not sent any more; should it have been, it is closed; and it has no history
    assert await owed(pool) == [
        ("office:1.1", "ringing", "pending"),
        ("office:1.2", "ringing", "skipped"),
        ("office:1.2", "hangup", "pending"),
    ]


async def test_a_call_absorbed_before_it_was_ever_written_leaves_nothing(pool: Pool, ledger: CallLedger) -> None:
    await ledger.write([work(answered("1.1")), work([*began("1.2"), *absorbed("1.2", "1.1")], None, "1.1")])

    assert list(await rows(pool)) == ["1.1"]
    assert await owed(pool) == []


async def test_a_mailbox_absorbs_what_it_wrote_before(pool: Pool, ledger: CallLedger) -> None:
    machine = ScriptedMachine()
    mailbox = Mailbox("office", machine, ledger)
    async with writing(mailbox):
        mailbox.changed(machine.say(began("1.1")))
        mailbox.changed(machine.say(began("1.2")))
        await written(mailbox)
        mailbox.changed(machine.say(absorbed("1.2", "1.1")))
        mailbox.changed(machine.say(ended("1.1")))
        await written(mailbox)

    call = (await rows(pool))["1.1"]
    assert (call["result"], call["state"]) == ("answered", None)
    assert [entry for entry in await owed(pool) if entry[1] == "record"] == [("office:1.1", "record", "pending")]


async def test_two_calls_of_one_batch_notify_the_page_once(database_url: str, pool: Pool, ledger: CallLedger) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener: asyncpg.Connection = await asyncpg.connect(database_url)
    try:
        await listener.add_listener("bridge_live", lambda *said: heard.put_nowait(str(said[-1])))
        await ledger.write([work(began("1.1")), work(began("1.2"))])
        await ledger.write([work(ended("1.1"), None)])
        async with asyncio.timeout(10):
            first, second = await heard.get(), await heard.get()
    finally:
        await listener.close()

    ids = {call_id: row["id"] for call_id, row in (await rows(pool)).items()}
    assert first.endswith(f'"calls":[{ids["1.1"]},{ids["1.2"]}]}}')
    assert second.endswith(f'"calls":[{ids["1.1"]}]}}')
