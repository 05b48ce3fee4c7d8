"""The port behind which every CRM stands: what the worker and the router may ask of one, and how it answers.

An integration is told of a call in two steps: `map` turns a delivery into that CRM's own words (pure, tested as a
table), `deliver` sends them and says what became of them. The outcome alone decides whether, when and by whom it is
tried again, so an integration knows nothing of queues, retries or breakers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import msgspec

from bridge.calls.model import Call, Notice
from bridge.pacing import Rate
from bridge.routing.model import Responsible


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One thing one CRM must be told: the notice, the call when it was noticed, the id that makes a repeat harmless."""

    notice: Notice
    call: Call
    external_id: str
    recording_url: str | None = None


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What will be sent, in the CRM's words. `event_type` names it in integration_logs; `body` never holds a secret."""

    event_type: str
    body: Mapping[str, Any]


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """The CRM has it. `remark`: what it said beside (codes it does not know, a duplicate)."""

    response: Any = None
    remark: str | None = None


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """The CRM works and will never take this. Repeating it is pointless: a dead letter at once, for a person to see."""

    reason: str
    response: Any = None


class Later(msgspec.Struct, frozen=True, kw_only=True):
    """Not now.

    account      the trouble is the whole account's (down, over its rate, a wrong key), not this delivery's alone: it
                 counts towards the account's breaker
    retry_after  seconds, when the CRM named a time
    """

    reason: str
    retry_after: float | None = None
    account: bool = True
    response: Any = None


Outcome = Delivered | Refused | Later


class Config(Protocol):
    """What every integration's configuration has. The rest is its own."""

    @property
    def enabled(self) -> bool: ...


C = TypeVar("C", bound=Config, contravariant=True)


class Integration(Protocol[C]):
    """One kind of CRM. One object serves every enterprise; what belongs to an enterprise comes with `config`."""

    @property
    def kind(self) -> str:
        """The integration type: the key in integrations_config, in crm_accounts and in logs."""

    @property
    def rate(self) -> Rate: ...

    @property
    def timeout(self) -> float:
        """Seconds that `deliver` takes at most. It keeps to it by itself."""

    def map(self, delivery: Delivery, config: C) -> Request | None:
        """The CRM's words for a delivery, or None when this CRM need not or cannot be told of it. Pure."""

    async def deliver(self, enterprise_number: str, request: Request, config: C) -> Outcome:
        """Send it. Whatever the outside world does is an Outcome; only a defect of ours raises."""

    async def responsible(self, enterprise_number: str, phone: str, config: C, timeout: float) -> Responsible | None:
        """What the CRM knows of the caller `phone` (E.164), None when it does not know them.

        Raises CrmTimeout when it has not answered within `timeout` seconds, CrmUnavailable or CrmRefused when it cannot
        or will not say, BadInput when the configuration cannot work.
        """

    async def close(self) -> None: ...


class Configurations(Protocol):
    """Where the worker finds an enterprise's configuration of an integration, secrets opened; None: there is none."""

    async def get(self, enterprise_number: str, integration_type: str) -> Any: ...
