"""An office on a real Postgres, RetailCRM's integration, and workers that end with the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
from crm_office import QUICK, Office, Running
from prometheus_client import CollectorRegistry
from scripted_crm import Switch

from bridge.crm.metrics import DeliveryMetrics
from bridge.crm.retailcrm.integration import RetailcrmIntegration
from bridge.crm.worker import Settings, Worker
from bridge.hosts import Hosts


@pytest.fixture
async def office(pool: asyncpg.Pool) -> Office:
    return Office(pool)


@pytest.fixture
async def retailcrm() -> AsyncIterator[RetailcrmIntegration]:
    """RetailCRM's integration, which may call emulators on loopback."""
    hosts = Hosts(["127.0.0.1"])
    integration = RetailcrmIntegration(hosts, timeout=1.0)
    yield integration
    await integration.close()
    hosts.close()


@pytest.fixture
async def start(office: Office) -> AsyncIterator[Callable[..., Running]]:
    """Start workers: `start(integration, …, settings=…)`. They are stopped after the test."""
    running: list[Running] = []

    def begin(*integrations: Any, settings: Settings = QUICK) -> Running:
        registry = CollectorRegistry()
        worker = Worker(office.pool, integrations, office.configurations, DeliveryMetrics(registry), settings)
        running.append(Running(worker, registry))
        return running[-1]

    yield begin
    for each in running:
        await each.stop()


@pytest.fixture
async def june(office: Office) -> Office:
    await office.enterprise("0367")
    office.configurations.configs["0367", "retailcrm"] = Switch()
    return office
