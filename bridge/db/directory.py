"""All that routing and clicks need to know of every enterprise, in one read."""

from __future__ import annotations

import asyncpg

from bridge.db.pool import Connection

_ENTERPRISES = "select number, name, region, fallback from enterprises where active"
_PBXS = """
    select enterprise_number, pbxs.name, extensions, click_to_call_contexts, endpoint, outgoing, dialplan,
           (ari_url is not null or recordings <> '') as recorded
      from pbxs join enterprises on enterprises.number = pbxs.enterprise_number
     where enterprises.active
     order by enterprise_number, pbxs.id
"""
# Lines without an enterprise belong to the only one there is
_LINES = """
    select coalesce(enterprise_number, (select min(number) from enterprises having count(*) = 1)) as enterprise_number,
           number, smart_redirect
      from phones
"""
# Of people, and of CRMs' users: where their phones are is another question
_EXTENSIONS = """
    select enterprise_number, phone_number as extension from user_internal_phones
    union
    select e.number, u.value
      from enterprises e, jsonb_each(e.integrations_config) as i (kind, config),
           jsonb_each_text(case jsonb_typeof(i.config -> 'user_extensions')
                               when 'object' then i.config -> 'user_extensions' else '{}' end) as u
     where u.value is not null
"""
_CREDENTIALS = """
    select kind, digest, enterprise_number, subject
      from credentials join enterprises on enterprises.number = credentials.enterprise_number
     where enterprises.active
"""


async def read(connection: Connection) -> tuple[list[asyncpg.Record], ...]:
    """Enterprises, PBXs, lines, extensions and credentials, of one moment."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return (
            await connection.fetch(_ENTERPRISES),
            await connection.fetch(_PBXS),
            await connection.fetch(_LINES),
            await connection.fetch(_EXTENSIONS),
            await connection.fetch(_CREDENTIALS),
        )
