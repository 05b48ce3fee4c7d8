"""A CRM behind the port that does what the test says and remembers what it was sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from bridge.crm.port import Delivered, Delivery, Outcome, Request
from bridge.pacing import Rate
from bridge.routing.model import Responsible

Behaviour = Callable[[str, Request], Outcome]


class Switch(msgspec.Struct):
    """The only thing every configuration has."""

    enabled: bool = True


class Crm:
    """A CRM of the tests' own behind the port: remembers what it was sent, answers as it is told."""

    kind = "retailcrm"
    rate = Rate(per_second=1000, burst=100)
    timeout = 1.0

    def __init__(self, behave: Behaviour | None = None) -> None:
        self.behave: Behaviour = behave or (lambda enterprise, request: Delivered())
        self.sent: list[tuple[str, str, str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.at_work = 0
        self.most_at_work = 0

    def map(self, delivery: Delivery, config: Switch) -> Request | None:
        if delivery.call.client_number is None:
            return None
        if delivery.call.client_name == "defect":
            raise ZeroDivisionError("a defect of ours")
        body = {"call": delivery.external_id, "codes": list(delivery.notice.extensions)}
        return Request(event_type=delivery.notice.kind, body=body)

    async def deliver(self, enterprise_number: str, request: Request, config: Switch) -> Outcome:
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        try:
            self.sent.append((enterprise_number, request.body["call"], request.event_type))
            await self.gate.wait()
            return self.behave(enterprise_number, request)
        finally:
            self.at_work -= 1

    async def responsible(
        self, enterprise_number: str, phone: str, config: Switch, timeout: float
    ) -> Responsible | None:
        return None

    async def close(self) -> None:
        """Nothing is open."""


def after(failures: int, failure: Outcome, then: Outcome | None = None) -> Behaviour:
    """Fail so many times, then succeed."""
    left = [failures]

    def behave(enterprise: str, request: Request) -> Outcome:
        left[0] -= 1
        return failure if left[0] >= 0 else (then or Delivered())

    return behave
