"""SQL of `crm_accounts`: an enterprise's account in one CRM, its rate and its breaker.

The delivery engine's tables are read and written by this package alone and not by the one of the other tables'
queries: a delivery is queued, claimed, tried and settled by statements that only make sense together. Functions take a
connection; whatever must be in a transaction says so.
"""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg
import msgspec

from bridge.pacing import Limits

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

LOST = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that the server has said goodbye to, before the end of its stream
    asyncpg.exceptions.OperatorInterventionError,
    asyncpg.exceptions.InsufficientResourcesError,
    asyncpg.exceptions.TransactionRollbackError,
)
"""The database cannot for now (restarts, a full disk, two in each other's way): the same may be tried again."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One enterprise's account in one CRM. `now` is the database's clock when it was read."""

    id: int
    enterprise_number: str
    integration_type: str
    queue: str
    rate_per_second: float | None
    limits: Limits
    now: float


_ACCOUNTS = "select integration_type, id from crm_accounts where enterprise_number = $1 and integration_type = any($2)"

_OPEN_ACCOUNTS = """
insert into crm_accounts (enterprise_number, integration_type)
select $1, kind from unnest($2::text[]) as kind order by kind
on conflict do nothing
"""

# NO KEY: the outbox's foreign keys must not wait for the worker.
_ACCOUNT = """
select id, enterprise_number, integration_type, queue, rate_per_second, tat, failures, open_until, probe_until,
       extract(epoch from clock_timestamp())::double precision as now
from crm_accounts where id = $1 for no key update
"""

_SAVE_LIMITS = """
update crm_accounts
set tat = $2, failures = $3, open_until = $4, probe_until = $5, last_error = coalesce($6, last_error)
where id = $1
"""

_RECOVERED = """
update crm_accounts set failures = 0, open_until = null, probe_until = null, last_error = null
where id = $1 and (failures > 0 or open_until is not null or last_error is not null)
"""

_END_PROBE = "update crm_accounts set probe_until = null where id = $1 and probe_until is not null"

_OWED = """
select a.id from crm_accounts a
where a.integration_type = any($1)
  and (a.open_until is null or a.open_until <= extract(epoch from clock_timestamp()))
  and exists (
    select from deliveries d
    where d.account_id = a.id and d.state in ('pending', 'sending') and d.due_at <= clock_timestamp()
  )
"""


async def ensure(conn: Connection, enterprise_number: str, kinds: Sequence[str]) -> list[int]:
    """Ids of the enterprise's accounts of these kinds; one that is not there yet is opened, with its queue."""
    found = await conn.fetch(_ACCOUNTS, enterprise_number, kinds)
    if len(found) < len(kinds):
        await conn.execute(_OPEN_ACCOUNTS, enterprise_number, kinds)
        found = await conn.fetch(_ACCOUNTS, enterprise_number, kinds)
    return [row["id"] for row in found]


async def lock_account(conn: Connection, account_id: int) -> Account | None:
    """The account, locked until the transaction ends; None when it is gone."""
    row = await conn.fetchrow(_ACCOUNT, account_id)
    if row is None:
        return None
    return Account(
        id=row["id"],
        enterprise_number=row["enterprise_number"],
        integration_type=row["integration_type"],
        queue=row["queue"],
        rate_per_second=row["rate_per_second"],
        limits=Limits(
            tat=row["tat"],
            failures=row["failures"],
            open_until=row["open_until"],
            probe_until=row["probe_until"],
        ),
        now=row["now"],
    )


async def save_limits(conn: Connection, account_id: int, limits: Limits, error: str | None = None) -> None:
    await conn.execute(
        _SAVE_LIMITS, account_id, limits.tat, limits.failures, limits.open_until, limits.probe_until, error
    )


async def recovered(conn: Connection, account_id: int) -> None:
    """A success: the failures are forgotten, the breaker closes. Costs no write when there was nothing to forget."""
    await conn.execute(_RECOVERED, account_id)


async def end_probe(conn: Connection, account_id: int) -> None:
    """An attempt that says nothing about the account: where it was the breaker's probe, the next may be one."""
    await conn.execute(_END_PROBE, account_id)


async def owed(conn: Connection, kinds: Sequence[str]) -> list[int]:
    """Accounts of these kinds that have something due and may be told."""
    return [row["id"] for row in await conn.fetch(_OWED, kinds)]
