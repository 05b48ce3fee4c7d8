"""A worker in a process of its own, for tests that kill it: `python delivery_process.py DATABASE_URL ACCOUNTS`.

ACCOUNTS is JSON: enterprise number to [address of the CRM, API key]. Prints "ready" and delivers until it is stopped.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys

from crm_office import QUICK, Known
from prometheus_client import CollectorRegistry

from bridge.crm.metrics import DeliveryMetrics
from bridge.crm.retailcrm.config import RetailcrmConfig
from bridge.crm.retailcrm.integration import RetailcrmIntegration
from bridge.crm.worker import Worker
from bridge.db.pool import open_pool
from bridge.hosts import Hosts


async def main(database_url: str, accounts: dict[str, list[str]]) -> None:
    known = Known()
    for number, (domain, key) in accounts.items():
        known.configs[number, "retailcrm"] = RetailcrmConfig(domain=domain, api_key=key)
    hosts = Hosts(["127.0.0.1"])
    integration = RetailcrmIntegration(hosts, timeout=1.0)
    pool = await open_pool(database_url)
    worker = Worker(pool, [integration], known, DeliveryMetrics(CollectorRegistry()), QUICK)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    print("ready", flush=True)  # noqa: T201 - how the test knows
    await worker.run()
    await integration.close()
    hosts.close()
    await pool.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
