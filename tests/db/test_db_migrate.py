"""Migrations: in order, once, by one of many starters, and never onto a database they do not fit."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from bridge.db.migrate import MIGRATIONS, migrate, read
from bridge.db.pool import require_version
from bridge.errors import DatabaseProblem


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_first.sql").write_text("create table first (id integer);")
    (tmp_path / "0002_second.sql").write_text("create table second (id integer); insert into first values (1);")
    return tmp_path


@pytest.fixture
async def connection(empty_database_url: str) -> Any:
    connection = await asyncpg.connect(empty_database_url)
    yield connection
    await connection.close()


async def test_they_run_in_order_and_once(connection: asyncpg.Connection, folder: Path) -> None:
    assert await migrate(connection, folder) == ["first", "second"]
    assert await migrate(connection, folder) == []
    (folder / "0003_third.sql").write_text("insert into second values (1);")
    assert await migrate(connection, folder) == ["third"]
    assert await connection.fetchval("select count(*) from second") == 1


async def test_a_database_that_takes_no_tables_is_told_in_plain_words(
    connection: asyncpg.Connection, folder: Path
) -> None:
    await connection.execute("set default_transaction_read_only = on")
    with pytest.raises(DatabaseProblem, match=r"read-only transaction\. The user of BRIDGE_DATABASE_URL must own"):
        await migrate(connection, folder)

    await connection.execute("set default_transaction_read_only = off")
    await connection.execute("drop schema public")
    with pytest.raises(DatabaseProblem, match=r"no schema has been selected to create in\. The user of"):
        await migrate(connection, folder)


async def test_one_that_fails_leaves_nothing_of_itself_and_all_before_it(
    connection: asyncpg.Connection, folder: Path
) -> None:
    (folder / "0003_third.sql").write_text("insert into second values (1); select 1 / 0;")

    with pytest.raises(DatabaseProblem, match="0003 third failed: division by zero"):
        await migrate(connection, folder)

    assert await connection.fetchval("select count(*) from second") == 0
    assert await connection.fetchval("select max(number) from schema_migrations") == 2


async def test_a_newer_database_is_refused(connection: asyncpg.Connection, folder: Path) -> None:
    await migrate(connection, folder)
    (folder / "0002_second.sql").unlink()

    with pytest.raises(DatabaseProblem, match="newer than this bridge: it has migration 0002 second"):
        await migrate(connection, folder)


@pytest.mark.parametrize("change", ["edited", "removed"])
async def test_a_file_that_is_not_what_was_run_is_refused(
    connection: asyncpg.Connection, folder: Path, change: str
) -> None:
    await migrate(connection, folder)
    if change == "edited":
        (folder / "0001_first.sql").write_text("create table other (id integer);")
    else:
        (folder / "0001_first.sql").unlink()

    with pytest.raises(DatabaseProblem, match="0001 first is not what was run"):
        await migrate(connection, folder)


async def test_a_refusal_lets_go_of_the_lock(
    connection: asyncpg.Connection, folder: Path, empty_database_url: str
) -> None:
    (folder / "0003_third.sql").write_text("select 1 / 0;")
    with pytest.raises(DatabaseProblem):
        await migrate(connection, folder)
    (folder / "0003_third.sql").write_text("select 1;")
    other = await asyncpg.connect(empty_database_url)

    assert await migrate(other, folder, patience=1) == ["third"]
    await other.close()


async def test_many_starters_run_each_once(empty_database_url: str, folder: Path) -> None:
    (folder / "0003_index.sql").write_text(
        "-- outside a transaction\ncreate index concurrently first_id on first (id);\nselect 1;\n"
    )

    async def start() -> list[str]:
        connection = await asyncpg.connect(empty_database_url)
        try:
            return await migrate(connection, folder)
        finally:
            await connection.close()

    done = await asyncio.gather(*(start() for _ in range(5)))

    assert sorted(done, key=len) == [[], [], [], [], ["first", "second", "index"]]


async def test_who_waits_too_long_says_for_what(
    connection: asyncpg.Connection, folder: Path, empty_database_url: str
) -> None:
    holder = await asyncpg.connect(empty_database_url)
    await holder.execute("select pg_advisory_lock($1)", 0x61737462)

    with pytest.raises(DatabaseProblem, match="Another instance has been migrating"):
        await migrate(connection, folder, patience=0.1)
    await holder.close()


@pytest.mark.parametrize("name", ["first.sql", "1_first.sql", "0001-first.sql", "0001_First.sql"])
def test_a_file_that_is_not_named_as_a_migration_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("select 1;")

    with pytest.raises(DatabaseProblem, match=r"NNNN_name\.sql"):
        read(tmp_path)


def test_a_number_given_twice_is_refused(folder: Path) -> None:
    (folder / "0002_again.sql").write_text("select 1;")

    with pytest.raises(DatabaseProblem, match="Two migrations have the number 0002: again and second"):
        read(folder)


@pytest.mark.parametrize(("major", "fits"), [(9, False), (13, False), (14, True), (18, True)])
def test_an_old_postgres_is_refused(major: int, fits: bool) -> None:
    server: Any = SimpleNamespace(get_server_version=lambda: SimpleNamespace(major=major, minor=3))
    if fits:
        require_version(server)
    else:
        with pytest.raises(DatabaseProblem, match=f"Postgres {major}.3; the bridge needs 14 or newer"):
            require_version(server)


async def test_the_bridges_own_migrations_use_nothing_newer_than_postgres_14() -> None:
    """There is no Postgres 14 in the wheel; these are what 15 to 18 added and a migration could be tempted by."""
    newer = (
        "nulls not distinct",
        "merge into",
        "uuidv7(",
        "virtual",
        "json_table",
        "json_value(",
        "any_value(",
        "old.*",
    )
    for migration in read(MIGRATIONS):
        lines = [line.split("--")[0].lower() for line in migration.sql.splitlines()]
        assert not [word for word in newer if any(word in line for line in lines)], migration.name
