"""PBXs between the tables and the links: rows with their secrets opened one way, how links stand the other."""

from __future__ import annotations

import asyncio

import asyncpg
import structlog

from bridge.ami.pbx import PbxRow
from bridge.ami.supervisor import Supervisor
from bridge.calls.model import Rules
from bridge.db import pbx_states
from bridge.db import pbxs as rows
from bridge.db.pool import Pool
from bridge.errors import SecretProblem
from bridge.http.services import PbxState
from bridge.secrets import Vault, pbx_field

log = structlog.get_logger(__name__)

LOOK_EVERY = 0.5
"""Seconds between looks at how the links stand: other instances and browsers learn of a change after that."""


class PbxRows:
    """Reads the rows for the supervisor. A secret that does not open costs its own PBX the login, nobody else's."""

    def __init__(self, pool: Pool, vault: Vault) -> None:
        self._pool = pool
        self._vault = vault

    async def __call__(self) -> list[PbxRow]:
        async with self._pool.acquire() as connection:
            found = await rows.of_active_enterprises(connection)
        return [self._row(row) for row in found]

    def _row(self, row: asyncpg.Record) -> PbxRow:
        number = row["enterprise_number"]
        try:
            secret = self._vault.open(row["ami_secret"], enterprise=number, field=pbx_field("ami_secret"))
        except SecretProblem as problem:
            log.error("pbx_secret_unreadable", enterprise=number, pbx=row["name"], problem=problem.message)
            secret = ""
        return PbxRow(
            id=row["id"],
            enterprise_number=number,
            name=row["name"],
            host=row["ami_host"],
            port=row["ami_port"],
            username=row["ami_username"],
            secret=secret,
            tls=row["ami_tls"],
            rules=Rules(
                region=row["region"],
                extensions=row["extensions"],
                trunks=tuple(row["trunks"]),
                click_to_call_contexts=tuple(row["click_to_call_contexts"]),
            ),
        )


class PbxStates:
    """How every PBX stands, whichever instance watches it."""

    def __init__(self, supervisor: Supervisor, pool: Pool, instance: str) -> None:
        self._supervisor = supervisor
        self._pool = pool
        self._instance = instance
        self._published: list[tuple[int, str, str, str]] = []

    async def states(self) -> list[PbxState]:
        own = {state.id: state for state in self._supervisor.states() if state.state != "elsewhere"}
        async with self._pool.acquire() as connection:
            found = await pbx_states.read(connection)
        return [
            PbxState(
                enterprise_number=row.enterprise_number,
                name=row.name,
                state=own[row.id].state if row.id in own else row.state,
                problem=own[row.id].problem if row.id in own else row.problem,
            )
            for row in found
        ]

    async def publish(self) -> None:
        """Tells the other instances how the links of this one stand, for ever."""
        while True:
            states = [
                (state.id, str(state.state), state.problem, state.version)
                for state in self._supervisor.states()
                if state.state != "elsewhere"
            ]
            if states != self._published:
                try:
                    async with self._pool.acquire() as connection:
                        await pbx_states.write(connection, self._instance, states)
                    self._published = states
                except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as problem:
                    log.warning("pbx_states_not_published", problem=repr(problem))
            await asyncio.sleep(LOOK_EVERY)
