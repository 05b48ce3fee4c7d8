"""What psql writes in plain is sealed, works meanwhile, and opens doors by its digest."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from db_waiting import listening, until

from bridge.db import credentials
from bridge.db.bus import Bus
from bridge.db.pool import Pool
from bridge.db.sealer import Sealer
from bridge.secrets import ENTERPRISE_SECRET, Vault, pbx_field

CONFIG = {
    "retailcrm": {"enabled": True, "domain": "https://june.retailcrm.ru", "api_key": "KEY-1", "client_id": "CLIENT-1"},
    "mango": {"products": [{"api_key": "MANGO-1", "api_salt": "SALT-1"}, {"api_key": "MANGO-2", "api_salt": "SALT-2"}]},
    "smart": {"mode": "x"},
}
PLAIN = ("TOP-1", "AMI-1", "ARI-1", "TOKEN-1", "KEY-1", "CLIENT-1", "MANGO-1", "SALT-1", "MANGO-2", "SALT-2")


@pytest.fixture
def vault() -> Vault:
    return Vault(["k" * 32])


async def write_in_plain(pool: Pool, number: str = "0367") -> None:
    await pool.execute(
        "insert into enterprises (number, secret, integrations_config) values ($1, 'TOP-1', $2)", number, CONFIG
    )
    await pool.execute(
        "insert into pbxs (enterprise_number, name, ami_host, ami_username, ami_secret, ari_password, token)"
        " values ($1, 'office', '127.0.0.1', 'bridge', 'AMI-1', 'ARI-1', 'TOKEN-1'),"
        "        ($1, 'shop', '127.0.0.1', 'bridge', '', null, '')",
        number,
    )


async def everything_stored(pool: Pool) -> str:
    rows = [*await pool.fetch("select * from enterprises"), *await pool.fetch("select * from pbxs order by id")]
    return repr([dict(row) for row in rows])


@contextlib.asynccontextmanager
async def sealing(pool: Pool, url: str, vault: Vault) -> AsyncIterator[Sealer]:
    bus = Bus(url)
    sealer = Sealer(pool, bus, vault)
    task = asyncio.create_task(sealer.run())
    try:
        async with listening(bus):
            yield sealer
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_everything_plain_is_sealed_and_still_opens(pool: Pool, database_url: str, vault: Vault) -> None:
    await write_in_plain(pool)
    await Sealer(pool, Bus(database_url), vault).seal_all()

    stored = await everything_stored(pool)
    assert not [secret for secret in PLAIN if secret in stored]
    enterprise = await pool.fetchrow("select * from enterprises")
    assert vault.open(enterprise["secret"], enterprise="0367", field=ENTERPRISE_SECRET) == "TOP-1"
    opened = {
        kind: vault.open_integration(kind, part, enterprise="0367")
        for kind, part in enterprise["integrations_config"].items()
    }
    assert opened == CONFIG
    office, shop = await pool.fetch("select * from pbxs order by id")
    assert vault.open(office["ami_secret"], enterprise="0367", field=pbx_field("ami_secret")) == "AMI-1"
    assert vault.open(office["token"], enterprise="0367", field=pbx_field("token")) == "TOKEN-1"
    assert (shop["ami_secret"], shop["ari_password"], shop["token"]) == ("", None, "")


async def test_credentials_are_found_by_what_is_presented(pool: Pool, database_url: str, vault: Vault) -> None:
    await write_in_plain(pool)
    await Sealer(pool, Bus(database_url), vault).seal_all()

    async def found(kind: Any, presented: str) -> tuple[str, str] | None:
        async with pool.acquire() as connection:
            return await credentials.find(connection, kind, presented)

    assert await found("enterprise", "TOP-1") == ("0367", "")
    assert await found("pbx", "TOKEN-1") == ("0367", "office")
    assert await found("retailcrm", "CLIENT-1") == ("0367", "")
    assert await found("mango", "MANGO-2") == ("0367", "1")
    for kind, presented in [("enterprise", "0367"), ("enterprise", ""), ("pbx", "TOP-1"), ("enterprise", "TOP-1\0")]:
        assert await found(kind, presented) is None
    await pool.execute("update enterprises set active = false")
    assert await found("enterprise", "TOP-1") is None


async def test_a_second_look_finds_nothing_to_do(pool: Pool, database_url: str, vault: Vault) -> None:
    await write_in_plain(pool)
    sealer = Sealer(pool, Bus(database_url), vault)
    await sealer.seal_all()
    before = await everything_stored(pool)
    await sealer.seal_all()

    assert await everything_stored(pool) == before
    assert sealer.sealed == 2


async def test_what_psql_changes_while_the_service_runs_is_sealed_at_once_and_once(
    pool: Pool, database_url: str, vault: Vault
) -> None:
    async with sealing(pool, database_url, vault) as one, sealing(pool, database_url, vault) as other:
        await write_in_plain(pool)

        async def sealed() -> bool:
            stored = await everything_stored(pool)
            return not any(secret in stored for secret in (*PLAIN, "TOP-2"))

        async def new_secret_opens() -> bool:
            async with pool.acquire() as connection:
                return await credentials.find(connection, "enterprise", "TOP-2") is not None

        await until(sealed)
        await pool.execute("update enterprises set secret = 'TOP-2'")
        await until(sealed)
        await until(new_secret_opens)
        # Quiet: no instance answers the other's NOTIFY with a write of its own.
        await until(lambda: one.sealed + other.sealed >= 3)
        await pool.execute(
            'select pg_notify(\'bridge_config\', \'{"table": "enterprises", "enterprise_number": "0367"}\')'
        )
        version = await pool.fetchval("select xmin::text from enterprises")
        await one.seal_all()
        await other.seal_all()
        assert await pool.fetchval("select xmin::text from enterprises") == version
    async with pool.acquire() as connection:
        assert await credentials.find(connection, "enterprise", "TOP-1") is None


async def test_after_a_rotation_everything_is_sealed_with_the_new_key(pool: Pool, database_url: str) -> None:
    await write_in_plain(pool)
    await Sealer(pool, Bus(database_url), Vault(["old" * 12])).seal_all()
    await Sealer(pool, Bus(database_url), Vault(["new" * 12, "old" * 12])).seal_all()

    secret = await pool.fetchval("select secret from enterprises")
    assert Vault(["new" * 12]).open(secret, enterprise="0367", field=ENTERPRISE_SECRET) == "TOP-1"


async def test_the_wrong_key_is_told_changes_nothing_and_shuts_no_door(
    pool: Pool, database_url: str, vault: Vault
) -> None:
    await write_in_plain(pool)
    await Sealer(pool, Bus(database_url), vault).seal_all()
    before = await everything_stored(pool)
    stranger = Sealer(pool, Bus(database_url), Vault(["x" * 32]))
    await stranger.seal_all()

    assert await everything_stored(pool) == before
    assert "BRIDGE_SECRET_KEY" in stranger.problems["0367"][0]
    async with pool.acquire() as connection:
        assert await credentials.find(connection, "enterprise", "TOP-1") == ("0367", "")
        assert await credentials.find(connection, "mango", "MANGO-2") == ("0367", "1")


async def test_a_secret_copied_from_another_enterprise_opens_nothing(
    pool: Pool, database_url: str, vault: Vault
) -> None:
    await write_in_plain(pool)
    sealer = Sealer(pool, Bus(database_url), vault)
    await sealer.seal_all()
    await pool.execute(
        "insert into enterprises (number, secret) select '0400', secret from enterprises where number = '0367'"
    )
    await sealer.seal_all()

    assert "another place" in sealer.problems["0400"][0]
    async with pool.acquire() as connection:
        assert await credentials.find(connection, "enterprise", "TOP-1") == ("0367", "")


async def test_one_credential_opens_one_enterprise(pool: Pool, database_url: str, vault: Vault) -> None:
    await pool.execute("insert into enterprises (number, secret) values ('0367', 'SAME'), ('0400', 'SAME')")
    sealer = Sealer(pool, Bus(database_url), vault)
    await sealer.seal_all()

    async with pool.acquire() as connection:
        assert await credentials.find(connection, "enterprise", "SAME") == ("0367", "")
    assert "in use elsewhere" in sealer.problems["0400"][0]


async def test_a_row_somebody_holds_is_left_to_them(pool: Pool, database_url: str, vault: Vault) -> None:
    await write_in_plain(pool)
    sealer = Sealer(pool, Bus(database_url), vault)
    async with pool.acquire() as holder, holder.transaction():
        await holder.execute("select from enterprises for update")
        await asyncio.wait_for(sealer.seal_all(), 5)
    assert sealer.sealed == 0
    await sealer.seal_all()
    assert sealer.sealed == 2
