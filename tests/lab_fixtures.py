"""Offices with a real Asterisk: one of each version per worker process, started when first asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from lab.asterisk import provision
from lab.company import Company

RING_SECONDS = 2
"""How long the dialplan lets phones ring: people in tests are impatient."""


async def _company(version: int) -> AsyncIterator[Company]:
    installation = await asyncio.to_thread(provision, version)
    async with Company(installation, ring_seconds=RING_SECONDS) as company:
        yield company


@pytest.fixture(scope="session")
async def company22() -> AsyncIterator[Company]:
    async for company in _company(22):
        yield company


@pytest.fixture(scope="session")
async def company16() -> AsyncIterator[Company]:
    async for company in _company(16):
        yield company


@pytest.fixture(params=[22, 16], ids=["asterisk-22", "asterisk-16"])
def company_of_version(request: pytest.FixtureRequest) -> Company:
    found: Company = request.getfixturevalue(f"company{request.param}")
    return found


@pytest.fixture
async def company(company_of_version: Company) -> AsyncIterator[Company]:
    """Both versions, one after the other; what a test leaves going on does not reach the next one."""
    yield company_of_version
    await company_of_version.tidy_up()
