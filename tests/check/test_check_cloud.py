"""`check` of Mango Office: one question for each product, and none while it must be left alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge.apply import apply
from bridge.apply.reading import parse
from bridge.check import run
from bridge.db.pool import Pool
from bridge.secrets import Vault
from lab.mango import Emulator, Product

KEY = "a secret key of at least thirty-two characters"


@pytest.fixture
async def exchange() -> AsyncIterator[Emulator]:
    async with Emulator(Product("july")) as exchange:
        yield exchange


@pytest.fixture
def env(database_url: str, tmp_path: Path, exchange: Emulator) -> dict[str, str]:
    return {
        "HOME": str(tmp_path),
        "BRIDGE_DATA_DIR": str(tmp_path / "data"),
        "BRIDGE_DATABASE_URL": database_url,
        "BRIDGE_SECRET_KEY": KEY,
        "BRIDGE_CRM_HOSTS": "127.0.0.1",
        "MANGO_API_URL": exchange.api_url,
        "LANG": "C.UTF-8",
    }


async def examine(env: dict[str, str], **changes: str) -> tuple[bool, str]:
    lines: list[str] = []
    well = await run({**env, **changes}, lines.append, timeout=2.0)
    return well, "\n".join(lines)


async def configure(pool: Pool, **fields: str) -> None:
    product = ", ".join(f"{name} = '{value}'" for name, value in fields.items())
    integration = f"[enterprise.integrations.mango]\nenabled = true\nproducts = [ {{ {product} }} ]\n"
    text = f"[[enterprise]]\nnumber = '0412'\n{integration}"
    async with pool.acquire() as connection:
        await apply(connection, Vault([KEY]), parse(text, {}, Path()))


async def test_a_product_that_mango_knows(env: dict[str, str], pool: Pool, exchange: Emulator) -> None:
    (product,) = exchange.products
    await configure(pool, api_key=product.key, api_salt=product.salt)
    well, said = await examine(env)
    assert well, said
    assert "Mango Office accepts key and salt." in said
    assert "PBX: None is configured" not in said
    assert [request.method for request in product.requests] == ["account/balance"]


async def test_a_wrong_salt_is_asked_with_once(env: dict[str, str], pool: Pool, exchange: Emulator) -> None:
    (product,) = exchange.products
    await configure(pool, api_key=product.key, api_salt="wrong")
    well, said = await examine(env)
    assert not well
    assert "Compare api_key and api_salt with the cabinet." in said

    again, said = await examine(env)
    assert again  # a warning: nothing was asked
    assert "left alone" in said
    assert len(product.requests) == 1
    assert "wrong (" not in said


async def test_nobody_there(env: dict[str, str], pool: Pool) -> None:
    await configure(pool, api_key="k", api_salt="s")
    well, said = await examine(env, MANGO_API_URL="http://127.0.0.1:9/vpbx")
    assert not well
    assert "reaches it by TLS 1.2" in said


async def test_an_address_that_must_not_be_asked(env: dict[str, str], pool: Pool) -> None:
    await configure(pool, api_key="k", api_salt="s")
    well, said = await examine(env, MANGO_API_URL="https://evil.test/vpbx")
    assert not well
    assert "MANGO_API_URL: 'https://evil.test' is not allowed" in said


async def test_on_and_without_a_product(env: dict[str, str], pool: Pool) -> None:
    await pool.execute(
        "insert into enterprises (number, integrations_config) values ('0412', $1)", {"mango": {"enabled": True}}
    )
    well, said = await examine(env)
    assert not well
    assert "It is switched on and has no product." in said
    # the deployment's own serves then
    _, said = await examine(env, MANGO_API_KEY="key-of-july", MANGO_API_SALT="salt-of-july")
    assert "Mango Office accepts key and salt." in said


async def test_in_russian(env: dict[str, str], pool: Pool, exchange: Emulator) -> None:
    (product,) = exchange.products
    await configure(pool, api_key=product.key, api_salt=product.salt)
    _, said = await examine(env, LANG="ru_RU.UTF-8")
    assert "Mango Office принимает ключ и соль." in said
