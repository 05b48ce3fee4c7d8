"""The delivery engine's SQL: pgmq, installed from its pinned wheel.

Nothing of the wheel is imported: its Python needs a driver of its own, its SQL needs nothing. An SQL-only installation
has no upgrade path, so the version is written on the schema, and another version is refused rather than mixed: an
upgrade will be a migration of ours.
"""

from __future__ import annotations

from importlib import metadata

import asyncpg

from bridge.errors import DatabaseProblem

PGMQ_SQL = "1.13.0"
"""Version of the SQL inside the wheel that setup.cfg pins."""

_Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

_INSTALLED = """
select obj_description(n.oid, 'pg_namespace') as remark,
       exists (select from pg_extension where extname = 'pgmq') as extension,
       exists (select from pg_proc p where p.pronamespace = n.oid and p.proname = 'read_grouped_head') as fifo
from pg_namespace n
where n.nspname = 'pgmq'
"""


def sql() -> str:
    """The installation script of the wheel.

    Raises DatabaseProblem when the wheel is absent or holds another version than ours was written against.
    """
    try:
        files = {file.name: file for file in metadata.files("pgmq") or [] if file.parent.as_posix() == "pgmq/sql"}
        found = files["VERSION"].read_text().strip()
        script = files["pgmq.sql"].read_text()
    except (metadata.PackageNotFoundError, KeyError, OSError) as problem:
        raise DatabaseProblem("The pgmq package is not there or not whole: install the bridge again.") from problem
    if found != PGMQ_SQL:
        raise DatabaseProblem(f"The pgmq package holds SQL {found}; this bridge is written against {PGMQ_SQL}.")
    return script


async def install(conn: _Connection) -> bool:
    """Install the engine unless it is there; true when it had to be. The caller holds the migrations' lock.

    A pgmq that was installed as an extension is used as it is, if it can read by groups. Raises DatabaseProblem when
    what is there cannot be used.
    """
    row = await conn.fetchrow(_INSTALLED)
    remark = f"pgmq {PGMQ_SQL}"
    if row is not None and row["extension"]:
        if not row["fifo"]:
            raise DatabaseProblem(f"The pgmq extension of this database is too old: {PGMQ_SQL} or newer is needed.")
        return False
    if row is not None and row["remark"] is not None:
        if row["remark"] != remark:
            raise DatabaseProblem(f"This database holds {row['remark']}; this bridge needs {remark}.")
        return False
    if row is not None and row["fifo"]:
        raise DatabaseProblem("This database holds a pgmq of unknown version that the bridge did not install.")
    async with conn.transaction():
        await conn.execute(sql())
        await conn.execute(f"comment on schema pgmq is '{remark}'")
    return True
