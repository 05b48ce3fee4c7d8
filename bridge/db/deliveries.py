"""Reading `deliveries` for people: what CRMs were told, what they are owed, what was given up."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from bridge.db.pool import Connection
from bridge.db.scope import OF_PERSON, Scope, Where

_COLUMNS = """
    d.id, d.enterprise_number, d.integration_type, d.call_pk as call, d.external_id, d.kind, d.sequence, d.extensions,
    d.state, d.attempts, d.reason, d.due_at, d.done_at, d.created_at,
    c.direction, c.client_number, c.client_name
"""
_SELECT = "select" + _COLUMNS + "from deliveries d left join calls c on c.id = d.call_pk"


async def listed(
    connection: Connection,
    scope: Scope,
    *,
    state: str | None = None,
    integration_type: str | None = None,
    page: int = 1,
    limit: int = 50,
) -> tuple[list[asyncpg.Record], int]:
    """One page, newest first, and how many there are in all."""
    where = _within(scope)
    if state is not None:
        where.add("d.state = {}", state)
    if integration_type is not None:
        where.add("d.integration_type = {}", integration_type)
    total = await connection.fetchval(where.select("select count(*) from deliveries d"), *where.values)
    window = " order by d.id desc limit " + where.value(limit) + " offset " + where.value((page - 1) * limit)
    rows = await connection.fetch(where.select(_SELECT, window), *where.values)
    return rows, total


async def latest(connection: Connection, scope: Scope, most: int) -> list[asyncpg.Record]:
    """The newest ones, uncounted."""
    where = _within(scope)
    window = " order by d.id desc limit " + where.value(most)
    return await connection.fetch(where.select(_SELECT, window), *where.values)


async def of_calls(connection: Connection, call_pks: Sequence[int]) -> list[asyncpg.Record]:
    """Deliveries of these calls, in the order they were queued."""
    where = Where()
    where.add("d.call_pk = any({}::bigint[])", list(call_pks))
    return await connection.fetch(where.select(_SELECT, " order by d.id"), *where.values)


async def progress(connection: Connection, delivery_ids: Sequence[int]) -> dict[int, tuple[str, int, str, int]]:
    """id -> (enterprise_number, call's row, state, attempts) of those that belong to a call."""
    rows = await connection.fetch(
        """
        select id, enterprise_number, call_pk, state, attempts from deliveries
        where id = any($1::bigint[]) and call_pk is not null
        """,
        list(delivery_ids),
    )
    return {row["id"]: (row["enterprise_number"], row["call_pk"], row["state"], row["attempts"]) for row in rows}


async def state_of(connection: Connection, scope: Scope, delivery_id: int) -> str | None:
    """None: there is none within the scope."""
    where = _within(scope)
    where.add("d.id = {}", delivery_id)
    state: str | None = await connection.fetchval(where.select("select d.state from deliveries d"), *where.values)
    return state


async def dead(
    connection: Connection,
    scope: Scope,
    *,
    integration_type: str | None = None,
    ids: Sequence[int] | None = None,
    most: int,
) -> list[int]:
    """Ids of dead letters within the scope, oldest first, `most` of them."""
    where = _within(scope)
    where.add("d.state = 'dead'")
    if integration_type is not None:
        where.add("d.integration_type = {}", integration_type)
    if ids is not None:
        where.add("d.id = any({}::bigint[])", list(ids))
    window = " order by d.id limit " + where.value(most)
    rows = await connection.fetch(where.select("select d.id from deliveries d", window), *where.values)
    return [row["id"] for row in rows]


async def waiting(connection: Connection, scope: Scope) -> list[asyncpg.Record]:
    """(enterprise_number, integration_type, state, count) of what is owed or given up; what is done is not counted."""
    where = _within(scope)
    where.add("d.state in ('pending', 'sending', 'dead')")
    return await connection.fetch(
        where.select(
            "select d.enterprise_number, d.integration_type, d.state, count(*) as count from deliveries d",
            " group by 1, 2, 3 order by 1, 2, 3",
        ),
        *where.values,
    )


def _within(scope: Scope) -> Where:
    where = Where()
    if scope.enterprise_number is not None:
        where.add("d.enterprise_number = {}", scope.enterprise_number)
    if scope.user_id is not None:
        where.add("exists (select from calls c where c.id = d.call_pk and " + OF_PERSON + ")", scope.user_id)
    return where
