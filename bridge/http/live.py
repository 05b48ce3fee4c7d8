"""The live page's stream: one hub per process turns changes into HTML once and hands it to every browser concerned.

The feed names calls that changed. The hub reads them once, renders each row once per language that somebody reads, and
puts one message into the queue of each watcher. A watcher that does not keep up loses its queue and is sent the whole
state instead: nobody's slowness costs another anything. Without watchers the hub reads nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict, defaultdict
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog

from bridge.db import call_lists, deliveries
from bridge.errors import TooManyRequests
from bridge.http import rows
from bridge.http.auth.principal import Principal
from bridge.http.errors import DATABASE_GONE
from bridge.http.metrics import HttpMetrics
from bridge.http.render import render
from bridge.http.services import PbxState, Services
from bridge.http.words import Language

log = structlog.get_logger(__name__)

HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent, so that proxies keep the stream and a dead browser is noticed."""
_LOOK = 1.0
"""Seconds between looks at what announces no change: unsettled deliveries and the PBXs' connections."""
_QUEUE = 100
_STREAMS = 2000
_STREAMS_OF_ONE = 20
_UNSETTLED_WATCHED = 1000
_BURST = 500
"""Changed calls in one look above which everybody gets the state instead of the changes."""

_RELOAD = b"reload"
_END = b""


@dataclass(slots=True, eq=False)
class Watcher:
    """One open page."""

    principal: Principal
    language: Language
    queue: asyncio.Queue[bytes] = field(default_factory=lambda: asyncio.Queue(_QUEUE))

    def sees(self, enterprise_number: str | None) -> bool:
        return enterprise_number is None or self.principal.enterprise_number in (None, enterprise_number)

    def put(self, message: bytes) -> None:
        try:
            self.queue.put_nowait(message)
        except asyncio.QueueFull:
            self.replace(_RELOAD)

    def replace(self, message: bytes) -> None:
        """Forgets what was waiting: this says it all."""
        while not self.queue.empty():
            self.queue.get_nowait()
        self.queue.put_nowait(message)


@dataclass(slots=True, frozen=True)
class _Fragment:
    """One rendered row. `people` may see it as their own; None: staff only."""

    enterprise_number: str
    people: frozenset[int] | None
    row: dict[str, Any]


class Hub:
    def __init__(self, services: Services, metrics: HttpMetrics) -> None:
        self._services = services
        self._metrics = metrics
        self._watchers: set[Watcher] = set()
        self._changed: dict[str | None, set[int]] = defaultdict(set)
        self._news = asyncio.Event()
        self._unsettled: OrderedDict[int, tuple[int, str, int]] = OrderedDict()
        self._pbxs: tuple[PbxState, ...] = ()
        self._ended = False

    async def run(self) -> None:
        """Works until it is cancelled. A defect is logged, and the watchers are sent the state again."""
        while True:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._listen())
                    group.create_task(self._tell())
                    group.create_task(self._look())
            except Exception:
                log.exception("live_hub_failed")
            await asyncio.sleep(_LOOK)
            self._reload(None)

    def close(self) -> None:
        """Ends every stream. Called before the HTTP server waits for its connections to end."""
        self._ended = True
        for watcher in self._watchers:
            watcher.replace(_END)

    async def stream(self, watcher: Watcher) -> AsyncGenerator[bytes, None]:
        """The events of one page: the state first, then what changes. Ends with the hub, or when the database is gone:
        the browser comes again by itself. Raises TooManyRequests."""
        mine = sum(other.principal.user_id == watcher.principal.user_id for other in self._watchers)
        if len(self._watchers) >= _STREAMS or mine >= _STREAMS_OF_ONE:
            raise TooManyRequests("Too many pages are open", retry_after=30)
        self._watchers.add(watcher)
        self._metrics.streams.set(len(self._watchers))
        try:
            yield b"retry: %d\n\n" % random.randint(1000, 3000)  # noqa: S311 - it spreads reconnections
            yield _event("clock", self._services.clock())
            watcher.put(_RELOAD)
            while not self._ended:
                try:
                    async with asyncio.timeout(HEARTBEAT):
                        message = await watcher.queue.get()
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                if message == _END:
                    return
                yield await self._state(watcher) if message == _RELOAD else message
        except DATABASE_GONE as error:
            log.warning("live_stream_cut", error=repr(error))
        finally:
            self._watchers.discard(watcher)
            self._metrics.streams.set(len(self._watchers))

    async def page(self, principal: Principal) -> dict[str, Any]:
        """What the templates of the page and of its state need."""
        async with self._services.pool.acquire() as connection:
            shown = await rows.recent(connection, principal.scope())
        self._watch(shown.deliveries)
        for call in shown.calls:
            self._watch(call["deliveries"])
        pbxs = await self._services.pbxs.states()
        return {
            "calls": shown.calls,
            "deliveries": shown.deliveries,
            "pbxs": [pbx for pbx in pbxs if principal.enterprise_number in (None, pbx.enterprise_number)],
            "whole": principal.enterprise_number is None,
            "staff": principal.role != "operator",
        }

    async def _state(self, watcher: Watcher) -> bytes:
        return _event("state", render(watcher.language, "state.html", **await self.page(watcher.principal)))

    async def _listen(self) -> None:
        async for batch in self._services.feed.subscribe(None):
            if self._watchers:
                self._changed[batch.enterprise_number].update(batch.calls)
                self._news.set()

    async def _tell(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            changed, self._changed = self._changed, defaultdict(set)
            try:
                await self._announce(changed)
            except DATABASE_GONE as error:
                log.warning("live_changes_missed", error=repr(error))
                self._reload(None)

    async def _announce(self, changed: dict[str | None, set[int]]) -> None:
        ids = set().union(*changed.values())
        if None in changed or len(ids) > _BURST:
            for enterprise_number in changed:
                self._reload(enterprise_number)
            return
        async with self._services.pool.acquire() as connection:
            found = await rows.changed(connection, list(ids))
            people = await call_lists.watchers(connection, list(ids))
        self._watch(found.deliveries)
        present = {call["id"] for call in found.calls}
        gone = {number: [f"call-{pk}" for pk in pks - present] for number, pks in changed.items()}
        for language in {watcher.language for watcher in self._watchers}:
            fragments = _fragments(found, people, language)
            whole: dict[str | None, bytes] = {}
            for watcher in self._watchers:
                if watcher.language != language:
                    continue
                if watcher.principal.role == "operator":
                    message = _changes(watcher, fragments, gone)
                else:
                    number = watcher.principal.enterprise_number
                    message = whole.get(number) or whole.setdefault(number, _changes(watcher, fragments, gone))
                if message:
                    watcher.put(message)

    def _reload(self, enterprise_number: str | None) -> None:
        for watcher in self._watchers:
            if watcher.sees(enterprise_number):
                watcher.replace(_RELOAD)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            if not self._watchers:
                continue
            try:
                await self._look_at_deliveries()
                await self._look_at_pbxs()
            except DATABASE_GONE as error:
                log.warning("live_look_failed", error=repr(error))

    async def _look_at_deliveries(self) -> None:
        if not self._unsettled:
            return
        async with self._services.pool.acquire() as connection:
            now = await deliveries.progress(connection, list(self._unsettled))
        for delivery_id, (number, call_pk, state, attempts) in now.items():
            before = self._unsettled.get(delivery_id)
            if before is None or before[1:] == (state, attempts):
                continue
            self._remember(delivery_id, call_pk, state, attempts)
            self._changed[number].add(call_pk)
            self._news.set()

    async def _look_at_pbxs(self) -> None:
        pbxs = tuple(await self._services.pbxs.states())
        if pbxs == self._pbxs:
            return
        self._pbxs = pbxs
        for watcher in self._watchers:
            shown = [pbx for pbx in pbxs if watcher.sees(pbx.enterprise_number)]
            whole = watcher.principal.enterprise_number is None
            watcher.put(_event("pbxs", render(watcher.language, "pbxs.html", pbxs=shown, whole=whole)))

    def _watch(self, shown: Iterable[dict[str, Any]]) -> None:
        for delivery in shown:
            if delivery["call"] is not None:
                self._remember(delivery["id"], delivery["call"], delivery["state"], delivery["attempts"])

    def _remember(self, delivery_id: int, call_pk: int, state: str, attempts: int) -> None:
        if state not in rows.UNSETTLED:
            self._unsettled.pop(delivery_id, None)
            return
        self._unsettled[delivery_id] = (call_pk, state, attempts)
        self._unsettled.move_to_end(delivery_id)
        if len(self._unsettled) > _UNSETTLED_WATCHED:
            self._unsettled.popitem(last=False)


def _fragments(found: rows.Rows, people: dict[int, frozenset[int]], language: Language) -> list[_Fragment]:
    fragments = [
        _Fragment(
            call["enterprise_number"],
            people.get(call["id"], frozenset()),
            {
                "list": "active" if call["result"] == "active" else "recent",
                "id": f"call-{call['id']}",
                "html": render(language, "call.html", call=call),
            },
        )
        for call in found.calls
    ]
    fragments += [
        _Fragment(
            delivery["enterprise_number"],
            None,
            {
                "list": "deliveries",
                "id": f"delivery-{delivery['id']}",
                "html": render(language, "delivery.html", delivery=delivery),
            },
        )
        for delivery in found.deliveries
    ]
    return fragments


def _changes(watcher: Watcher, fragments: list[_Fragment], gone: dict[str | None, list[str]]) -> bytes:
    """The message for one watcher, empty when none of it is for him."""
    own = watcher.principal.role == "operator"
    mine = [
        fragment.row
        for fragment in fragments
        if watcher.sees(fragment.enterprise_number)
        and (not own or (fragment.people is not None and watcher.principal.user_id in fragment.people))
    ]
    lost = [row for number, ids in gone.items() if watcher.sees(number) for row in ids]
    return _event("changes", {"rows": mine, "gone": lost}) if mine or lost else b""


def _event(name: str, data: Any) -> bytes:
    """A server-sent event. JSON keeps it on one line, as the format wants it."""
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"
