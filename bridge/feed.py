"""Which calls changed, for the live page: the notifications of every instance's writing transactions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec

from bridge.db.bus import Bus
from bridge.http.services import Batch

CHANNEL = "bridge_live"
KEPT = 1000
"""Batches that a slow subscriber is kept; one more, and it is told to read everything again."""

MISSED = Batch(None, ())


class _Notice(msgspec.Struct):
    enterprise_number: str
    calls: list[int]


class Feed:
    """Implements `bridge.http.services.LiveFeed`."""

    def __init__(self, bus: Bus) -> None:
        self._queues: dict[asyncio.Queue[Batch], str | None] = {}
        bus.subscribe(CHANNEL, self._heard)
        bus.on_connect(lambda: self._tell(MISSED))

    async def subscribe(self, enterprise_number: str | None) -> AsyncIterator[Batch]:
        queue: asyncio.Queue[Batch] = asyncio.Queue(KEPT)
        self._queues[queue] = enterprise_number
        try:
            while True:
                yield await queue.get()
        finally:
            del self._queues[queue]

    def _heard(self, payload: str) -> None:
        try:
            notice = msgspec.json.decode(payload, type=_Notice)
        except msgspec.DecodeError:  # somebody's own NOTIFY
            self._tell(MISSED)
            return
        self._tell(Batch(notice.enterprise_number, tuple(notice.calls)))

    def _tell(self, batch: Batch) -> None:
        for queue, enterprise_number in self._queues.items():
            if None not in (enterprise_number, batch.enterprise_number) and enterprise_number != batch.enterprise_number:
                continue
            try:
                queue.put_nowait(batch)
            except asyncio.QueueFull:
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(MISSED)
