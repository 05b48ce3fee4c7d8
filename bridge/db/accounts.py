"""People who sign in: look-ups of `users` for authentication."""

from __future__ import annotations

from typing import Literal, cast

import asyncpg
import msgspec

from bridge.db.pool import Connection

Role = Literal["operator", "administrator", "service"]


class Account(msgspec.Struct, frozen=True):
    """One row of `users`. `enterprise_number` None: a person of the deployment, who belongs to no enterprise."""

    id: int
    enterprise_number: str | None
    email: str
    first_name: str
    last_name: str
    role: Role
    password_hash: str | None


# An enterprise that is switched off opens its doors to nobody.
_BY_EMAIL = """
    select u.id, u.enterprise_number, u.email, u.first_name, u.last_name, u.role, u.password_hash
    from users u left join enterprises e on e.number = u.enterprise_number
    where coalesce(e.active, true) and lower(u.email) = lower($1)
"""
_BY_ID = """
    select u.id, u.enterprise_number, u.email, u.first_name, u.last_name, u.role, u.password_hash
    from users u left join enterprises e on e.number = u.enterprise_number
    where coalesce(e.active, true) and u.id = $1
"""


def account(row: asyncpg.Record | None) -> Account | None:
    return Account(*(row[name] for name in Account.__struct_fields__)) if row else None


async def by_email(connection: Connection, email: str) -> Account | None:
    return account(await connection.fetchrow(_BY_EMAIL, email))


async def by_id(connection: Connection, user_id: int) -> Account | None:
    return account(await connection.fetchrow(_BY_ID, user_id))


async def store_deployment_administrator(connection: Connection, email: str, password_hash: str) -> int:
    """Makes or updates the administrator who belongs to no enterprise.

    Gives its id, 0 when a user of an enterprise has that email."""
    user_id = await connection.fetchval(
        """
        insert into users (enterprise_number, email, role, password_hash) values (null, $1, 'administrator', $2)
        on conflict (lower(email)) do update
            set role = 'administrator', password_hash = excluded.password_hash, updated_at = now()
            where users.enterprise_number is null
        returning id
        """,
        email,
        password_hash,
    )
    return cast(int, user_id or 0)
