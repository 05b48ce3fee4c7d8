"""Deliveries: what CRMs were told and are owed; dead letters and their second chance."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from bridge.calls.model import Direction
from bridge.crm import deadletters
from bridge.db import deliveries
from bridge.errors import BadInput, Conflict, NotFound
from bridge.http.api.types import EnterpriseNumber, Identifier, Limit, OneWanted, PageNumber, read
from bridge.http.envelope import Page
from bridge.http.operation import Visit

State = Literal["pending", "sending", "delivered", "expired", "skipped", "dead"]
Integration = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_]{0,31}$")]

_AT_ONCE = 10_000
"""Dead letters that one request brings back: enough for a bad night, small enough for one transaction."""


class DeliveriesWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    page: PageNumber = 1
    limit: Limit = 50
    state: State | None = None
    integration_type: Integration | None = None
    enterprise_number: EnterpriseNumber | None = None


class ResendWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Either some `ids`, or `all` dead letters (of one integration, of one enterprise)."""

    ids: Annotated[list[Identifier], msgspec.Meta(max_length=_AT_ONCE)] | None = None
    all: bool = False
    integration_type: Integration | None = None
    enterprise_number: EnterpriseNumber | None = None


class DeliveryItem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing one CRM must be told. `call` is the id of the call's row; `reason` why it is not delivered, or what the
    CRM remarked; `due_at` when it is tried next while it is pending."""

    id: int
    enterprise_number: str
    integration_type: str
    call: int | None
    external_id: str
    kind: Literal["ringing", "dialing", "hangup", "record"]
    sequence: int
    extensions: list[str]
    state: State
    attempts: int
    reason: str | None
    due_at: datetime
    done_at: datetime | None
    created_at: datetime
    direction: Direction | None
    client_number: str | None
    client_name: str | None


class Resent(msgspec.Struct, frozen=True):
    """How many dead letters are on their way again."""

    resent: int


async def list_deliveries(visit: Visit, params: DeliveriesWanted) -> Page[DeliveryItem]:
    """Deliveries, the newest first; `state=dead` are the dead letters."""
    async with visit.desk.services.pool.acquire() as connection:
        rows, total = await deliveries.listed(
            connection,
            visit.principal.scope(params.enterprise_number),
            state=params.state,
            integration_type=params.integration_type,
            page=params.page,
            limit=params.limit,
        )
    return Page.of([read(row, DeliveryItem) for row in rows], page=params.page, limit=params.limit, total=total)


async def resend_one(visit: Visit, params: OneWanted) -> Resent:
    """Sends one dead letter again."""
    scope = visit.principal.scope()
    async with visit.desk.services.pool.acquire() as connection:
        state = await deliveries.state_of(connection, scope, params.id)
        if state is None:
            raise NotFound("There is no such delivery")
        resent = await deadletters.resend(connection, scope.enterprise_number, [params.id]) if state == "dead" else 0
        if not resent:
            raise Conflict("Only a dead letter can be sent again", found=state, allowed=["dead"])
    return Resent(resent)


async def resend_many(visit: Visit, body: ResendWanted) -> Resent:
    """Sends dead letters again: some, or all."""
    if (body.ids is None) is not body.all:
        raise BadInput("ids: either ids or all must be given, not both", field="ids", allowed=["ids", "all"])
    scope = visit.principal.scope(body.enterprise_number)
    async with visit.desk.services.pool.acquire() as connection, connection.transaction():
        chosen = await deliveries.dead(
            connection, scope, integration_type=body.integration_type, ids=body.ids, most=_AT_ONCE
        )
        return Resent(await deadletters.resend(connection, scope.enterprise_number, chosen))
