"""Which enterprise has which integration enabled: one immutable map, read without waiting, swapped whole.

Theory of operation. Every call asks, so the answer comes from memory. Four things keep it true:

- a NOTIFY of `bridge_integrations` (enterprise, integration type, version): that enterprise is read again, unless the
  map has that version already;
- a full read every 180-300 s, and after every reconnect of whoever listens;
- an entry older than its time to live (60-100 s) is read again by itself, in case a NOTIFY was lost;
- a question about an enterprise that is not in the map has it read.

Reads are single-flight: one is under way at a time, and what is asked for meanwhile goes with the next. A read that
fails leaves the map as it is. Reads are ordered by when they *began*: the later one saw the newer state.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Protocol

import msgspec
import structlog

from bridge.crm.cache_figures import CacheFigures
from bridge.errors import BadInput

log = structlog.get_logger(__name__)

NOTHING: Mapping[str, bool] = MappingProxyType({})

_TICK_SECONDS = 5.0
_RETRY_FIRST, _RETRY_MOST = 0.25, 10.0
_MOST_UNKNOWN = 1000

Check = Callable[[Mapping[str, Any]], object]
"""Raises BadInput when an integration's configuration has the wrong shape. Its secrets may be sealed."""


class Row(Protocol):
    """An enterprise as the source gives it. `config` is its `integrations_config`, whatever somebody wrote there."""

    @property
    def number(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def active(self) -> bool: ...
    @property
    def config(self) -> Any: ...


class Source(Protocol):
    """Where rows are read. Raises when it cannot: the map stays as it is then."""

    async def all(self) -> Sequence[Row]: ...

    async def some(self, numbers: Sequence[str]) -> Sequence[Row]: ...


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One enterprise. `broken` says why an integration cannot work; `begun` orders reads; `until` ends its life."""

    version: int
    enabled: Mapping[str, bool]
    broken: Mapping[str, str]
    begun: float
    until: float


class Changed(msgspec.Struct, frozen=True):
    """The payload of a NOTIFY. `integration_type` "*": all of the enterprise, which may be gone."""

    enterprise_number: str
    integration_type: str
    version: int


Map = Mapping[str, Entry]


# --- pure -----------------------------------------------------------------------------------------------------------


def judged(row: Row, checks: Mapping[str, Check]) -> tuple[dict[str, bool], dict[str, str]]:
    """(enabled, broken) of an enterprise, the integrations of `checks` in their order, then the others.

    Enabled is what says `"enabled": true`, belongs to an active enterprise, and has the right shape.
    """
    if not isinstance(row.config, Mapping):
        return {}, {"*": f"integrations_config is {_kind(row.config)}; it must be an object"}
    enabled: dict[str, bool] = {}
    broken: dict[str, str] = {}
    known = [kind for kind in checks if kind in row.config]
    for kind in (*known, *(kind for kind in row.config if kind not in checks)):
        config = row.config[kind]
        enabled[kind] = False
        if not isinstance(config, Mapping):
            broken[kind] = f"{kind} is {_kind(config)}; it must be an object"
        elif not isinstance(config.get("enabled", False), bool):
            broken[kind] = f"{kind}.enabled is {_kind(config['enabled'])}; it must be true or false"
        elif config.get("enabled", False) and row.active:
            try:
                if kind in checks:
                    checks[kind](config)
                enabled[kind] = True
            except BadInput as problem:
                broken[kind] = problem.message
    return enabled, broken


def entries(
    rows: Iterable[Row], checks: Mapping[str, Check], *, begun: float, lives: Callable[[], float]
) -> dict[str, Entry]:
    """Rows as entries of a map read at `begun`, each with a life of its own."""
    made = {}
    for row in rows:
        enabled, broken = judged(row, checks)
        made[row.number] = Entry(
            version=row.version,
            enabled=MappingProxyType(enabled),
            broken=MappingProxyType(broken),
            begun=begun,
            until=begun + lives(),
        )
    return made


def whole(current: Map, read: Mapping[str, Entry], begun: float) -> Map:
    """The map after a full read: what it gave, except for entries that a read begun later has given since."""
    newer = {number: entry for number, entry in current.items() if entry.begun > begun}
    return MappingProxyType({**read, **newer})


def patched(current: Map, asked: Iterable[str], read: Mapping[str, Entry], begun: float) -> Map:
    """The map after a read of `asked`: those of them that were not found are gone."""
    changed = dict(current)
    for number in asked:
        before = current.get(number)
        if before is not None and before.begun > begun:
            continue
        if number in read:
            changed[number] = read[number]
        else:
            changed.pop(number, None)
    return MappingProxyType(changed)


def is_news(current: Map, changed: Changed) -> bool:
    """Whether the map may lack what a NOTIFY tells of."""
    entry = current.get(changed.enterprise_number)
    return entry is None or changed.integration_type == "*" or changed.version > entry.version


def refresh_delay(rng: random.Random) -> float:
    """Seconds to the next full read: four minutes, 10-20 % sooner or later, so that instances do not read together."""
    return 240.0 * (1.0 + rng.choice((-1, 1)) * rng.uniform(0.1, 0.2))


def life(rng: random.Random) -> float:
    """Seconds an entry is believed without being read again."""
    return rng.uniform(60.0, 100.0)


# --- the shell ------------------------------------------------------------------------------------------------------


class Matrix:
    """`refresh` once before it is asked, `run` for ever. `clock` is monotonic, in seconds; `rng` makes the jitter."""

    def __init__(
        self,
        source: Source,
        checks: Mapping[str, Check],
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        delay: Callable[[random.Random], float] = refresh_delay,
        lives: Callable[[random.Random], float] = life,
        tick: float = _TICK_SECONDS,
    ) -> None:
        self._source = source
        self._checks = checks
        self.counted = CacheFigures("matrix")
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        self._delay = delay
        self._lives = lives
        self._tick = tick
        self._map: Map = MappingProxyType({})
        self._wanted: set[str] = set()
        self._unknown: dict[str, float] = {}
        self._full_at = 0.0
        self._stir = asyncio.Event()
        self._reading = asyncio.Lock()

    def enabled(self, enterprise_number: str) -> Mapping[str, bool]:
        """Integration -> whether it is enabled; empty for an unknown enterprise. Never waits."""
        entry = self._map.get(enterprise_number)
        if entry is None:
            self.counted.misses += 1
            self._want_unknown(enterprise_number)
            return NOTHING
        self.counted.hits += 1
        if self._clock() > entry.until:
            self._want(enterprise_number)
        return entry.enabled

    def active(self, integration_type: str) -> list[str]:
        """The enterprises that have the integration enabled."""
        return [number for number, entry in self._map.items() if entry.enabled.get(integration_type, False)]

    def figures(self) -> dict[str, Any]:
        """For /stats."""
        return {"broken": self.broken(), **self.counted.shown()}

    def broken(self) -> dict[str, dict[str, str]]:
        """Enterprise number -> integration -> why it cannot work; only where there is one."""
        return {number: dict(entry.broken) for number, entry in self._map.items() if entry.broken}

    def changed(self, payload: str) -> None:
        """A NOTIFY of bridge_integrations."""
        try:
            told = msgspec.json.decode(payload, type=Changed)
        except msgspec.MsgspecError:
            self.catch_up()
            return
        if not is_news(self._map, told):
            self.counted.ignored += 1
            return
        kind = told.integration_type
        self.counted.invalidations[kind if kind in self._checks or kind == "*" else "other"] += 1
        self._want(told.enterprise_number)

    def catch_up(self) -> None:
        """Something may have been missed: read everything soon."""
        self._full_at = 0.0
        self._stir.set()

    async def refresh(self) -> None:
        """Read everything now. Raises what the source raises; the map stays as it is then."""
        async with self._reading:
            begun = self._clock()
            with self.counted.loading("full"):
                rows = await self._source.all()
            self._swap(whole(self._map, self._entries(rows, begun), begun))
            self._unknown.clear()
            self._full_at = self._clock() + self._delay(self._rng)

    async def run(self) -> None:
        """Keep it true, for ever."""
        pause = _RETRY_FIRST
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._tick):
                    await self._stir.wait()
            self._stir.clear()
            now = self._clock()
            self._wanted.update(number for number, entry in self._map.items() if now > entry.until)
            try:
                if now >= self._full_at:
                    self._wanted.clear()
                    await self.refresh()
                elif self._wanted:
                    await self._read_wanted()
                pause = _RETRY_FIRST
            except Exception as problem:
                log.warning("matrix_not_read", problem=str(problem) or type(problem).__name__)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _RETRY_MOST)
                self.catch_up()

    async def _read_wanted(self) -> None:
        asked, self._wanted = sorted(self._wanted), set()
        async with self._reading:
            begun = self._clock()
            with self.counted.loading("entries"):
                rows = await self._source.some(asked)
            read = self._entries(rows, begun)
            self._swap(patched(self._map, asked, read, begun))
        until = begun + self._lives(self._rng)
        if len(self._unknown) > _MOST_UNKNOWN:
            self._unknown.clear()
        self._unknown.update((number, until) for number in asked if number not in read)

    def _entries(self, rows: Sequence[Row], begun: float) -> dict[str, Entry]:
        return entries(rows, self._checks, begun=begun, lives=lambda: self._lives(self._rng))

    def _swap(self, new: Map) -> None:
        self._map = new
        self.counted.size = len(new)

    def _want(self, number: str) -> None:
        self._wanted.add(number)
        self._stir.set()

    def _want_unknown(self, number: str) -> None:
        """A number that was looked for and is not there is not looked for at every question, nor are too many at once:
        whoever asks may have made them up."""
        if self._clock() > self._unknown.get(number, 0.0) and len(self._wanted) < _MOST_UNKNOWN:
            self._unknown.pop(number, None)
            self._want(number)


def _kind(value: object) -> str:
    names = {bool: "a boolean", str: "a text", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), type(value).__name__)
