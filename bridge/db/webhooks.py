"""Reading `mango_webhooks` for people: what Mango Office said, when, and what became of it."""

from __future__ import annotations

import asyncpg

from bridge.db.pool import Connection
from bridge.db.scope import Scope, Where

_SELECT = """
select w.id, w.enterprise_number, w.product, w.dialect, w.path, w.entry_id, substring(w.body for 65536) as body,
    octet_length(w.body) as size, w.remote, w.state, w.reason, w.received_at, w.worked_at, c.call_pk as call
from mango_webhooks w
left join mango_calls c on c.enterprise_number = w.enterprise_number and c.entry_id = w.entry_id
"""


async def listed(
    connection: Connection,
    scope: Scope,
    *,
    state: str | None = None,
    entry_id: str | None = None,
    page: int = 1,
    limit: int = 50,
) -> tuple[list[asyncpg.Record], int]:
    """One page, newest first, and how many there are in all. Those that nobody knows the enterprise of are for the
    deployment's own staff."""
    where = Where()
    if scope.enterprise_number is not None:
        where.add("w.enterprise_number = {}", scope.enterprise_number)
    if state is not None:
        where.add("w.state = {}", state)
    if entry_id is not None:
        where.add("w.entry_id = {}", entry_id)
    total = await connection.fetchval(where.select("select count(*) from mango_webhooks w"), *where.values)
    window = " order by w.id desc limit " + where.value(limit) + " offset " + where.value((page - 1) * limit)
    rows = await connection.fetch(where.select(_SELECT, window), *where.values)
    return rows, total
