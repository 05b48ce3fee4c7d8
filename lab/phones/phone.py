"""A SIP phone without a person: it registers, calls, is called, and does what a script tells it.

    async with Phone("127.1.2.150", "150", password="lab150", server="127.1.2.1") as phone:
        await phone.register()
        call = await phone.call("151")
        await call.until("up")
        await call.hang_up()

Calls that come in go to whoever expects them (`expect`), else to the phone's `policy`, else they stay unanswered.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any

from lab.errors import CallProblem
from lab.phones import rtp
from lab.phones.dialog import Dialog, token
from lab.phones.digest import authorization
from lab.phones.incoming import Incoming
from lab.phones.media import Stream
from lab.phones.message import Headers, MalformedMessage, Request, Response, answer, parse
from lab.phones.outgoing import Outgoing
from lab.phones.transactions import T1, Transactions

Policy = Callable[[Incoming], Awaitable[None]]
"""What a phone does by itself with a call that nobody expects."""

Match = Callable[[Incoming], bool]


class Expected:
    """A call that somebody waits for, from before it is made."""

    def __init__(self, match: Match, wanted: str, forget: Callable[[Expected], None]) -> None:
        self.match = match
        self.call: asyncio.Future[Incoming] = asyncio.get_running_loop().create_future()
        self._wanted = wanted
        self._forget = forget

    async def within(self, timeout: float = 10.0) -> Incoming:
        """Raises CallProblem when it does not come."""
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.shield(self.call)
        except TimeoutError:
            raise CallProblem(f"{self._wanted} did not come within {timeout:g} s") from None
        finally:
            self._forget(self)


class Phone:
    """`host` is its own address, `server` that of Asterisk. `hertz` is the tone it speaks with; None is silence."""

    def __init__(
        self,
        host: str,
        user: str,
        *,
        server: str,
        password: str | None = None,
        port: int = 5060,
        hertz: int | None = 400,
    ) -> None:
        self.host, self.user, self.server, self.password, self.port = host, user, server, password, port
        self.hertz = hertz
        self.policy: Policy | None = None
        self.transactions = Transactions(self.send_bytes)
        self.calls: dict[str, Incoming | Outgoing] = {}
        self._payload = rtp.tone(hertz) if hertz else None
        self._expected: list[Expected] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.DatagramTransport | None = None

    async def open(self) -> None:
        self._transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Wire(self._received), local_addr=(self.host, self.port)
        )

    async def close(self) -> None:
        """As if the phone lost its power: nobody is told."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.abandon_calls()
        self.transactions.close()
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def abandon_calls(self) -> None:
        """Forgets them without a word to the other side."""
        for call in self.calls.values():
            call.stream.close()
            call.forget()
        self.calls.clear()

    async def __aenter__(self) -> Phone:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    # --- what it can do -----------------------------------------------------------------------------------------

    async def register(self, expires: int = 3600) -> None:
        """Seconds until it would have to be done again; 0 signs off. Raises CallProblem when it is refused."""
        own = f"<sip:{self.user}@{self.server}>"
        dialog = Dialog(own, own, f"sip:{self.server}", self._contact, self._via)
        credentials: Headers = []
        for _ in range(2):
            request = dialog.request("REGISTER", [("Expires", str(expires)), *credentials])
            client = self.transactions.start(request)
            response = await client.final()
            self.transactions.forget(client)
            if response.status != 401 or not self.password:
                break
            credentials = [authorization(response, "REGISTER", request.uri, self.user, self.password, token())]
        if response.status != 200:
            raise CallProblem(f"{self.user} cannot register: {response.status} {response.reason}")

    async def call(self, number: str, *, caller: str | None = None, name: str = "", silent: bool = False) -> Outgoing:
        """Dials. `caller` and `name` are what the called side is to see: a provider's phone has many."""
        shown = f'"{name}" ' if name else ""
        dialog = Dialog(
            local=f"{shown}<sip:{caller or self.user}@{self.host}>",
            remote=f"<sip:{number}@{self.server}>",
            target=f"sip:{number}@{self.server}",
            contact=self._contact,
            via=self._via,
        )
        call = Outgoing(self, dialog, await Stream.open(self.host, None if silent else self._payload), number)
        self._remember(call)
        call.dial()
        return call

    def expect(self, *, caller: str | None = None, called: str | None = None) -> Expected:
        """The next call from `caller` to `called`, to be asked for before it can come."""

        def match(call: Incoming) -> bool:
            return (caller is None or call.caller == caller) and (called is None or call.called == called)

        wanted = f"a call from {caller or 'anybody'} to {called or self.user}"
        expected = Expected(match, wanted, self._no_longer_expect)
        self._expected.append(expected)
        return expected

    def _no_longer_expect(self, expected: Expected) -> None:
        if expected in self._expected:
            self._expected.remove(expected)

    # --- the wire -----------------------------------------------------------------------------------------------

    @property
    def _contact(self) -> str:
        return f"<sip:{self.user}@{self._via}>"

    @property
    def _via(self) -> str:
        return f"{self.host}:{self.port}"

    def send_bytes(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.sendto(data, (self.server, 5060))

    def send(self, message: Request | Response) -> None:
        self.send_bytes(message.encode())

    def _received(self, data: bytes) -> None:
        try:
            message = parse(data)
        except MalformedMessage:
            return  # keep-alives are empty datagrams, and nothing else reaches a phone on loopback
        if isinstance(message, Response):
            self.transactions.received(message)
        elif not self.transactions.repeated(message):
            self._requested(message)

    def _requested(self, request: Request) -> None:
        if call := self.calls.get(request.call_id):
            call.receive(request)
        elif request.method == "INVITE":
            self.transactions.respond(request, answer(request, 100, "Trying"))
            self.in_background(self._called(request))
        elif request.method in ("OPTIONS", "NOTIFY"):
            self.transactions.respond(request, answer(request, 200, "OK", token()))
        elif request.method != "ACK":
            self.transactions.respond(request, answer(request, 481, "Call Does Not Exist", token()))

    async def _called(self, invite: Request) -> None:
        dialog = Dialog.of_incoming(invite, self._contact, self._via)
        call = Incoming(self, dialog, await Stream.open(self.host, self._payload), invite)
        self._remember(call)
        for expected in self._expected:
            if expected.match(call):
                self._expected.remove(expected)
                expected.call.set_result(call)
                return
        if self.policy is not None:
            await self.policy(call)

    def _remember(self, call: Incoming | Outgoing) -> None:
        """Calls that ended are kept for as long as something of them may be sent again (64 T1)."""
        old = time.time() - 64 * T1
        for call_id, known in list(self.calls.items()):
            if known.ended_at is not None and known.ended_at < old:
                known.forget()
                del self.calls[call_id]
        self.calls[call.dialog.call_id] = call

    def in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Something the phone does by itself. A call that ended under it is no fault of anybody's."""
        task = asyncio.get_running_loop().create_task(self._forgiving(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _forgiving(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except CallProblem:
            return


class _Wire(asyncio.DatagramProtocol):
    def __init__(self, received: Callable[[bytes], None]) -> None:
        self._received = received

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._received(data)

    def error_received(self, exc: Exception) -> None:
        """Asterisk is not there just now: transactions notice by themselves."""
