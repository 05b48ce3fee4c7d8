"""Rows of `sessions`: signed-in browsers, known by the digest of the id in their cookie."""

from __future__ import annotations

import asyncpg

from bridge.db.accounts import Account, account
from bridge.db.pool import Connection

_FIND = """
    select s.password_mark, u.id, u.enterprise_number, u.email, u.first_name, u.last_name, u.role, u.password_hash
    from sessions s join users u on u.id = s.user_id left join enterprises e on e.number = u.enterprise_number
    where s.digest = $1 and s.seen_at > now() - interval '12 hours' and s.created_at > now() - interval '30 days'
      and coalesce(e.active, true)
"""
# A page touches its session with every request; one write in five minutes is enough to know that it is in use.
_TOUCH = "update sessions set seen_at = now() where digest = $1 and seen_at < now() - interval '5 minutes'"
_PURGE = "delete from sessions where seen_at <= now() - interval '12 hours' or created_at <= now() - interval '30 days'"


async def create(connection: Connection, digest: bytes, user_id: int, password_mark: bytes) -> None:
    """Stores a new session, and forgets all that have lapsed."""
    await connection.execute(_PURGE)
    await connection.execute(
        "insert into sessions (digest, user_id, password_mark) values ($1, $2, $3)", digest, user_id, password_mark
    )


async def find(connection: Connection, digest: bytes) -> tuple[Account, bytes] | None:
    """Whose session it is and the mark of the password it was opened with; None when unknown or lapsed."""
    row: asyncpg.Record | None = await connection.fetchrow(_FIND, digest)
    found = account(row)
    if row is None or found is None:
        return None
    await connection.execute(_TOUCH, digest)
    return found, row["password_mark"]


async def end(connection: Connection, digest: bytes) -> None:
    await connection.execute("delete from sessions where digest = $1", digest)


async def end_all_of(connection: Connection, user_id: int) -> None:
    await connection.execute("delete from sessions where user_id = $1", user_id)
