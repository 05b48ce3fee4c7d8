"""How fast one product at Mango Office may be asked, and when it must be left alone (VPBX API, 1.4).

Theory of operation. Every kind of request has a rate of its own beside the product's (GCRA, `bridge.pacing`). One
invalid request in two minutes is forgiven; with the second one everything is answered 401 until two minutes after the
first. So the first refusal closes the product for that time; the next request after it goes alone, and if that one is
refused too, the time is doubled. Of an excess (429, 503, 5008) only the kind that exceeded waits, each time longer.

The state of a product is a row, for all instances ask in its name. `take` is pure; `Paces` reads, takes and writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import asyncpg
import msgspec

from bridge.errors import DatabaseProblem, MangoPaused, MangoUnavailable
from bridge.pacing import Limits, Policy, Rate, failed, room, spend

Kind = Literal["callback", "hangup", "route", "transfer", "recording", "users", "balance", "statistics", "result"]

# Of what is allowed in one second, so much that two requests whose ways take differently long still keep to it.
_TWO_SECONDS = Rate(per_second=1 / 2.2, burst=1)
RATES: Final[Mapping[Kind, Rate]] = {
    "callback": Rate(per_second=2.5, burst=2),  # 4/s
    "hangup": Rate(per_second=2.5, burst=2),  # 4/s
    "route": _TWO_SECONDS,  # 1 per 2 s, as the next
    "transfer": _TWO_SECONDS,
    "recording": Rate(per_second=8, burst=2),  # 10/s
    "users": _TWO_SECONDS,
    "balance": Rate(per_second=1, burst=1),  # 2/s
    "statistics": _TWO_SECONDS,
    "result": Rate(per_second=8, burst=2),  # none of its own: the product's
}
WHOLE: Final = Rate(per_second=8, burst=2)
"""Of all requests of a product together: 10/s."""

PENALTY: Final = Policy(threshold=1, shortest=125.0, longest=3600.0, probe=15.0)
"""Two minutes, and what two clocks may differ by."""

_SHORTEST_PAUSE, _LONGEST_PAUSE = 2.0, 300.0


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one product. `due`: by kind of request, when its next is due (GCRA); `slow`: how often in a row
    that kind was too fast. `limits`: the same of all together, and the breaker."""

    limits: Limits = Limits()
    due: Mapping[str, float] = {}
    slow: Mapping[str, int] = {}

    @property
    def troubled(self) -> bool:
        """Whether there is something that a success forgets."""
        return self.limits.failures > 0 or self.limits.open_until is not None or bool(self.slow)


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """No place for a request now. `penalty`: the product is closed; else it is only busy."""

    seconds: float
    penalty: bool


def take(pace: Pace, now: float, kind: Kind, patience: float) -> tuple[Pace, float] | Refused:
    """A place for one request: the new state, and the seconds to wait for the place, `patience` at the most."""
    own = Limits(tat=pace.due.get(kind, 0.0))
    places, seconds = room(pace.limits, now, WHOLE, 1, patience)
    if not places:
        closed = pace.limits.open_until is not None
        return Refused(seconds=seconds if closed else seconds + patience, penalty=closed)
    places, seconds = room(own, now, RATES[kind], 1, patience)
    if not places:
        return Refused(seconds=seconds + patience, penalty=False)
    limits, (wait,) = spend(pace.limits, now, WHOLE, 1, PENALTY)
    own, (longer,) = spend(own, now, RATES[kind], 1, PENALTY)
    return msgspec.structs.replace(pace, limits=limits, due={**pace.due, kind: own.tat}), max(wait, longer)


def refused(pace: Pace, now: float) -> Pace:
    """A request was invalid: the product is left alone."""
    return msgspec.structs.replace(pace, limits=failed(pace.limits, now, PENALTY, luck=0.0))


def exceeded(pace: Pace, now: float, kind: Kind) -> Pace:
    """It was asked too fast, or is overloaded: this kind of request pauses, each time twice as long."""
    times = pace.slow.get(kind, 0)
    pause = min(_LONGEST_PAUSE, _SHORTEST_PAUSE * 2.0 ** min(times, 30))
    # A burst tolerates being early; after an excess nothing is.
    early = (RATES[kind].burst - 1) / RATES[kind].per_second
    due = max(pace.due.get(kind, 0.0), now + pause + early)
    return msgspec.structs.replace(pace, due={**pace.due, kind: due}, slow={**pace.slow, kind: times + 1})


def worked(pace: Pace, now: float, kind: Kind) -> Pace:
    """A request was a valid one. What was sent before the product was closed does not open it."""
    slow = {each: times for each, times in pace.slow.items() if each != kind}
    closed = pace.limits.open_until is not None and pace.limits.open_until > now
    return msgspec.structs.replace(pace, limits=pace.limits if closed else Limits(tat=pace.limits.tat), slow=slow)


_LOCK = """
insert into mango_paces as p (product) values ($1) on conflict (product) do update set product = excluded.product
returning pace, extract(epoch from clock_timestamp())::double precision as now
"""
_SAVE = "update mango_paces set pace = $2 where product = $1"
_SAVE_REFUSAL = "update mango_paces set pace = $2, refusal = $3, refused_at = clock_timestamp() where product = $1"
_READ = """
select pace, refusal, extract(epoch from clock_timestamp())::double precision as now from mango_paces where product = $1
"""
_AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_WITHIN = 5.0


class Paces:
    """Of every product, by its name. `clock` (epoch): None is the database's, which all instances share.

    Without a database nothing is asked of Mango: another instance may just have been refused."""

    def __init__(self, pool: asyncpg.Pool, clock: Callable[[], float] | None = None) -> None:
        self._pool = pool
        self._clock = clock

    async def place(self, product: str, kind: Kind, patience: float) -> bool:
        """Waits for a place, `patience` seconds at the most; whether a success is to be told (`worked`).

        Raises MangoPaused, MangoUnavailable, DatabaseProblem."""

        def claim(pace: Pace, now: float) -> tuple[Pace, tuple[float, bool] | Refused]:
            found = take(pace, now, kind, patience)
            return (pace, found) if isinstance(found, Refused) else (found[0], (found[1], pace.troubled))

        found = await self._change(product, claim)
        if isinstance(found, Refused):
            raise await self._no_place(product, found)
        wait, troubled = found
        if wait > 0:
            await asyncio.sleep(wait)
            seconds = await self.closed(product)
            if seconds > 0:
                raise await self._no_place(product, Refused(seconds=seconds, penalty=True))
        return bool(troubled)

    async def closed(self, product: str) -> float:
        """Seconds for which the product is still to be left alone; 0: it is open. Raises DatabaseProblem."""
        pace, _, now = await self._read(product)
        return max(0.0, (pace.limits.open_until or 0.0) - now)

    async def refused(self, product: str, said: str) -> None:
        """A request was invalid. `said`: for people, without secrets."""
        await self._change(product, lambda pace, now: (refused(pace, now), None), refusal=said)

    async def exceeded(self, product: str, kind: Kind) -> None:
        await self._change(product, lambda pace, now: (exceeded(pace, now, kind), None))

    async def worked(self, product: str, kind: Kind) -> None:
        await self._change(product, lambda pace, now: (worked(pace, now, kind), None))

    async def _no_place(self, product: str, found: Refused) -> MangoUnavailable:
        seconds = round(found.seconds, 1)
        if not found.penalty:
            return MangoUnavailable(
                f"Mango Office has been asked as fast as it may be: again in {seconds:g} s", retry_after=found.seconds
            )
        _, refusal, _ = await self._read(product)
        return MangoPaused(
            f"Mango Office refused a request ({refusal or 'no reason given'}): it is left alone for {seconds:g} s, "
            "for after another wrong one it would refuse everything",
            retry_after=found.seconds,
        )

    async def _change(
        self, product: str, change: Callable[[Pace, float], tuple[Pace, Any]], *, refusal: str | None = None
    ) -> Any:
        try:
            async with asyncio.timeout(_WITHIN), self._pool.acquire() as connection, connection.transaction():
                (row,) = await connection.fetch(_LOCK, product)
                before = msgspec.convert(row["pace"], Pace)
                after, found = change(before, row["now"] if self._clock is None else self._clock())
                plain = msgspec.to_builtins(after)
                if refusal is not None:
                    await connection.execute(_SAVE_REFUSAL, product, plain, refusal)
                elif after is not before:
                    await connection.execute(_SAVE, product, plain)
        except _AWAY as problem:
            raise DatabaseProblem("The database does not answer: nothing was asked of Mango Office") from problem
        return found

    async def _read(self, product: str) -> tuple[Pace, str | None, float]:
        try:
            async with asyncio.timeout(_WITHIN), self._pool.acquire() as connection:
                row = await connection.fetchrow(_READ, product)
        except _AWAY as problem:
            raise DatabaseProblem("The database does not answer: nothing was asked of Mango Office") from problem
        if row is None:
            return Pace(), None, 0.0
        now = row["now"] if self._clock is None else self._clock()
        return msgspec.convert(row["pace"], Pace), row["refusal"], now
