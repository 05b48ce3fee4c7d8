"""What is on this side: settings, the data directory, the database."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from bridge.check.finding import Finding
from bridge.db import migrate
from bridge.db.pool import connect, require_version
from bridge.disk import LITTLE, MEGABYTE, TOO_LITTLE, free
from bridge.errors import DatabaseProblem, SettingsError
from bridge.settings import Settings
from bridge.settings.keys import FILE as SECRET_KEY_FILE

_APPLIED = "select number, name, sha256 from schema_migrations order by number"
_MAY_MAKE_TABLES = "select coalesce(has_schema_privilege(current_schema(), 'create'), false)"
_WRITES = "create temporary table bridge_check on commit drop as select repeat('x', 8000) from generate_series(1, 100)"


def read_settings(env: Mapping[str, str]) -> tuple[Settings | None, list[Finding]]:
    """The settings and what is wrong with them. Those that are wrong count as absent, so that the rest is examined;
    None when nothing can be said without them."""
    try:
        return Settings.load(env), [Finding("ok", "settings", "They are valid.")]
    except SettingsError as error:
        findings = [Finding("error", "settings", problem, "Correct it.") for problem in error.details["problems"]]
        wrong = {name for problem in error.details["problems"] for name in _names(problem)}
    left = {name: value for name, value in env.items() if name.removesuffix("_FILE") not in wrong}
    try:
        return Settings.load(left), findings
    except SettingsError:
        return None, findings


def _names(problem: str) -> list[str]:
    return [name.split(" ")[0].removesuffix("_FILE") for name in problem.partition(":")[0].split(", ")]


def settings(settings: Settings) -> Iterator[Finding]:
    if settings.public_url is None:
        yield Finding(
            "warning",
            "settings: BRIDGE_PUBLIC_URL",
            "It is absent: CRMs cannot call back, recordings have no address.",
            "Set it to the https address under which the outside world reaches this service.",
        )
    if settings.test_mode:
        yield Finding(
            "warning",
            "settings: TEST_MODE",
            "It is on: calls are neither stored nor told to CRMs.",
            "Remove it to work for real.",
        )
    if settings.s3_endpoint and (urlsplit(settings.s3_endpoint).hostname or "").endswith("selcdn.ru"):
        yield Finding(
            "warning",
            "settings: S3_ENDPOINT",
            "Selectel is closing its addresses under selcdn.ru.",
            "Use the pool's own, such as https://s3.ru-1.storage.selcloud.ru, with S3_REGION=ru-1.",
        )
    if settings.s3_bucket_name and not settings.s3_region:
        yield Finding(
            "warning",
            "settings: S3_REGION",
            "It is absent, and is part of every signature.",
            "Name the bucket's region; for Selectel it is the pool, such as ru-1.",
        )


def directories(settings: Settings) -> Iterator[Finding]:
    folders = [("data directory", settings.data_dir)]
    folders += [("log directory", settings.log_dir)] if settings.log_dir is not None else []
    for place, folder in folders:
        yield from _directory(place, folder)
    key = settings.data_dir / SECRET_KEY_FILE
    if not settings.secret_key and key.exists() and not os.access(key, os.R_OK):
        yield Finding("error", "secret key", f"{key} cannot be read.", "Let the service's user own it.")


def _directory(place: str, folder: Path) -> Iterator[Finding]:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        yield Finding("error", place, f"{existing} cannot be written to.", "Let the service's user own it.")
        return
    left = free(folder)
    said = f"{folder} has {left // MEGABYTE} MB free."
    if left < LITTLE:
        yield Finding(
            "error" if left < TOO_LITTLE else "warning", place, said, "Make room: a full disk stops the database."
        )
    else:
        yield Finding("ok", place, said)


def database_is_made(settings: Settings) -> bool:
    return settings.database_url is not None or (settings.data_dir / "postgres" / "data" / "PG_VERSION").exists()


async def database(url: str, timeout: float) -> AsyncIterator[Finding]:
    """Reachable, new enough, writable, and of the version of this service. Ends early where the rest cannot be seen."""
    try:
        connection = await connect(url, timeout=timeout)
    except DatabaseProblem as problem:
        yield Finding("error", "database", problem.message, "Start it, or correct BRIDGE_DATABASE_URL.")
        return
    try:
        async with asyncio.timeout(timeout):
            try:
                require_version(connection)
            except DatabaseProblem as problem:
                yield Finding("error", "database", problem.message, "Use a newer one.")
                return
            version = (await connection.fetchval("show server_version")).split()[0]
            yield Finding("ok", "database", f"Postgres {version} answers.")
            yield await _tables(connection)
            if (trouble := await _writes(connection)) is not None:
                yield trouble
    except TimeoutError:
        yield Finding("error", "database", "It does not answer in time.", "See what keeps it busy.")
    finally:
        connection.terminate()


async def _tables(connection: asyncpg.Connection) -> Finding:
    try:
        rows = await connection.fetch(_APPLIED)
    except asyncpg.UndefinedTableError:
        if await connection.fetchval(_MAY_MAKE_TABLES):
            return Finding("ok", "database: tables", "There are none yet: the first start makes them.")
        said = "There are none yet, and this user may not make them."
        return Finding("error", "database: tables", said, "Let the user of BRIDGE_DATABASE_URL own the database.")
    try:
        left = migrate.pending(migrate.read(), {row["number"]: (row["name"], row["sha256"]) for row in rows})
    except DatabaseProblem as problem:
        return Finding("error", "database: tables", problem.message, "Run the version of the bridge it belongs to.")
    if left:
        return Finding("ok", "database: tables", f"{len(left)} migrations will be run at the next start.")
    return Finding("ok", "database: tables", "They are up to date.")


async def _writes(connection: asyncpg.Connection) -> Finding | None:
    try:
        async with connection.transaction():
            await connection.execute(_WRITES)
    except asyncpg.DiskFullError:
        return Finding("error", "database", "Its disk is full.", "Make room on the database's machine.")
    except asyncpg.PostgresError as problem:
        return Finding(
            "error", "database", f"It cannot be written to: {problem}.", "Use the primary, and a user who may."
        )
    return None
