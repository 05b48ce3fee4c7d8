"""Whose a webhook is: every enterprise's Mango Office products, by the key that names them, salts open.

A webhook is judged in microseconds and also while the database is away, so this is one immutable map that is read whole
and swapped whole: on a NOTIFY, and from time to time without one. What could not be read leaves the last map in force.

A key belongs to one enterprise. Should two have it in their configurations, it is the one's whose credential it became
first (`credentials`); until that is known, nobody's.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Protocol

import asyncpg
import msgspec
import structlog

from bridge.errors import BadInput, SecretProblem
from bridge.mango.config import MangoConfig, Product, decode

log = structlog.get_logger(__name__)

_ENTERPRISES = """
select number, timezone, region, integrations_config -> 'mango' as config from enterprises where active order by number
"""
_CREDENTIALS = "select digest, enterprise_number from credentials where kind = 'mango'"

_LOST = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class Vault(Protocol):
    """What opens secrets."""

    def open_integration(self, integration_type: str, config: Any, *, enterprise: str) -> Any:
        """Raises SecretProblem."""


class Owned(msgspec.Struct, frozen=True, kw_only=True):
    """A product and whose it is. `enabled`: whether its calls are wanted."""

    enterprise_number: str
    product: Product
    enabled: bool


class _Map(msgspec.Struct, frozen=True, kw_only=True):
    by_key: Mapping[bytes, Owned] = {}
    configs: Mapping[str, MangoConfig] = {}
    problems: Mapping[str, str] = {}


def assigned(
    configs: Mapping[str, MangoConfig], owners: Mapping[bytes, str], default: Product | None, enterprises: Iterable[str]
) -> dict[bytes, Owned]:
    """Digest of a key -> whose product that is. Pure. `owners`: who holds a key's digest as a credential.

    The deployment's `default` product is that of the enterprise whose integration names none. Where several do so, it
    is nobody's; where none speaks of Mango at all, it is the only enterprise's."""
    claims: defaultdict[bytes, list[Owned]] = defaultdict(list)
    for number, config in configs.items():
        for product in config.products:
            claim = Owned(enterprise_number=number, product=product, enabled=config.enabled)
            claims[_digest(product.api_key)].append(claim)
    found = {}
    for digest, claimed in claims.items():
        holders = [each for each in claimed if len(claimed) == 1 or each.enterprise_number == owners.get(digest)]
        if holders:
            found[digest] = holders[0]
    if default is not None:
        numbers = list(enterprises)
        without = [number for number, config in configs.items() if not config.products]
        heir = without if without else numbers if not configs else []
        if len(heir) == 1:
            enabled = configs[heir[0]].enabled if heir[0] in configs else True
            found.setdefault(
                _digest(default.api_key), Owned(enterprise_number=heir[0], product=default, enabled=enabled)
            )
    return found


class Products:
    """`refresh` reads it, `run` keeps it fresh, look-ups never wait. `every`: seconds between reads without NOTIFY."""

    def __init__(
        self, pool: asyncpg.Pool, vault: Vault, default: Product | None = None, *, every: float = 90.0
    ) -> None:
        self._pool = pool
        self._vault = vault
        self._default = default
        self._every = every
        self._map = _Map()
        self._stale = asyncio.Event()

    def find(self, api_key: str) -> Owned | None:
        """By digest: what the timing of the look-up tells says nothing of the key."""
        return self._map.by_key.get(_digest(api_key)) if api_key else None

    def of(self, enterprise_number: str) -> list[Product]:
        """The enterprise's products while its integration is on; the first is its main one."""
        return [each for each in self.owned(enterprise_number) if self.enabled(enterprise_number)]

    def owned(self, enterprise_number: str) -> list[Product]:
        """The enterprise's products, in use or not."""
        return [owned.product for owned in self._map.by_key.values() if owned.enterprise_number == enterprise_number]

    def enabled(self, enterprise_number: str) -> bool:
        return any(owned.enabled for owned in self._map.by_key.values() if owned.enterprise_number == enterprise_number)

    def enterprises(self) -> list[str]:
        """Those that have a product in use."""
        return sorted({owned.enterprise_number for owned in self._map.by_key.values() if owned.enabled})

    def all(self) -> list[Product]:
        """Every product in use."""
        return [owned.product for owned in self._map.by_key.values() if owned.enabled]

    def default_operator(self, enterprise_number: str) -> str | None:
        config = self._map.configs.get(enterprise_number)
        return config.default_operator or None if config is not None else None

    def figures(self) -> dict[str, Any]:
        """For /stats. `problems`: what keeps an enterprise's products from being known."""
        return {"products": len(self._map.by_key), "problems": dict(self._map.problems)}

    async def refresh(self) -> None:
        """Read it now. Raises what asyncpg raises; the last map stays in force then."""
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            rows = await connection.fetch(_ENTERPRISES)
            owners = {bytes(row["digest"]): row["enterprise_number"] for row in await connection.fetch(_CREDENTIALS)}
        configs: dict[str, MangoConfig] = {}
        problems: dict[str, str] = {}
        for row in rows:
            if row["config"] is None:
                continue
            try:
                configs[row["number"]] = self._decoded(row)
            except (BadInput, SecretProblem) as problem:
                problems[row["number"]] = problem.message
                if problems[row["number"]] != self._map.problems.get(row["number"]):
                    log.error("mango_products_not_known", enterprise=row["number"], problem=problem.message)
        by_key = assigned(configs, owners, self._default, [row["number"] for row in rows])
        self._map = _Map(by_key=by_key, configs=configs, problems=problems)

    def changed(self, _payload: str = "") -> None:
        """Something it knows has changed: read it again soon. To be called on a NOTIFY of bridge_integrations, and
        after a reconnect of whoever listens."""
        self._stale.set()

    async def run(self) -> None:
        """Keep it fresh, for ever."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every * random.uniform(0.85, 1.0)):  # noqa: S311 - jitter
                    await self._stale.wait()
            self._stale.clear()
            try:
                await self.refresh()
            except _LOST as problem:
                log.warning("mango_products_not_read", problem=str(problem) or type(problem).__name__)
                await asyncio.sleep(1.0)
                self._stale.set()

    def _decoded(self, row: asyncpg.Record) -> MangoConfig:
        opened = self._vault.open_integration("mango", row["config"], enterprise=row["number"])
        return decode(opened, timezone=row["timezone"], region=row["region"])


def _digest(api_key: str) -> bytes:
    return hashlib.sha256(api_key.encode("utf-8", "surrogatepass")).digest()
