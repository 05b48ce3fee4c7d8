"""`enterprises.integrations_config` as the matrix and the configurations read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from bridge.db.pool import Connection, Pool


class IntegrationRow(NamedTuple):
    """One enterprise, its secrets sealed. `config` is whatever somebody wrote there."""

    number: str
    version: int
    active: bool
    config: Any


class Configured(NamedTuple):
    """One integration's part of the configuration, and what its enterprise gives to all of them."""

    config: Any
    timezone: str
    region: str


_ALL = "select number, config_version, active, integrations_config from enterprises"
_SOME = _ALL + " where number = any($1)"
_ONE = """
select integrations_config -> $2 as config, timezone, region
from enterprises where number = $1 and active and integrations_config ? $2
"""


class IntegrationRows:
    """Reads for the matrix, each with a connection of its own."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def all(self) -> Sequence[IntegrationRow]:
        return [IntegrationRow(*row) for row in await self._pool.fetch(_ALL)]

    async def some(self, numbers: Sequence[str]) -> Sequence[IntegrationRow]:
        return [IntegrationRow(*row) for row in await self._pool.fetch(_SOME, list(numbers))]


async def configured(connection: Connection, enterprise_number: str, integration_type: str) -> Configured | None:
    """None when the enterprise is not there, not active, or has no such integration."""
    row = await connection.fetchrow(_ONE, enterprise_number, integration_type)
    return Configured(*row) if row else None
