"""A change made with psql is seen by every instance: at once by NOTIFY, soon enough without it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
from db_waiting import until

from bridge.crm.configurations import Configurations
from bridge.crm.matrix import Matrix
from bridge.db.bus import Bus
from bridge.db.integrations import IntegrationRows
from bridge.db.pool import Pool, open_pool
from bridge.db.sealer import Sealer
from bridge.integrations import DECODERS, ConfigurationLoader
from bridge.secrets import Vault

ON = {"enabled": True, "domain": "https://june.retailcrm.ru", "api_key": "KEY-1", "client_id": "CLIENT-1"}
VAULT = Vault(["k" * 32])
SWITCH = """
update enterprises
set integrations_config = jsonb_set(integrations_config, '{retailcrm,enabled}', to_jsonb($1::boolean))
where number = '0367'
"""


class Instance:
    """What one process of the service keeps of configurations."""

    def __init__(self, pool: Pool, url: str, life: float) -> None:
        self.bus = Bus(url)
        self.matrix = Matrix(IntegrationRows(pool), DECODERS, lives=lambda rng: rng.uniform(life / 2, life), tick=0.02)
        self.configurations = Configurations(
            ConfigurationLoader(pool, VAULT), lives=lambda: random.uniform(life / 2, life)
        )
        self.sealer = Sealer(pool, self.bus, VAULT)

    def hear(self) -> None:
        self.bus.subscribe("bridge_integrations", self.matrix.changed)
        self.bus.subscribe("bridge_integrations", self.configurations.changed)
        self.bus.on_connect(self.matrix.catch_up)
        self.bus.on_connect(self.configurations.catch_up)

    def sees(self, on: bool) -> bool:
        return self.matrix.enabled("0367").get("retailcrm") is on


@contextlib.asynccontextmanager
async def instance(url: str, *, hears: bool = True, life: float = 60.0) -> AsyncIterator[Instance]:
    pool = await open_pool(url)
    made = Instance(pool, url, life)
    if hears:
        made.hear()
    await made.matrix.refresh()
    tasks = [asyncio.create_task(part.run()) for part in (made.bus, made.matrix, made.sealer)]
    try:
        await asyncio.wait_for(made.bus.connected.wait(), 10)
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await made.configurations.close()
        pool.terminate()


async def furnish(pool: Pool) -> None:
    await pool.execute("insert into enterprises (number, integrations_config) values ('0367', $1)", {"retailcrm": ON})


async def seen_by(connection: asyncpg.Connection, instances: list[Instance], on: bool) -> float:
    """Seconds from the commit of a switch until every instance sees it."""
    await connection.execute(SWITCH, on)
    begun = time.monotonic()
    await until(lambda: all(each.sees(on) for each in instances))
    return time.monotonic() - begun


async def test_an_update_by_psql_is_seen_by_two_instances_within_a_second(pool: Pool, database_url: str) -> None:
    await furnish(pool)
    psql = await asyncpg.connect(database_url)
    async with instance(database_url) as one, instance(database_url) as other:
        took = [await seen_by(psql, [one, other], on) for on in (False, True, False, True)]
        for each in (one, other):
            config: Any = await each.configurations.get("0367", "retailcrm")
            assert (config.enabled, config.api_key) == (True, "KEY-1")
    await psql.close()

    assert max(took) < 1.0


async def test_without_notify_it_is_seen_within_the_entrys_life(pool: Pool, database_url: str) -> None:
    await furnish(pool)
    psql = await asyncpg.connect(database_url)
    async with instance(database_url, hears=False, life=0.4) as deaf:
        assert (await deaf.configurations.get("0367", "retailcrm")).enabled
        assert await seen_by(psql, [deaf], False) < 2.0

        async def configuration_is_off() -> bool:
            return not (await deaf.configurations.get("0367", "retailcrm")).enabled

        await until(configuration_is_off)
    await psql.close()


async def test_what_was_missed_while_the_listener_was_cut_off_is_read_after_it_is_back(
    pool: Pool, database_url: str
) -> None:
    await furnish(pool)
    psql = await asyncpg.connect(database_url)
    async with instance(database_url) as one:
        async with psql.transaction():
            await psql.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and query ilike 'listen%'"
            )
            await until(lambda: not one.bus.connected.is_set() or one.bus.connects > 1)
            await psql.execute(SWITCH, False)
        await until(lambda: one.sees(False))
        assert not (await one.configurations.get("0367", "retailcrm")).enabled
    await psql.close()


async def test_a_changed_secret_is_sealed_and_in_use_within_a_second(pool: Pool, database_url: str) -> None:
    await furnish(pool)
    psql = await asyncpg.connect(database_url)
    async with instance(database_url) as one, instance(database_url) as other:
        await psql.execute(
            "update enterprises"
            " set integrations_config = jsonb_set(integrations_config, '{retailcrm,api_key}', '\"KEY-2\"')"
        )
        begun = time.monotonic()

        async def in_use() -> bool:
            keys = [(await each.configurations.get("0367", "retailcrm")).api_key for each in (one, other)]
            return keys == ["KEY-2", "KEY-2"]

        async def sealed() -> bool:
            return "KEY-2" not in await psql.fetchval("select integrations_config::text from enterprises")

        await until(in_use)
        await until(sealed)
        assert time.monotonic() - begun < 1.0
        await until(in_use)
    await psql.close()
