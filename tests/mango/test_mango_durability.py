"""What Mango was thanked for is not lost: the service is killed in the middle of a storm of webhooks."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

from webhook_desk import JUNE, JUNES, SIGNED, eventually, exchange, furnish, rows

from bridge.db.pool import Pool
from lab.mango import Knobs, scenarios
from lab.mango.delivery import Delivery
from lab.service import Service

CALLS = 60


async def test_a_kill_loses_nothing_that_was_answered(pool: Pool, database_url: str, tmp_path: Path) -> None:
    await furnish(pool)
    made = exchange()
    plays = [
        scenarios.inbound_answered(made, f"7916{number:07}", at=1_795_224_000, by="150") for number in range(CALLS)
    ]
    service = Service(tmp_path, {"BRIDGE_DATABASE_URL": database_url})
    made.webhooks = service.url + SIGNED
    delivery = Delivery(made, Knobs(shuffle="across", doubled=0.3, parallel=16))
    try:
        await service.start("--roles", "http")
        answered = asyncio.Event()
        storm = asyncio.create_task(
            delivery.storm([each for play in plays for each in play.webhooks], answered, after=2 * CALLS)
        )
        await answered.wait()
        await service.kill()
        await storm
    finally:
        await service.kill()
        await delivery.close()
    statuses = Counter(sent.status for sent in delivery.sent)
    assert statuses.keys() == {0, 200}, statuses

    thanked = Counter(sent.json for sent in delivery.sent if sent.status == 200)
    kept = Counter(row["body"].decode() for row in await pool.fetch("select body from mango_webhooks"))
    assert thanked <= kept

    try:
        await service.start("--roles", "worker,http")

        async def worked() -> bool:
            return not await pool.fetchval("select exists (select from mango_webhooks where state = 'new')")

        await eventually(worked, 30)
    finally:
        await service.stop()
    summed_up = {json.loads(body)["entry_id"] for body in kept if "call_direction" in body}
    known = {row["call_id"]: row["result"] for row in await rows(pool)}
    assert summed_up
    assert {known.get(entry_id) for entry_id in summed_up} == {"answered"}
    keys = await pool.fetchval("select integrations_config::text from enterprises where number = $1", JUNE)
    assert JUNES.api_key not in keys, "secrets that psql wrote are sealed by the running service"
