"""The whole product on the real parts: an office with an Asterisk, its CRM, the service as a process between them.

Or a company in the cloud, without an Asterisk."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from lab.cloud import Cloud, cloud
from lab.mango import Habits
from lab.retailcrm.account import Faults
from lab.stage import Stage, stage

RING_SECONDS = 2


@pytest.fixture(scope="module")
async def the_stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with stage(tmp_path_factory.mktemp("stage"), ring_seconds=RING_SECONDS) as at:
        yield at


@pytest.fixture
async def at(the_stage: Stage) -> AsyncIterator[Stage]:
    """A module's stage; what a test leaves going on does not reach the next one."""
    yield the_stage
    the_stage.account.faults = Faults()
    await the_stage.company.tidy_up()


@pytest.fixture(scope="module")
async def the_cloud(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cloud]:
    async with cloud(tmp_path_factory.mktemp("cloud")) as at:
        yield at


@pytest.fixture
async def cloud_at(the_cloud: Cloud) -> AsyncIterator[Cloud]:
    """A module's cloud; what a test made different is as it was for the next one."""
    yield the_cloud
    the_cloud.product.habits = Habits()
    the_cloud.product.commands.clear()
    the_cloud.mango.delivery(the_cloud.product).sent.clear()
