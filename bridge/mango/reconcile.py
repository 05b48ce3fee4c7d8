"""Reconciliation: what Mango's history knows and we have not heard is added, and calls whose end was lost get it.

Theory of operation. Once an hour, and when somebody asks, the calls of a period are fetched from the history
(`bridge.mango.statistics`) and kept beside the webhooks as one more thing that was said of each call. The worker that
reads calls anew does the rest. What the history said before is not kept twice, so periods may overlap, and they do:
a call is in the history once it is over, under the time at which it began.

One instance at a time does it for a product, by a row that it holds (`mango_reconciliations`); one that dies holds it
for ten minutes.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import asyncpg
import msgspec
import structlog

from bridge.errors import (
    BridgeError,
    Conflict,
    DatabaseProblem,
    MangoPaused,
    MangoRefused,
    MangoUnavailable,
    NotFound,
)
from bridge.mango import journal, statistics
from bridge.mango.client import Api, Reply
from bridge.mango.config import Product
from bridge.mango.limits import Kind
from bridge.mango.products import Products
from bridge.mango.users import Users

log = structlog.get_logger(__name__)

EVERY = 3600.0
FIRST = 24 * 3600.0
"""Seconds that the first comparison of a product looks back."""
OVERLAP = 6 * 3600.0
"""Seconds that a period begins before the end of the last one: the longest call that is not missed."""
NOT_READY = 5.0
"""Seconds between two questions whether an answer is ready; more often is not allowed (3.4.1.2)."""

_READY_WITHIN = 600.0
_FIRST_LOOK = 1.0
_PATIENCE = 60.0
_TIMEOUT = 60.0
_LARGEST = 64 * 1024 * 1024
_NO_SERVICE = 5008
_TRIES = 3  # for a connection that is lost, and for a key that goes stale before its answer is fetched
_AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

_HOLD = """
insert into mango_reconciliations as r (enterprise_number, product, held_until, began_at)
values ($1, $2, clock_timestamp() + interval '10 minutes', clock_timestamp())
on conflict (enterprise_number, product) do update set held_until = excluded.held_until, began_at = excluded.began_at
where r.held_until < clock_timestamp()
  and (r.began_at is null or r.began_at <= clock_timestamp() - make_interval(secs => $3))
returning extract(epoch from reached)::double precision as reached,
          extract(epoch from clock_timestamp())::double precision as now
"""
_HOLD_ON = """
update mango_reconciliations set held_until = clock_timestamp() + interval '10 minutes'
where enterprise_number = $1 and product = $2
"""
_DONE = """
update mango_reconciliations
set held_until = '-infinity', ended_at = clock_timestamp(), reached = coalesce(to_timestamp($3), reached),
    calls = $4, told = $5, problem = $6
where enterprise_number = $1 and product = $2
"""
_LAST = """
select product, reached, began_at, ended_at, calls, told, problem, held_until > clock_timestamp() as running
from mango_reconciliations where enterprise_number = $1 order by product
"""

_Pages = AsyncGenerator[Sequence[statistics.Row], None]


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one product's comparison. `calls` in the history; of `told` it said something not heard before."""

    product: str
    calls: int = 0
    told: int = 0
    problem: str | None = None


class Reconciler:
    """`run` does it hourly, `reconcile` now. `not_ready`: seconds between questions for an answer."""

    def __init__(
        self, api: Api, products: Products, users: Users, pool: asyncpg.Pool, *, not_ready: float = NOT_READY
    ) -> None:
        self._api = api
        self._products = products
        self._users = users
        self._pool = pool
        self._not_ready = not_ready
        self._begun: set[asyncio.Task[list[Compared]]] = set()

    async def run(self, every: float = EVERY) -> None:
        """Compare each product once in `every` seconds, for ever."""
        look = min(60.0, every / 4)
        while True:
            await asyncio.sleep(look * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            for enterprise_number in self._products.enterprises():
                for product in self._products.of(enterprise_number):
                    await self._in_turn(enterprise_number, product, every * random.uniform(0.9, 1.0))  # noqa: S311

    async def _in_turn(self, enterprise_number: str, product: Product, age: float) -> None:
        try:
            await self._compare(enterprise_number, product, None, age)
        except Conflict:
            return  # another instance does it, or it was done within the hour
        except DatabaseProblem as problem:
            log.warning("mango_not_reconciled", enterprise=enterprise_number, problem=problem.message)
        except Exception:
            log.exception("mango_not_reconciled", enterprise=enterprise_number)

    async def reconcile(self, enterprise_number: str, since: float | None = None) -> list[Compared]:
        """Compare all products of an enterprise now, with what began after `since` (epoch; None: since the last time).

        What keeps one product from it is said in its `problem`. Raises NotFound for an enterprise without Mango,
        Conflict while another comparison goes on, DatabaseProblem."""
        products = self._products.of(enterprise_number)
        if not products:
            raise NotFound("Mango Office is not configured or switched off", field="enterprise_number")
        return [await self._compare(enterprise_number, product, since, 0.0) for product in products]

    async def begin(self, enterprise_number: str, since: float | None = None, *, wait: float) -> bool:
        """`reconcile`, waited for `wait` seconds at the most; whether it is done. It goes on in any case."""
        work = asyncio.create_task(self.reconcile(enterprise_number, since), name="mango reconciliation")
        self._begun.add(work)
        work.add_done_callback(self._ended)
        done, _ = await asyncio.wait({work}, timeout=wait)
        if done:
            work.result()
        return bool(done)

    async def close(self) -> None:
        """Ends what was begun."""
        for work in self._begun:
            work.cancel()
        await asyncio.gather(*self._begun, return_exceptions=True)

    def _ended(self, work: asyncio.Task[list[Compared]]) -> None:
        self._begun.discard(work)
        if not work.cancelled() and (problem := work.exception()) is not None and not isinstance(problem, BridgeError):
            log.error("mango_reconciliation_crashed", exc_info=problem)

    async def last(self, enterprise_number: str) -> list[dict[str, Any]]:
        """What came of the last comparison of each product."""
        async with self._pool.acquire() as connection:
            return [dict(row) for row in await connection.fetch(_LAST, enterprise_number)]

    async def _compare(self, enterprise_number: str, product: Product, since: float | None, age: float) -> Compared:
        held = await self._hold(enterprise_number, product, age)
        reached, now = held["reached"], held["now"]
        begin = (reached - OVERLAP if reached is not None else now - FIRST) if since is None else since
        calls = told = 0
        problem: str | None = None
        began = time.monotonic()
        try:
            async with aclosing(self._history(product, begin, now)) as history:
                async for page in history:
                    calls += len({statistics.entry_of(row) for row in page})
                    told += await self._keep(enterprise_number, product, page)
        except BridgeError as failure:
            problem = failure.message
        except asyncio.CancelledError:
            problem = "the service was ended"
            raise
        finally:
            whole = problem is None and begin <= (reached if reached is not None else now - FIRST)
            await self._done(enterprise_number, product, now if whole else None, calls, told, problem)
        log.log(
            30 if problem else 20,
            "mango_reconciled",
            enterprise=enterprise_number,
            product=product.name,
            calls=calls,
            told=told,
            problem=problem,
            seconds=round(time.monotonic() - began, 1),
        )
        return Compared(product=product.name, calls=calls, told=told, problem=problem)

    async def _history(self, product: Product, since: float, until: float) -> _Pages:
        roster = await self._users.of(product)
        if roster is None:
            # without it nobody of the history has an extension: worth another try
            await asyncio.sleep(self._not_ready)
            roster = await self._users.fresh(product)
        while since < until:
            end = min(until, since + statistics.LONGEST_PERIOD)
            try:
                async with aclosing(self._extended(product, since, end)) as calls:
                    async for page in calls:
                        yield [statistics.named(call, roster) for call in page]
            except (MangoRefused, MangoUnavailable) as problem:
                if problem.details.get("status") != 404 and problem.details.get("result") != _NO_SERVICE:
                    raise
                # extended statistics are a service of their own: without it, the basic ones tell of legs
                log.info("mango_extended_statistics_absent", product=product.name, problem=problem.message)
                yield statistics.within(await self._basic(product, since, end), since, end)
            since = end

    async def _extended(self, product: Product, since: float, until: float) -> _Pages:
        offset, more = 0, True
        while more:
            question = statistics.question(since, until, offset)
            reply = await self._fetched(product, "stats/calls/request/", "stats/calls/result/", question)
            found = statistics.calls(reply.document or {})
            yield statistics.within(found, since, until)
            offset, more = offset + statistics.PAGE, statistics.more_after(found)

    async def _basic(self, product: Product, since: float, until: float) -> Sequence[statistics.Row]:
        question = statistics.basic_question(since, until)
        return statistics.rows((await self._fetched(product, "stats/request", "stats/result", question)).body)

    async def _fetched(self, product: Product, request: str, result: str, question: dict[str, Any]) -> Reply:
        """The answer, asked for and fetched; a key that goes stale meanwhile is replaced by another."""
        for _ in range(_TRIES):
            asked = await self._asked(product, "statistics", request, question)
            key = (asked.document or {}).get("key")
            if not isinstance(key, str) or not key:
                raise MangoUnavailable("Mango Office gives no key for its statistics")
            try:
                return await self._ready(product, result, key)
            except MangoRefused as problem:
                if problem.details.get("status") != 404:
                    raise
        raise MangoUnavailable("Mango Office forgets its statistics before they can be fetched")

    async def _ready(self, product: Product, path: str, key: str) -> Reply:
        until = time.monotonic() + _READY_WITHIN
        await asyncio.sleep(min(_FIRST_LOOK, self._not_ready))
        while time.monotonic() < until:
            reply = await self._asked(product, "result", path, {"key": key})
            status = (reply.document or {}).get("status")
            if reply.status == 200 and status in (None, "complete"):
                return reply
            if status == "not-found":
                raise MangoRefused("Mango Office does not know the key of its statistics any more", status=404)
            if status in ("error", "cancel"):
                raise MangoUnavailable(f"Mango Office could not make its statistics: {status}")
            await asyncio.sleep(self._not_ready)
        raise MangoUnavailable(f"Mango Office's statistics were not ready within {_READY_WITHIN:g} s")

    async def _asked(self, product: Product, kind: Kind, path: str, question: dict[str, Any]) -> Reply:
        """To ask for statistics again does no harm: a lost connection must not cost the whole comparison."""
        for tries_left in range(_TRIES - 1, -1, -1):
            try:
                return await self._api.ask(
                    product, kind, path, question, timeout=_TIMEOUT, patience=_PATIENCE, largest=_LARGEST
                )
            except MangoUnavailable as problem:
                hopeless = isinstance(problem, MangoPaused) or problem.details.get("result") == _NO_SERVICE
                if hopeless or not tries_left:
                    raise
            await asyncio.sleep(self._not_ready)
        raise MangoUnavailable()

    async def _keep(self, enterprise_number: str, product: Product, page: Sequence[statistics.Row]) -> int:
        said = [(statistics.entry_of(row), msgspec.json.encode(row, order="deterministic")) for row in page]
        try:
            async with asyncio.timeout(30), self._pool.acquire() as connection, connection.transaction():
                await connection.execute(_HOLD_ON, enterprise_number, product.name)
                return await journal.keep_history(connection, enterprise_number, product.name, said) if said else 0
        except _AWAY as problem:
            raise DatabaseProblem("The database does not take Mango's history") from problem

    async def _hold(self, enterprise_number: str, product: Product, age: float) -> asyncpg.Record:
        try:
            async with asyncio.timeout(10), self._pool.acquire() as connection:
                row = await connection.fetchrow(_HOLD, enterprise_number, product.name, age)
        except _AWAY as problem:
            raise DatabaseProblem("The database does not answer: nothing was compared") from problem
        if row is None:
            raise Conflict("This product's history is being compared already")
        return row

    async def _done(
        self,
        enterprise_number: str,
        product: Product,
        reached: float | None,
        calls: int,
        told: int,
        problem: str | None,
    ) -> None:
        try:
            async with asyncio.timeout(10), self._pool.acquire() as connection:
                await connection.execute(_DONE, enterprise_number, product.name, reached, calls, told, problem)
        except _AWAY as failure:
            log.warning("mango_reconciliation_not_noted", problem=str(failure) or repr(failure))
