"""One PBX that this instance watches: its events go through its machine into its mailbox."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import structlog

from bridge.ami.pbx import PbxRow
from bridge.ami.translate import translate
from bridge.calls.events import ChannelSeen, OriginateResponse
from bridge.calls.machine import Exchange
from bridge.mailbox import Fenced, Ledger, Mailbox

log = structlog.get_logger(__name__)

CLOSE_WITHIN = 5.0
"""Seconds that what is already known has to be written when the PBX is given up."""

OnGap = Callable[[float, float | None, str], Awaitable[None]]


class Watched:
    """What the supervisor tells of one PBX (`bridge.ami.supervisor.Listener`).

    on_gap(began, ended, reason)  keeps a time during which nobody watched, seconds since the epoch
    on_failed(channel_id)         hears of originates that the PBX says have failed; must not wait
    """

    def __init__(self, pbx: PbxRow, ledger: Ledger, on_gap: OnGap, on_failed: Callable[[str], None]) -> None:
        self._pbx = pbx
        self._exchange = Exchange(pbx.rules, pbx.name)
        self.mailbox = Mailbox(pbx.name, self._exchange, ledger)
        self._keep_gap = on_gap
        self._on_failed = on_failed
        self._log = log.bind(enterprise=pbx.enterprise_number, pbx=pbx.name)
        self._tasks: set[asyncio.Future[None]] = set()
        self._writer: asyncio.Future[None] | None = None
        self._gaps_in_order = asyncio.Lock()

    async def open(self) -> None:
        """Puts the machine back as it was last written and begins to write. Raises DatabaseProblem."""
        await self.mailbox.restore()
        self._writer = self._begin(self._write())

    def on_frame(self, frame: bytes) -> None:
        event = translate(frame)
        if event is None:
            return
        self.mailbox.changed(self._exchange.feed(event, time.time()))
        if isinstance(event, OriginateResponse) and not event.success and event.uniqueid:
            self._on_failed(event.uniqueid)

    def on_up(self, channels: Sequence[ChannelSeen] | None) -> None:
        if channels is None:
            return  # it may not list them: calls that ended unseen stay open until it may
        self._log.info("pbx_up", channels=len(channels), live_calls=len(self._exchange.live()))
        self.mailbox.changed(self._exchange.snapshot(channels, time.time()))

    def on_down(self, reason: str) -> None:
        self._log.warning("pbx_down", reason=reason, live_calls=len(self._exchange.live()))

    def on_gap(self, began: float, ended: float | None, reason: str) -> None:
        self._begin(self._note_gap(began, ended, reason))

    def on_row(self, pbx: PbxRow) -> None:
        self._exchange.use(pbx.rules)

    async def close(self) -> None:
        """Writes what is known, as long as that works."""
        drained = asyncio.ensure_future(self.mailbox.drained())
        writer = {self._writer} if self._writer is not None else set()
        await asyncio.wait({drained, *writer}, timeout=CLOSE_WITHIN, return_when=asyncio.FIRST_COMPLETED)
        if not drained.done():
            drained.cancel()
            self._log.warning("pbx_closed_unwritten")  # the next owner's snapshot finds what is still there
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _write(self) -> None:
        try:
            await self.mailbox.run()
        except Fenced:
            self._log.warning("pbx_fenced", reason="another instance owns it now")
        except Exception:
            self._log.exception("mailbox_failed")

    async def _note_gap(self, began: float, ended: float | None, reason: str) -> None:
        async with self._gaps_in_order:  # fair: the end of a gap never overtakes its beginning
            await self._keep_gap(began, ended, reason)

    def _begin(self, work: Awaitable[None]) -> asyncio.Future[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
