"""One audio stream of a phone: a socket, a tone that goes out every 20 ms, and an ear."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

from lab.errors import CallProblem
from lab.phones import rtp


class _Ear(asyncio.DatagramProtocol):
    def __init__(self, listener: rtp.Listener, changed: asyncio.Event) -> None:
        self._listener = listener
        self._changed = changed

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._listener.receive(data)
        self._changed.set()

    def error_received(self, exc: Exception) -> None:
        """The other side closed its port before ours: calls end that way."""


class Stream:
    """`speak` begins and `close` ends it. A silent stream (`payload` None) takes part in a call and sends nothing."""

    def __init__(
        self, transport: asyncio.DatagramTransport, ear: rtp.Listener, changed: asyncio.Event, payload: bytes | None
    ) -> None:
        self.heard = ear
        self._transport = transport
        self._changed = changed
        self._payload = payload
        self._sender = rtp.Sender(random.getrandbits(31), random.randrange(1 << 15))
        self._peer: tuple[str, int] | None = None
        self._muted = False
        self._keys: list[tuple[Iterator[bytes], asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    async def open(cls, host: str, payload: bytes | None) -> Stream:
        ear, changed = rtp.Listener(), asyncio.Event()
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Ear(ear, changed), local_addr=(host, 0)
        )
        return cls(transport, ear, changed, payload)

    @property
    def port(self) -> int:
        port: int = self._transport.get_extra_info("sockname")[1]
        return port

    def speak(self, host: str, port: int, *, muted: bool = False) -> None:
        """Towards there from now on, wherever it spoke before; `muted` while the other side must not hear."""
        self._peer = (host, port)
        self._muted = muted
        if self._timer is None and self._payload is not None:
            self._tick(asyncio.get_running_loop().time())

    def _tick(self, due: float) -> None:
        self._send_one()
        loop = asyncio.get_running_loop()
        # a loop that was late catches up with the clock instead of sending a burst
        following = max(due + rtp.PACKET_SECONDS, loop.time())
        self._timer = loop.call_at(following, self._tick, following)

    def _send_one(self) -> None:
        if self._keys:
            packets, pressed = self._keys[0]
            packet = next(packets, None)
            if packet is not None:
                self._transport.sendto(packet, self._peer)
                return
            self._keys.pop(0)
            if not pressed.done():
                pressed.set_result(None)
        if self._payload is not None and not self._muted:
            self._transport.sendto(self._sender.sound(self._payload), self._peer)

    async def press(self, digits: str) -> None:
        """Keys of the phone, one after the other, 120 ms each with as much between them."""
        for digit in digits:
            if self._timer is None:
                raise CallProblem(f"{digit} of {digits} cannot be typed: no sound flows")
            pressed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._keys.append((self._sender.digit(digit), pressed))
            await pressed
            await asyncio.sleep(0.12)

    async def hears(self, hertz: int | None = None, timeout: float = 5.0) -> None:
        """Returns once this tone is heard (any sound when None). Raises CallProblem."""
        self.heard.forget()
        try:
            async with asyncio.timeout(timeout):
                while not (self.heard.sounds if hertz is None else self.heard.hertz == hertz):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise CallProblem(
                f"wanted to hear {hertz or 'any'} Hz, heard {self.heard.hertz} Hz "
                f"at level {self.heard.level:.0f} in {self.heard.packets} packets"
            ) from None

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for _, pressed in self._keys:  # the call may end by the very key that is pressed
            if not pressed.done():
                pressed.set_result(None)
        self._keys.clear()
        self._transport.close()
