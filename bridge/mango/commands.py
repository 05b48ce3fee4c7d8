"""What Mango Office is told to do: call somebody back, route a caller, transfer, hang up.

Theory of operation. Every command has an id of ours that nobody can guess, and a row (`mango_commands`) before it is
sent. Mango answers twice: at once, whether it takes the command, and later by a webhook (`/result/…`), what became of
it; either may be first. A call that a callback makes carries its id in its events, which is how the request learns of
its call. A command is sent once: one whose answer did not come may have been obeyed.

What could be wrong is found out before anything is sent, for Mango punishes wrong requests (`bridge.mango.limits`).
Refusals are said as those of any other PBX.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import asyncpg
import msgspec
import structlog

from bridge.calls.click import Click
from bridge.errors import (
    ActionFailed,
    ActionTimeout,
    BadInput,
    CallNotFound,
    CallOver,
    Conflict,
    DatabaseProblem,
    MangoRefused,
    MangoTimeout,
    MangoUnavailable,
    NotFound,
    PbxUnavailable,
)
from bridge.mango import entries
from bridge.mango.client import Api
from bridge.mango.config import Product
from bridge.mango.events import MangoEvent
from bridge.mango.intake import event_of
from bridge.mango.limits import Paces
from bridge.mango.products import Products
from bridge.mango.standing import Standing, phones, standing
from bridge.mango.users import Users

log = structlog.get_logger(__name__)

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
Kind = Literal["callback", "route", "transfer", "hangup"]

_PATHS: Mapping[Kind, str] = {
    "callback": "commands/callback",
    "route": "commands/route",
    "transfer": "commands/transfer",
    "hangup": "commands/call/hangup",
}
_OVER = 4101
_PATIENCE = 2.5  # a route may wait for another one's turn, of which there is one in two seconds
_NUMBER = re.compile(r"[0-9*#]{1,20}")
_LONGEST_ID = 128
_NOT_SHOWN = re.compile(r"[^\w .,'-]")
_AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

_WRITE = """
insert into mango_commands (enterprise_number, product, command_id, kind, entry_id, leg, request, reason)
values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing returning id
"""
# The webhook with the result may have been first.
_ANSWERED = """
update mango_commands set state = $2, result = $3, detail = $4,
    ended_at = case when $2 = 'accepted' then null else clock_timestamp() end
where command_id = $1 and state = 'sending'
"""
_RESULT = """
update mango_commands set state = case when $3 = 1000 then 'done' else 'refused' end, result = $3,
    detail = coalesce(detail, case when $3 = 1000 then null else 'code ' || $3 end), ended_at = clock_timestamp()
where enterprise_number = $1 and command_id = $2 and state in ('sending', 'accepted', 'unknown')
returning product, created_at > clock_timestamp() - interval '2 minutes' as fresh
"""
_CALL = """
update mango_commands set entry_id = $3
where enterprise_number = $1 and command_id = any($2) and entry_id is null
"""
_PRODUCTS = """
select distinct product from mango_webhooks where enterprise_number = $1 and entry_id = $2 and product is not null
"""
_KNOWN = "select exists (select from mango_webhooks where enterprise_number = $1 and entry_id = $2)"


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """All that was stored of one entry, and the product that spoke of it."""

    product: Product
    events: Sequence[MangoEvent]


class Commands:
    """Of every enterprise on Mango. Beside what each method says, all raise PbxUnavailable (nothing was done),
    ActionTimeout (it may have been), ActionFailed, DatabaseProblem."""

    name = "mango"

    def __init__(self, api: Api, products: Products, users: Users, paces: Paces, pool: asyncpg.Pool) -> None:
        self._api = api
        self._products = products
        self._users = users
        self._paces = paces
        self._pool = pool

    # --- what clicks and routing ask for ------------------------------------------------------------------------------

    def serves(self, enterprise_number: str) -> bool:
        """Whether the enterprise has a product in use."""
        return bool(self._products.of(enterprise_number))

    async def knows(self, enterprise_number: str, entry_id: str) -> bool:
        """Whether this is a call of Mango's."""
        if not 0 < len(entry_id) <= _LONGEST_ID:
            return False
        try:
            async with asyncio.timeout(5), self._pool.acquire() as connection:
                return bool(await connection.fetchval(_KNOWN, enterprise_number, entry_id))
        except _AWAY as problem:
            raise DatabaseProblem("The database does not answer: nothing was done") from problem

    async def call(self, enterprise_number: str, click: Click, command_id: str) -> None:
        """Ring the employee, then the client: one outbound call, whose events carry `command_id`.

        Raises BadInput for an extension that Mango does not have."""
        product = await self._product_with(enterprise_number, click.extension)
        question: dict[str, Any] = {"from": {"extension": click.extension}, "to_number": click.number}
        if click.external_phone is not None:
            question["line_number"] = click.external_phone.removeprefix("+")
        await self._send(enterprise_number, product, "callback", question, command_id=command_id)

    async def route(
        self, enterprise_number: str, entry_id: str, extension: str, *, name: str = "", reason: str | None = None
    ) -> bool:
        """Send a caller nobody talks with to `extension`, whose phone shows `name`. With a `reason` it is ours to
        decide, and done once for a call: whether this was that once.

        Raises CallNotFound, CallOver, Conflict (somebody talks with the caller already), BadInput."""
        heard, found = await self._standing(enterprise_number, entry_id)
        if found.talking is not None:
            raise Conflict("Somebody talks with this client already", field="call_unique_id")
        if found.waiting is None:
            raise Conflict("The call is between two phones just now", field="call_unique_id")
        if extension in phones(found.waiting) and not found.waiting.nobodys:
            raise Conflict(f"The call rings at {extension} already", field="extension")
        question: dict[str, Any] = {
            "call_id": found.waiting.call_id,
            "to_number": await self._target(heard.product, extension),
        }
        if shown := " ".join(_NOT_SHOWN.sub(" ", name).split())[:40]:
            question["sip_headers"] = {"From/display-name": shown}
        leg = found.waiting.call_id
        return await self._send(
            enterprise_number, heard.product, "route", question, entry_id=entry_id, leg=leg, reason=reason
        )

    # --- what else can be done with a call ----------------------------------------------------------------------------

    async def transfer(
        self, enterprise_number: str, entry_id: str, to: str, *, by: str | None = None, consult: bool = False
    ) -> None:
        """Give the other end of a talk to `to`, an extension or a number in digits. `by`: who gives it away, where both
        ends are employees. With `consult` the two employees talk first.

        Raises CallNotFound, CallOver, Conflict (nobody talks), BadInput."""
        heard, found = await self._standing(enterprise_number, entry_id)
        if found.talking is None:
            raise Conflict("Nobody talks in this call: it can be routed, not transferred", field="call_id")
        ours = phones(found.talking)
        if (by or "") not in ("", *ours) or not ours:
            raise BadInput(f"by: {(by or '')[:32]!r} does not talk in this call", field="by", allowed=list(ours))
        question = {
            "call_id": found.talking.call_id,
            "method": "hold" if consult else "blind",
            "to_number": await self._target(heard.product, to),
            "initiator": by or ours[0],
        }
        leg = found.talking.call_id
        await self._send(enterprise_number, heard.product, "transfer", question, entry_id=entry_id, leg=leg)

    async def hangup(self, enterprise_number: str, entry_id: str) -> None:
        """End the talk, or the ringing. Raises CallNotFound, CallOver, Conflict (there is no leg to end now)."""
        heard, found = await self._standing(enterprise_number, entry_id)
        if found.alive is None:
            raise Conflict("There is nothing to hang up in this call just now", field="call_id")
        leg = found.alive.call_id
        await self._send(enterprise_number, heard.product, "hangup", {"call_id": leg}, entry_id=entry_id, leg=leg)

    # --- what webhooks tell -------------------------------------------------------------------------------------------

    async def result(self, connection: Connection, enterprise_number: str, command_id: str, result: int | None) -> None:
        """A `/result/…` webhook. In the caller's transaction; to be repeated at will."""
        if result is None:
            return
        row = await connection.fetchrow(_RESULT, enterprise_number, command_id, result)
        if row is not None and row["fresh"] and 3100 <= result < 3200:
            # the request itself was wrong, which Mango counts
            await self._paces.refused(row["product"], f"the result of a command was {result}")

    async def made(
        self, connection: Connection, enterprise_number: str, command_ids: Sequence[str], entry_id: str
    ) -> None:
        """Events of `entry_id` carry these ids: it is the call that they made. In the caller's transaction."""
        await connection.execute(_CALL, enterprise_number, list(command_ids), entry_id)

    # --- how ----------------------------------------------------------------------------------------------------------

    async def heard(self, enterprise_number: str, entry_id: str) -> Heard:
        """Raises CallNotFound."""
        if not 0 < len(entry_id) <= _LONGEST_ID:
            raise CallNotFound()
        try:
            async with asyncio.timeout(5), self._pool.acquire() as connection:
                names = {row["product"] for row in await connection.fetch(_PRODUCTS, enterprise_number, entry_id)}
                said = (await entries.said(connection, enterprise_number, [entry_id]))[entry_id]
        except _AWAY as problem:
            raise DatabaseProblem("The database does not answer: nothing was done") from problem
        product = next((each for each in self._products.of(enterprise_number) if each.name in names), None)
        if product is None:
            raise CallNotFound()
        events = [event_of(each.dialect, each.path, each.body, each.at) for each in said]
        return Heard(product=product, events=events)

    async def _standing(self, enterprise_number: str, entry_id: str) -> tuple[Heard, Standing]:
        heard = await self.heard(enterprise_number, entry_id)
        found = standing(heard.events)
        if found.over:
            raise CallOver()
        return heard, found

    async def _target(self, product: Product, number: str) -> str:
        """A number that Mango can be told. An extension nobody has would be a wrong request."""
        bare = number.removeprefix("+")
        if not _NUMBER.fullmatch(bare):
            raise BadInput("to: an extension or a number in digits", field="to", found=number[:32])
        if len(bare) < 7:
            roster = await self._users.of(product)
            if roster is not None and roster.extensions and bare not in roster.extensions:
                raise BadInput(f"to: Mango Office has no extension {bare}", field="to", found=bare)
        return bare

    async def _product_with(self, enterprise_number: str, extension: str) -> Product:
        products = self._products.of(enterprise_number)
        if not products:
            raise NotFound("Mango Office is switched off for this enterprise", field="enterprise_number")
        unknown = []
        for product in products:
            roster = await self._users.of(product)
            if roster is None or not roster.extensions:
                unknown.append(product)
            elif extension in roster.extensions or extension in (await self._users.fresh(product)).extensions:
                return product
        if len(products) == 1 and unknown:
            return products[0]  # it does not tell who has which extension
        if unknown:
            raise PbxUnavailable("Mango Office does not tell which product has this extension: try again later")
        raise BadInput(f"code: Mango Office has no extension {extension[:32]!r}", field="code", found=extension[:32])

    async def _send(
        self,
        enterprise_number: str,
        product: Product,
        kind: Kind,
        question: Mapping[str, Any],
        *,
        command_id: str | None = None,
        entry_id: str | None = None,
        leg: str | None = None,
        reason: str | None = None,
    ) -> bool:
        """Whether it was sent: not, where a route of ours was decided before."""
        command_id = command_id or f"bridge-{secrets.token_hex(16)}"
        asked = {"command_id": command_id, **question}
        if not await self._write(
            _WRITE, enterprise_number, product.name, command_id, kind, entry_id, leg, asked, reason
        ):
            return False
        try:
            await self._api.ask(product, kind, _PATHS[kind], asked, patience=_PATIENCE)
        except MangoTimeout as problem:
            await self._ended(command_id, "unknown", None, problem.message)
            raise ActionTimeout(problem.message) from problem
        except MangoRefused as problem:
            await self._ended(command_id, "refused", problem.result, problem.message)
            if problem.result == _OVER:
                raise CallOver() from problem
            raise ActionFailed(problem.message, result=problem.result) from problem
        except MangoUnavailable as problem:
            await self._ended(command_id, "refused", None, problem.message)
            raise PbxUnavailable(problem.message, retry_after=problem.retry_after) from problem
        await self._ended(command_id, "accepted", None, None)
        log.info("mango_command", enterprise=enterprise_number, kind=kind, command_id=command_id, entry_id=entry_id)
        return True

    async def _ended(self, command_id: str, state: str, result: int | None, detail: str | None) -> None:
        try:
            await self._write(_ANSWERED, command_id, state, result, detail)
        except DatabaseProblem:
            log.warning("mango_command_not_settled", command_id=command_id, state=state)

    async def _write(self, query: str, *values: Any) -> bool:
        try:
            async with asyncio.timeout(5), self._pool.acquire() as connection:
                return await connection.fetchval(query, *values) is not None
        except _AWAY as problem:
            raise DatabaseProblem("The database does not answer: nothing was done") from problem
