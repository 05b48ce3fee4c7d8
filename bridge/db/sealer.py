"""Seals what psql wrote, and keeps the digests of credentials in step with the secrets they are of.

At start, after every reconnect, when NOTIFY tells of a change, and from time to time. It writes only what differs, so
its own writes, which notify as everybody's do, find nothing left to do; and under the enterprise's row lock, so that
instances do not undo each other's work. A row that somebody else holds is left: their commit notifies.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import asyncpg
import msgspec
import structlog

from bridge.db import credentials
from bridge.db.bus import Bus
from bridge.db.pool import LOST, Connection, Pool
from bridge.errors import SecretProblem
from bridge.secrets import ENTERPRISE_SECRET, PBX_COLUMNS, Vault, integration_field, pbx_field, texts

log = structlog.get_logger(__name__)

EVERY_SECONDS = 300.0

# Integration -> where what identifies its callers is, in `integrations_config`.
_PRESENTED = {"retailcrm": ("client_id",), "mango": ("api_key", "products[].api_key")}

_NUMBERS = "select number from enterprises order by number"
_ENTERPRISE = "select number, secret, integrations_config from enterprises where number = $1"
_ENTERPRISE_LOCKED = _ENTERPRISE + " for update nowait"
_PBXS = "select id, name, ami_secret, ari_password, token from pbxs where enterprise_number = $1 order by id"
_PBXS_LOCKED = _PBXS + " for update nowait"
_SEAL_ENTERPRISE = "update enterprises set secret = $2, integrations_config = $3 where number = $1"
_SEAL_PBX = "update pbxs set ami_secret = $2, ari_password = $3, token = $4 where id = $1"


class Plan(msgspec.Struct):
    """What an enterprise's secrets should be. `enterprise` and `pbxs` only where something changes."""

    enterprise: tuple[str, dict[str, Any]] | None = None
    pbxs: list[tuple[int, str, str | None, str]] = []
    digests: dict[tuple[str, str], bytes] = {}
    problems: list[SecretProblem] = []


def plan(vault: Vault, enterprise: Any, pbxs: Any, held: credentials.Held) -> Plan:
    """Pure. The digest of a secret that cannot be opened stays what it was: the wrong key shuts no door."""
    number = enterprise["number"]
    made = Plan()

    def renewed(value: str, field: str, kind: str = "", subject: str = "") -> str:
        try:
            current = vault.renew(value, enterprise=number, field=field)
            if kind and current:
                plain = vault.open(current, enterprise=number, field=field)
                made.digests[kind, subject] = vault.digest(plain)
            return current
        except SecretProblem as problem:
            made.problems.append(problem)
            if (kind, subject) in held:
                made.digests[kind, subject] = held[kind, subject]
            return value

    secret = renewed(enterprise["secret"], ENTERPRISE_SECRET, "enterprise")
    config = dict(enterprise["integrations_config"])
    for kind, part in config.items():
        try:
            config[kind] = vault.seal_integration(kind, part, enterprise=number)
        except SecretProblem as problem:
            made.problems.append(problem)
        presented = [(path, text) for path in _PRESENTED.get(kind, ()) for text in texts(config[kind], path) if text]
        for index, (path, text) in enumerate(presented):
            renewed(text, integration_field(kind, path), kind, str(index) if index else "")
    if (secret, config) != (enterprise["secret"], enterprise["integrations_config"]):
        made.enterprise = (secret, config)

    for row in pbxs:
        before = [row[column] for column in PBX_COLUMNS]
        after = [
            renewed(row[column], pbx_field(column), *(("pbx", row["name"]) if column == "token" else ()))
            if row[column]
            else row[column]
            for column in PBX_COLUMNS
        ]
        if after != before:
            made.pbxs.append((row["id"], *after))
    return made


class Sealer:
    """`run` for ever, `seal_all` once. `sealed` counts rows sealed; `problems` are those of the last look at each
    enterprise."""

    def __init__(self, pool: Pool, bus: Bus, vault: Vault, *, every: float = EVERY_SECONDS) -> None:
        self.sealed = 0
        self.problems: dict[str, list[str]] = {}
        self._pool = pool
        self._vault = vault
        self._every = every
        self._all = True
        self._changed: set[str] = set()
        self._stir = asyncio.Event()
        bus.subscribe("bridge_config", self._heard)
        bus.on_connect(self._everything)

    def figures(self) -> dict[str, Any]:
        """For /stats."""
        return {"sealed": self.sealed, "problems": {number: list(said) for number, said in self.problems.items()}}

    async def run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._stir.wait()
            self._stir.clear()
            everything, self._all = self._all or not self._changed, False
            numbers, self._changed = self._changed, set()
            try:
                await (self.seal_all() if everything else self._seal(sorted(numbers)))
            except LOST as problem:
                log.warning("sealing_failed", problem=str(problem) or type(problem).__name__)
                self._all = True
                await asyncio.sleep(1.0)
                self._stir.set()

    async def seal_all(self) -> None:
        """Look at every enterprise. Raises what asyncpg raises."""
        numbers = [row["number"] for row in await self._pool.fetch(_NUMBERS)]
        self.problems = {number: said for number, said in self.problems.items() if number in numbers}
        await self._seal(numbers)

    async def _seal(self, numbers: list[str]) -> None:
        for number in numbers:
            with suppress(asyncpg.LockNotAvailableError):
                async with self._pool.acquire() as connection:
                    await self._seal_one(connection, number)

    async def _seal_one(self, connection: Connection, number: str) -> None:
        # First without locks: nearly always there is nothing to do.
        enterprise = await connection.fetchrow(_ENTERPRISE, number)
        if enterprise is None:
            return
        held = await credentials.held(connection, number)
        made = plan(self._vault, enterprise, await connection.fetch(_PBXS, number), held)
        self._report(number, made)
        if made.enterprise is None and not made.pbxs and made.digests == held:
            return
        async with connection.transaction():
            enterprise = await connection.fetchrow(_ENTERPRISE_LOCKED, number)
            if enterprise is None:
                return
            held = await credentials.held(connection, number)
            made = plan(self._vault, enterprise, await connection.fetch(_PBXS_LOCKED, number), held)
            if made.enterprise is not None:
                await connection.execute(_SEAL_ENTERPRISE, number, *made.enterprise)
            for pbx in made.pbxs:
                await connection.execute(_SEAL_PBX, *pbx)
            taken = await credentials.replace(connection, number, held, made.digests)
        self.sealed += (made.enterprise is not None) + len(made.pbxs)
        for kind, subject in taken:
            log.error("credential_in_use_elsewhere", enterprise=number, kind=kind, subject=subject)
            self.problems.setdefault(number, []).append(
                f"the {kind} credential {subject} is in use elsewhere: change it"
            )

    def _report(self, number: str, made: Plan) -> None:
        said = [problem.message for problem in made.problems]
        if said and said != self.problems.get(number):
            log.error("secret_not_opened", enterprise=number, problems=said)
        if said:
            self.problems[number] = said
        else:
            self.problems.pop(number, None)

    def _heard(self, payload: str) -> None:
        try:
            told = msgspec.json.decode(payload, type=_Told)
        except msgspec.MsgspecError:
            self._everything()
            return
        if told.table in ("enterprises", "pbxs") and told.enterprise_number:
            self._changed.add(told.enterprise_number)
            self._stir.set()

    def _everything(self) -> None:
        self._all = True
        self._stir.set()


class _Told(msgspec.Struct):
    table: str
    enterprise_number: str | None = None
