"""What Mango Office said, as it said it: kept before it is answered (table `mango_webhooks`).

Many requests share one transaction: while one is being committed the next gathers, and each is answered once its own
is on disk. Waiting is bounded in number, bytes and time; what goes beyond is refused (503), never held in memory alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Literal

import asyncpg
import msgspec
import structlog

from bridge.errors import DatabaseProblem

log = structlog.get_logger(__name__)

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
Dialect = Literal["signed", "flat", "statistics"]
State = Literal["new", "worked", "ignored", "malformed", "refused", "failed"]

LARGEST_BATCH = 256
MOST_WAITING = 4096
MOST_BYTES = 64 * 1024 * 1024
PATIENCE = 5.0
WRITERS = 2
"""Connections: while one commits, the other's batch is made."""

_KEEP = """
with kept as (
    insert into mango_webhooks (enterprise_number, product, dialect, path, entry_id, body, sign, remote, state, reason)
    select * from unnest(
        $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::text[], $8::text[], $9::text[],
        $10::text[])
    returning state
)
select pg_notify('bridge_mango', '') where exists (select from kept where state = 'new')
"""
# The history is read again and again over the same days: what it said before is not news.
_KEEP_HISTORY = """
insert into mango_webhooks (enterprise_number, product, dialect, path, entry_id, body, state)
select distinct $1, $2, 'statistics', 'statistics', said.entry_id, said.body, 'new'
from unnest($3::text[], $4::bytea[]) as said (entry_id, body)
where not exists (
    select from mango_webhooks k
    where k.enterprise_number = $1 and k.entry_id = said.entry_id and k.dialect = 'statistics' and k.body = said.body
)
"""
_TELL = "select pg_notify('bridge_mango', '')"

_AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_REFUSED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was said. `enterprise_number` None: nobody knows whose; `body`: its JSON, without the sender's
    credentials; `path`: what was appended to our address."""

    enterprise_number: str | None
    product: str | None
    dialect: Dialect
    path: str
    body: bytes
    state: State
    entry_id: str | None = None
    sign: str | None = None
    remote: str = ""
    reason: str | None = None


class _Waiting(msgspec.Struct, frozen=True):
    webhook: Webhook
    kept: asyncio.Future[None]


class Journal:
    """`keep` from any task, `run` for ever. `refused` counts what did not find room."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        largest_batch: int = LARGEST_BATCH,
        most_waiting: int = MOST_WAITING,
        most_bytes: int = MOST_BYTES,
        patience: float = PATIENCE,
        writers: int = WRITERS,
    ) -> None:
        self.kept = 0
        self.batches = 0
        self.refused = 0
        self._pool = pool
        self._largest_batch = largest_batch
        self._most_waiting = most_waiting
        self._most_bytes = most_bytes
        self._patience = patience
        self._writers = writers
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._stir = asyncio.Event()

    async def keep(self, webhook: Webhook) -> None:
        """Returns once it is committed. Raises DatabaseProblem when there is no room, or it takes too long; in the
        latter case it may be kept all the same: being told twice does no harm."""
        size = len(webhook.body)
        if len(self._waiting) >= self._most_waiting or self._bytes + size > self._most_bytes:
            self.refused += 1
            raise DatabaseProblem("Too many webhooks wait to be stored: send it again", retry_after=1)
        waiting = _Waiting(webhook, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._bytes += size
        self._stir.set()
        try:
            async with asyncio.timeout(self._patience):
                await waiting.kept
        except TimeoutError:
            raise DatabaseProblem("The webhook could not be stored in time: send it again", retry_after=1) from None

    async def run(self) -> None:
        """Write what gathers, for ever. What still waits at the end is refused."""
        try:
            async with asyncio.TaskGroup() as writers:
                for _ in range(self._writers):
                    writers.create_task(self._keep_writing(), name="webhook writer")
        finally:
            while batch := self._taken():
                _refuse(batch, "The service is ending: send it again")

    def figures(self) -> dict[str, int]:
        """For /stats."""
        return {
            "kept": self.kept,
            "batches": self.batches,
            "refused": self.refused,
            "waiting": len(self._waiting),
        }

    async def _keep_writing(self) -> None:
        """Over one connection, for ever. One that is lost may have died of age: a batch is tried twice."""
        batch: list[_Waiting] = []
        attempts = 0
        try:
            while True:
                batch = batch or await self._gathered()
                try:
                    async with self._pool.acquire(timeout=self._patience) as connection:
                        while True:
                            await self._write(connection, batch)
                            batch, attempts = [], 0
                            batch = await self._gathered()
                except _AWAY as problem:
                    log.warning("webhooks_not_kept", problem=str(problem) or type(problem).__name__)
                    attempts += 1
                    if attempts > 1:
                        _refuse(batch, "The database does not answer: send it again")
                        batch, attempts = [], 0
        finally:
            _refuse(batch, "The service is ending: send it again")

    async def _gathered(self) -> list[_Waiting]:
        """What waits, once anything does."""
        while True:
            batch = self._taken()
            if batch:
                return batch
            self._stir.clear()
            await self._stir.wait()

    def _taken(self) -> list[_Waiting]:
        """The oldest that somebody still waits for."""
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < self._largest_batch:
            waiting = self._waiting.popleft()
            self._bytes -= len(waiting.webhook.body)
            if not waiting.kept.done():
                batch.append(waiting)
        return batch

    async def _write(self, connection: Connection, batch: Sequence[_Waiting]) -> None:
        """Raises what says that the database is away; whether the batch was written is not known then."""
        try:
            async with asyncio.timeout(self._patience):
                await connection.execute(_KEEP, *_columns(each.webhook for each in batch))
        except _REFUSED as problem:
            if len(batch) > 1:  # one of them must not cost the others
                for each in batch:
                    await self._write(connection, [each])
                return
            log.error("webhook_not_kept", problem=str(problem))
            _refuse(batch, "The database refused the webhook")
        else:
            self.kept += len(batch)
            self.batches += 1
            for each in batch:
                if not each.kept.done():
                    each.kept.set_result(None)


async def keep_history(
    connection: Connection, enterprise_number: str, product: str, rows: Sequence[tuple[str, bytes]]
) -> int:
    """Keep rows of Mango's statistics as (entry_id, JSON), in the caller's transaction; how many are news."""
    told = await connection.execute(
        _KEEP_HISTORY, enterprise_number, product, [entry_id for entry_id, _ in rows], [body for _, body in rows]
    )
    news = int(told.rpartition(" ")[2])
    if news:
        await connection.execute(_TELL)
    return news


def _refuse(batch: Iterable[_Waiting], why: str) -> None:
    for each in batch:
        if not each.kept.done():
            each.kept.set_exception(DatabaseProblem(why, retry_after=1))


def _columns(webhooks: Iterable[Webhook]) -> tuple[list[object], ...]:
    rows = [
        (
            each.enterprise_number,
            each.product,
            each.dialect,
            each.path,
            each.entry_id,
            each.body,
            each.sign,
            each.remote,
            each.state,
            each.reason,
        )
        for each in webhooks
    ]
    return tuple(list(column) for column in zip(*rows, strict=True))
