"""Plain-SQL migrations, applied in order at every start, by whichever instance comes first.

A file `NNNN_name.sql` is one transaction; one whose first line is `-- outside a transaction` runs statement by
statement (for CREATE INDEX CONCURRENTLY). The table `schema_migrations` remembers the sha256 of what was run.

The lock is polled: a session that *waits* in pg_advisory_lock keeps a snapshot, which CREATE INDEX CONCURRENTLY of the
lock's holder waits for in turn.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from pathlib import Path

import asyncpg
import msgspec
import structlog

from bridge.db import queues
from bridge.db.pool import Connection, require_version
from bridge.errors import DatabaseProblem

log = structlog.get_logger(__name__)

MIGRATIONS = Path(__file__).parent / "migrations"

_LOCK = 0x61737462  # "astb"
_POLL_SECONDS = 0.05
_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_OUTSIDE = "-- outside a transaction\n"

_TABLE = """
create table if not exists schema_migrations (
    number     integer primary key,
    name       text not null,
    sha256     text not null,
    applied_at timestamptz not null default now()
)
"""
_APPLIED = "select number, name, sha256 from schema_migrations order by number"
_REFUSED = (asyncpg.ReadOnlySQLTransactionError, asyncpg.InsufficientPrivilegeError, asyncpg.InvalidSchemaNameError)
_REMEMBER = "insert into schema_migrations (number, name, sha256) values ($1, $2, $3)"


class Migration(msgspec.Struct, frozen=True):
    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def read(folder: Path = MIGRATIONS) -> list[Migration]:
    """The files in order. Raises DatabaseProblem for a name out of form or a number given twice."""
    found: dict[int, Migration] = {}
    for path in sorted(folder.glob("*.sql")):
        form = _NAME.fullmatch(path.name)
        if form is None:
            raise DatabaseProblem(f"{path.name} is not named as a migration: NNNN_name.sql")
        number = int(form[1])
        if number in found:
            raise DatabaseProblem(f"Two migrations have the number {form[1]}: {found[number].name} and {form[2]}")
        found[number] = Migration(number, form[2], path.read_text())
    return list(found.values())


def pending(files: list[Migration], applied: dict[int, tuple[str, str]]) -> list[Migration]:
    """What is left to run. `applied` is number -> (name, sha256). Raises DatabaseProblem when the two do not belong
    together."""
    known = {file.number: file for file in files}
    newest = max(known, default=0)
    for number, (name, sha256) in applied.items():
        file = known.get(number)
        if number > newest:
            raise DatabaseProblem(
                f"The database is newer than this bridge: it has migration {number:04} {name}, this bridge knows them "
                f"up to {newest:04}. Install the newer version, or restore the database from before."
            )
        if file is None or file.sha256 != sha256:
            raise DatabaseProblem(
                f"Migration {number:04} {name} is not what was run on this database: "
                "its file was changed or is of another version."
            )
    return [file for file in files if file.number not in applied]


async def migrate(connection: Connection, folder: Path = MIGRATIONS, *, patience: float = 120.0) -> list[str]:
    """Bring the database up to date; the names of what was run. Many may start at once. Raises DatabaseProblem."""
    require_version(connection)
    files = read(folder)
    deadline = time.monotonic() + patience
    while not await connection.fetchval("select pg_try_advisory_lock($1)", _LOCK):
        if time.monotonic() > deadline:
            raise DatabaseProblem(f"Another instance has been migrating the database for more than {patience:.0f} s.")
        await asyncio.sleep(_POLL_SECONDS)
    try:
        await connection.execute(_TABLE)
        rows = await connection.fetch(_APPLIED)
        left = pending(files, {row["number"]: (row["name"], row["sha256"]) for row in rows})
        if folder == MIGRATIONS:
            async with connection.transaction():
                await queues.install(connection)
        for migration in left:
            await _run(connection, migration)
        return [migration.name for migration in left]
    except asyncpg.PostgresError as problem:
        raise DatabaseProblem(f"The tables cannot be made: {problem}.{_advice(problem)}") from problem
    finally:
        if not connection.is_closed():
            await connection.execute("select pg_advisory_unlock($1)", _LOCK)


def _advice(problem: asyncpg.PostgresError) -> str:
    if isinstance(problem, _REFUSED):
        return " The user of BRIDGE_DATABASE_URL must own the database, and it must be the primary."
    return ""


async def _run(connection: Connection, migration: Migration) -> None:
    remember = (migration.number, migration.name, migration.sha256)
    try:
        if migration.sql.startswith(_OUTSIDE):
            for statement in filter(None, map(str.strip, migration.sql.removeprefix(_OUTSIDE).split(";\n"))):
                await connection.execute(statement)
            await connection.execute(_REMEMBER, *remember)
        else:
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(_REMEMBER, *remember)
    except asyncpg.PostgresError as problem:
        raise DatabaseProblem(f"Migration {migration.number:04} {migration.name} failed: {problem}") from problem
    log.info("migrated", number=migration.number, name=migration.name)
