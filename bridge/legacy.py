"""PBXs that still run the hook scripts: their posts go through a machine of their own into the same ledger.

The posts of one enterprise make one exchange, named `scripts`. A post is answered when what it changed is written, so a
post that was answered is not lost. The machine's memory is this process's: behind a load balancer, an enterprise's
scripts must keep to one instance.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from bridge.calls.model import Rules
from bridge.calls.script_events import ScriptEvent
from bridge.calls.scripts import ScriptExchange
from bridge.crm.outbox import Outbox
from bridge.db.pool import Pool
from bridge.errors import DatabaseProblem
from bridge.ledger import CallLedger
from bridge.mailbox import Ledger, Mailbox
from bridge.observed import ObservedCalls

log = structlog.get_logger(__name__)

NAME = "scripts"
"""The PBX's name in rows and in the CRM's external ids."""

SAFE_WITHIN = 5.0


class _Desk:
    def __init__(self, exchange: ScriptExchange, mailbox: Mailbox) -> None:
        self.exchange = exchange
        self.mailbox = mailbox
        self.writer = asyncio.create_task(mailbox.run(), name=f"scripts {mailbox.name}")


class LegacyScripts:
    """`rules(enterprise_number)`: how that enterprise's numbers are read. `store` no: TEST_MODE."""

    def __init__(self, pool: Pool, outbox: Outbox, rules: Callable[[str], Rules], *, store: bool = True) -> None:
        self._pool = pool
        self._outbox = outbox
        self._rules = rules
        self._store = store
        self._desks: dict[str, _Desk] = {}
        self._opening = asyncio.Lock()

    async def ingest(self, enterprise_number: str, event: ScriptEvent) -> None:
        """Returns once what the event changed is written. Raises DatabaseProblem when that takes too long."""
        desk = self._desks.get(enterprise_number) or await self._open(enterprise_number)
        desk.mailbox.changed(desk.exchange.feed(event, time.time()))
        try:
            async with asyncio.timeout(SAFE_WITHIN):
                await desk.mailbox.drained()
        except TimeoutError:
            raise DatabaseProblem("The event could not be written in time; it is kept and written later") from None

    async def _open(self, enterprise_number: str) -> _Desk:
        async with self._opening:
            desk = self._desks.get(enterprise_number)
            if desk is None:
                rules = self._rules(enterprise_number)
                exchange = ScriptExchange(rules)
                ledger = self._ledger(enterprise_number, rules.region)
                mailbox = Mailbox(f"{enterprise_number}/{NAME}", exchange, ledger)
                await mailbox.restore()
                desk = self._desks[enterprise_number] = _Desk(exchange, mailbox)
            return desk

    def _ledger(self, enterprise_number: str, region: str) -> Ledger:
        if not self._store:
            return ObservedCalls(enterprise_number, NAME)
        return CallLedger(self._pool, self._outbox, enterprise_number, NAME, region=region)

    async def close(self) -> None:
        for desk in self._desks.values():
            desk.writer.cancel()
        await asyncio.gather(*(desk.writer for desk in self._desks.values()), return_exceptions=True)
