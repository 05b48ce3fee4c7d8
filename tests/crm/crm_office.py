"""Verbs of the delivery tests: enterprises, calls that owe their CRMs something, workers, time that passes."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import asyncpg
from prometheus_client import CollectorRegistry

from bridge import pacing
from bridge.calls.model import Call, Notice
from bridge.crm.outbox import Outbox
from bridge.crm.retailcrm.config import RetailcrmConfig
from bridge.crm.worker import Settings, Worker

RINGING = Notice(kind="ringing", extensions=("150",))
DIALING = Notice(kind="dialing", extensions=("150",))
HANGUP = Notice(kind="hangup", extensions=("150",))
RECORD = Notice(kind="record")

QUICK = Settings(poll=0.05, margin=2.0, breaker=pacing.Policy(threshold=5, shortest=0.2, longest=0.5, probe=1.0))
"""A worker that looks often and forgives soon: tests wait for events, not for minutes."""


def a_call(call_id: str = "1.1", **fields: Any) -> Call:
    known: dict[str, Any] = {
        "direction": "inbound",
        "client_number": "+79161234567",
        "line": "+74951000001",
        "status": "answered",
        "extensions": ["150"],
        "answered_by": "150",
        "started_at": 1_758_798_777.0,
        "answered_at": 1_758_798_780.0,
        "ended_at": 1_758_798_790.0,
        "wait_seconds": 3,
        "talk_seconds": 10,
    }
    return Call(call_id=call_id, **(known | fields))


async def eventually(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait until `condition` (a function, or one that is awaited) holds; TimeoutError when it does not in time."""
    async with asyncio.timeout(seconds):
        while True:
            holds = condition()
            if inspect.isawaitable(holds):
                holds = await holds
            if holds:
                return
            await asyncio.sleep(0.02)


class Known:
    """Configurations by (enterprise, integration type), as a cache would give them."""

    def __init__(self) -> None:
        self.configs: dict[tuple[str, str], Any] = {}

    async def get(self, enterprise_number: str, integration_type: str) -> Any:
        return self.configs.get((enterprise_number, integration_type))


class Office:
    """Verbs of the tests: an enterprise with a CRM, calls that owe it something, what has become of it."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.enabled: dict[str, dict[str, bool]] = {}
        self.configurations = Known()
        self.outbox = Outbox(lambda number: self.enabled.get(number, {}), ("retailcrm",))

    async def enterprise(self, number: str, config: RetailcrmConfig | None = None) -> None:
        await self.pool.execute("insert into enterprises (number, name) values ($1, $1)", number)
        self.enabled[number] = {"retailcrm": True, "mango": True}
        if config is not None:
            self.configurations.configs[number, "retailcrm"] = config

    async def owe(self, number: str, call: Call, *notices: Notice) -> int:
        async with self.pool.acquire() as conn, conn.transaction():
            return await self.outbox.enqueue(conn, number, None, f"office:{call.call_id}", call, notices)

    async def journal(self, number: str | None = None) -> list[asyncpg.Record]:
        return await self.pool.fetch(
            "select * from deliveries where $1::text is null or enterprise_number = $1 order by id", number
        )

    async def states(self, number: str | None = None) -> list[tuple[str, str]]:
        return [(row["kind"], row["state"]) for row in await self.journal(number)]

    async def logs(self) -> list[asyncpg.Record]:
        return await self.pool.fetch("select * from integration_logs order by id")

    async def account(self, number: str) -> asyncpg.Record:
        return await self.pool.fetchrow("select * from crm_accounts where enterprise_number = $1", number)

    async def age(self, seconds: float) -> None:
        """Let time pass for everything that is owed: the database's clock is the only one deliveries know."""
        await self.pool.execute(
            "update deliveries set queued_at = queued_at - make_interval(secs => $1), due_at = clock_timestamp()",
            seconds,
        )
        for queue in await self.pool.fetch("select queue from crm_accounts"):
            await self.pool.execute(f'update pgmq."q_{queue["queue"]}" set vt = clock_timestamp()')  # noqa: S608

    async def until(self, condition: Callable[[list[asyncpg.Record]], bool], seconds: float = 15.0) -> None:
        """Wait until the journal satisfies `condition`."""
        rows: list[asyncpg.Record] = []
        try:
            async with asyncio.timeout(seconds):
                while not condition(rows := await self.journal()):  # noqa: ASYNC110 - the condition is in the database
                    await asyncio.sleep(0.02)
        except TimeoutError:
            shown = [(row["id"], row["kind"], row["state"], row["attempts"], row["reason"]) for row in rows]
            raise TimeoutError(f"after {seconds} s the journal holds {shown}") from None

    async def until_over(self, seconds: float = 15.0) -> None:
        await self.until(lambda rows: all(row["state"] not in ("pending", "sending") for row in rows), seconds)


class Running:
    """A worker at work in a task of its own."""

    def __init__(self, worker: Worker, metrics: CollectorRegistry) -> None:
        self.worker = worker
        self.metrics = metrics
        self.task = asyncio.create_task(worker.run())

    def counted(self, name: str, labels: Mapping[str, str]) -> float:
        return self.metrics.get_sample_value(name, dict(labels)) or 0.0

    async def stop(self) -> None:
        self.worker.stop()
        await asyncio.wait_for(self.task, 15)
