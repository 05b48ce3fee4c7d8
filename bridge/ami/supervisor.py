"""Links to PBXs as the tables and leases have them: one per PBX that this instance owns, kept right at run time.

An owned PBX has a *watch*: a listener (whoever takes its events) and a link with events on. To a PBX that another
instance owns goes a *command link*, events off, opened when something is first to be done there and closed when it
has long been unused.
"""

from __future__ import annotations

import asyncio
import functools
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec
import structlog

from bridge.ami.connection import Counters
from bridge.ami.manager import NO_EVENTS, Manager, State, Timing
from bridge.ami.pbx import PbxRow
from bridge.ami.translate import WANTED
from bridge.calls.events import ChannelSeen
from bridge.errors import NotFound

log = structlog.get_logger(__name__)


class Listener(Protocol):
    """Whoever takes what one PBX says. All but `close` are called in the read path: they must not wait."""

    def on_frame(self, frame: bytes) -> None: ...

    def on_up(self, channels: Sequence[ChannelSeen] | None) -> None:
        """The link stands, and these are the PBX's channels (None: it may not list them)."""

    def on_down(self, reason: str) -> None: ...

    def on_gap(self, began: float, ended: float | None, reason: str) -> None:
        """Nobody watched from `began` to `ended`, seconds since the epoch (None: it lasts). Comes before `on_up`."""

    def on_row(self, pbx: PbxRow) -> None:
        """The row changed in what is not the listener's identity: its rules, say."""

    async def close(self) -> None:
        """The PBX is no longer this instance's."""


class Held(Protocol):
    """A lease."""

    @property
    def epoch(self) -> int: ...

    @property
    def watched_until(self) -> float | None: ...


class Leases(Protocol):
    """What this instance owns, and whom to tell that it changed."""

    watched: Callable[[], Collection[int]]
    left: Callable[[Collection[int]], Awaitable[None]]

    @property
    def held(self) -> Mapping[int, Held]: ...

    def on_change(self, callback: Callable[[], None]) -> None: ...

    def poke(self) -> None: ...


Attach = Callable[[PbxRow, int], Awaitable[Listener]]
Load = Callable[[], Awaitable[Iterable[PbxRow]]]


class PbxState(msgspec.Struct, frozen=True, kw_only=True):
    """One PBX for /health and the page. `state` is "elsewhere" where another instance watches it."""

    id: int
    enterprise_number: str
    name: str
    state: State | str
    problem: str = ""
    since: float | None = None
    version: str = ""
    epoch: int | None = None
    counters: Counters | None = None


class Watch:
    """One owned PBX: its link and listener, and the gaps between the link's lives."""

    def __init__(self, row: PbxRow, lease: Held, listener: Listener) -> None:
        self.row = row
        self.epoch = lease.epoch
        self.listener = listener
        self.manager: Manager | None = None
        self._unwatched_since = lease.watched_until
        self._why = "no instance of the bridge watched it"

    def on_up(self, channels: Sequence[ChannelSeen] | None) -> None:
        if self._unwatched_since is not None:
            self.listener.on_gap(self._unwatched_since, max(time.time(), self._unwatched_since), self._why)
            self._unwatched_since = None
        self.listener.on_up(channels)

    def on_down(self, reason: str) -> None:
        heard = self.manager.last_heard if self.manager is not None else None
        self._unwatched_since, self._why = heard or time.time(), reason
        self.listener.on_gap(self._unwatched_since, None, reason)
        self.listener.on_down(reason)


class CommandLink:
    """A link without events to a PBX that another instance watches."""

    def __init__(self, row: PbxRow, manager: Manager) -> None:
        self.row = row
        self.manager = manager
        self.used = time.monotonic()


class Supervisor:
    """`run()` keeps the links until it is cancelled. Without `leases` it owns no PBX, and can command all of them.

    attach(row, epoch)  makes the listener of a PBX that was gained; no event comes before it has returned
    load()              the rows of all PBXs, of every enterprise
    """

    def __init__(
        self,
        load: Load,
        *,
        leases: Leases | None = None,
        attach: Attach | None = None,
        wanted: frozenset[bytes] | None = WANTED,
        timing: Timing | None = None,
        tls: ssl.SSLContext | None = None,
        period: float = 60.0,
        unused: float = 300.0,
    ) -> None:
        if (leases is None) != (attach is None):
            raise ValueError("leases and attach go together: whoever owns PBXs listens to them")
        self._load = load
        self._leases = leases
        self._attach = attach
        self._wanted, self._timing, self._tls = wanted, timing, tls
        self._period, self._unused = period, unused
        self._rows: dict[int, PbxRow] = {}
        self._watches: dict[int, Watch] = {}
        self._commands: dict[int, CommandLink] = {}
        self._leaving: set[int] = set()
        self._gone = asyncio.Event()  # replaced at each PBX that was left
        self._due = asyncio.Event()
        if leases is not None:
            leases.watched = self._watched
            leases.left = self.left
            leases.on_change(self._leases_changed)

    # --- what the rest of the house asks ------------------------------------------------------------------------

    def refresh(self) -> None:
        """The rows may have changed: look now."""
        if self._leases is not None:
            self._leases.poke()
        self._due.set()

    def pbx_for(self, enterprise_number: str, name: str | None = None, *, extension: str | None = None) -> PbxRow:
        """The enterprise's PBX of that name, or the one that has the extension. Raises NotFound.

        Of several, one whose link stands is preferred.
        """
        own = [row for row in self._rows.values() if row.enterprise_number == enterprise_number]
        if name is not None:
            own = [row for row in own if row.name == name]
        elif extension is not None:
            own = [row for row in own if _has(row, extension)]
        if not own:
            what = f"named {name!r}" if name is not None else f"with extension {extension!r}" if extension else ""
            raise NotFound(f"Enterprise {enterprise_number} has no PBX {what}".rstrip() + ".")
        return min(own, key=lambda row: (row.id not in self._watched(), row.id))

    def manager_for(self, enterprise_number: str, name: str | None = None, *, extension: str | None = None) -> Manager:
        """A link to do something over. Its `send` waits for a link that is only being opened. Raises NotFound."""
        row = self.pbx_for(enterprise_number, name, extension=extension)
        watch = self._watches.get(row.id)
        if watch is not None and watch.manager is not None and watch.manager.state != "closed":
            return watch.manager
        command = self._commands.get(row.id)
        if command is None or not command.row.same_link(row):
            if command is not None:
                command.manager.close()
            manager = Manager(row, events=NO_EVENTS, wanted=frozenset(), timing=self._timing, tls=self._tls)
            manager.start()
            command = self._commands[row.id] = CommandLink(row, manager)
        command.used = time.monotonic()
        return command.manager

    async def left(self, keys: Collection[int]) -> None:
        """Return once nobody here listens to any of these PBXs, and their listeners are closed."""
        while not (self._watches.keys() | self._leaving).isdisjoint(keys):
            await self._gone.wait()

    def states(self) -> list[PbxState]:
        """Every PBX there is, in the order of enterprises and names."""
        rows = sorted(self._rows.values(), key=lambda row: (row.enterprise_number, row.name))
        return [self._state(row) for row in rows]

    def _state(self, row: PbxRow) -> PbxState:
        watch = self._watches.get(row.id)
        if watch is None or watch.manager is None:
            return PbxState(id=row.id, enterprise_number=row.enterprise_number, name=row.name, state="elsewhere")
        manager = watch.manager
        return PbxState(
            id=row.id,
            enterprise_number=row.enterprise_number,
            name=row.name,
            state=manager.state,
            problem=manager.problem,
            since=manager.since,
            version=manager.version,
            epoch=watch.epoch,
            counters=manager.counters,
        )

    # --- keeping links as they should be ------------------------------------------------------------------------

    async def run(self) -> None:
        try:
            while True:
                self._due.clear()
                done = await self._reconcile()
                try:
                    async with asyncio.timeout(self._period if done else 1.0):
                        await self._due.wait()
                except TimeoutError:
                    continue
        finally:
            for command in self._commands.values():
                command.manager.close()
            await asyncio.gather(*(self._leave(key) for key in list(self._watches)))

    def _watched(self) -> Collection[int]:
        return {
            key for key, watch in self._watches.items() if watch.manager is not None and watch.manager.state == "up"
        }

    def _leases_changed(self) -> None:
        """A PBX lost is no longer listened to from this moment; the rest can wait for `run`."""
        for key, watch in self._watches.items():
            if not self._owns(key, watch) and watch.manager is not None:
                watch.manager.close()
        self._due.set()

    def _owns(self, key: int, watch: Watch) -> bool:
        lease = self._leases.held.get(key) if self._leases is not None else None
        return lease is not None and lease.epoch == watch.epoch

    async def _reconcile(self) -> bool:
        """Make the links what rows and leases say. False when something must be tried again soon."""
        await asyncio.gather(*(self._leave(key) for key, watch in self._watches.items() if not self._owns(key, watch)))
        try:
            self._rows = {row.id: row for row in await self._load()}
        except Exception:
            log.exception("pbx_rows_unreadable")  # the links stay as they are
            return False
        for key, watch in list(self._watches.items()):
            row = self._rows.get(key)
            if row is None or (row.enterprise_number, row.name) != (watch.row.enterprise_number, watch.row.name):
                await self._leave(key)
            elif row != watch.row:
                self._change(watch, row)
        done = await self._join_new()
        self._close_commands()
        return done

    async def _join_new(self) -> bool:
        held = dict(self._leases.held) if self._leases is not None else {}
        done = True
        for key, lease in held.items():
            row = self._rows.get(key)
            if row is None or key in self._watches:
                continue
            try:
                await self._join(row, lease)
            except Exception:
                log.exception("pbx_not_attached", enterprise=row.enterprise_number, pbx=row.name)
                done = False  # the others are not to suffer from it
        return done

    async def _join(self, row: PbxRow, lease: Held) -> None:
        if self._attach is None:
            return
        watch = Watch(row, lease, await self._attach(row, lease.epoch))
        self._watches[row.id] = watch
        if not self._owns(row.id, watch):  # lost while its listener was made
            await self._leave(row.id)
            return
        self._connect(watch)

    def _connect(self, watch: Watch) -> None:
        listener = watch.listener
        watch.manager = Manager(
            watch.row,
            on_frame=listener.on_frame,
            on_up=functools.partial(self._came_up, watch),
            on_down=watch.on_down,
            wanted=self._wanted,
            timing=self._timing,
            tls=self._tls,
        )
        watch.manager.start()

    def _came_up(self, watch: Watch, channels: Sequence[ChannelSeen] | None) -> None:
        watch.on_up(channels)
        if self._leases is not None:
            self._leases.poke()  # from now on it is watched: should this process die at once, the gap begins here

    def _change(self, watch: Watch, row: PbxRow) -> None:
        same = watch.row.same_link(row)
        watch.row = row
        if not same:
            if watch.manager is not None:
                was_up = watch.manager.state == "up"
                watch.manager.close()
                if was_up:
                    watch.on_down("its address or credentials were changed")
            self._connect(watch)
        watch.listener.on_row(row)

    async def _leave(self, key: int) -> None:
        watch = self._watches.pop(key)
        self._leaving.add(key)
        try:
            if watch.manager is not None:
                watch.manager.close()
                await watch.manager.wait_closed()
            await watch.listener.close()
        except Exception:
            log.exception("pbx_listener_failed", enterprise=watch.row.enterprise_number, pbx=watch.row.name)
        finally:
            self._leaving.discard(key)
            self._gone.set()
            self._gone = asyncio.Event()

    def _close_commands(self) -> None:
        now = time.monotonic()
        for key, command in list(self._commands.items()):
            row = self._rows.get(key)
            stale = row is None or not command.row.same_link(row) or key in self._watches
            if stale or now - command.used > self._unused:
                del self._commands[key]
                command.manager.close()


def _has(row: PbxRow, extension: str) -> bool:
    try:
        return re.fullmatch(row.rules.extensions, extension) is not None
    except re.error:  # written into the table by hand
        return False
