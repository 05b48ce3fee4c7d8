"""A PBX that takes actions as it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry

from bridge.db.pool import Pool
from bridge.directory import Directory
from bridge.errors import BridgeError
from bridge.originate import ClickMetrics, Clicks


class ScriptedPbx:
    """One link for every PBX. `problem` is raised instead of an answer; `hold` lets it answer only when set."""

    def __init__(self) -> None:
        self.sent: list[Mapping[str, Any]] = []
        self.problem: BridgeError | None = None
        self.hold: asyncio.Event | None = None

    def manager_for(self, enterprise_number: str, name: str | None = None) -> ScriptedPbx:
        return self

    async def send(self, action: Mapping[str, Any], *, timeout: float | None = None) -> None:
        self.sent.append(action)
        if self.hold is not None:
            await self.hold.wait()
        if self.problem is not None:
            raise self.problem


def clicks(directory: Directory, pbx: Any, pool: Pool, **options: Any) -> tuple[Clicks, CollectorRegistry]:
    registry = CollectorRegistry()
    return Clicks(directory, pbx, pool, ClickMetrics(registry), **options), registry
