"""`asterisk-bridge check`, the doctor: what is wrong, and what to do. It changes nothing.

Each thing is examined on its own and within its time, so that one that is broken, or silent, hides no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import asyncpg
import structlog

from bridge.check import cloud, here, outside, russian, storage
from bridge.check.finding import Finding, Level
from bridge.configuration import State
from bridge.db import configuration
from bridge.db.deployment import address
from bridge.db.pool import Connection, connect, open_pool
from bridge.errors import BridgeError, DatabaseProblem
from bridge.hosts import Hosts
from bridge.integrations import deployment_product
from bridge.secrets import Vault
from bridge.settings import Settings
from bridge.settings.keys import secret_keys

__all__ = ["Finding", "run"]

log = structlog.get_logger(__name__)

_SIGNS: Mapping[Level, str] = {"ok": "✓", "warning": "!", "error": "✗"}
_UNDELIVERED = """
select enterprise_number, integration_type, count(*) as count
from deliveries where state = 'dead' group by 1, 2 order by 1, 2
"""


async def run(env: Mapping[str, str], say: Callable[[str], Any], *, timeout: float = 5.0) -> bool:
    """Examine everything, say what is found as it is found; True when nothing is wrong (warnings are not)."""
    speaks_russian = russian.wanted(env)
    well = True

    def tell(findings: list[Finding]) -> None:
        nonlocal well
        for finding in findings:
            well = well and finding.level != "error"
            for line in _lines(russian.translated(finding) if speaks_russian else finding):
                say(line)

    settings, findings = here.read_settings(env)
    tell(findings)
    if settings is None:
        return False
    tell([*here.settings(settings), *here.directories(settings)])
    tell(await storage.bucket(settings, timeout))
    if here.database_is_made(settings):
        await _with_database(settings, timeout, tell)
    else:
        said = "There is none yet: the first `serve` or `apply` makes it in the data directory."
        tell([Finding("ok", "database", said)])
    return well


async def _with_database(settings: Settings, timeout: float, tell: Callable[[list[Finding]], None]) -> None:
    try:
        async with address(settings.database_url, settings.data_dir, lambda _: None) as url:
            async for finding in here.database(url, timeout):
                tell([finding])
                if finding.level == "error":
                    return
            known = await _read(settings, url, timeout, tell)
            if known is not None:
                await _outside(settings, known, url, timeout, tell)
    except DatabaseProblem as problem:
        tell([Finding("error", "database", problem.message, "Repair it as it says.")])


async def _read(settings: Settings, url: str, timeout: float, tell: Callable[[list[Finding]], None]) -> State | None:
    """What is configured; None where it cannot be read, which has been told."""
    connection = await connect(url, timeout=timeout)
    try:
        async with asyncio.timeout(timeout):
            state = await configuration.read(connection, Vault(secret_keys(settings)))
            tell(await _undelivered(connection))
            return state
    except asyncpg.UndefinedTableError:
        return None  # a database without tables: said already
    except asyncpg.UndefinedColumnError:
        said = "What is configured cannot be read before the migrations have been run."
        tell([Finding("warning", "database: tables", said, "Start the service, then check again.")])
    except (BridgeError, TimeoutError) as problem:
        tell([Finding("error", "configuration", str(problem) or "It is not read in time.", "Repair it as it says.")])
    finally:
        connection.terminate()
    return None


async def _undelivered(connection: Connection) -> list[Finding]:
    return [
        Finding(
            "warning",
            f"deliveries {row['enterprise_number']}",
            f"{row['count']} were given up: {row['integration_type']} could not be told of them.",
            "See them with `asterisk-bridge deliveries list`, send them again with `… deliveries resend`.",
        )
        for row in await connection.fetch(_UNDELIVERED)
    ]


async def _outside(
    settings: Settings, known: State, url: str, timeout: float, tell: Callable[[list[Finding]], None]
) -> None:
    """All at once; told in the order of the configuration."""
    in_cloud = any("mango" in enterprise.integrations for enterprise in known.enterprise.values())
    if not in_cloud and not any(enterprise.pbx for enterprise in known.enterprise.values()):
        tell(
            [
                Finding(
                    "warning", "PBX", "None is configured.", "Describe one in a file: `asterisk-bridge apply --help`."
                )
            ]
        )
    hosts = Hosts(settings.crm_hosts)
    pool = await open_pool(url, largest=4) if in_cloud else None
    visits: list[Coroutine[Any, Any, list[Finding]]] = []
    names: list[str] = []
    for enterprise in known.enterprise.values():
        if not enterprise.active:
            continue
        for pbx in enterprise.pbx.values():
            names.append(f"PBX {enterprise.number}/{pbx.name}")
            visits.append(outside.pbx(enterprise, pbx, timeout))
        if "retailcrm" in enterprise.integrations:
            names.append(f"RetailCRM {enterprise.number}")
            visits.append(outside.retailcrm(enterprise, hosts, timeout))
        if "mango" in enterprise.integrations and pool is not None:
            names.append(f"Mango {enterprise.number}")
            default = deployment_product(settings)
            visits.append(cloud.mango(enterprise, settings, default, hosts, pool, timeout))
    tasks = [asyncio.create_task(_whole(name, visit)) for name, visit in zip(names, visits, strict=True)]
    try:
        for task in tasks:
            tell(await task)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if pool is not None:
            pool.terminate()
        hosts.close()


async def _whole(name: str, visit: Coroutine[Any, Any, list[Finding]]) -> list[Finding]:
    """A visit that fails in a way nobody foresaw is a finding too: the others must be told."""
    try:
        return await visit
    except Exception as problem:
        log.debug("examination_failed", place=name, exc_info=True)
        said = f"The examination failed: {type(problem).__name__}: {problem}."
        return [Finding("error", name, said, "Please report this.")]


def _lines(finding: Finding) -> list[str]:
    lines = [f"{_SIGNS[finding.level]} {finding.place}: {finding.said}"]
    return [*lines, f"    → {finding.advice}"] if finding.advice else lines
