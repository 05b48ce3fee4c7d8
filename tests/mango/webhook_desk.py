"""Where Mango's webhooks arrive, as tests drive it: two enterprises, their products, the routes, the worker."""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import asyncpg
import httpx
import msgspec
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request

from bridge.calls.model import Call
from bridge.cloud import CloudLedger
from bridge.crm.outbox import Outbox
from bridge.db.pool import Pool, connect
from bridge.http.edge import Edge
from bridge.http.errors import HANDLERS
from bridge.http.metrics import HttpMetrics
from bridge.mango.config import Product
from bridge.mango.journal import Journal
from bridge.mango.metrics import WebhookMetrics, WorkMetrics
from bridge.mango.people import People
from bridge.mango.products import Products
from bridge.mango.routes import MangoRoutes
from bridge.mango.worker import Settings, Worker
from bridge.recordings.journal import Recordings
from bridge.recordings.links import Links
from bridge.secrets import Vault
from lab.mango import Product as MangoProduct
from lab.mango.signing import sealed

JUNE, JULY = "0367", "0412"
SIGNED, FLAT = "/api/v1/webhook/mango", "/api/webhooks/mango"
KEYS = ("the key of all secrets in these tests",)
QUICK = Settings(poll=0.05, gather=0.0)

JUNES = Product(api_key="junes-main-key-0001", api_salt="junes-main-salt-0001", api_id="june-1")
JUNES_SECOND = Product(api_key="junes-other-key-0002", api_salt="junes-other-salt-0002")
JULYS = Product(api_key="julys-key-0003", api_salt="julys-salt-0003", api_id="july-3")


def configured(*products: Product, enabled: bool = True, **more: Any) -> dict[str, Any]:
    return {"mango": {"enabled": enabled, "products": [msgspec.structs.asdict(each) for each in products], **more}}


async def furnish(pool: Pool) -> None:
    """June has two products, July one. Each has two operators and a line in Moscow."""
    for number, config in (
        (JUNE, configured(JUNES, JUNES_SECOND)),
        (JULY, configured(JULYS)),
    ):
        await pool.execute(
            "insert into enterprises (number, name, integrations_config) values ($1, $1, $2)", number, config
        )
        for extension, city in (("150", "Москва"), ("151", "Казань")):
            user = await pool.fetchval(
                "insert into users (enterprise_number, email, city) values ($1, $2, $3) returning id",
                number,
                f"{extension}@{number}.example",
                city,
            )
            await pool.execute(
                "insert into user_internal_phones (enterprise_number, user_id, phone_number) values ($1, $2, $3)",
                number,
                user,
                extension,
            )
        await pool.execute(
            "insert into phones (enterprise_number, number, city) values ($1, '+74951230001', 'Москва')", number
        )


_numbers = itertools.count()


def exchange(product: Product = JUNES) -> MangoProduct:
    """The lab's side of a product: its scenarios make calls of 150 and 151. Each has ids of its own."""
    made = MangoProduct(f"exchange {next(_numbers)}", key=product.api_key, salt=product.api_salt)
    made.hire("150", "Анна Орлова")
    made.hire("151", "Борис Белов")
    return made


@dataclass(frozen=True)
class Guest:
    enterprise_number: str | None


@dataclass
class Desk:
    """`guest`: who is signed in. `journal` may be replaced by a slower or a smaller one before `open`."""

    pool: Pool
    products: Products
    journal: Journal
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    guest: Guest | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    address: str = "81.88.80.132"

    @functools.cached_property
    def app(self) -> Starlette:
        async def reception(request: Request) -> Guest | None:
            return self.guest

        routes = MangoRoutes(self.journal, self.products, reception, WebhookMetrics(self.registry), **self.settings)
        return Starlette(
            routes=routes.routes(),
            exception_handlers=HANDLERS,
            middleware=[Middleware(Edge, metrics=HttpMetrics(CollectorRegistry()), https=False)],
        )

    def open(self) -> None:
        transport = httpx.ASGITransport(self.app, client=(self.address, 50000))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://bridge.example")

    async def say(
        self, path: str, document: Any, product: Product = JUNES, *, base: str = SIGNED, salt: str | None = None
    ) -> httpx.Response:
        """A signed webhook; a document that is no text is written as JSON."""
        text = document if isinstance(document, str) else json.dumps(document)
        form = sealed(product.api_key, product.api_salt if salt is None else salt, text)
        return await self.post(f"{base}/{path}", urlencode(form).encode())

    async def post(self, path: str, body: bytes, kind: str = "application/x-www-form-urlencoded") -> httpx.Response:
        return await self.client.post(path, content=body, headers={"Content-Type": kind})

    async def say_flat(self, document: Any, path: str = FLAT) -> httpx.Response:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return await self.post(path, body, "application/json")

    async def kept(self, **where: Any) -> list[asyncpg.Record]:
        rows = await self.pool.fetch("select * from mango_webhooks order by id")
        return [row for row in rows if all(row[name] == value for name, value in where.items())]

    def counted(self, kind: str, outcome: str) -> float:
        name = "bridge_mango_webhooks_total"
        return self.registry.get_sample_value(name, {"kind": kind, "outcome": outcome}) or 0.0


@asynccontextmanager
async def open_desk(pool: Pool, *, default: Product | None = None, **settings: Any) -> AsyncIterator[Desk]:
    products = Products(pool, Vault(KEYS), default)
    await products.refresh()
    desk = Desk(pool, products, Journal(pool), settings=settings)
    desk.open()
    writing = asyncio.create_task(desk.journal.run())
    try:
        yield desk
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await desk.client.aclose()


async def eventually(condition: Callable[[], Awaitable[Any]], seconds: float = 10.0) -> None:
    """Returns once `condition` holds; TimeoutError when it does not in time."""
    async with asyncio.timeout(seconds):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.01)


@asynccontextmanager
async def listening(database_url: str, channel: str) -> AsyncIterator[list[str]]:
    """What is notified on the channel, as it comes."""
    heard_of: list[str] = []
    ears = await connect(database_url)
    try:
        await ears.add_listener(channel, lambda *told: heard_of.append(str(told[3])))
        yield heard_of
    finally:
        await ears.close()


# --- calls ------------------------------------------------------------------------------------------------------------


def a_worker(pool: Pool, *, settings: Settings = QUICK, products: Products | None = None, **more: Any) -> Worker:
    """A worker of an instance: enterprises have RetailCRM enabled."""
    ledger = CloudLedger(Outbox(lambda _: {"retailcrm": True}, ("retailcrm",)), Recordings(Links(KEYS, "http://b")))
    people = People(pool, products or Products(pool, Vault(KEYS)))
    return Worker(pool, more.pop("ledger", ledger), people, WorkMetrics(CollectorRegistry()), settings, **more)


async def work_all(worker: Worker) -> None:
    """Until there is nothing to do."""
    while await worker.work():
        pass


_KEEP = """
insert into mango_webhooks (enterprise_number, product, dialect, path, entry_id, body, state)
select $1, 'p', 'signed', path, entry_id, body, 'new'
from unnest($2::text[], $3::text[], $4::bytea[]) with ordinality as s (path, entry_id, body, n) order by n
"""


async def heard(pool: Pool, webhooks: Sequence[Any], number: str = JUNE) -> None:
    """Webhooks (of the lab's scenarios) that were kept, in this order."""
    await pool.execute(
        _KEEP,
        number,
        [each.path for each in webhooks],
        [each.entry_id for each in webhooks],
        [json.dumps(each.body).encode() for each in webhooks],
    )


async def rows(pool: Pool, number: str = JUNE) -> list[asyncpg.Record]:
    return await pool.fetch("select * from calls where enterprise_number = $1 order by call_id", number)


async def deliveries(pool: Pool, number: str = JUNE) -> list[tuple[str, str]]:
    """(external id, kind) of what CRMs are owed, in order of the calls."""
    found = await pool.fetch(
        "select external_id, kind from deliveries where enterprise_number = $1 order by external_id, id", number
    )
    return [(row["external_id"], row["kind"]) for row in found]


async def states(pool: Pool) -> dict[str, int]:
    found = await pool.fetch("select state, count(*) as n from mango_webhooks group by 1")
    return {row["state"]: row["n"] for row in found}


async def told(pool: Pool, number: str = JUNE) -> dict[str, Call]:
    found = await pool.fetch("select entry_id, told from mango_calls where enterprise_number = $1", number)
    return {row["entry_id"]: msgspec.msgpack.decode(row["told"], type=Call) for row in found if row["told"]}
