"""A thousand calls in the cloud, told of as badly as can be: once Mango's history was asked, each is there once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from cloud_verbs import reconcile, rows, wrong_in_crm
from e2e_verbs import eventually, nothing_owed

from lab.cloud import ENTERPRISE, Cloud, cloud, crm_account
from lab.mango import Knobs, Played
from lab.mango.traffic import traffic
from lab.retailcrm.account import ReceivedCall
from lab.truth import TOLERANCE, Truth

pytestmark = pytest.mark.xdist_group("e2e_mango_storm")

BADLY = Knobs(shuffle="across", doubled=1.0, dropped=0.01, as_text=0.3, spaced=0.2, escaped=0.2, parallel=16)
PERIOD = 3000.0


FAST = 1000
"""Requests a second that this CRM allows: how fast RetailCRM lets itself be told (28) is not what is measured here."""


@contextlib.asynccontextmanager
async def busy_cloud(folder: Path) -> AsyncIterator[Cloud]:
    account = crm_account()
    account.requests_per_second = account.telephony_requests_per_second = 2 * FAST
    async with cloud(folder, account=account) as at:
        database = await asyncpg.connect((at.service.data / "postgres.url").read_text().strip())
        try:
            await database.execute(_ALLOW, ENTERPRISE, float(FAST))
        finally:
            await database.close()
        yield at


_ALLOW = """
insert into crm_accounts (enterprise_number, integration_type, rate_per_second) values ($1, 'retailcrm', $2)
on conflict (enterprise_number, integration_type) do update set rate_per_second = excluded.rate_per_second
"""


def day(at: Cloud, count: int) -> list[Played]:
    now = time.time()
    return traffic(at.product, [f"7926{number:07}" for number in range(count)], since=now - PERIOD, until=now - 1)


async def all_told(at: Cloud, played: list[Played]) -> None:
    """Once the service was asked to reconcile: each call is in the database and in the CRM, once and right."""
    await reconcile(at)
    await eventually(lambda: settled(at, len(played)), 60)
    await nothing_owed(at.service, 90)
    known = await rows(at.service)
    assert known.keys() == {one.entry_id for one in played}
    assert len(at.account.calls) == len(played)
    by_client: dict[str, list[ReceivedCall]] = {}
    for call in at.account.calls:
        by_client.setdefault(call.phone, []).append(call)
    wrong: dict[str, list[str]] = {}
    for one in played:
        faults = wrong_in_row(one.truth, known[one.entry_id])
        faults += wrong_in_crm(one.truth, by_client.get(one.entry.client or "", []))
        if faults:
            wrong[one.entry_id] = [one.truth.scenario, *faults]
    assert not wrong, list(wrong.values())


async def settled(at: Cloud, count: int) -> bool:
    known = await rows(at.service)
    return len(known) == count and not [call for call in known.values() if call["result"] == "active"]


def wrong_in_row(truth: Truth, row: dict[str, Any]) -> list[str]:
    said = {name: row[name] for name in ("direction", "client_number", "answered_by")} | {"status": row["result"]}
    found = [f"{name}: {value!r}, in truth {getattr(truth, name)!r}" for name, value in said.items()
             if value != getattr(truth, name)]  # fmt: skip
    if abs((row["talk_seconds"] or 0) - truth.talk_seconds) > TOLERANCE:
        found.append(f"talk {row['talk_seconds']} s, in truth {truth.talk_seconds:.1f} s")
    return found


@pytest.mark.timeout(240)
async def test_a_thousand_calls_shuffled_doubled_and_thinned_are_a_thousand_calls(tmp_path: Path) -> None:
    async with busy_cloud(tmp_path) as at:
        played = day(at, 1000)

        await at.mango.storm(at.product, [webhook for one in played for webhook in one.webhooks], BADLY)

        await all_told(at, played)


@pytest.mark.timeout(240)
async def test_sigkill_in_the_middle_of_the_storm_comes_to_the_same(tmp_path: Path) -> None:
    async with busy_cloud(tmp_path) as at:
        played = day(at, 300)
        webhooks = [webhook for one in played for webhook in one.webhooks]
        middle = asyncio.Event()
        storm = asyncio.create_task(at.mango.storm(at.product, webhooks, BADLY, middle, len(webhooks) // 2))

        await middle.wait()
        await at.service.kill()
        await at.service.start()
        await storm

        lost = [sent for sent in at.mango.delivery(at.product).sent if sent.status != 200]
        assert lost, "nothing was posted while the service was down"
        await all_told(at, played)
