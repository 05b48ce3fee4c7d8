"""How often a password may be tried: per account and per address, counted in this process."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

from bridge.errors import TooManyRequests


class Attempts:
    """`limit` failures in `window` seconds for a key; then TooManyRequests until the oldest is forgotten.

    An attempt counts when it begins, so that many at once do not slip through; one that succeeds is taken back.
    `most` keys are remembered, the least recently tried forgotten first: an attacker's must not fill the memory."""

    def __init__(self, limit: int, window: float, *, most: int = 10_000, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._window = window
        self._most = most
        self._clock = clock
        self._tried: OrderedDict[str, list[float]] = OrderedDict()

    def begin(self, key: str) -> None:
        now = self._clock()
        tried = [at for at in self._tried.get(key, ()) if at > now - self._window]
        if len(tried) >= self._limit:
            wait = max(1, round(tried[0] + self._window - now))
            raise TooManyRequests(f"Too many attempts to sign in: try again in {wait} s", retry_after=wait)
        tried.append(now)
        self._tried[key] = tried
        self._tried.move_to_end(key)
        if len(self._tried) > self._most:
            self._tried.popitem(last=False)

    def succeeded(self, key: str) -> None:
        """A right password proves the person: the account's earlier failures are forgotten."""
        self._tried.pop(key, None)

    def take_back(self, key: str) -> None:
        """One attempt less: an address keeps its other failures, or one good account would open it for guessing."""
        if tried := self._tried.get(key):
            tried.pop()


class LoginLimits:
    """10 failures in 5 minutes for an account from anywhere, 30 from one address for any account."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._accounts = Attempts(10, 300, clock=clock)
        self._addresses = Attempts(30, 300, clock=clock)

    def begin(self, email: str, address: str) -> None:
        """Raises TooManyRequests."""
        self._addresses.begin(_network(address))
        try:
            self._accounts.begin(email.casefold())
        except TooManyRequests:
            self._addresses.take_back(_network(address))
            raise

    def succeeded(self, email: str, address: str) -> None:
        self._accounts.succeeded(email.casefold())
        self._addresses.take_back(_network(address))


def _network(address: str) -> str:
    """An IPv6 customer owns a /64 at least: the limit counts networks, not the addresses inside."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 6:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
