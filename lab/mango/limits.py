"""How often a customer may ask, and what a wrong question costs (VPBX API, 1.4). Pure: time is an argument."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

PENALTY_SECONDS = 120.0


@dataclass(frozen=True)
class Rate:
    """So many in so many seconds."""

    count: int
    seconds: float = 1.0


DEFAULT = Rate(10), Rate(100)
SLOW = Rate(1, 2.0), Rate(10)
RATES: dict[str, tuple[Rate | None, Rate]] = {
    "commands/callback": (Rate(4), Rate(10)),
    "commands/callback_group": (Rate(4), Rate(10)),
    "commands/call/hangup": (Rate(4), Rate(10)),
    "commands/recording/start": (Rate(4), Rate(10)),
    "commands/route": SLOW,
    "commands/transfer": SLOW,
    "queries/recording/post": (Rate(10), Rate(120)),
    "config/users/request": SLOW,
    "account/balance": (Rate(2), Rate(10)),
    "stats/request": SLOW,
    "stats/calls/request": SLOW,
    "stats/result": (None, Rate(50)),
    "stats/calls/result": (None, Rate(50)),
}
"""By method: of one product (None: no limit of its own), of the whole API."""


class Window:
    """Counts what was let through in the last `rate.seconds`."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._passed: deque[float] = deque()

    def full(self, now: float) -> bool:
        while self._passed and self._passed[0] <= now - self.rate.seconds:
            self._passed.popleft()
        return len(self._passed) >= self.rate.count

    def take(self, now: float) -> None:
        self._passed.append(now)


class Limits:
    """The limits of one product, or of all together."""

    def __init__(self, *, whole: bool = False) -> None:
        self._whole = whole
        self._windows: dict[str, Window] = {}

    def window(self, method: str) -> Window | None:
        rate = RATES.get(method, DEFAULT)[self._whole]
        if rate is None:
            return None
        # methods without a limit of their own share the product's
        return self._windows.setdefault(method if method in RATES else "", Window(rate))


class Penalty:
    """One invalid request per two minutes. A second one shuts the door until two minutes after the first (1.4.1)."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._shut_until = 0.0

    def shut(self, now: float) -> bool:
        return now < self._shut_until

    def blunder(self, now: float) -> bool:
        """An invalid request: whether it was one too many."""
        if self._first is not None and now < self._first + PENALTY_SECONDS:
            self._shut_until = self._first + PENALTY_SECONDS
            return True
        self._first = now
        return False
