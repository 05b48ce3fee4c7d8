"""SIP transactions over UDP: what is lost is sent again, what comes twice is answered once (RFC 3261 §17)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from lab.errors import CallProblem
from lab.phones.message import Request, Response

T1, T2 = 0.5, 4.0
"""Seconds: the first wait before a repetition, and the longest (§17.1.1.1)."""

REMEMBERED = 512
"""Answers kept for requests that come again."""


class Client:
    """A request of ours and the responses to it."""

    def __init__(self, request: Request, send: Callable[[bytes], None]) -> None:
        self.request = request
        self.responses: asyncio.Queue[Response] = asyncio.Queue()
        self._repeat = Repeated(request.encode(), send)

    def receive(self, response: Response) -> None:
        self._repeat.stop()
        self.responses.put_nowait(response)

    def stop(self) -> None:
        self._repeat.stop()

    async def final(self, timeout: float = 10.0) -> Response:
        """The answer that ends it. Raises CallProblem when none comes."""
        try:
            async with asyncio.timeout(timeout):
                while (response := await self.responses.get()).status < 200:
                    pass
                return response
        except TimeoutError:
            raise CallProblem(f"{self.request.method} {self.request.uri} was not answered in {timeout:g} s") from None
        finally:
            self.stop()


class Repeated:
    """Sent at once, and again at growing intervals until stopped; given up after 32 s (64 T1)."""

    def __init__(self, data: bytes, send: Callable[[bytes], None]) -> None:
        self._data = data
        self._send = send
        self._timer: asyncio.TimerHandle | None = None
        self._go(T1, 0.0)

    def _go(self, wait: float, waited: float) -> None:
        self._send(self._data)
        if waited < 64 * T1:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(wait, self._go, min(2 * wait, T2), waited + wait)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Transactions:
    """All of one phone."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._clients: dict[tuple[str, str], Client] = {}
        self._answers: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    def start(self, request: Request) -> Client:
        client = Client(request, self._send)
        self._clients[request.branch, request.method] = client
        return client

    def forget(self, client: Client) -> None:
        client.stop()
        self._clients.pop((client.request.branch, client.request.method), None)

    def received(self, response: Response) -> None:
        """To whom it belongs; a response to nothing is dropped."""
        _, method = response.cseq
        if client := self._clients.get((response.branch, method)):
            client.receive(response)

    def respond(self, request: Request, response: Response) -> None:
        data = response.encode()
        self._answers[request.branch, request.method] = data
        if len(self._answers) > REMEMBERED:
            self._answers.popitem(last=False)
        self._send(data)

    def repeated(self, request: Request) -> bool:
        """Whether the request was answered before; the same answer then went out again."""
        known = self._answers.get((request.branch, request.method))
        if known is not None and request.method != "ACK":
            self._send(known)
            return True
        return False

    def close(self) -> None:
        for client in self._clients.values():
            client.stop()
        self._clients.clear()
