"""Waiting for what must come, with a deadline."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable

from bridge.db.bus import Bus


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 10) -> None:
    """Returns once the condition holds; TimeoutError when it does not in time."""
    async with asyncio.timeout(seconds):
        while True:
            holds = condition()
            if await holds if inspect.isawaitable(holds) else holds:
                return
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def listening(bus: Bus) -> AsyncIterator[Bus]:
    """A bus that runs and is connected."""
    task = asyncio.create_task(bus.run())
    try:
        async with asyncio.timeout(10):
            await bus.connected.wait()
        yield bus
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
