"""The worker: makes the deliveries that the journal holds, each account at its own pace.

Theory of operation. One task per account that is owed something; accounts share nothing but the database, so one that
is slow or down delays no other. The task claims deliveries in one transaction: the account's row is locked and asked
for room (rate and breaker), the heads of the queue's groups are taken out of other readers' sight for longer than an
attempt can last, and the attempt is counted. Then each is sent, and what came of it is written in another transaction
together with its log row. A crash between the two leaves the delivery to whoever reads it after the time-out: it is
sent at least once, and its external id makes a repeat harmless. A call's next delivery is not read before its first is
over, so their order is kept whatever happens.

Wake-ups are only a shortening: every `poll` seconds the accounts that are owed something are looked up anyway.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

import asyncpg
import msgspec
import stamina
import structlog

from bridge import pacing
from bridge.calls.model import Call, Notice
from bridge.crm import accounts, journal
from bridge.crm.accounts import LOST, Account
from bridge.crm.journal import Attempt, Entry
from bridge.crm.metrics import DeliveryMetrics
from bridge.crm.port import (
    Configurations,
    Delivered,
    Delivery,
    Integration,
    Later,
    Outcome,
    Refused,
    Request,
)
from bridge.errors import BridgeError

log = structlog.get_logger(__name__)

Pool = asyncpg.Pool


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, except `slots`: attempts of one account under way at once in this process.

    horizon   how long a delivery is retried before it becomes a dead letter
    popup     how long after the phone rang a pop-up still makes sense
    patience  how long a claimed delivery may wait for its place in the rate
    margin    what the database may take to write an outcome before somebody else may read the delivery again
    gauges    how often the backlog is measured
    """

    slots: int = 8
    horizon: float = 72 * 3600.0
    popup: float = 60.0
    patience: float = 1.0
    margin: float = 8.0
    poll: float = 1.0
    gauges: float = 15.0
    breaker: pacing.Policy = pacing.Policy()


class _Claim(msgspec.Struct, kw_only=True):
    """What a claim gave: entries to send, each after a wait; how many were over without sending; when to ask again."""

    account: Account | None = None
    send: list[tuple[Entry, float]] = []
    over: int = 0
    closed_for: float = 0.0


class Worker:
    """Start with `run()`; it returns after `stop()`, once every attempt under way is written down."""

    def __init__(
        self,
        pool: Pool,
        integrations: Sequence[Integration[Any]],
        configurations: Configurations,
        metrics: DeliveryMetrics,
        settings: Settings | None = None,
    ) -> None:
        self._pool = pool
        self._integrations: Mapping[str, Integration[Any]] = {each.kind: each for each in integrations}
        self._configurations = configurations
        self._metrics = metrics
        self._settings = settings or Settings()
        self._stopping = asyncio.Event()
        self._woken = asyncio.Event()
        self._called: set[int] = set()
        self._sweep_wanted = True
        self._events: dict[int, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # --- life -------------------------------------------------------------------------------------------------------

    def wake(self, account: str = "") -> None:
        """Something is owed to the account with this id (the payload of bridge_deliveries); empty: to any."""
        if account.isdecimal():
            self._called.add(int(account))
        else:
            self._sweep_wanted = True
        self._woken.set()

    def stop(self) -> None:
        """Begin nothing new; let what is under way finish."""
        self._stopping.set()
        self._woken.set()
        for event in self._events.values():
            event.set()

    async def run(self) -> None:
        gauges = asyncio.create_task(self._measure(), name="delivery gauges")
        try:
            while not self._stopping.is_set():
                await self._look()
                try:
                    await asyncio.wait_for(self._woken.wait(), self._settings.poll * random.uniform(0.9, 1.1))  # noqa: S311
                except TimeoutError:
                    self._sweep_wanted = True
            while self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            gauges.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(gauges, *self._tasks, return_exceptions=True)

    async def _look(self) -> None:
        """Give every account that is owed something a task."""
        self._woken.clear()
        called, self._called = self._called, set()
        if self._sweep_wanted:
            try:
                async with self._pool.acquire() as conn:
                    called.update(await accounts.owed(conn, list(self._integrations)))
                self._sweep_wanted = False
            except LOST as problem:
                log.warning("deliveries_not_read", problem=str(problem))
        for account_id in called:
            event = self._events.get(account_id)
            if event is not None:
                event.set()
                continue
            self._events[account_id] = asyncio.Event()
            self._begin(self._serve(account_id), f"crm account {account_id}")

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _measure(self) -> None:
        known: set[str] = set(self._integrations)
        while True:
            try:
                async with self._pool.acquire() as conn:
                    backlog = await journal.backlog(conn)
            except LOST as problem:
                log.warning("deliveries_not_measured", problem=str(problem))
            else:
                known |= backlog.keys()
                for kind in known:
                    now = backlog.get(kind, journal.Backlog())
                    self._metrics.owed.labels(kind).set(now.owed)
                    self._metrics.oldest.labels(kind).set(now.oldest)
                    self._metrics.dead.labels(kind).set(now.dead)
                    self._metrics.open.labels(kind).set(now.open)
            await asyncio.sleep(self._settings.gauges)

    # --- one account ------------------------------------------------------------------------------------------------

    async def _serve(self, account_id: int) -> None:
        """Deliver until the account is owed nothing that is due, or must be left alone for a while."""
        event = self._events[account_id]
        under_way: set[asyncio.Task[None]] = set()
        try:
            while not self._stopping.is_set():
                event.clear()
                claim = await self._claim(account_id, self._settings.slots - len(under_way))
                if claim.account is not None:
                    for entry, wait in claim.send:
                        task = self._begin(self._attempt(claim.account, entry, wait), f"delivery {entry.id}")
                        under_way.add(task)
                        task.add_done_callback(under_way.discard)
                        task.add_done_callback(lambda _: event.set())
                if claim.over or event.is_set():
                    continue
                if not under_way and (claim.closed_for == 0 or claim.closed_for > self._settings.poll):
                    return  # whoever finds it owed something later begins anew
                try:
                    await asyncio.wait_for(event.wait(), claim.closed_for or None)
                except TimeoutError:
                    continue
        except LOST as problem:
            log.warning("deliveries_not_claimed", account=account_id, problem=str(problem))
        except asyncpg.UndefinedTableError:
            log.info("crm_account_gone", account=account_id)
        except Exception:
            log.exception("crm_account_failed", account=account_id)
        finally:
            # Attempts still under way go on by themselves. A wake-up finds this task's event or none, never a dead one.
            del self._events[account_id]

    async def _claim(self, account_id: int, slots: int) -> _Claim:
        if slots <= 0:
            return _Claim()
        settings = self._settings
        async with self._pool.acquire() as conn, conn.transaction():
            account = await accounts.lock_account(conn, account_id)
            if account is None or account.integration_type not in self._integrations:
                return _Claim()
            integration = self._integrations[account.integration_type]
            rate = _rate(integration, account)
            room, closed_for = pacing.room(account.limits, account.now, rate, slots, settings.patience)
            if room == 0:
                return _Claim(account=account, closed_for=closed_for)
            visibility = round(settings.patience + integration.timeout + settings.margin)
            send: list[Entry] = []
            over = 0
            for entry in await journal.heads(conn, account, room, visibility):
                match self._overdue(entry):
                    case None:
                        send.append(entry)
                        continue
                    case ("done", _):
                        await journal.forget(conn, account.queue, entry)
                    case (state, reason):
                        await journal.settle(conn, account.queue, entry, state, reason)
                        self._metrics.settled.labels(account.integration_type, entry.kind, state).inc()
                        log.info("delivery_given_up", delivery=entry.id, state=state, reason=reason)
                over += 1
            spent, waits = pacing.spend(account.limits, account.now, rate, len(send), settings.breaker)
            if send:
                await accounts.save_limits(conn, account_id, spent)
                send = await journal.begin(conn, send, visibility)
            return _Claim(account=account, send=list(zip(send, waits, strict=True)), over=over)

    def _overdue(self, entry: Entry) -> tuple[str, str] | None:
        """What a delivery has become without being sent: (state, why), or ("done", "") when the journal says so."""
        if entry.state not in ("pending", "sending"):
            return "done", ""
        if entry.kind in ("ringing", "dialing") and entry.age > self._settings.popup:
            return "expired", f"the pop-up came {entry.age:.0f} s too late to be of use"
        if entry.attempts and entry.age > self._settings.horizon:
            return "dead", f"not delivered in {self._settings.horizon / 3600:.0f} h and {entry.attempts} attempts"
        return None

    # --- one attempt ------------------------------------------------------------------------------------------------

    async def _attempt(self, account: Account, entry: Entry, wait: float) -> None:
        """Send one claimed delivery and write down what came of it. Never raises: this is the edge of a task."""
        try:
            if wait:
                await asyncio.sleep(wait)  # its place in the account's rate
            request, outcome = await self._send(account, entry)
            async for again in stamina.retry_context(on=LOST, timeout=self._settings.margin / 2, attempts=None):
                with again:
                    await self._write(account, entry, request, outcome)
        except LOST as problem:
            log.warning("delivery_not_written", delivery=entry.id, problem=str(problem))
        except Exception:
            log.exception("delivery_failed", delivery=entry.id)

    async def _send(self, account: Account, entry: Entry) -> tuple[Request | None, Outcome | None]:
        """The request and its outcome; (None, None) when this CRM need not be told, (None, Refused) when it may not."""
        integration = self._integrations[account.integration_type]
        request: Request | None = None
        try:
            # The configuration may have to be read: an attempt must end before somebody else may read the delivery.
            async with asyncio.timeout(integration.timeout + self._settings.margin / 4):
                config = await self._configurations.get(account.enterprise_number, account.integration_type)
                if config is None or not config.enabled:
                    return None, Refused(reason="the integration is switched off")
                request = integration.map(_delivery(entry), config)
                if request is None:
                    return None, None
                return request, await integration.deliver(account.enterprise_number, request, config)
        except (TimeoutError, *LOST) as problem:
            return request, Later(reason=f"not tried in time: {problem or 'the configuration'}", account=False)
        except BridgeError as problem:
            return request, Later(reason=problem.message, account=False)
        except Exception as problem:
            # A defect of ours must cost this delivery time, not its account or the worker.
            log.exception("delivery_defect", delivery=entry.id, integration=integration.kind)
            return request, Later(reason=f"internal error: {type(problem).__name__}", account=False)

    async def _write(self, account: Account, entry: Entry, request: Request | None, outcome: Outcome | None) -> None:
        """One transaction: the account's breaker, the journal and the queue, the log."""
        policy = self._settings.breaker
        async with self._pool.acquire() as conn, conn.transaction():
            state: str
            reason: str | None
            retry_in: float | None = None
            match outcome:
                case None:
                    state, reason = "skipped", "there is nothing to tell this CRM"
                    await accounts.end_probe(conn, account.id)
                case Delivered(remark=remark):
                    state, reason = "delivered", remark
                    await accounts.recovered(conn, account.id)
                case Refused(reason=why):
                    popup = entry.kind in ("ringing", "dialing")
                    state, reason = "skipped" if popup else "dead", why
                    if request is None:
                        await accounts.end_probe(conn, account.id)
                    else:
                        await accounts.recovered(conn, account.id)
                case Later(reason=why, retry_after=retry_after, account=is_account):
                    state, reason = "pending", why
                    retry_in = max(pacing.backoff(entry.attempts, random.random()), retry_after or 0.0)  # noqa: S311
                    if entry.age > self._settings.horizon:
                        state, retry_in = "dead", None
                    if not is_account:
                        await accounts.end_probe(conn, account.id)
                    elif (current := await accounts.lock_account(conn, account.id)) is not None:
                        after = pacing.failed(current.limits, current.now, policy, random.random(), retry_after)  # noqa: S311
                        await accounts.save_limits(conn, account.id, after, why)
            age = await journal.settle(conn, account.queue, entry, state, reason, retry_in)
            if request is not None and outcome is not None:
                error = None if isinstance(outcome, Delivered) else outcome.reason
                attempt = Attempt(
                    event_type=request.event_type, request=request.body, response=outcome.response, error=error
                )
                await journal.log_attempt(conn, account, attempt)
        self._count(account.integration_type, entry, state, age, retrying=retry_in is not None, reason=reason)

    def _count(
        self, kind: str, entry: Entry, state: str, age: float | None, *, retrying: bool, reason: str | None
    ) -> None:
        outcome = "retried" if retrying else state
        self._metrics.attempts.labels(kind, entry.kind, outcome).inc()
        if age is None:
            log.warning("delivery_taken_over", delivery=entry.id, outcome=outcome)
            return
        if not retrying:
            self._metrics.settled.labels(kind, entry.kind, state).inc()
        if state == "delivered":
            self._metrics.lag.labels(kind, entry.kind).observe(age)
        log.info(
            "delivery_attempted",
            delivery=entry.id,
            external_id=entry.external_id,
            kind=entry.kind,
            attempt=entry.attempts,
            outcome=outcome,
            reason=reason,
        )


def _rate(integration: Integration[Any], account: Account) -> pacing.Rate:
    if account.rate_per_second is None:
        return integration.rate
    return pacing.Rate(per_second=account.rate_per_second, burst=1)


def _delivery(entry: Entry) -> Delivery:
    notice = {"kind": entry.kind, "extensions": entry.extensions, "sequence": entry.sequence}
    return Delivery(
        notice=msgspec.convert(notice, Notice),
        call=msgspec.json.decode(entry.call, type=Call),
        external_id=entry.external_id,
        recording_url=entry.recording_url,
    )
