"""Two enterprises with their people, calls and deliveries; the ports of the application as tests move them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
from starlette.applications import Starlette

from bridge.calls.script_events import ScriptEvent
from bridge.db.pool import Pool
from bridge.http.services import Batch, PbxState

KEY = "a secret key of the tests, long enough"
PASSWORD = "correct horse battery"
URL = "http://bridge.example"
SECRET = "the secret of enterprise 0367"


class Exchanges:
    """The PBXs of the tests, as they are told to be."""

    def __init__(self) -> None:
        self.now = [
            PbxState(enterprise_number="0367", name="office", state="up"),
            PbxState(enterprise_number="0400", name="shop", state="up"),
        ]

    async def states(self) -> Sequence[PbxState]:
        return list(self.now)


class Enabled:
    def enabled(self, enterprise_number: str) -> Mapping[str, bool]:
        return {"retailcrm": enterprise_number == "0367"}


@dataclass
class Remembered:
    """A cloud exchange's history. `done`: whether a comparison is over in time."""

    begun: list[tuple[str, float | None]] = field(default_factory=list)
    done: bool = True
    problem: Exception | None = None

    async def begin(self, enterprise_number: str, since: float | None = None, *, wait: float) -> bool:
        if self.problem is not None:
            raise self.problem
        self.begun.append((enterprise_number, since))
        return self.done

    async def last(self, enterprise_number: str) -> Sequence[Mapping[str, Any]]:
        times = dict.fromkeys(("reached", "began_at", "ended_at"), _at(1))
        return [{"product": f"of {enterprise_number}", "running": not self.done, "calls": 7, "told": 2, **times,
                 "problem": None}]  # fmt: skip


@dataclass
class Ingested:
    events: list[tuple[str, ScriptEvent]] = field(default_factory=list)

    async def ingest(self, enterprise_number: str, event: ScriptEvent) -> None:
        self.events.append((enterprise_number, event))


class Feed:
    """Changes as the tests announce them."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Batch] = asyncio.Queue()

    def announce(self, enterprise_number: str | None, *calls: int) -> None:
        self._queue.put_nowait(Batch(enterprise_number, calls))

    async def subscribe(self, enterprise_number: str | None) -> AsyncIterator[Batch]:
        while True:
            yield await self._queue.get()


@dataclass
class Office:
    """Who and what is in the database: ids by name."""

    users: dict[str, int]
    calls: dict[str, int]
    deliveries: dict[str, int]


_CALLS = (
    (
        "of anna",
        "0367",
        "office",
        "answered",
        "completed",
        "+79161234567",
        "Иван Петров",
        ["150", "151"],
        "150",
        "anna",
    ),
    ("of petr", "0367", "office", "missed", "missed", "+79037654321", None, ["151"], None, None),
    ("live", "0367", "office", "active", "accepted", "+79160000003", None, ["150"], "150", "anna"),
    ("of boris", "0400", "shop", "answered", "completed", "+79161234567", "Иван Петров", ["150"], "150", "boris"),
)


async def furnish(pool: Pool, password_hash: str) -> Office:
    """Two enterprises with their people, calls and deliveries."""
    async with pool.acquire() as db:
        await db.execute(
            "insert into enterprises (number, name, timezone) values ('0367', 'June', 'Europe/Moscow'), "
            "('0400', 'July', 'Asia/Yekaterinburg')"
        )
        users = {
            name: await db.fetchval(
                "insert into users (enterprise_number, email, first_name, last_name, role, password_hash) "
                "values ($1, $2, $3, $4, $5, $6) returning id",
                number,
                f"{name}@example.com",
                first,
                last,
                role,
                password_hash,
            )
            for name, number, first, last, role in (
                ("anna", "0367", "Анна", "Иванова", "operator"),
                ("petr", "0367", "Пётр", "Сидоров", "operator"),
                ("olga", "0367", "Ольга", "Смирнова", "administrator"),
                ("robot", "0367", "", "", "service"),
                ("boris", "0400", "Борис", "Орлов", "administrator"),
                ("root", None, "", "", "administrator"),
            )
        }
        await db.executemany(
            "insert into user_internal_phones (user_id, enterprise_number, phone_number) values ($1, $2, $3)",
            [(users["anna"], "0367", "150"), (users["petr"], "0367", "151"), (users["boris"], "0400", "150")],
        )
        calls = {
            name: await db.fetchval(
                """
                insert into calls (enterprise_number, pbx_name, call_id, direction, result, status, client_number,
                    client_name, line, caller_number, receiver_number, extensions, answered_by, answered_by_user_id,
                    started_at, answered_at, ended_at, wait_seconds, talk_seconds, duration, notes, tags)
                values ($1, $2, $3, 'inbound', $4, $5, $6, $7, '74951000001', $6, '74951000001', $8, $9, $10,
                    $11::timestamptz, $11::timestamptz + interval '5 s',
                    case when $4 = 'active' then null else $11::timestamptz + interval '65 s' end, 5, 60, 60, '',
                    '{новый клиент,продажи}')
                returning id
                """,
                number,
                pbx,
                f"179522444{index}.0",
                result,
                status,
                phone,
                client,
                extensions,
                answered_by,
                users[user] if user else None,
                _at(index + 1),
            )
            for index, (name, number, pbx, result, status, phone, client, extensions, answered_by, user) in enumerate(
                _CALLS
            )
        }
        deliveries = {}
        for name, number, call, state in (
            ("delivered", "0367", "of anna", "delivered"),
            ("dead", "0367", "of petr", "dead"),
            ("dead of boris", "0400", "of boris", "dead"),
        ):
            account = await db.fetchval(
                "insert into crm_accounts (enterprise_number, integration_type) values ($1, 'retailcrm') "
                "on conflict (enterprise_number, integration_type) do update set failures = 0 returning id",
                number,
            )
            deliveries[name] = await db.fetchval(
                "insert into deliveries (account_id, enterprise_number, integration_type, call_pk, external_id, kind, "
                "call, state, reason) values ($1, $2, 'retailcrm', $3, $4, 'record', '{}', $5, $6) returning id",
                account,
                number,
                calls[call],
                call,
                state,
                "the CRM refused it" if state == "dead" else None,
            )
        await db.execute(
            "insert into credentials (kind, digest, enterprise_number) values ('enterprise', $1, '0367')",
            hashlib.sha256(SECRET.encode()).digest(),
        )
    return Office(users, calls, deliveries)


def _at(minute: int) -> datetime:
    return datetime(2026, 11, 20, 21, minute, tzinfo=UTC)


class People:
    """Signs people in to the API; each gets a client of his own."""

    def __init__(self, app: Starlette) -> None:
        self._app = app
        self._clients: list[httpx.AsyncClient] = []

    async def __call__(self, name: str) -> httpx.AsyncClient:
        client = httpx.AsyncClient(transport=httpx.ASGITransport(self._app), base_url=URL)
        self._clients.append(client)
        answer = await client.post("/api/v1/auth/login", json={"email": f"{name}@example.com", "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        client.headers["Authorization"] = "Bearer " + answer.json()["data"]["token"]
        return client

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()
