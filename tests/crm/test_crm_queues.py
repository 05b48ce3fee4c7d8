"""The delivery engine's SQL comes from its pinned wheel, once, and another version is refused."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from typing import Any

import asyncpg
import pytest

from bridge.db import queues
from bridge.errors import DatabaseProblem


@pytest.fixture
async def empty(empty_database_url: str) -> Any:
    conn = await asyncpg.connect(empty_database_url)
    yield conn
    await conn.close()


async def test_it_is_installed_once_and_says_its_version(empty: asyncpg.Connection) -> None:
    assert await queues.install(empty) is True
    assert await queues.install(empty) is False
    assert await empty.fetchval("select obj_description('pgmq'::regnamespace, 'pg_namespace')") == "pgmq 1.13.0"
    await empty.execute("select pgmq.create('crm_1')")
    assert await empty.fetchval("select pgmq.send('crm_1', '{}'::jsonb)") == 1


async def test_another_version_is_refused_not_mixed(empty: asyncpg.Connection) -> None:
    await queues.install(empty)
    await empty.execute("comment on schema pgmq is 'pgmq 2.0.0'")
    with pytest.raises(DatabaseProblem, match=r"holds pgmq 2\.0\.0; this bridge needs pgmq 1\.13\.0"):
        await queues.install(empty)


async def test_an_engine_that_somebody_else_installed_is_refused(empty: asyncpg.Connection) -> None:
    await empty.execute(queues.sql())
    with pytest.raises(DatabaseProblem, match="unknown version"):
        await queues.install(empty)


async def test_a_failed_installation_leaves_nothing(empty: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "sql", lambda: queues_sql + "select 1/0;")
    queues_sql = metadata.distribution("pgmq").locate_file("pgmq/sql/pgmq.sql").read_text()  # type: ignore[attr-defined]
    with pytest.raises(asyncpg.DivisionByZeroError):
        await queues.install(empty)
    assert await empty.fetchval("select count(*) from pg_namespace where nspname = 'pgmq'") == 0


def test_a_wheel_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "PGMQ_SQL", "9.9.9")
    with pytest.raises(DatabaseProblem, match=r"holds SQL 1\.13\.0"):
        queues.sql()


def test_nothing_of_the_wheel_is_imported() -> None:
    code = (
        "import sys; from bridge.db import queues; queues.sql(); print('pgmq' in sys.modules, 'psycopg' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "False False\n"
    )


async def test_an_account_brings_its_queue_and_takes_it_along(pool: asyncpg.Pool) -> None:
    await pool.execute("insert into enterprises (number) values ('0367')")
    queue = await pool.fetchval(
        "insert into crm_accounts (enterprise_number, integration_type) values ('0367', 'retailcrm') returning queue"
    )
    assert [row["queue_name"] for row in await pool.fetch("select queue_name from pgmq.list_queues()")] == [queue]
    await pool.execute("delete from enterprises")
    assert await pool.fetch("select queue_name from pgmq.list_queues()") == []
