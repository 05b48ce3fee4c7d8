"""Which calls changed, from Postgres: NOTIFY bridge_live, heard by the process's one LISTEN connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import structlog

from bridge.db.bus import Bus
from bridge.http.services import Batch

log = structlog.get_logger(__name__)

CHANNEL = "bridge_live"
_BEHIND = 1000
"""Batches that wait for a subscriber; more are replaced by "read everything again"."""


class _Notice(msgspec.Struct):
    enterprise_number: str
    calls: list[int]


class BusFeed:
    """A `LiveFeed` over the bus. After a lost connection every subscriber is told that it may have missed something."""

    def __init__(self, bus: Bus) -> None:
        self._subscribers: dict[asyncio.Queue[Batch], str | None] = {}
        bus.subscribe(CHANNEL, self._hear)
        bus.on_connect(lambda: self._tell(Batch(None, ())))

    async def subscribe(self, enterprise_number: str | None) -> AsyncIterator[Batch]:
        queue: asyncio.Queue[Batch] = asyncio.Queue(_BEHIND)
        self._subscribers[queue] = enterprise_number
        try:
            while True:
                yield await queue.get()
        finally:
            del self._subscribers[queue]

    def _hear(self, payload: str) -> None:
        try:
            notice = msgspec.json.decode(payload, type=_Notice)
        except msgspec.DecodeError as error:
            log.warning("live_notice_unreadable", error=str(error))
            return
        self._tell(Batch(notice.enterprise_number, tuple(notice.calls)))

    def _tell(self, batch: Batch) -> None:
        for queue, enterprise_number in self._subscribers.items():
            if enterprise_number is not None and batch.enterprise_number not in (None, enterprise_number):
                continue
            full = queue.full()
            while full and not queue.empty():
                queue.get_nowait()
            queue.put_nowait(Batch(None, ()) if full else batch)
