"""One RetailCRM account: who works there, who its customers are, and everything it was told.

No I/O: the server around it (`lab.retailcrm.server`) speaks HTTP. Times are seconds since the epoch.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from lab.retailcrm.formats import (
    AdditionalCode,
    CallEvent,
    IntegrationModule,
    Integrations,
    Telephony,
    UploadedCall,
    UserStatus,
)

SCOPES = frozenset(
    {
        "integration_read",
        "integration_write",
        "telephony_read",
        "telephony_write",
        "user_read",
        "user_write",
        "customer_read",
        "customer_write",
        "order_read",
        "reference_read",
    }
)
KEPT_REQUESTS = 20_000


@dataclass
class User:
    id: int
    first_name: str
    last_name: str = ""
    email: str = ""
    code: str = ""  # the extension, where an administrator typed it in the CRM; modules set theirs by additionalCodes
    status: UserStatus = "free"
    active: bool = True
    is_manager: bool = True
    is_admin: bool = False
    online: bool = True


@dataclass
class Customer:
    id: int
    first_name: str
    phones: tuple[str, ...]
    last_name: str = ""
    email: str = ""
    manager_id: int | None = None
    external_id: str = ""


class ReceivedEvent(CallEvent, kw_only=True):
    """A popup that the account accepted."""

    received_at: float


class ReceivedCall(UploadedCall, kw_only=True):
    """A call that the account keeps: once for each externalId, however often it was uploaded."""

    received_at: float
    id: int

    def started_at(self, timezone: str) -> float:
        """`date`, which the account reads in its own time zone, as seconds since the epoch."""
        naive = datetime.strptime(self.date, "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 the zone is given beside it
        return naive.replace(tzinfo=ZoneInfo(timezone)).timestamp()


@dataclass(frozen=True)
class Request:
    """One request as it came, and how it was answered. `form` and `query` are without the key."""

    at: float
    method: str
    path: str
    query: dict[str, str]
    form: dict[str, Any]
    key_in_url: bool
    status: int  # 0: no answer was given
    answer: Any


@dataclass
class Faults:
    """What the account does wrong on purpose. Reset with `account.faults = Faults()`."""

    slow: float = 0.0  # seconds before each answer
    busy: float = 0.0  # share (0..1) of requests answered 503
    hang: bool = False  # takes the request, does nothing, never answers
    mute: bool = False  # does what was asked, never answers: the sender cannot know
    status: int = 0  # answers everything with this HTTP status
    refuse: str = ""  # answers everything with HTTP 200, success:false and this errorMsg


@dataclass
class Account:
    """`name` is the sub-domain. `keys` maps an API key to its scopes."""

    name: str
    keys: dict[str, frozenset[str]] = field(default_factory=dict)
    users: list[User] = field(default_factory=list)
    customers: list[Customer] = field(default_factory=list)
    sites: tuple[str, ...] = ("main",)
    timezone: str = "Europe/Moscow"
    telephony: bool = True  # False: "Telephony not enabled", with HTTP 200
    funds: bool = True  # False: a module cannot be activated
    lists_calls: bool = True  # GET telephony/calls is not available everywhere
    terse: bool = False  # leaves out lists that may be left out
    requests_per_second: int = 10
    telephony_requests_per_second: int = 40
    clock: Callable[[], float] = time.time
    url: str = ""  # where it listens; the emulator fills it

    faults: Faults = field(default_factory=Faults)
    modules: dict[str, IntegrationModule] = field(default_factory=dict)
    events: list[ReceivedEvent] = field(default_factory=list)
    calls: list[ReceivedCall] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)  # externalIds that were uploaded again
    requests: deque[Request] = field(default_factory=lambda: deque(maxlen=KEPT_REQUESTS))
    clicked: str = ""  # how the module answered the last click on a number

    def __post_init__(self) -> None:
        if not self.keys:
            self.keys = {f"key-of-{self.name}": SCOPES}
        self.dice = random.Random(self.name)
        self._recent: dict[tuple[str, bool], deque[float]] = {}
        self._changed = asyncio.Event()

    # --- for tests and the demo ---------------------------------------------------------------------------------

    @property
    def key(self) -> str:
        """Its first API key."""
        return next(iter(self.keys))

    @property
    def keys_in_urls(self) -> list[Request]:
        """Requests whose URL held the API key: it is then in every log on the way."""
        return [request for request in self.requests if request.key_in_url]

    def call(self, external_id: str) -> ReceivedCall:
        """The one call with this externalId; KeyError when there is none."""
        for call in self.calls:
            if call.external_id == external_id:
                return call
        raise KeyError(external_id)

    def events_of(self, external_id: str) -> list[ReceivedEvent]:
        return [event for event in self.events if event.call_external_id == external_id]

    async def until(self, condition: Callable[[Account], bool], seconds: float = 10.0) -> None:
        """Wait until `condition` holds; it is looked at after every request. Raises TimeoutError with what there is."""
        try:
            async with asyncio.timeout(seconds):
                while not condition(self):
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(
                f"{self.name} has {len(self.calls)} calls, {len(self.events)} events, {len(self.requests)} requests "
                f"after {seconds} s; the last: {list(self.requests)[-3:]}"
            ) from None

    def install(self, base_url: str, client_id: str, code: str = "bridge-telephony") -> None:
        """Register a telephony module, as one that was connected before: clicks on numbers go to it from now on."""
        self.modules[code] = IntegrationModule(
            code=code,
            integration_code=code,
            name="Bridge",
            logo=f"{base_url}/static/logo.svg",
            base_url=base_url,
            client_id=client_id,
            account_url=f"{base_url}/retailcrm-admin/",
            actions={"activity": "/retailcrm/activity"},
            integrations=Integrations(
                telephony=Telephony(
                    make_call_url=f"{base_url}/retailcrm/make-call",
                    change_user_status_url=f"{base_url}/retailcrm/status",
                    input_event_supported=True,
                    output_event_supported=True,
                    hangup_event_supported=True,
                    additional_codes=[
                        AdditionalCode(user_id=user.id, code=user.code) for user in self.users if user.code
                    ],
                )
            ),
        )

    # --- for the server -----------------------------------------------------------------------------------------

    def note(self, request: Request) -> None:
        self.requests.append(request)
        self._changed.set()
        self._changed = asyncio.Event()

    def over_limit(self, key: str, telephony: bool) -> bool:
        """True when this key has used up the last second's requests; telephony methods have a limit of their own."""
        limit = self.telephony_requests_per_second if telephony else self.requests_per_second
        now = self.clock()
        recent = self._recent.setdefault((key, telephony), deque())
        while recent and recent[0] <= now - 1.0:
            recent.popleft()
        if len(recent) >= limit:
            return True
        recent.append(now)
        return False

    def codes(self) -> dict[str, int]:
        """Extension to CRM user: what active modules declared, then what was typed in the CRM."""
        codes = {user.code: user.id for user in self.users if user.code}
        for module in self.modules.values():
            telephony = module.integrations.telephony if module.active and module.integrations else None
            for pair in telephony.additional_codes if telephony else []:
                codes[pair.code] = int(pair.user_id)
        return codes

    def user(self, user_id: int) -> User | None:
        return next((user for user in self.users if user.id == user_id), None)

    def customer(self, phone: str) -> Customer | None:
        digits = _digits(phone)
        return next((c for c in self.customers if any(_digits(number) == digits for number in c.phones)), None)


def _digits(phone: str) -> str:
    return "".join(character for character in phone if character.isdecimal())
