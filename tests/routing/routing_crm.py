"""A CRM that says what it is told to say, and what every enterprise has enabled."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry

from bridge.crm.port import Delivery, Outcome, Request
from bridge.errors import CrmUnavailable
from bridge.lookups import LookupLimits, Lookups
from bridge.pacing import Rate
from bridge.routing import Responsible

KNOWN, STRANGER = "+79165550152", "+79160000000"
MARIA = Responsible(user_id="16", code="152", customer="Кузнецова, Мария", manager="Олег")


class Config(msgspec.Struct, frozen=True):
    """As much of a CRM's configuration as look-ups need."""

    enabled: bool = True
    user_extensions: dict[str, str | None] = {}


@dataclass
class ScriptedCrm:
    """Knows `people` by number. `hold` makes it answer only when set; `down` makes it fail."""

    kind: str = "retailcrm"
    rate: Rate = field(default_factory=lambda: Rate(per_second=10, burst=10))
    timeout: float = 3.0
    people: dict[str, Responsible] = field(default_factory=lambda: {KNOWN: MARIA})
    hold: asyncio.Event | None = None
    down: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)

    async def responsible(self, enterprise_number: str, phone: str, config: Any, timeout: float) -> Responsible | None:
        self.asked.append((enterprise_number, phone))
        if self.hold is not None:
            await self.hold.wait()
        if self.down:
            raise CrmUnavailable("down")
        return self.people.get(phone)

    def map(self, delivery: Delivery, config: Any) -> Request | None:
        return None

    async def deliver(self, enterprise_number: str, request: Request, config: Any) -> Outcome:
        raise AssertionError("routing delivers nothing")

    async def close(self) -> None: ...


@dataclass
class House:
    """The matrix and the configurations of every enterprise."""

    matrix: dict[str, dict[str, bool]] = field(default_factory=lambda: {"0367": {"retailcrm": True}})
    configs: dict[str, Config | None] = field(default_factory=lambda: {"0367": Config(), "0999": Config()})

    def enabled(self, enterprise_number: str) -> Mapping[str, bool]:
        return self.matrix.get(enterprise_number, {})

    async def get(self, enterprise_number: str, integration_type: str) -> Config | None:
        return self.configs.get(enterprise_number)


class Clock:
    """Moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def look_ups(crm: ScriptedCrm, house: House, clock: Clock | None = None, **limits: Any) -> Lookups:
    options: dict[str, Any] = {"clock": clock} if clock else {}
    return Lookups(house, house, {"retailcrm": crm}, CollectorRegistry(), LookupLimits(**limits), **options)
