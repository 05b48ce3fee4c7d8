"""What the CRMs of an enterprise say of a caller: asked once, kept for a minute, and a CRM that fails is spared.

Theory of operation. A look-up is known by enterprise, CRM and caller. A fresh answer is given from memory, "unknown"
as well as a name. Otherwise one request is made, however many ask meanwhile, and it runs on after those who asked have
stopped waiting: its answer serves the next call. Failures are not kept; the breaker sees to them. The cache is bounded:
its keys are callers' numbers, and whoever dials in chooses those.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import asyncpg
import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter

from bridge.crm.port import Integration
from bridge.errors import BridgeError
from bridge.pacing import Limits, Policy, Rate, failed, room, spend
from bridge.routing import Finding, Responsible, Silence

log = structlog.get_logger(__name__)

Said = Responsible | Silence
Extensions = Mapping[str, str | None]
_Key = tuple[str, str, str]


class Matrix(Protocol):
    """Which integrations an enterprise has enabled, in the order they are believed."""

    def enabled(self, enterprise_number: str) -> Mapping[str, bool]: ...


class Configurations(Protocol):
    """An enterprise's configuration of an integration, its secrets opened; None: there is none."""

    async def get(self, enterprise_number: str, integration_type: str) -> Any: ...


class _Changed(msgspec.Struct, frozen=True):
    enterprise_number: str


class LookupLimits(msgspec.Struct, frozen=True, kw_only=True):
    """`keep` and `patience` in seconds: how long an answer is fresh, and how long a CRM may take at all.

    rate      questions to one account. Whatever is asked in one second and what deliveries take (`Integration.rate`)
              stay together within what the strictest CRM allows: RetailCRM refuses more than 40 in a second
    at_once   look-ups of one enterprise under way at the same time
    capacity  answers kept, over all enterprises
    """

    keep: float = 60.0
    patience: float = 3.0
    rate: Rate = Rate(per_second=4, burst=8)
    at_once: int = 16
    capacity: int = 20_000
    breaker: Policy = Policy()


class Lookups:
    """`ask` never raises for what a CRM does. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        matrix: Matrix,
        configurations: Configurations,
        integrations: Mapping[str, Integration[Any]],
        registry: CollectorRegistry,
        limits: LookupLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._matrix = matrix
        self._configurations = configurations
        self._integrations = integrations
        self._limits = limits or LookupLimits()
        self._clock = clock
        self._kept: OrderedDict[_Key, tuple[float, Said]] = OrderedDict()
        self._pending: dict[_Key, asyncio.Task[Said]] = {}
        self._under_way: dict[str, int] = {}
        self._accounts: dict[tuple[str, str], Limits] = {}
        self._epochs: dict[str, int] = {}
        self._results = Counter("bridge_lookups", "Look-ups of callers, by result", ("result",), registry=registry)

    def crms(self, enterprise_number: str) -> Sequence[str]:
        """The enabled CRMs that can be asked."""
        enabled = self._matrix.enabled(enterprise_number)
        return [crm for crm, on in enabled.items() if on and crm in self._integrations]

    async def extensions(self, enterprise_number: str, crm: str) -> Extensions:
        """Which of the CRM's users has which extension: `user_extensions` of its configuration."""
        config = await self._configurations.get(enterprise_number, crm)
        mapping: Extensions = getattr(config, "user_extensions", None) or {}
        return mapping

    def ask(self, enterprise_number: str, phone: str) -> list[tuple[str, asyncio.Future[Said]]]:
        """Asks every enabled CRM of `phone` (E.164) at once. `hear` gives what each says."""
        return [(crm, self._one((enterprise_number, crm, phone))) for crm in self.crms(enterprise_number)]

    async def hear(self, enterprise_number: str, crm: str, pending: asyncio.Future[Said], until: float) -> Finding:
        """What one CRM said by `until` (by the clock). A later answer is kept all the same."""
        try:
            async with asyncio.timeout(until - self._clock()):
                said = await asyncio.shield(pending)
                extensions = await self.extensions(enterprise_number, crm)
        except TimeoutError:
            return Finding(crm=crm, said=Silence("deadline"))
        except (BridgeError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as problem:
            log.warning("configuration_not_read", enterprise=enterprise_number, crm=crm, problem=repr(problem))
            return Finding(crm=crm, said=Silence("failed"))
        return Finding(crm=crm, said=said, extensions=extensions)

    def forget(self, enterprise_number: str) -> None:
        """The enterprise's configuration changed: what was said under the old one counts no more."""
        for key in [key for key in self._kept if key[0] == enterprise_number]:
            del self._kept[key]
        self._epochs[enterprise_number] = self._epochs.get(enterprise_number, 0) + 1
        for account in [account for account in self._accounts if account[0] == enterprise_number]:
            del self._accounts[account]

    def changed(self, payload: str) -> None:
        """A NOTIFY of bridge_integrations."""
        try:
            self.forget(msgspec.json.decode(payload, type=_Changed).enterprise_number)
        except msgspec.MsgspecError:
            log.warning("notification_not_understood", channel="bridge_integrations", payload=payload[:200])

    def figures(self) -> Mapping[str, int]:
        """For /stats."""
        return {"kept": len(self._kept), "under_way": len(self._pending), "capacity": self._limits.capacity}

    async def close(self) -> None:
        tasks = list(self._pending.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _one(self, key: _Key) -> asyncio.Future[Said]:
        kept = self._kept.get(key)
        if kept is not None and kept[0] > self._clock():
            self._results.labels("kept").inc()
            return _done(kept[1])
        pending = self._pending.get(key)
        if pending is not None:
            self._results.labels("joined").inc()
            return pending
        refusal = self._refusal(key[0], key[1])
        if refusal is not None:
            self._results.labels(refusal.why).inc()
            return _done(refusal)
        task = asyncio.get_running_loop().create_task(self._ask(key))
        self._pending[key] = task
        self._under_way[key[0]] = self._under_way.get(key[0], 0) + 1
        task.add_done_callback(lambda _: self._over(key))
        return task

    def _refusal(self, enterprise_number: str, crm: str) -> Silence | None:
        """Why this account must not be asked now; None after taking a place for one question."""
        if self._under_way.get(enterprise_number, 0) >= self._limits.at_once:
            return Silence("busy")
        now, state = self._clock(), self._accounts.get((enterprise_number, crm), Limits())
        places, _ = room(state, now, self._limits.rate, 1, 0.0)
        if not places:
            return Silence("open" if state.open_until is not None else "busy")
        self._accounts[enterprise_number, crm], _ = spend(state, now, self._limits.rate, 1, self._limits.breaker)
        return None

    def _over(self, key: _Key) -> None:
        self._pending.pop(key, None)
        left = self._under_way.get(key[0], 1) - 1
        if left:
            self._under_way[key[0]] = left
        else:
            self._under_way.pop(key[0], None)

    async def _ask(self, key: _Key) -> Said:
        enterprise_number, crm, phone = key
        account = (enterprise_number, crm)
        epoch = self._epochs.get(enterprise_number, 0)
        patience = self._limits.patience
        try:
            async with asyncio.timeout(patience):
                config = await self._configurations.get(enterprise_number, crm)
                if config is None:
                    return Silence("failed")
                said = await self._integrations[crm].responsible(enterprise_number, phone, config, patience)
        except (BridgeError, OSError) as problem:  # TimeoutError is an OSError
            self._results.labels("failed").inc()
            state = self._accounts.get(account, Limits())
            self._accounts[account] = failed(state, self._clock(), self._limits.breaker, random.random())  # noqa: S311
            log.warning("lookup_failed", enterprise=enterprise_number, crm=crm, problem=str(problem) or repr(problem))
            return Silence("failed")
        except Exception:
            self._results.labels("failed").inc()
            log.exception("lookup_crashed", enterprise=enterprise_number, crm=crm)
            return Silence("failed")
        self._accounts[account] = Limits(tat=self._accounts.get(account, Limits()).tat)
        self._results.labels("known" if said is not None else "unknown").inc()
        answer: Said = said if said is not None else Silence("unknown")
        if epoch == self._epochs.get(enterprise_number, 0):
            self._keep(key, answer)
        return answer

    def _keep(self, key: _Key, said: Said) -> None:
        self._kept[key] = (self._clock() + self._limits.keep, said)
        self._kept.move_to_end(key)
        while len(self._kept) > self._limits.capacity:
            self._kept.popitem(last=False)


def _done(said: Said) -> asyncio.Future[Said]:
    future: asyncio.Future[Said] = asyncio.get_running_loop().create_future()
    future.set_result(said)
    return future
