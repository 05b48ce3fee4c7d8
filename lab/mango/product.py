"""One company's virtual PBX at Mango Office: who works there, which lines ring where, all calls there ever were.

No I/O: `lab.mango.api` answers for it over HTTP, `lab.mango.delivery` posts its webhooks. Times are seconds since the
epoch.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lab.mango.limits import Limits, Penalty

if TYPE_CHECKING:
    from lab.mango.entry import Entry

LINE = "74951230001"
KEPT_REQUESTS = 20_000


@dataclass(frozen=True)
class Employee:
    """`extension` may begin with a zero. `sips` are the addresses of the phones; the first one rings."""

    user_id: int
    extension: str
    name: str
    sips: tuple[str, ...]
    mobile: str = ""
    department: str = ""

    @property
    def address(self) -> str:
        return self.sips[0] if self.sips else self.mobile


@dataclass(frozen=True)
class Group:
    group_id: int
    extension: str
    name: str
    members: tuple[str, ...]
    """Extensions, all of which ring at once."""


@dataclass(frozen=True)
class Line:
    """`number` is digits, or the SIP URI of a line that is no number."""

    line_id: int
    number: str
    name: str = ""


@dataclass
class File:
    """A recording in the cloud storage. `ready_at`: asked for before, it is not there yet."""

    recording_id: str
    content: bytes
    ready_at: float = 0.0
    deleted: bool = False
    user_id: int = -1


@dataclass
class Habits:
    """What people do in calls that the bridge starts or steers, in seconds."""

    employee: str = "answers"
    """or no_answer, busy"""
    client: str = "answers"
    """or no_answer, busy, rejects"""
    ring: float = 0.3
    talk: float = 1.0
    patience: float = 5.0
    """Of a client in the voice menu, before anything else happens."""


@dataclass
class Faults:
    """What goes wrong on purpose. Reset with `product.faults = Faults()`."""

    slow: float = 0.0  # seconds before each answer
    hang: bool = False  # takes the request and never answers
    status: int = 0  # answers everything with this HTTP status
    subscribed: bool = True  # False: 5008 for everything
    results_after: bool = False  # a command's result comes after the events it causes
    results_lost: bool = False  # no result comes at all
    polls: int = 1  # how often statistics are not ready when asked for
    stats_error: bool = False  # extended statistics end in `error`
    clock_ahead: int = 0  # seconds by which webhooks' timestamps are wrong; the 2026 edition speaks of UTC+3


@dataclass(frozen=True)
class Request:
    """One request as it came, and how it was answered. Without key and sign."""

    at: float
    method: str
    fields: Any
    status: int  # 0: no answer was given
    answer: Any


@dataclass
class Product:
    """`key` and `salt` are the credentials of its API; `webhooks` is the address of the outside system."""

    name: str
    key: str = ""
    salt: str = ""
    product_id: int = 10086277
    employees: list[Employee] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    lines: list[Line] = field(default_factory=lambda: [Line(405512, LINE, "Main")])
    webhooks: str = ""
    timezone: str = "Europe/Moscow"
    balance: float = 1500.5
    links: bool = False
    """Recording links without authorisation: off unless switched on in the cabinet."""
    error_status: int = 420
    """HTTP status of a 3xxx answer. 420 by the edition of 2017; that of 2026 does not say."""
    clock: Callable[[], float] = time.time
    url: str = ""
    """Where its API is, without /vpbx; the emulator fills it."""
    habits: Habits = field(default_factory=Habits)
    faults: Faults = field(default_factory=Faults)

    entries: dict[str, Entry] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)
    commands: list[dict[str, Any]] = field(default_factory=list)
    """Commands that were accepted, with `method`."""
    requests: deque[Request] = field(default_factory=lambda: deque(maxlen=KEPT_REQUESTS))

    def __post_init__(self) -> None:
        self.key = self.key or f"key-of-{self.name}"
        self.salt = self.salt or f"salt-of-{self.name}"
        self.dice = random.Random(self.name)
        self.limits, self.penalty = Limits(), Penalty()
        self._numbers = itertools.count(self.dice.randrange(10**9, 2 * 10**9))
        self._changed = asyncio.Event()

    # --- who and what -------------------------------------------------------------------------------------------------

    @property
    def line(self) -> str:
        return self.lines[0].number

    @property
    def domain(self) -> str:
        return f"vpbx{self.product_id}.mangosip.ru"

    def employee(self, extension: str) -> Employee | None:
        return next((one for one in self.employees if one.extension == extension), None)

    def at(self, extension: str) -> Employee:
        """KeyError when nobody has this extension."""
        if (found := self.employee(extension)) is None:
            raise KeyError(extension)
        return found

    def group(self, extension: str) -> Group | None:
        return next((one for one in self.groups if one.extension == extension), None)

    def hire(self, extension: str, name: str) -> Employee:
        """One more employee, with a SIP account."""
        user_id = 300_000_000 + len(self.employees) + 1
        new = Employee(user_id, extension, name, (f"sip:user{extension}@{self.domain}",))
        self.employees.append(new)
        return new

    # --- identifiers, as opaque as Mango's ----------------------------------------------------------------------------

    def entry_id(self) -> str:
        return _opaque(str(next(self._numbers)))

    def call_id(self) -> str:
        return _opaque(f"1:{self.product_id}:{self.dice.choice((381, 501, 502))}:{next(self._numbers)}")

    def recording_id(self) -> str:
        """Base64 that has `/`, `+` and `=` in it, as these may."""
        return b64encode(b"\xff\xef\xbe" + next(self._numbers).to_bytes(7)).decode()

    # --- what happened ------------------------------------------------------------------------------------------------

    def note(self, request: Request) -> None:
        self.requests.append(request)
        self.changed()

    def changed(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[[Product], bool], seconds: float = 10.0) -> None:
        """Wait until `condition` holds; it is looked at after every request. Raises TimeoutError with what there is."""
        try:
            async with asyncio.timeout(seconds):
                while not condition(self):
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(
                f"{self.name} has {len(self.entries)} calls, {len(self.commands)} commands, {len(self.requests)} "
                f"requests after {seconds} s; the last: {list(self.requests)[-3:]}"
            ) from None


def _opaque(text: str) -> str:
    return b64encode(text.encode()).decode()
