"""Rows of `pbxs` as the service works with them, secrets still sealed."""

from __future__ import annotations

import asyncpg

from bridge.db.pool import Connection

_ALL = """
select p.id, p.enterprise_number, p.name, p.ami_host, p.ami_port, p.ami_username, p.ami_secret, p.ami_tls,
       p.ari_url, p.ari_username, p.ari_password, p.extensions, p.trunks, p.click_to_call_contexts, e.region
  from pbxs p
  join enterprises e on e.number = p.enterprise_number and e.active
 order by p.id
"""
_RECORDER = """
select recordings, ari_url, ari_username, ari_password from pbxs where enterprise_number = $1 and name = $2
"""


async def of_active_enterprises(connection: Connection) -> list[asyncpg.Record]:
    """Every PBX that is to be watched, with what its machine needs of its enterprise."""
    return await connection.fetch(_ALL)


async def recorder(connection: Connection, enterprise_number: str, name: str) -> asyncpg.Record | None:
    """How a PBX's recordings are fetched."""
    return await connection.fetchrow(_RECORDER, enterprise_number, name)
