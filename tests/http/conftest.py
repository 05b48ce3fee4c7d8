"""The application over two enterprises, and clients that come to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from http_office import KEY, PASSWORD, URL, Enabled, Exchanges, Feed, Ingested, Office, People, Remembered, furnish
from starlette.applications import Starlette

from bridge.db.pool import Pool
from bridge.http.app import create_app
from bridge.http.services import HttpSettings, Services
from bridge.passwords import hash_password


@pytest.fixture(scope="session")
def password_hash() -> str:
    return hash_password(PASSWORD)


@pytest.fixture
async def office(pool: Pool, password_hash: str) -> Office:
    return await furnish(pool, password_hash)


@pytest.fixture
def services(pool: Pool) -> Services:
    return Services(
        settings=HttpSettings(secret_keys=(KEY,), public_url=URL),
        pool=pool,
        pbxs=Exchanges(),
        matrix=Enabled(),
        scripts=Ingested(),
        feed=Feed(),
        histories=Remembered(),
        figures={"cache": lambda: {"hits": 3}},
    )


@pytest.fixture
def app(services: Services) -> Starlette:
    return create_app(services)


@pytest.fixture
async def client(app: Starlette, office: Office) -> AsyncIterator[httpx.AsyncClient]:
    """A stranger."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=URL) as client:
        yield client


@pytest.fixture
async def sign_in(app: Starlette, office: Office) -> AsyncIterator[People]:
    people = People(app)
    yield people
    await people.close()
