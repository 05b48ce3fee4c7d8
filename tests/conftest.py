"""A real Postgres for every test that asks for it: one server per worker process, a fresh database per test."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from hypothesis import HealthCheck, settings

from bridge.db.embedded import EmbeddedPostgres
from bridge.db.migrate import migrate
from bridge.db.pool import Pool, connect, open_pool

# How long an example takes says more of what else the machine does than of the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

pytest_plugins = ["lab_fixtures"]

_MEMORY = Path("/dev/shm")  # noqa: S108 - a disk in memory: what is there need not survive
_numbers = itertools.count(1)


def _named(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path="/" + database))


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The address of this worker's server: its empty, unmigrated database."""
    home = tempfile.mkdtemp(prefix="bridge-test-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None)
    server = EmbeddedPostgres(Path(home), fast=True, progress=lambda _: None)
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="session")
async def _template(postgres_url: str) -> str:
    server = await connect(postgres_url)
    try:
        await server.execute("create database migrated")
    finally:
        await server.close()
    connection = await connect(_named(postgres_url, "migrated"))
    try:
        await migrate(connection)
    finally:
        await connection.close()
    return "migrated"


@pytest.fixture
async def empty_database_url(postgres_url: str) -> AsyncIterator[str]:
    """The address of a new database with nothing in it; dropped after the test."""
    async for url in _database(postgres_url, "template0"):
        yield url


@pytest.fixture
async def database_url(postgres_url: str, _template: str) -> AsyncIterator[str]:
    """The address of a new, migrated database; dropped after the test."""
    async for url in _database(postgres_url, _template):
        yield url


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """A pool on a new, migrated database."""
    pool = await open_pool(database_url)
    try:
        yield pool
    finally:
        pool.terminate()


async def _database(server_url: str, template: str) -> AsyncIterator[str]:
    name = f"test_{next(_numbers)}"
    server: asyncpg.Connection = await asyncpg.connect(server_url)
    try:
        await server.execute(f"create database {name} template {template}")
        yield _named(server_url, name)
        await server.execute(f"drop database {name} with (force)")
    finally:
        await server.close()
