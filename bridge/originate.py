"""Click-to-call: from a request to a ringing phone, and to what became of it.

Theory of operation. A request is checked by the pure rules (`bridge.calls.click`), then claimed in the database: of two
instances, or two impatient clicks, exactly one originates. The channel id is ours, chosen before anything is sent, so
the call that follows is known from its first event: Asterisk makes it the channel's Uniqueid and the call's Linkedid.
The action is sent once and never again, whatever happens to the link.

Whoever clicked is answered within 100 ms. What takes longer goes on without them: the request is queued with us then.

An extension that no PBX has may live at a cloud exchange: then that rings the phone, and tells by our id which call it
made.

The outcome is the result of the call the request became, whichever instance wrote its row: OriginateResponse says too
little, its reason 0 is busy, unregistered and bad technology alike. A phone that was not there makes no channel and so
no call; such a request is settled when its time is over, or soon after the PBX said that the originate failed.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import asyncpg
import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram

from bridge.calls.click import Click, ClickAnswer, Outcome, Source, originate, plan, plan_in_cloud
from bridge.calls.extensions import belongs
from bridge.db import originate as requests
from bridge.directory import Directory, Enterprise
from bridge.errors import (
    ActionFailed,
    ActionTimeout,
    BadInput,
    BridgeError,
    ConnectionLost,
    DatabaseProblem,
    NotFound,
    PbxUnavailable,
)
from bridge.redirect import Pbxs

log = structlog.get_logger(__name__)

ANSWER_WITHIN = 0.09
"""Seconds until whoever clicked has an answer; the rest of 100 ms is HTTP's."""

REPEAT_WINDOW = 15.0
RING_SECONDS = 30.0
_FORGET_EVERY = 3600.0
_ROW_WRITTEN_WITHIN = 2.0
_NEVER_BEGAN_AFTER = 20.0  # after the ringing: a call that has no row by then never was


class ClickMetrics:
    """`outcome` of requests that are over, and the time from the request to the PBX's word."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "bridge_click_requests", "Requests to call somebody, by answer", ("answer",), registry=registry
        )
        self.outcomes = Counter(
            "bridge_click_outcomes", "Requests to call somebody, by outcome", ("outcome",), registry=registry
        )
        self.seconds = Histogram(
            "bridge_click_seconds",
            "Seconds from a request to the PBX's confirmation that it is queued",
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0),
            registry=registry,
        )


class Cloud(Protocol):
    """A cloud exchange, where extensions live that no PBX of ours has."""

    @property
    def name(self) -> str:
        """What calls it makes have as the name of their PBX."""

    def serves(self, enterprise_number: str) -> bool: ...

    async def call(self, enterprise_number: str, click: Click, command_id: str) -> None:
        """Rings the extension, then the client; the call is known by `command_id` later.

        Raises BadInput, NotFound, PbxUnavailable, ActionTimeout (it may ring), ActionFailed, DatabaseProblem."""


class Clicks:
    """`start` makes calls, `run` finds out how they went."""

    def __init__(
        self,
        directory: Directory,
        pbxs: Pbxs,
        pool: asyncpg.Pool,
        metrics: ClickMetrics,
        *,
        cloud: Cloud | None = None,
        answer_within: float = ANSWER_WITHIN,
        repeat_window: float = REPEAT_WINDOW,
        ring_seconds: float = RING_SECONDS,
    ) -> None:
        self._directory = directory
        self._pbxs = pbxs
        self._pool = pool
        self._metrics = metrics
        self._cloud = cloud
        self._answer_within = answer_within
        self._repeat_window = repeat_window
        self._ring_seconds = ring_seconds
        self._under_way: set[asyncio.Task[bool]] = set()
        self._failed: dict[str, float] = {}
        self._forgotten_at = time.monotonic()

    async def start(
        self, enterprise_number: str, *, extension: str, phone: str, external_phone: str | None = None, source: Source
    ) -> ClickAnswer:
        """Rings `extension` and, once it is answered, dials `phone`. Answers within 100 ms.

        Raises BadInput for an extension or a number that cannot be, NotFound, PbxUnavailable, ActionFailed,
        DatabaseProblem."""
        try:
            answer = await self._start(enterprise_number, extension, phone, external_phone, source)
        except BridgeError as problem:
            self._metrics.requests.labels(problem.code.lower()).inc()
            log.info("click_refused", enterprise=enterprise_number, source=source, problem=problem.message)
            raise
        self._metrics.requests.labels("repeated" if answer.repeated else "queued").inc()
        return answer

    def originate_failed(self, channel_id: str) -> None:
        """The PBX said (OriginateResponse) that an originate failed. Synchronous: to be called in the read path."""
        self._failed[channel_id] = time.monotonic()

    async def run(self, every: float = 2.0) -> None:
        """Settles requests whose end has come, for ever."""
        while True:
            await asyncio.sleep(every)
            await self.settle()

    async def settle(self) -> None:
        """Once what `run` does."""
        # a moment for the mailbox to write the row of a call that did begin
        since = time.monotonic() - _ROW_WRITTEN_WITHIN
        failed = [channel_id for channel_id, at in self._failed.items() if at <= since]
        try:
            async with asyncio.timeout(10), self._pool.acquire() as connection:
                over = await requests.settle_ended(connection, failed, self._ring_seconds + _NEVER_BEGAN_AFTER)
                if time.monotonic() - self._forgotten_at > _FORGET_EVERY:
                    self._forgotten_at = time.monotonic()
                    await requests.forget_guards(connection)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as problem:
            log.warning("clicks_not_settled", problem=repr(problem))
            return
        for channel_id in failed:
            self._failed.pop(channel_id, None)
        for settled in over:
            self._count(settled)

    async def close(self) -> None:
        """Lets requests that were accepted go out."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=2.0)

    async def _start(
        self, enterprise_number: str, extension: str, phone: str, external_phone: str | None, source: Source
    ) -> ClickAnswer:
        enterprise = self._directory.enterprise(enterprise_number)
        if enterprise is None:
            raise NotFound("There is no such enterprise", field="enterprise_number")
        click = self._planned(enterprise, extension, phone, external_phone)
        work = asyncio.get_running_loop().create_task(self._originate(enterprise_number, click, source))
        self._under_way.add(work)
        work.add_done_callback(self._under_way.discard)
        done, _ = await asyncio.wait({work}, timeout=self._answer_within)
        if done:
            fresh = work.result()
        else:
            fresh = True
            work.add_done_callback(_late)
        return ClickAnswer(pbx=click.pbx, extension=extension, phone=click.number, repeated=not fresh)

    def _planned(self, enterprise: Enterprise, extension: str, phone: str, external_phone: str | None) -> Click:
        if (
            self._cloud is not None
            and extension in enterprise.extensions
            and not belongs(extension, [pbx.extensions for pbx in enterprise.pbxs])
            and self._cloud.serves(enterprise.number)
        ):
            # a line that is none of the enterprise's would be a wrong request, for which such exchanges punish
            line = external_phone if external_phone and enterprise.has_line(external_phone) else None
            return plan_in_cloud(
                self._cloud.name, extension=extension, phone=phone, external_phone=line, region=enterprise.region
            )
        return plan(
            enterprise.pbxs,
            extension=extension,
            phone=phone,
            external_phone=external_phone,
            region=enterprise.region,
        )

    async def _originate(self, enterprise_number: str, click: Click, source: Source) -> bool:
        """Whether the request was a new one and went out. Raises as `start`."""
        began = time.perf_counter()
        channel_id = f"bridge-{secrets.token_hex(10)}"
        ring = self._way(enterprise_number, click, channel_id)
        if not await self._claim(enterprise_number, click, source, channel_id):
            log.info("click_repeated", enterprise=enterprise_number, extension=click.extension, source=source)
            return False
        try:
            await ring()
        except (ConnectionLost, ActionTimeout) as problem:
            # It may ring: the claim stands, so that nobody makes it ring twice, and the sweep finds out
            log.warning("click_unconfirmed", enterprise=enterprise_number, pbx=click.pbx, problem=problem.message)
            raise
        except (PbxUnavailable, ActionFailed, BadInput, NotFound, DatabaseProblem) as problem:
            outcome: Outcome = "unavailable" if isinstance(problem, PbxUnavailable | DatabaseProblem) else "refused"
            await self._nothing_rang(channel_id, outcome, problem.message)
            raise
        self._metrics.seconds.observe(time.perf_counter() - began)
        log.info(
            "click_queued",
            enterprise=enterprise_number,
            pbx=click.pbx,
            extension=click.extension,
            source=source,
            channel_id=channel_id,
        )
        return True

    def _way(self, enterprise_number: str, click: Click, channel_id: str) -> Callable[[], Awaitable[object]]:
        """How the phone is made to ring. Raises NotFound."""
        if self._cloud is not None and not click.channel:
            return functools.partial(self._cloud.call, enterprise_number, click, channel_id)
        link = self._pbxs.manager_for(enterprise_number, click.pbx)
        return functools.partial(link.send, originate(click, channel_id, self._ring_seconds), timeout=5.0)

    async def _claim(self, enterprise_number: str, click: Click, source: Source, channel_id: str) -> bool:
        try:
            async with asyncio.timeout(5), self._pool.acquire() as connection:
                return await requests.claim(
                    connection, enterprise_number, click, source, channel_id, self._repeat_window
                )
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as problem:
            raise DatabaseProblem("The database does not answer: nothing was called") from problem

    async def _nothing_rang(self, channel_id: str, outcome: Outcome, detail: str) -> None:
        try:
            async with asyncio.timeout(5), self._pool.acquire() as connection:
                await requests.release(connection, channel_id)
                self._count(await requests.settle(connection, channel_id, outcome, detail))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as problem:
            log.warning("click_not_settled", channel_id=channel_id, problem=repr(problem))

    def _count(self, settled: requests.Settled | None) -> None:
        if settled is None:
            return
        self._metrics.outcomes.labels(settled.outcome).inc()
        log.info(
            "click_over",
            enterprise=settled.enterprise_number,
            pbx=settled.pbx_name,
            channel_id=settled.channel_id,
            source=settled.source,
            outcome=settled.outcome,
        )


def _late(work: asyncio.Task[bool]) -> None:
    """The end of a request whose sender has been answered already."""
    if work.cancelled():
        return
    problem = work.exception()
    if isinstance(problem, BridgeError):
        log.warning("click_failed_late", problem=problem.message)
    elif problem is not None:
        log.error("click_crashed_late", exc_info=problem)
