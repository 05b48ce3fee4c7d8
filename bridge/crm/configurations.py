"""Full configurations of integrations, secrets open, in memory: read once, kept a minute or so, dropped on a NOTIFY.

aiocache keeps them, with what it lacks around it: look-ups that do not go through `wait_for` (`timeout=None`), a size
cap, a mark for "there is none" (it takes None for a miss), single-flight that also holds for failures and absences. Its
`clear()` is never used: timers of what was cleared would remove what came after. Values are frozen structs, for it
gives out the very object it was given.

A source that is away does not make a CRM unreachable: what was read last is given until it is back.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import structlog
from aiocache import SimpleMemoryCache

from bridge.crm.cache_figures import CacheFigures
from bridge.crm.matrix import Changed
from bridge.errors import BridgeError

log = structlog.get_logger(__name__)

CAPACITY = 10_000

_Key = tuple[str, str]
Load = Callable[[str, str], Awaitable[Any]]
"""(enterprise number, integration type) -> the configuration, or None. A BridgeError is its last word; anything else it
raises means that it cannot say now."""

_numbers = itertools.count(1)


class _Absent(msgspec.Struct, frozen=True):
    """There is no such configuration."""


_ABSENT = _Absent()


class Configurations:
    """`get` waits only where something must be read. `lives` gives the seconds an entry is kept."""

    def __init__(self, load: Load, *, lives: Callable[[], float] | None = None, capacity: int = CAPACITY) -> None:
        self.counted = CacheFigures("configurations")
        self._load = load
        self._lives = lives or functools.partial(random.uniform, 60.0, 100.0)
        self._capacity = capacity
        self._cache = SimpleMemoryCache(namespace=f"configurations-{next(_numbers)}:", timeout=None)
        # What was read last, oldest first: the order of eviction, and the answer while the source is away.
        self._known: OrderedDict[_Key, Any] = OrderedDict()
        self._stale: set[_Key] = set()
        self._loading: dict[_Key, asyncio.Task[Any]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def get(self, enterprise_number: str, integration_type: str) -> Any:
        """The configuration, or None. Raises a BridgeError when it cannot work (wrong shape, unreadable secret)."""
        key = (enterprise_number, integration_type)
        if key in self._stale:
            self._stale.discard(key)
            await self._cache.delete(_text(key))
        found = await self._cache.get(_text(key))
        if found is not None:
            self.counted.hits += 1
        else:
            self.counted.misses += 1
            # Shielded: one who stops waiting does not take the answer from the others.
            found = await asyncio.shield(self._loaded(key))
        return None if found is _ABSENT else found

    def changed(self, payload: str) -> None:
        """A NOTIFY of bridge_integrations."""
        try:
            told = msgspec.json.decode(payload, type=Changed)
        except msgspec.MsgspecError:
            self.forget()
            return
        self.forget(told.enterprise_number, None if told.integration_type == "*" else told.integration_type)

    def config_changed(self, payload: str) -> None:
        """A NOTIFY of bridge_config: an enterprise's own settings (its time zone) are part of its configurations."""
        try:
            told = msgspec.json.decode(payload, type=_ConfigChanged)
        except msgspec.MsgspecError:
            self.forget()
            return
        if told.table == "enterprises":
            self.forget(told.enterprise_number)

    def forget(self, enterprise_number: str | None = None, integration_type: str | None = None) -> None:
        """Read it anew when it is next asked for: one configuration, all of an enterprise, or all there are."""

        def meant(key: _Key) -> bool:
            return enterprise_number in (None, key[0]) and integration_type in (None, key[1])

        for key in filter(meant, [*self._known]):
            del self._known[key]
            self._stale.add(key)
            self.counted.invalidations[key[1]] += 1
        for key in filter(meant, [*self._loading]):
            del self._loading[key]  # it may have read the state before the change: its answer is not kept

    def catch_up(self) -> None:
        """Notifications may have been missed: believe nothing unread, but keep it for the case that reading fails."""
        self._stale.update(self._known)
        self._loading.clear()

    def figures(self) -> Mapping[str, Any]:
        """For /stats."""
        return self.counted.shown()

    async def close(self) -> None:
        """End what is still being read."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _loaded(self, key: _Key) -> asyncio.Task[Any]:
        """The one read of `key` that is under way, begun if there is none."""
        task = self._loading.get(key)
        if task is None:
            task = self._loading[key] = asyncio.create_task(self._read(key))
            self._tasks.add(task)
            task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked may be gone: then nobody else looks at it

    async def _read(self, key: _Key) -> Any:
        me = asyncio.current_task()
        try:
            with self.counted.loading("one"):
                loaded = await self._load(*key)
        except BridgeError:
            self._known.pop(key, None)
            raise
        except Exception as problem:
            if key not in self._known:
                raise
            log.warning("configuration_not_read", enterprise=key[0], integration=key[1], problem=str(problem))
            return self._known[key]
        finally:
            mine = self._loading.get(key) is me
            if mine:
                del self._loading[key]
        found = _ABSENT if loaded is None else loaded
        if mine:
            await self._keep(key, found)
        return found

    async def _keep(self, key: _Key, found: Any) -> None:
        await self._cache.set(_text(key), found, ttl=self._lives())
        self._known[key] = found
        self._known.move_to_end(key)
        while len(self._known) > self._capacity:
            oldest, _ = self._known.popitem(last=False)
            self._stale.discard(oldest)
            await self._cache.delete(_text(oldest))
        self.counted.size = len(self._known)


class _ConfigChanged(msgspec.Struct):
    table: str
    enterprise_number: str | None = None


def _text(key: _Key) -> str:
    return f"{key[1]}:{key[0]}"
