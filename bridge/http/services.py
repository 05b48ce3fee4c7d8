"""What the handlers need of the rest of the house: one struct of ports, filled by the composition root."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import asyncpg
import msgspec
from prometheus_client import CollectorRegistry

from bridge.calls.script_events import ScriptEvent
from bridge.http.auth.limits import LoginLimits
from bridge.recordings.journal import Recordings
from bridge.recordings.store import Store


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`secret_keys` newest first. `token_seconds`: how long an API token opens the door."""

    secret_keys: tuple[str, ...]
    public_url: str = "http://127.0.0.1:8000"
    token_seconds: float = 12 * 3600.0
    cors_origins: tuple[str, ...] = ()


class PbxState(msgspec.Struct, frozen=True, kw_only=True):
    """How one PBX stands. `state` is "up" while its events arrive; `problem` says in plain words why not."""

    enterprise_number: str
    name: str
    state: str
    problem: str = ""


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """What makes the service do less than it should, a PBX aside. `enterprise_number` None: the whole deployment's."""

    text: str
    enterprise_number: str | None = None


class Pbxs(Protocol):
    """The exchanges, whichever instance owns them."""

    async def states(self) -> Sequence[PbxState]: ...


class Matrix(Protocol):
    """Which enterprise has which integration enabled."""

    def enabled(self, enterprise_number: str) -> Mapping[str, bool]: ...


class Scripts(Protocol):
    """Where events of a PBX that still runs the legacy scripts enter the pipeline."""

    async def ingest(self, enterprise_number: str, event: ScriptEvent) -> None:
        """Returns once the event is safe; its work may follow later. In the order of the calls."""


class LiveFeed(Protocol):
    """Which calls changed: batches of (enterprise number, ids of rows), each sent once per writing transaction."""

    def subscribe(self, enterprise_number: str | None) -> AsyncIterator[Batch]:
        """Changes of one enterprise, or of all. An empty batch: some were missed, read everything again."""


@dataclass(kw_only=True)
class Library:
    """Recordings of calls: what is known of them, and where they are kept."""

    recordings: Recordings
    store: Store


class Histories(Protocol):
    """What a cloud exchange remembers of calls, compared with what was heard of them."""

    async def begin(self, enterprise_number: str, since: float | None = None, *, wait: float) -> bool:
        """Whether it is done within `wait` seconds. Raises NotFound, Conflict while one goes on, DatabaseProblem."""

    async def last(self, enterprise_number: str) -> Sequence[Mapping[str, Any]]:
        """What came of it the last time."""


class Batch(msgspec.Struct, frozen=True):
    """Calls of one enterprise that one or more transactions changed. `enterprise_number` None: anything may have."""

    enterprise_number: str | None
    calls: tuple[int, ...]


Figures = Callable[[], Mapping[str, Any] | Awaitable[Mapping[str, Any]]]


@dataclass(kw_only=True)
class Services:
    """`figures` are shown by /stats under their names (the caches, the matrix's counters, whatever else counts).
    `troubles` make /health degraded."""

    settings: HttpSettings
    pool: asyncpg.Pool
    pbxs: Pbxs
    matrix: Matrix
    scripts: Scripts
    feed: LiveFeed
    histories: Histories | None = None
    library: Library | None = None
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    figures: Mapping[str, Figures] = field(default_factory=dict)
    troubles: Callable[[], Sequence[Trouble]] = tuple
    login_limits: LoginLimits = field(default_factory=LoginLimits)
    clock: Callable[[], float] = time.time
