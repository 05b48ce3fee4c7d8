"""Who is who, known to this process: enterprises, their PBXs and lines, and the digests of what opens their doors.

A question from a PBX or a click must be judged in microseconds and also while the database is away, so the directory
is one immutable map that is read whole and swapped whole: on a NOTIFY, and from time to time without one. What could
not be read leaves the last map in force.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import random
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Literal

import asyncpg
import msgspec
import structlog

from bridge.calls.click import PbxDialing
from bridge.calls.numbers import e164
from bridge.db import directory as queries
from bridge.routing.model import LineSetting

log = structlog.get_logger(__name__)

Kind = Literal["enterprise", "retailcrm", "pbx", "amocrm", "mango"]


class Enterprise(msgspec.Struct, frozen=True, kw_only=True):
    """`lines` by number in E.164, or as written where it is none; `extensions` that people have, wherever their phones
    are; `dialplans`, getcustomerdata's templates, by PBX; `recorded`: the PBXs whose recordings can be fetched."""

    number: str
    name: str = ""
    region: str = "RU"
    fallback: str = "continue"
    pbxs: tuple[PbxDialing, ...] = ()
    lines: Mapping[str, LineSetting] = {}
    extensions: frozenset[str] = frozenset()
    dialplans: Mapping[str, str] = {}
    recorded: frozenset[str] = frozenset()

    def pbx(self, name: str) -> PbxDialing | None:
        return next((pbx for pbx in self.pbxs if pbx.name == name), None)

    def has_line(self, number: str) -> bool:
        return _line_key(number, self.region) in self.lines or number in self.lines

    def line(self, number: str | None) -> LineSetting:
        """The setting of a line as the PBX names it. A line nobody has set up wants nothing."""
        if not number:
            return "off"
        return self.lines.get(_line_key(number, self.region)) or self.lines.get(number, "off")


class _Map(msgspec.Struct, frozen=True, kw_only=True):
    enterprises: Mapping[str, Enterprise] = {}
    digests: Mapping[tuple[str, bytes], tuple[str, str]] = {}


class Directory:
    """`refresh` reads it, `run` keeps it fresh, look-ups never wait. `every`: seconds between reads without NOTIFY."""

    def __init__(self, pool: asyncpg.Pool, every: float = 90.0) -> None:
        self._pool = pool
        self._every = every
        self._map = _Map()
        self._stale = asyncio.Event()

    def enterprise(self, number: str) -> Enterprise | None:
        return self._map.enterprises.get(number)

    def recorded(self, number: str, pbx_name: str) -> bool:
        """Whether the recordings of this PBX can be fetched."""
        enterprise = self._map.enterprises.get(number)
        return enterprise is not None and pbx_name in enterprise.recorded

    def credential(self, kind: Kind, presented: str) -> tuple[str, str] | None:
        """(enterprise number, subject) of whom a presented secret belongs to, or None.

        The look-up goes by digest: what an attacker could learn from its timing tells nothing about the secret."""
        if not presented:
            return None
        digest = hashlib.sha256(presented.encode("utf-8", "surrogatepass")).digest()
        return self._map.digests.get((kind, digest))

    def pbx_credential(self, pbx_name: str, token: str) -> str | None:
        """The enterprise whose PBX of that name has this token, or None."""
        found = self.credential("pbx", token)
        if found is None or not hmac.compare_digest(found[1].encode(), pbx_name.encode("utf-8", "surrogatepass")):
            return None
        return found[0]

    async def refresh(self) -> None:
        """Read it now. Raises what asyncpg raises; the last map stays in force then."""
        async with self._pool.acquire() as connection:
            enterprises, pbxs, lines, extensions, credentials = await queries.read(connection)
        of = [_grouped(rows) for rows in (pbxs, lines, extensions)]
        self._map = _Map(
            enterprises=MappingProxyType(
                {row["number"]: _enterprise(row, *(rows[row["number"]] for rows in of)) for row in enterprises}
            ),
            digests=MappingProxyType(
                {(row["kind"], bytes(row["digest"])): (row["enterprise_number"], row["subject"]) for row in credentials}
            ),
        )

    def changed(self) -> None:
        """Something it knows has changed: read it again soon. To be called on a NOTIFY of bridge_config, and after a
        reconnect of whoever listens."""
        self._stale.set()

    async def run(self) -> None:
        """Keep it fresh, for ever."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every * random.uniform(0.85, 1.0)):  # noqa: S311 - jitter
                    await self._stale.wait()
            self._stale.clear()
            try:
                await self.refresh()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as problem:
                log.warning("directory_not_read", problem=str(problem))
                await asyncio.sleep(1.0)
                self._stale.set()


def _grouped(rows: list[asyncpg.Record]) -> defaultdict[str, list[asyncpg.Record]]:
    groups: defaultdict[str, list[asyncpg.Record]] = defaultdict(list)
    for row in rows:
        groups[row["enterprise_number"]].append(row)
    return groups


def _enterprise(
    row: asyncpg.Record, pbxs: list[asyncpg.Record], lines: list[asyncpg.Record], extensions: list[asyncpg.Record]
) -> Enterprise:
    region = row["region"]
    return Enterprise(
        number=row["number"],
        name=row["name"],
        region=region,
        fallback=row["fallback"],
        pbxs=tuple(
            PbxDialing(
                name=pbx["name"],
                extensions=pbx["extensions"],
                contexts=tuple(pbx["click_to_call_contexts"]),
                endpoint=pbx["endpoint"],
                outgoing=pbx["outgoing"],
            )
            for pbx in pbxs
        ),
        lines=MappingProxyType({_line_key(line["number"], region): line["smart_redirect"] for line in lines}),
        extensions=frozenset(each["extension"] for each in extensions),
        dialplans=MappingProxyType({pbx["name"]: pbx["dialplan"] for pbx in pbxs}),
        recorded=frozenset(pbx["name"] for pbx in pbxs if pbx["recorded"]),
    )


def _line_key(number: str, region: str) -> str:
    return e164(number, region) or number
