"""Mango's webhooks, durable before they are answered: this service beside the least that could be called so.

    .venv/bin/python bench/webhooks.py [--seconds 5] [--rounds 3] [--connections 32] [--rate 500]

ours   POST /api/v1/webhook/mango/events/… of the whole service (`serve --roles http`): form, signature over the raw
       JSON, allow-lists, limits, what it is about; kept in one transaction with whatever else arrived; answered after
       the commit
floor  a bare Starlette handler that awaits one INSERT of the body per request, on a pool of 20 connections, in the same
       server (uvicorn, uvloop, httptools), on the same Postgres (on disk, synchronous commit). No check of any kind

The two take turns, in rounds, under the same load: connections that each send the next webhook when the last was
answered. Then webhooks come at a steady rate, as calls that begin, are answered and end: to the floor, and to the
service with its worker (`--roles http,worker`), which makes calls of them meanwhile. The time of each is counted from
when it was due, not from when it could be sent.

Caveats. The load is made by one Python process, and it, the service and Postgres share the machine's cores; that takes
from both ways alike. Whatever else the machine does is seen in the floor's p99 too. Loopback, no TLS.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import cast
from urllib.parse import urlencode, urlsplit

import asyncpg
import httpx
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lab.mango import Knobs, Product, scenarios
from lab.mango.delivery import spelled
from lab.mango.signing import sealed
from lab.service import Service, free_port

ENOUGH = 0.6
"""Of the floor's webhooks a second."""
TARGET_MS = 50.0
THANKS = b'{"success":true}'

COMPANY = """
[[enterprise]]
number = "0412"
name = "July"
  [enterprise.integrations.mango]
  enabled = true
  products = [ {{ api_key = "{key}", api_salt = "{salt}" }} ]
"""


# --- the load ---------------------------------------------------------------------------------------------------------


def webhooks(product: Product) -> Iterator[bytes]:
    """Requests of answered calls without end, each call its own, as bytes of HTTP."""
    for number in itertools.count():
        played = scenarios.inbound_answered(product, f"7916{number % 10_000_000:07}", at=time.time(), by="170")
        product.entries.clear()
        for webhook in played.webhooks:
            document = spelled(webhook.body, Knobs(), product.dice)
            body = urlencode(sealed(product.key, product.salt, document)).encode()
            head = (
                f"POST /api/v1/webhook/mango/{webhook.path} HTTP/1.1\r\nHost: bench\r\n"
                f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            yield head.encode() + body


class Line(asyncio.Protocol):
    """One kept connection that has one request under way at a time. Either way thanks in the same words."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._heard = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's has another base

    def data_received(self, data: bytes) -> None:
        self._heard += data
        whole = self._heard.endswith(THANKS) or not self._heard.startswith(b"HTTP/1.1 200")
        if whole and self._answer is not None and not self._answer.done():
            self._answer.set_result(self._heard)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the connection was closed"))

    async def send(self, request: bytes) -> None:
        assert self.transport is not None
        self._answer, self._heard = asyncio.get_running_loop().create_future(), b""
        self.transport.write(request)
        answer = await self._answer
        if not answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"a webhook was refused: {answer[:400]!r}")


@contextlib.asynccontextmanager
async def lines(url: str, count: int) -> AsyncIterator[list[Line]]:
    address = urlsplit(url)
    loop = asyncio.get_running_loop()
    made = [(await loop.create_connection(Line, address.hostname, address.port))[1] for _ in range(count)]
    try:
        yield made
    finally:
        for each in made:
            if each.transport is not None:
                each.transport.close()


async def flat_out(url: str, requests: Iterator[bytes], connections: int, seconds: float) -> tuple[float, list[float]]:
    """(answered a second, the seconds each took)."""
    took: list[float] = []
    # made beforehand, sent round and round: making them is no part of it
    ready = list(itertools.islice(requests, 2000))
    turn = itertools.cycle(ready)

    async def one(line: Line, until: float) -> None:
        while (began := time.perf_counter()) < until:
            await line.send(next(turn))
            took.append(time.perf_counter() - began)

    async with lines(url, connections) as ours:
        began = time.perf_counter()
        await asyncio.gather(*(one(line, began + seconds) for line in ours))
        return len(took) / (time.perf_counter() - began), took


async def steady(url: str, requests: Iterator[bytes], rate: float, seconds: float) -> list[float]:
    """Seconds from the moment each was due to its answer."""
    took: list[float] = []
    count = int(rate * seconds)
    ready = list(itertools.islice(requests, count))
    async with lines(url, 128) as ours:
        idle: asyncio.Queue[Line] = asyncio.Queue()
        for line in ours:
            idle.put_nowait(line)
        began = time.perf_counter() + 0.1

        async def one(request: bytes, due: float) -> None:
            line = await idle.get()
            await line.send(request)
            took.append(time.perf_counter() - due)
            idle.put_nowait(line)

        async with asyncio.TaskGroup() as tasks:
            for number, request in enumerate(ready):
                due = began + number / rate
                if (wait := due - time.perf_counter()) > 0:
                    await asyncio.sleep(wait)
                tasks.create_task(one(request, due))
    return took


# --- the floor --------------------------------------------------------------------------------------------------------


def floor(database: str, port: int) -> None:
    """A process of its own."""

    @contextlib.asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        async with asyncpg.create_pool(database, min_size=20, max_size=20) as app.state.pool:
            yield

    async def take(request: Request) -> Response:
        body = await request.body()
        await request.app.state.pool.execute("insert into bench_webhooks (body) values ($1)", body)
        return Response(THANKS, media_type="application/json")

    app = Starlette(routes=[Route("/{path:path}", take, methods=["POST"])], lifespan=life)
    uvicorn.run(app, port=port, loop="uvloop", log_level="warning", access_log=False, server_header=False)


@contextlib.asynccontextmanager
async def floor_beside(database: str) -> AsyncIterator[str]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(sys.executable, __file__, "--floor", database, str(port))
    url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(20), httpx.AsyncClient() as client:
            while True:
                try:
                    await client.post(url)
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
        yield url
    finally:
        process.terminate()
        await process.wait()


# --- the measurement --------------------------------------------------------------------------------------------------


async def beside_the_floor(
    service: Service, product: Product, database: str, rounds: int, seconds: float, connections: int
) -> float:
    """Ours as a part of the floor."""
    rates: dict[str, list[float]] = {"ours": [], "floor": []}
    times: dict[str, list[float]] = {"ours": [], "floor": []}
    requests = webhooks(product)
    async with floor_beside(database) as floor_url:
        for number in range(rounds + 1):
            for name, url in (("ours", service.url), ("floor", floor_url)):
                rate, took = await flat_out(url, requests, connections, seconds if number else 1.0)
                if number:  # the first is to warm up
                    rates[name].append(rate)
                    times[name] += took
    print(f"{connections} connections, {rounds} rounds of {seconds:g} s each; milliseconds\n")
    print(f"{'':<26}{'webhooks/s':>12}{'(rounds)':>26}{'p50':>8}{'p99':>8}{'max':>8}")
    for name in ("ours", "floor"):
        shown = " ".join(f"{rate:.0f}" for rate in rates[name])
        print(f"{name:<26}{statistics.median(rates[name]):>12.0f}{shown:>26}" + cells(times[name]))
    return statistics.median(rates["ours"]) / statistics.median(rates["floor"])


async def paced(service: Service, product: Product, database: str, rate: float, seconds: float) -> float:
    """p99 in seconds."""
    async with floor_beside(database) as floor_url:
        await steady(floor_url, webhooks(product), rate, 2.0)
        floor_took = await steady(floor_url, webhooks(product), rate, seconds)
    connection = await asyncpg.connect(database)
    try:
        await steady(service.url, webhooks(product), rate, 2.0)
        await settled(connection)
        await connection.execute("truncate mango_webhooks, mango_calls")
        took = await steady(service.url, webhooks(product), rate, seconds)
        await settled(connection)
        row = await connection.fetchrow(
            "select count(*) as webhooks, count(distinct entry_id) as calls, percentile_cont(array[0.5, 0.99, 1]) "
            "within group (order by extract(epoch from worked_at - received_at)) as lag from mango_webhooks"
        )
    finally:
        await connection.close()
    print(f"\n{rate:g} webhooks/s for {seconds:g} s; milliseconds\n")
    print(f"{'':<64}{'p50':>8}{'p99':>8}{'max':>8}")
    print(f"{'ours: due -> answered, made into calls meanwhile':<64}" + cells(took))
    print(f"{'ours: kept -> its call written':<64}" + "".join(f"{1000 * value:>8.1f}" for value in row["lag"]))
    print(f"{'floor: due -> answered':<64}" + cells(floor_took))
    print(f"\n{row['webhooks']} webhooks were {row['calls']} calls")
    return statistics.quantiles(took, n=100, method="inclusive")[98]


async def settled(connection: asyncpg.Connection) -> None:
    async with asyncio.timeout(120):
        while True:
            if not await connection.fetchval("select exists (select from mango_webhooks where state = 'new')"):
                return
            await asyncio.sleep(0.1)


def cells(seconds: Sequence[float]) -> str:
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return "".join(f"{1000 * value:>8.1f}" for value in (cuts[49], cuts[98], max(seconds)))


async def run(rounds: int, seconds: float, connections: int, rate: float) -> int:
    print(__doc__)
    product = Product("july")
    product.hire("170", "Анна Орлова")
    with tempfile.TemporaryDirectory(prefix="bridge-bench-", dir=Path.home()) as folder:
        data, facts = Path(folder, "data"), Path(folder, "company.toml")
        facts.write_text(COMPANY.format(key=product.key, salt=product.salt))
        async with serving(Service(data), "http") as service:
            code, said, problem = await service.command("apply", str(facts))
            if code:
                raise SystemExit(f"apply failed: {said}{problem}")
            await execute(service, "create table bench_webhooks (id bigserial primary key, body bytea not null)")
            share = await beside_the_floor(service, product, database_url(service), rounds, seconds, connections)
            await execute(service, "truncate mango_webhooks, bench_webhooks")
        async with serving(Service(data), "http,worker") as service:
            p99 = await paced(service, product, database_url(service), rate, 4 * seconds)
    met = share >= ENOUGH and p99 * 1000 <= TARGET_MS
    print(f"\nours is {share:.0%} of the floor, wanted at least {ENOUGH:.0%}; ", end="")
    print(f"p99 at {rate:g}/s is {p99 * 1000:.1f} ms, wanted at most {TARGET_MS:g}: {'met' if met else 'MISSED'}")
    return 0 if met else 1


@contextlib.asynccontextmanager
async def serving(service: Service, roles: str) -> AsyncIterator[Service]:
    await service.start("--roles", roles)
    try:
        yield service
    finally:
        await service.stop()


async def execute(service: Service, statement: str) -> None:
    connection = await asyncpg.connect(database_url(service))
    await connection.execute(statement)
    await connection.close()


def database_url(service: Service) -> str:
    return (service.data / "postgres.url").read_text().strip()


def main() -> None:
    if sys.argv[1:2] == ["--floor"]:
        floor(sys.argv[2], int(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description="Mango's webhooks: this service beside one INSERT per request.")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each way (default 3)")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each lasts (default 5)")
    parser.add_argument("--connections", type=int, default=32, help="at once (default 32)")
    parser.add_argument("--rate", type=float, default=500.0, help="webhooks a second of the steady load (default 500)")
    given = parser.parse_args()
    sys.exit(uvloop.run(run(given.rounds, given.seconds, given.connections, given.rate)))


if __name__ == "__main__":
    main()
