"""The life of the link to one PBX: connect, log in, see what is there, watch, and begin again.

```
connecting ──▶ up ──────────▶ down            the link is lost, silent, or never was: tried again with back-off
     │          ▲              │
     │          └──────────────┤
     └─────────────────────────┴▶ auth_failed, wrong_version      tried again, seldom
any ──▶ closed                                                    final
```

Subclasses panoramisk's Manager for its registry of callbacks and its actions. The connection's life is ours, because
panoramisk's neither notices a refused login nor a dead peer, reconnects after close(), and repeats actions.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import inspect
import os
import random
import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import panoramisk.manager
import structlog

from bridge.ami.actions import Action, Answer, Reply, Value
from bridge.ami.connection import Connection, Counters
from bridge.ami.framing import parse
from bridge.ami.pbx import PbxRow
from bridge.ami.resync import resync
from bridge.calls.events import ChannelSeen
from bridge.errors import ActionFailed, BadInput, PbxUnavailable

log = structlog.get_logger(__name__)

State = Literal["connecting", "up", "down", "auth_failed", "wrong_version", "closed"]

# The classes the machine reads. rtcp, dtmf, security, agi and log would be more than half of a busy PBX's stream.
EVENT_CLASSES = "system,call,agent,user,cdr,dialplan"
NO_EVENTS = "off"

# Since Asterisk 15, AMI's major version is Asterisk's less 11: 5.0.4 is Asterisk 16, 11.0.0 is Asterisk 22.
AMI_TO_ASTERISK = 11
OLDEST, NEWEST = 16, 22
_VERSION = re.compile(r"(\d{1,4})\.\d+(\.\d+)*")


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. A dead link is noticed within `idle` + `pong`; a PBX that is back, within `retry_most` + `connect`."""

    connect: float = 5.0
    login: float = 5.0  # Asterisk waits 1 s before it refuses one
    snapshot: float = 10.0
    action: float = 5.0
    idle: float = 6.0
    pong: float = 6.0
    retry_first: float = 0.25
    retry_most: float = 15.0
    refused_first: float = 60.0  # a wrong password is tried seldom: PBXs ban addresses that guess
    refused_most: float = 600.0
    settled: float = 30.0  # a link that lived so long begins its back-off anew


class Ended(Exception):
    """The end of one connection: the state it leaves the link in, and why in plain words."""

    def __init__(self, state: State, problem: str) -> None:
        super().__init__(problem)
        self.state = state
        self.problem = problem


def _nothing(*_: object) -> None:
    return None


class Manager(panoramisk.manager.Manager):  # type: ignore[misc]
    """The link to one PBX. `start()` once, `close()` once; in between it comes and goes as the PBX does.

    on_frame(frame)    each wanted event, as bytes, in order and in the read path: it must not wait
    on_up(channels)    after each login, in the read path, between the events before and after the list of the PBX's
                       channels; None when the user may not list them
    on_down(reason)    after each end of a link that was up
    on_state()         after each change of `state` or `problem`

    None of them is called after close(). One that raises is logged and does not harm the link.
    """

    def __init__(
        self,
        pbx: PbxRow,
        *,
        on_frame: Callable[[bytes], None] = _nothing,
        on_up: Callable[[Sequence[ChannelSeen] | None], None] = _nothing,
        on_down: Callable[[str], None] = _nothing,
        on_state: Callable[[], None] = _nothing,
        wanted: frozenset[bytes] | None = None,
        events: str = EVENT_CLASSES,
        timing: Timing | None = None,
        tls: ssl.SSLContext | None = None,
        tap: Callable[[bytes], None] | None = None,
    ) -> None:
        """`wanted`: names of the events handed over (all when None); `tap` gets every byte as it comes."""
        self._matches: dict[str, list[Callable[..., Any]]] = {}
        super().__init__(host=pbx.host, port=pbx.port, events=events)  # not the secret: panoramisk shows its config
        self.callbacks.clear()  # the one that repeats actions after a reconnect
        self.patterns.clear()
        self.pbx = pbx
        self.on_frame, self.on_up, self.on_down, self.on_state = on_frame, on_up, on_down, on_state
        self.wanted = wanted
        self.events = events
        self.timing = timing or Timing()
        self.tls = (tls or default_tls()) if pbx.tls else None
        self.tap = tap
        self.counters = Counters()
        self.state: State = "connecting"
        self.problem = ""
        self.since = time.time()
        self.up_since: float | None = None  # of the present link; None unless up
        self.last_heard: float | None = None  # epoch; when the last link that was up was heard for the last time
        self.version = ""  # of the Manager Interface: 11.0.0
        self.protocol: Connection | None = None
        self.log = log.bind(enterprise=pbx.enterprise_number, pbx=pbx.name)
        self._task: asyncio.Task[None] | None = None
        self._moved = asyncio.Event()  # replaced at each change of state
        self._hurry = asyncio.Event()
        self._goodbye = ""

    # --- life ---------------------------------------------------------------------------------------------------

    def start(self) -> asyncio.Task[None]:
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"ami {self.pbx.name}")
        return self._task

    def connect(self, *_: object, **__: object) -> asyncio.Task[None]:
        """panoramisk's name for it."""
        return self.start()

    def close(self) -> None:
        """The end: no more callbacks, no reconnect; whoever waits for an answer gets ConnectionLost."""
        if self.state == "closed":
            return
        self._set("closed", "closed by the bridge")
        if self._task is not None:
            self._task.cancel()
        if self.protocol is not None:
            self.protocol.close()

    async def wait_closed(self) -> None:
        if self._task is not None:
            await asyncio.wait([self._task])

    def hurry(self) -> None:
        """Try again now, if it is waiting to."""
        self._hurry.set()

    async def _run(self) -> None:
        failures = refusals = 0
        while True:
            began = time.monotonic()
            try:
                await self._session()
            except Ended as ended:
                state, problem = ended.state, ended.problem
            except PbxUnavailable as lost:
                state, problem = "down", lost.message
            except BadInput as error:  # a user name with a line break in it
                state, problem = "auth_failed", error.message
            except Exception:
                self.log.exception("ami_link_failed")
                state, problem = "down", "An error of the bridge itself; see the log."
            if self.protocol is not None:
                self.protocol.close()
            self._went_down(state, problem)
            if state == "down":
                failures = 0 if time.monotonic() - began > self.timing.settled else failures
                delay = min(self.timing.retry_first * 2**failures, self.timing.retry_most)
                failures = min(failures + 1, 16)
                refusals = 0
            else:
                delay = min(self.timing.refused_first * 2**refusals, self.timing.refused_most)
                refusals = min(refusals + 1, 16)
            # jitter: a thousand links cut at once must not come back at once
            await self._rest(delay * random.uniform(0.5, 1.0))  # noqa: S311

    async def _rest(self, delay: float) -> None:
        self._hurry.clear()
        try:
            async with asyncio.timeout(delay):
                await self._hurry.wait()
        except TimeoutError:
            return

    # --- one connection -----------------------------------------------------------------------------------------

    async def _session(self) -> None:
        """One connection from beginning to end. Raises Ended or PbxUnavailable, always."""
        self._goodbye = ""
        self.protocol = connection = await self._connect()
        self.counters.connects += 1
        await self._greet(connection)
        await self._login(connection)
        if self.events == NO_EVENTS:
            self._came_up(None)
        else:
            await resync(connection, self._came_up, timeout=self.timing.snapshot)
        await self._watch(connection)

    async def _connect(self) -> Connection:
        where = f"{self.pbx.host}:{self.pbx.port}"
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.timing.connect):
                _, connection = await loop.create_connection(
                    lambda: Connection(self._event, counters=self.counters, tap=self.tap),
                    self.pbx.host,
                    self.pbx.port,
                    ssl=self.tls,
                )
        except TimeoutError:
            raise Ended("down", f"{where} does not answer within {self.timing.connect:g} s.") from None
        except ssl.SSLCertVerificationError as error:
            raise Ended("down", f"The certificate of {where} is not trusted: {error.verify_message}.") from error
        except ssl.SSLError as error:
            raise Ended("down", f"{where} does not speak TLS: {error.reason}.") from error
        except (OSError, ValueError) as error:  # ValueError: a host name that is none
            raise Ended("down", f"{where} cannot be reached: {_plain(error)}.") from error
        return connection

    async def _greet(self, connection: Connection) -> None:
        try:
            async with asyncio.timeout(self.timing.login):
                self.version = await connection.banner
        except TimeoutError:
            raise Ended("down", "Something accepts connections there, but does not greet as Asterisk does.") from None
        if _VERSION.fullmatch(self.version) is None:
            raise Ended("down", f"It calls itself Asterisk, of no version there is: {self.version[:40]!r}.")
        if self.asterisk < OLDEST:
            raise Ended(
                "wrong_version",
                f"This Asterisk is too old (Manager Interface {self.version}): {OLDEST} to {NEWEST} are supported.",
            )

    @property
    def asterisk(self) -> int:
        """Asterisk's major version by its greeting; before 15 the numbering was another, and the result is below 15."""
        return int(self.version.partition(".")[0]) + AMI_TO_ASTERISK if self.version else 0

    async def _login(self, connection: Connection) -> None:
        """By challenge, so that the secret does not travel; in clear only inside TLS."""
        limit = self.timing.login
        login: dict[str, Value] = {"Action": "Login", "Username": self.pbx.username, "Events": self.events}
        challenge = await connection.ask(Action({"Action": "Challenge", "AuthType": "MD5"}), limit)
        if challenge.success and challenge.response.get("Challenge"):
            text = challenge.response["Challenge"] + self.pbx.secret
            # MD5 is the only digest AMI has (manager.c authenticate())
            login |= {"AuthType": "MD5", "Key": hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()}
        elif self.tls is not None:
            login |= {"Secret": self.pbx.secret}
        else:
            raise Ended("down", "It offers no MD5 challenge, and the secret is not sent in clear: switch TLS on.")
        answer = await connection.ask(Action(login), limit)
        if not answer.success:
            self.counters.refused_logins += 1
            raise Ended(
                "auth_failed",
                f"Asterisk refused the login of {self.pbx.username!r} ({answer.message}): the name or secret is wrong, "
                "or its manager.conf does not permit this address.",
            )

    async def _watch(self, connection: Connection) -> None:
        """Any byte is a sign of life; silence is asked about, and a question unanswered is the end."""
        asked: float | None = None
        while not connection.lost.done():
            now = time.monotonic()
            if asked is not None and connection.last_heard > asked:
                asked = None
            if asked is not None and now - asked >= self.timing.pong:
                connection.abort(f"it has been silent for {now - connection.last_heard:.0f} s and does not answer")
                break
            if asked is None and now - connection.last_heard >= self.timing.idle:
                asked = now
                connection.send(Action({"Action": "Ping"}))
            due = connection.last_heard + self.timing.idle if asked is None else asked + self.timing.pong
            await asyncio.wait([connection.lost], timeout=max(due - now, 0.001))
        raise Ended("down", f"The link was lost: {self._goodbye or connection.lost.result()}.")

    # --- what it tells ------------------------------------------------------------------------------------------

    def _came_up(self, seen: Sequence[ChannelSeen] | None) -> None:
        self.up_since = time.time()
        problem = ""
        if self.asterisk > NEWEST:
            problem = (
                f"This Asterisk is newer (Manager Interface {self.version}) than those known, {OLDEST} to {NEWEST}."
            )
        elif seen is None and self.events != NO_EVENTS:
            problem = (
                f"User {self.pbx.username!r} may not list channels: calls that ended while nobody watched stay open. "
                "Give it write class reporting."
            )
        self._call(self.on_up, seen)
        self._set("up", problem)

    def _went_down(self, state: State, problem: str) -> None:
        was_up = self.up_since is not None
        if was_up:
            self.counters.losses += 1
            self.up_since = None
            if self.protocol is not None:
                self.last_heard = time.time() - (time.monotonic() - self.protocol.last_heard)
        self._set(state, problem)
        if was_up:
            self._call(self.on_down, problem)

    def _set(self, state: State, problem: str = "") -> None:
        if (state, problem) == (self.state, self.problem) or self.state == "closed":
            return
        if state != self.state:
            self.since = time.time()
        self.state, self.problem = state, problem
        report = self.log.warning if problem and state != "closed" else self.log.info
        report("ami_state", state=state, problem=problem, version=self.version)
        self._moved.set()
        self._moved = asyncio.Event()
        if state != "closed":
            self._call(self.on_state)

    def _call(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            callback(*arguments)
        except Exception:
            self.counters.callback_errors += 1
            self.log.exception("ami_callback_failed", callback=getattr(callback, "__qualname__", repr(callback)))

    def _event(self, name: bytes, frame: bytes) -> None:
        if name == b"Shutdown":
            restarts = parse(frame).get("Restart").lower() in ("true", "yes")
            self._goodbye = "Asterisk restarts" if restarts else "Asterisk shuts down"
        if self.wanted is None or name in self.wanted:
            self.counters.handed_over += 1
            self.on_frame(frame)  # the connection guards it
        if self.patterns:
            self.dispatch(Answer(parse(frame)))

    # --- panoramisk's registry ----------------------------------------------------------------------------------

    def register_event(self, pattern: str, callback: Callable[..., Any] | None = None) -> Any:
        """As panoramisk's, for plain functions: coroutines would run beside each other, in any order and number."""
        if callback is not None and inspect.iscoroutinefunction(callback):
            raise TypeError(f"{callback!r} is a coroutine function: events are taken in order, by plain functions")
        if callback is None:
            return functools.partial(self.register_event, pattern)
        self._matches.clear()
        return super().register_event(pattern, callback)

    def send_awaiting_actions(self, *_: object) -> None:
        """panoramisk repeats here what a lost connection left unanswered; nothing is ever sent twice."""

    def dispatch(self, event: Answer) -> list[str]:
        name = str(event.event)
        callbacks = self._matches.get(name)
        if callbacks is None:
            found = [pattern for pattern, expression in self.patterns if expression.match(name)]
            callbacks = [callback for pattern in found for callback in self.callbacks[pattern]]
            if len(self._matches) < 1000:  # names are Asterisk's, but a peer may invent them
                self._matches[name] = callbacks
        event.manager = self
        for callback in callbacks:
            self._call(callback, self, event)
        return [pattern for pattern, expression in self.patterns if expression.match(name)]

    # --- actions ------------------------------------------------------------------------------------------------

    async def send(self, action: Mapping[str, Value], *, timeout: float | None = None, outcome: bool = False) -> Reply:
        """Do it, once. `timeout` in seconds counts from now, a first connect in progress included.

        `outcome` true makes an Originate complete with its OriginateResponse, which only a link with events hears.
        Raises BadInput and PbxUnavailable (nothing was sent), of the latter ConnectionLost and ActionTimeout (whether
        it was done is not known), and ActionFailed.
        """
        built = Action(action, outcome=outcome)
        limit = self.timing.action if timeout is None else timeout
        deadline = time.monotonic() + limit
        await self._settle(limit)
        if self.state != "up" or self.protocol is None:
            raise self._unavailable()
        reply = await self.protocol.ask(built, max(deadline - time.monotonic(), 0.001))
        if not reply.success:
            raise ActionFailed(f"{built['Action']}: {reply.message}", action=built["Action"], reason=reply.message)
        return reply

    async def settled(self) -> None:
        """Return once the first attempt to connect has come to something: it is up, or there is a problem."""
        while self.state == "connecting":
            await self._moved.wait()

    async def _settle(self, limit: float) -> None:
        try:
            async with asyncio.timeout(limit):
                await self.settled()
        except TimeoutError:
            return

    def _unavailable(self) -> PbxUnavailable:
        return PbxUnavailable(self.problem or f"PBX {self.pbx.name!r} is not connected yet.", state=self.state)

    def send_action(
        self, action: Mapping[str, Value], as_list: bool | None = None, **headers: Value
    ) -> asyncio.Future[Any]:
        """panoramisk's own way: a future of its messages. Raises PbxUnavailable at once when the link is not up."""
        if self.state != "up" or self.protocol is None:
            raise self._unavailable()
        return self.protocol.send(Action({**action, **headers}, outcome=bool(as_list)))


@functools.cache
def default_tls() -> ssl.SSLContext:
    """Trusts the system's authorities, or those of the file that SSL_CERT_FILE names."""
    return ssl.create_default_context()


def _plain(error: OSError | ValueError) -> str:
    """asyncio's own text for a refused connection is `Connect call failed (…)`."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number is not None and number > 0 else getattr(error, "strerror", None) or str(error)
