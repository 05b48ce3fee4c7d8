"""Whose extensions, phones and lines an enterprise's cloud calls speak of: what `reader` goes by, kept for a while.

Users, their extensions and cities, and the lines come from the database, read again on a NOTIFY or after a minute or
so; the addresses of phones from Mango's own list of employees, which is asked for beside the work.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import asyncpg
import msgspec

from bridge.mango.config import Product
from bridge.mango.operators import Employee, Operators
from bridge.mango.reader import MangoRules
from bridge.mango.users import Roster

_REGION = "select region from enterprises where number = $1"
_EMPLOYEES = """
select u.city, u.role, array_agg(p.phone_number order by p.id) as extensions
from user_internal_phones p join users u on u.id = p.user_id
where p.enterprise_number = $1
group by u.id order by u.id
"""
# Lines without an enterprise belong to the only one there is
_LINES = """
select number, city from phones
where coalesce(enterprise_number, (select min(number) from enterprises having count(*) = 1)) = $1 and city <> ''
"""

FIRST_PATIENCE = 1.0
"""Seconds that the first call of an enterprise waits for Mango's list of employees."""


class Users(Protocol):
    """Mango's list of employees."""

    def known(self, product: Product) -> Roster | None: ...

    async def of(self, product: Product) -> Roster | None:
        """Asks, where what is known is old. Never raises for what Mango does."""


class Products(Protocol):
    """The products of an enterprise, and whose calls are nobody's."""

    def of(self, enterprise_number: str) -> Sequence[Product]: ...

    def default_operator(self, enterprise_number: str) -> str | None: ...


class _Kept(msgspec.Struct, frozen=True):
    rules: MangoRules
    until: float
    addresses: Mapping[str, str]


class People:
    """`users` None: Mango is not asked. `lives` gives the seconds that rules are kept; `clock` is monotonic."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        products: Products,
        users: Users | None = None,
        *,
        lives: Callable[[], float] = lambda: random.uniform(50.0, 70.0),  # noqa: S311 - jitter
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._products = products
        self._users = users
        self._lives = lives
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._changes = 0
        self._asked: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def rules(self, enterprise_number: str) -> MangoRules:
        """Raises what asyncpg raises."""
        kept = self._kept.get(enterprise_number)
        if kept is not None and self._clock() < kept.until:
            return kept.rules
        await self._ask(enterprise_number)
        changes = self._changes
        addresses = self._addresses(enterprise_number)
        rules = await self._read(enterprise_number, addresses)
        if changes == self._changes:  # else it may be of the time before the change
            self._kept[enterprise_number] = _Kept(rules, self._clock() + self._lives(), addresses)
        return rules

    def changed(self, _payload: str = "") -> None:
        """Something it knows may have changed. To be called on a NOTIFY of bridge_config or bridge_integrations, and
        after a reconnect of whoever listens."""
        self._changes += 1
        self._kept.clear()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read(self, enterprise_number: str, addresses: Mapping[str, str]) -> MangoRules:
        async with self._pool.acquire() as connection:
            region = await connection.fetchval(_REGION, enterprise_number) or "RU"
            people = await connection.fetch(_EMPLOYEES, enterprise_number)
            lines = await connection.fetch(_LINES, enterprise_number)
        return MangoRules(
            region=region,
            operators=Operators(
                employees([(tuple(row["extensions"]), row["city"], row["role"]) for row in people], addresses),
                {row["number"]: row["city"] for row in lines},
                self._products.default_operator(enterprise_number),
                region,
            ),
        )

    async def _ask(self, enterprise_number: str) -> None:
        """Have Mango asked. Only the first call of an enterprise waits for that, and not for long."""
        if self._users is None:
            return
        asking = asyncio.create_task(self._hear(self._users, enterprise_number), name="mango employees")
        self._tasks.add(asking)
        asking.add_done_callback(self._tasks.discard)
        if enterprise_number not in self._asked:
            self._asked.add(enterprise_number)
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(asking), FIRST_PATIENCE)

    async def _hear(self, users: Users, enterprise_number: str) -> None:
        for product in self._products.of(enterprise_number):
            await users.of(product)
        kept = self._kept.get(enterprise_number)
        if kept is not None and kept.addresses != self._addresses(enterprise_number):
            self.changed()

    def _addresses(self, enterprise_number: str) -> Mapping[str, str]:
        found: dict[str, str] = {}
        if self._users is not None:
            for product in self._products.of(enterprise_number):
                roster = self._users.known(product) or Roster()
                found |= {
                    address: user.extension for user in roster.users if user.extension for address in user.addresses
                }
        return found


def employees(people: Iterable[tuple[tuple[str, ...], str, str]], addresses: Mapping[str, str]) -> list[Employee]:
    """(extensions, city, role) of each user, and address -> extension. Pure.

    Only operators have a city's calls. Phones whose extension is no user's are employees of their own."""
    of_extension: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for address, extension in addresses.items():
        of_extension[extension][address] = extension
    found = []
    for extensions, city, role in people:
        theirs: dict[str, str] = {}
        for extension in extensions:
            theirs |= of_extension.pop(extension, {})
        found.append(Employee(extensions=extensions, city=city if role == "operator" else "", addresses=theirs))
    return found + [Employee(extensions=(each,), addresses=theirs) for each, theirs in of_extension.items()]
