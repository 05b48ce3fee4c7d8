"""A bad day, with real processes: nothing is lost, nothing is twice in a CRM, each call's order is kept."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog
from crm_office import HANGUP, QUICK, RECORD, RINGING, Office, Running, a_call, eventually

from bridge.crm.retailcrm.config import RetailcrmConfig
from bridge.crm.retailcrm.integration import RetailcrmIntegration
from lab.retailcrm import Account, Emulator, Faults, User

PROCESS = Path(__file__).with_name("delivery_process.py")
NUMBERS = ("0001", "0002", "0003", "0004", "0005")
CALLS = 40  # of each enterprise


class Workers:
    """Worker processes; each is killed at the end, whatever became of the test."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        self._started: list[asyncio.subprocess.Process] = []

    async def start(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(PROCESS), *self._arguments,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, limit=2**24,
        )  # fmt: skip
        self._started.append(process)
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        assert line == b"ready\n", line + await process.stdout.read()
        return process

    async def close(self) -> list[str]:
        """What they said."""
        said = []
        for process in self._started:
            if process.returncode is None:
                process.kill()
            out, _ = await process.communicate()
            said.append(out.decode())
        return said


@pytest.fixture
async def crm() -> AsyncIterator[Emulator]:
    accounts = [Account(f"a{number}", users=[User(19, "Anna", code="150")]) for number in NUMBERS]
    async with Emulator(*accounts) as emulator:
        yield emulator


async def test_a_bad_day(office: Office, crm: Emulator, database_url: str) -> None:
    # given five enterprises; a CRM that says 503 now and then, one that is down; two worker processes
    accounts = {number: crm.account(f"a{number}") for number in NUMBERS}
    for number, account in accounts.items():
        await office.enterprise(number)
        account.faults = Faults(busy=0.05)
    await crm.down("a0005")
    reach = {number: [account.url, account.key] for number, account in accounts.items()}
    workers = Workers(database_url, json.dumps(reach))
    doomed, survivor = await asyncio.gather(workers.start(), workers.start())

    # when 200 calls ring, end and are recorded
    async def ring(number: str) -> None:
        for n in range(CALLS):
            call = a_call(f"{n}.{number}")
            await office.owe(number, call, RINGING)
            await office.owe(number, call, HANGUP, RECORD)

    ringing = asyncio.gather(*(ring(number) for number in NUMBERS))

    # and one of the processes is killed in the middle
    await eventually(lambda: sum(len(account.calls) for account in accounts.values()) >= 50, 30)
    doomed.send_signal(signal.SIGKILL)
    await ringing

    # then the four that are up have everything, while the fifth is still down
    healthy = [accounts[number] for number in NUMBERS[:4]]
    await eventually(lambda: all(len(account.calls) == CALLS for account in healthy), 40)
    assert accounts["0005"].calls == []

    # and the fifth gets it when it is back
    await crm.up("a0005")
    await office.until_over(60)
    survivor.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(survivor.wait(), 15) == 0
    said = await workers.close()

    for number, account in accounts.items():
        ids = [f"office:{n}.{number}" for n in range(CALLS)]
        # nothing lost, nothing twice
        assert sorted(call.external_id or "" for call in account.calls) == sorted(ids)
        for external_id in ids:
            told = [event.type for event in account.events_of(external_id)]
            # a repeat is possible only where the process died between the CRM's answer and the note of it
            assert [kind for kind, _ in itertools.groupby(told)] == ["in", "hangup"]
            assert account.events_of(external_id)[-1].received_at <= account.call(external_id).received_at
    repeats = sum(len(account.events) - 2 * CALLS + len(account.duplicates) for account in accounts.values())
    assert repeats <= QUICK.slots * len(NUMBERS)
    assert {state for _, state in await office.states()} == {"delivered"}

    # no key in a log, an output or a URL
    logged = json.dumps([dict(row) for row in await office.logs()], default=str)
    for account in accounts.values():
        assert account.key not in logged + "".join(said)
        assert not account.keys_in_urls
    # every attempt that got an answer or none is on record
    assert len(await office.logs()) >= 600


async def test_what_a_crm_took_without_answering_is_there_once(
    office: Office, crm: Emulator, retailcrm: RetailcrmIntegration, start: object
) -> None:
    # given a CRM that does what it is told and never says so
    account = crm.account("a0001")
    account.faults = Faults(mute=True)
    await office.enterprise("0001", RetailcrmConfig(domain=account.url, api_key=account.key))
    await office.owe("0001", a_call(), RECORD)
    assert callable(start)
    running: Running = start(retailcrm)
    await account.until(lambda account: len(account.calls) == 1)
    # when it can speak again
    account.faults = Faults()
    await office.until_over()
    # then it had the call already
    [row] = await office.journal()
    assert (row["state"], row["reason"]) == ("delivered", "the CRM had this call already")
    assert len(account.calls) == 1
    assert account.duplicates == ["office:1.1"]
    assert not running.task.done()


async def test_a_key_is_in_no_log(
    office: Office, crm: Emulator, retailcrm: RetailcrmIntegration, start: object, capfd: pytest.CaptureFixture[str]
) -> None:
    # given an account with a key that the CRM does not take, and one that fails in every other way
    key = "9b2d-a-key-that-must-stay-secret"
    account = crm.account("a0001")
    await office.enterprise("0001", RetailcrmConfig(domain=account.url, api_key=key))
    await office.owe("0001", a_call(), RECORD)
    assert callable(start)
    with structlog.testing.capture_logs() as logs:
        start(retailcrm)
        await office.until(lambda rows: rows[0]["attempts"] >= 1 and rows[0]["state"] == "pending")
        await crm.down("a0001")
        await office.until(lambda rows: rows[0]["attempts"] >= 2 and rows[0]["state"] == "pending")
    out, err = capfd.readouterr()
    rows = await office.pool.fetch("select to_jsonb(l)::text from integration_logs l")
    rows += await office.pool.fetch("select to_jsonb(d)::text from deliveries d")
    rows += await office.pool.fetch("select to_jsonb(a)::text from crm_accounts a")
    kept = "".join(row[0] for row in rows)
    assert "Wrong" in kept
    assert key not in kept + out + err + repr(logs)
