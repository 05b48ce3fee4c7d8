"""TEST_MODE: the service may be tried on real calls, and nothing comes of them."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from bridge.calls.model import Rules
from bridge.calls.script_events import KINDS, read
from bridge.crm.outbox import Outbox
from bridge.db.pool import Pool
from bridge.legacy import LegacyScripts

POSTS = [
    ("start", {"UniqueId": "1.1", "Phone": "79161234567", "CallType": 0, "Trunk": "74951000001"}),
    ("dial", {"UniqueId": "1.1", "Phone": "79161234567", "CallType": 0, "Extensions": ["150"], "Trunk": "74951000001"}),
    ("hangup", {"UniqueId": "1.1", "Phone": "79161234567", "CallType": 0, "Extensions": [""], "CallStatus": "0"}),
]


@pytest.fixture
async def enterprise(pool: Pool) -> str:
    await pool.execute("insert into enterprises (number) values ('0367')")
    return "0367"


@pytest.mark.parametrize("store", [True, False])
async def test_calls_are_understood_and_only_stored_and_owed_outside_of_it(
    pool: Pool, enterprise: str, store: bool
) -> None:
    outbox = Outbox(lambda _: {"retailcrm": True}, ("retailcrm",))
    scripts = LegacyScripts(pool, outbox, lambda _: Rules(), store=store)
    with capture_logs() as lines:
        for kind, body in POSTS:
            assert kind in KINDS
            await scripts.ingest(enterprise, read(kind, body))  # type: ignore[arg-type]
        await scripts.close()

    stored = await pool.fetchval("select count(*) from calls")
    owed = await pool.fetchval("select count(*) from deliveries")
    observed = [line for line in lines if line["event"] == "call_observed"]
    assert (stored == 1, owed > 0, not observed) == (store, store, store)
    if not store:
        assert (observed[-1]["call_id"], observed[-1]["status"]) == ("1.1", "missed")
