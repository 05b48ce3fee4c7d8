"""A product's employees, as Mango knows them: who has which short number, which SIP addresses and numbers are theirs.

Asked for seldom (once in two seconds is all that is allowed) and kept for ten minutes. While Mango does not answer,
what was known last is given; what was never known is None, and nobody is refused for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import structlog

from bridge.errors import BridgeError
from bridge.mango import values
from bridge.mango.client import Api
from bridge.mango.config import Product

log = structlog.get_logger(__name__)

KEPT = 600.0
_FRESH = 60.0
_RETRY_AFTER = 60.0
_LARGEST = 8 * 1024 * 1024
_QUESTION = {"ext_fields": ["general.user_id", "general.sips", "groups"]}


class User(msgspec.Struct, frozen=True, kw_only=True):
    """`addresses`: SIP URIs and telephone numbers that ring this employee."""

    user_id: int | None
    extension: str | None
    name: str = ""
    addresses: tuple[str, ...] = ()


class Roster(msgspec.Struct, frozen=True, kw_only=True):
    users: tuple[User, ...] = ()

    @property
    def extensions(self) -> frozenset[str]:
        return frozenset(user.extension for user in self.users if user.extension)

    def addresses(self) -> Mapping[str, str]:
        """SIP URI or number -> the extension it rings for."""
        return {address: user.extension for user in self.users if user.extension for address in user.addresses}

    def by_id(self) -> Mapping[int, str]:
        return {user.user_id: user.extension for user in self.users if user.user_id is not None and user.extension}


def roster(document: Mapping[str, Any]) -> Roster:
    """The answer to config/users/request (VPBX API, 3.7). Tolerant: what makes no sense is left out."""
    found = document.get("users")
    return Roster(
        users=tuple(_user(each) for each in found if isinstance(each, dict)) if isinstance(found, list) else ()
    )


def _user(document: Mapping[str, Any]) -> User:
    general, telephony = (_object(document.get(name)) for name in ("general", "telephony"))
    sips, numbers = general.get("sips"), telephony.get("numbers")
    return User(
        user_id=values.whole(general.get("user_id")),
        extension=values.text(telephony.get("extension")),
        name=values.text(general.get("name")) or "",
        addresses=tuple(dict.fromkeys([*_addresses(sips), *_addresses(numbers)])),
    )


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _addresses(value: Any) -> Iterable[str]:
    for each in value if isinstance(value, list) else ():
        address = values.text(each.get("number") or each.get("sip") if isinstance(each, dict) else each)
        if address:
            yield address


class Users:
    """`clock` is monotonic, in seconds."""

    def __init__(self, api: Api, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._known: dict[str, tuple[float, Roster | None]] = {}
        self._asking: dict[str, asyncio.Task[Roster | None]] = {}

    def known(self, product: Product) -> Roster | None:
        """What was heard last, without asking."""
        return self._known.get(product.name, (0.0, None))[1]

    async def of(self, product: Product) -> Roster | None:
        """The employees; None where Mango has never told. Never raises for what Mango does."""
        until, kept = self._known.get(product.name, (0.0, None))
        return kept if until > self._clock() else await self._renewed(product)

    async def fresh(self, product: Product) -> Roster:
        """The same, asked anew where what is known is older than a minute: somebody may have been hired."""
        until, kept = self._known.get(product.name, (0.0, None))
        if until - KEPT + _FRESH < self._clock():
            kept = await self._renewed(product)
        return kept or Roster()

    async def run(self, products: Callable[[], Iterable[Product]], every: float = _FRESH) -> None:
        """Know them before anybody asks, for ever: a click, and a caller in a menu, cannot wait for that."""
        while True:
            for product in products():
                if self._known.get(product.name, (0.0, None))[0] - 2 * every < self._clock():
                    try:
                        await self._renewed(product)
                    except Exception:
                        log.exception("mango_users_not_read", product=product.name)
            await asyncio.sleep(every)

    async def close(self) -> None:
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _renewed(self, product: Product) -> Roster | None:
        """Asked now, once however many want it."""
        key = product.name
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask(key, product), name="mango users")
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        return await asyncio.shield(task)

    async def _ask(self, key: str, product: Product) -> Roster | None:
        try:
            reply = await self._api.ask(
                product, "users", "config/users/request", _QUESTION, patience=5.0, largest=_LARGEST
            )
        except BridgeError as problem:
            log.warning("mango_users_not_read", problem=problem.message)
            kept = self.known(product)
            self._known[key] = (self._clock() + _RETRY_AFTER, kept)
            return kept
        found = roster(reply.document or {})
        self._known[key] = (self._clock() + KEPT, found)
        return found
