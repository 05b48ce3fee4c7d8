"""Reading calls for people: lists, one call whole, what is going on now. Writing them is `bridge.db.calls`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

import asyncpg
import msgspec

from bridge.db.pool import Connection
from bridge.db.scope import Scope, Where, add_person, calls_within

Rows = list[asyncpg.Record]

_COLUMNS = """
    c.id, c.enterprise_number, c.pbx_name, c.call_id, c.direction, c.result, c.status, c.client_number, c.client_name,
    c.line, c.caller_number, c.receiver_number, c.channel_id, c.extensions, c.answered_by, c.answered_first,
    c.started_at, c.accepted_at, c.answered_at, c.ended_at, c.wait_seconds, c.talk_seconds, c.duration, c.ended_by,
    c.transfers, c.transfer_count, c.holds, c.is_on_hold, c.queue, c.recording, c.recording_url, c.routed_to,
    c.route_reason, c.assigned_user_id, c.answered_by_user_id, c.caller_company_id, c.customer_name, c.company, c.email,
    c.notes, c.call_purpose, c.priority, c.follow_up_date, c.outcome, c.tags, c.created_at, c.updated_at,
    assigned.first_name as assigned_user_first_name, assigned.last_name as assigned_user_last_name,
    answered.first_name as answered_user_first_name, answered.last_name as answered_user_last_name,
    company.name_companies as caller_company_name, company.inn as caller_company_inn
"""
_FROM = """
    from calls c
    left join users assigned on assigned.id = c.assigned_user_id
    left join users answered on answered.id = c.answered_by_user_id
    left join companies company on company.id = c.caller_company_id
"""
_SELECT = "select" + _COLUMNS + _FROM
_SELECT_WHOLE = "select c.legs," + _COLUMNS + _FROM
_COUNT = "select count(*) from calls c"
_NEWEST_FIRST = " order by coalesce(c.started_at, c.created_at) desc, c.id desc"
_TIMELINE = "select at, change, details from call_timeline where call_pk = $1 order by id"
_NUMBER = re.compile(r"[\d\s()+.\-]+")
_NATIONAL = 10
"""Digits of a number without its country or trunk prefix: +7 916…, 8 916… and 916… find the same calls."""


class CallFilter(msgspec.Struct, frozen=True, kw_only=True):
    """`began_from` inclusive, `began_before` exclusive. `status` in the source documents' vocabulary."""

    status: str | None = None
    search: str | None = None
    began_from: datetime | None = None
    began_before: datetime | None = None
    user_id: int | None = None


async def listed(
    connection: Connection, scope: Scope, wanted: CallFilter, *, page: int, limit: int
) -> tuple[Rows, int]:
    """One page of calls, newest first, and how many there are in all."""
    where = calls_within(scope)
    _narrow(where, wanted)
    total = await connection.fetchval(where.select(_COUNT), *where.values)
    window = " limit " + where.value(limit) + " offset " + where.value((page - 1) * limit)
    rows = await connection.fetch(where.select(_SELECT, _NEWEST_FIRST + window), *where.values)
    return rows, total


async def latest(connection: Connection, scope: Scope, most: int) -> Rows:
    """The newest calls, whatever became of them; uncounted, so it costs the same however many there are."""
    where = calls_within(scope)
    return await connection.fetch(where.select(_SELECT, _NEWEST_FIRST + " limit " + where.value(most)), *where.values)


async def active(connection: Connection, scope: Scope, user_id: int | None = None, most: int = 1000) -> Rows:
    """Calls that are going on, the newest first."""
    where = calls_within(scope)
    where.add("c.result = 'active'")
    if user_id is not None:
        add_person(where, user_id)
    return await connection.fetch(where.select(_SELECT, _NEWEST_FIRST + " limit " + where.value(most)), *where.values)


async def one(connection: Connection, scope: Scope, call_pk: int) -> asyncpg.Record | None:
    """One call with its legs, if it is within the scope."""
    where = calls_within(scope)
    where.add("c.id = {}", call_pk)
    return await connection.fetchrow(where.select(_SELECT_WHOLE), *where.values)


async def timeline(connection: Connection, call_pk: int) -> Rows:
    """What happened to it, in order."""
    return await connection.fetch(_TIMELINE, call_pk)


async def by_ids(connection: Connection, scope: Scope, call_pks: Sequence[int]) -> Rows:
    where = calls_within(scope)
    where.add("c.id = any({}::bigint[])", list(call_pks))
    return await connection.fetch(where.select(_SELECT), *where.values)


async def watchers(connection: Connection, call_pks: Sequence[int]) -> dict[int, frozenset[int]]:
    """Who may see each of these calls as his own: by assignment, by answer, by an extension that rang."""
    rows = await connection.fetch(
        """
        select c.id, array_remove(array_agg(p.user_id) || c.assigned_user_id || c.answered_by_user_id, null) as people
        from calls c left join user_internal_phones p
            on p.enterprise_number = c.enterprise_number and p.phone_number = any(c.extensions)
        where c.id = any($1::bigint[]) group by c.id
        """,
        list(call_pks),
    )
    return {row["id"]: frozenset(row["people"]) for row in rows}


async def count_active(connection: Connection, scope: Scope) -> int:
    where = calls_within(scope)
    where.add("c.result = 'active'")
    count: int = await connection.fetchval(where.select(_COUNT), *where.values)
    return count


def _narrow(where: Where, wanted: CallFilter) -> None:
    if wanted.status is not None:
        where.add("c.status = {}", wanted.status)
    if wanted.began_from is not None:
        where.add("coalesce(c.started_at, c.created_at) >= {}", wanted.began_from)
    if wanted.began_before is not None:
        where.add("coalesce(c.started_at, c.created_at) < {}", wanted.began_before)
    if wanted.user_id is not None:
        add_person(where, wanted.user_id)
    if wanted.search:
        digits = re.sub(r"\D", "", wanted.search)
        if digits and _NUMBER.fullmatch(wanted.search):
            where.add(
                "(c.client_number like {0} or c.caller_number like {0}"
                " or c.receiver_number like {0} or c.line like {0})",
                "%" + digits[-_NATIONAL:] + "%",
            )
        else:
            where.add(
                "(c.client_name ilike {0} or c.customer_name ilike {0} or c.company ilike {0} or c.notes ilike {0})",
                "%" + re.sub(r"([\\%_])", r"\\\1", wanted.search) + "%",
            )
