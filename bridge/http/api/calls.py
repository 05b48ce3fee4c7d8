"""Calls: the list, what is going on, one call whole."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from bridge.calls.model import Direction, EndedBy, Leg, Result, Transfer
from bridge.db import call_lists, deliveries, enterprises
from bridge.errors import CallNotFound
from bridge.http.api.deliveries import DeliveryItem
from bridge.http.api.recordings import RecordingItem, shown
from bridge.http.api.types import EnterpriseNumber, Identifier, Limit, OneWanted, PageNumber, Text, read
from bridge.http.envelope import Page
from bridge.http.operation import Visit
from bridge.http.period import moment
from bridge.recordings.journal import of_calls as recordings_of

Status = Literal["incoming", "accepted", "rejected", "missed", "completed"]


class CallsWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`date_from` and `date_to`: ISO 8601, both inclusive; a date alone is its whole day in the enterprise's zone."""

    page: PageNumber = 1
    limit: Limit = 50
    status: Status | None = None
    search: Text | None = None
    date_from: Text | None = None
    date_to: Text | None = None
    user_id: Identifier | None = msgspec.field(name="userId", default=None)
    enterprise_number: EnterpriseNumber | None = None


class ActiveWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    user_id: Identifier | None = msgspec.field(name="userId", default=None)
    enterprise_number: EnterpriseNumber | None = None


class CallBase(msgspec.Struct, frozen=True, kw_only=True):
    """What every view of a call has. `status` is the source documents' word, `result` what the call came to; numbers
    are E.164; `duration` and `talk_seconds` are seconds of talk, `wait_seconds` seconds until it; null: not known."""

    id: int
    enterprise_number: str
    pbx_name: str
    call_id: str
    direction: Direction
    status: Status
    result: Result
    client_number: str | None
    client_name: str | None
    line: str | None
    caller_number: str | None
    receiver_number: str | None
    channel_id: str | None
    extensions: list[str]
    answered_by: str | None
    answered_first: str | None
    started_at: datetime | None
    accepted_at: datetime | None
    answered_at: datetime | None
    ended_at: datetime | None
    wait_seconds: int | None
    talk_seconds: int | None
    duration: int | None
    ended_by: EndedBy | None
    transfers: list[Transfer]
    transfer_count: int
    holds: int
    is_on_hold: bool
    queue: str | None
    routed_to: str | None
    route_reason: str | None
    assigned_user_id: int | None
    answered_by_user_id: int | None
    assigned_user_first_name: str | None
    assigned_user_last_name: str | None
    caller_company_id: int | None
    customer_name: str | None
    company: str | None
    email: str | None
    notes: str | None
    call_purpose: str | None
    priority: str | None


class CallItem(CallBase, frozen=True, kw_only=True):
    """A call in a list."""

    recording_url: str | None
    tags: list[str]


class ActiveCall(CallBase, frozen=True, kw_only=True):
    """A call that is going on. The bridge mutes nobody and drives no loudspeaker, so these two are false."""

    is_muted: bool = False
    is_speaker_on: bool = False


class TimelineEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a call: what, when (null: the PBX did not say), and its particulars."""

    at: datetime | None
    change: str
    details: dict[str, Any]


class CallWhole(CallBase, frozen=True, kw_only=True):
    """One call with everything known of it. `tags` are joined by commas here, as the source documents have it."""

    answered_user_first_name: str | None
    answered_user_last_name: str | None
    caller_company_name: str | None
    caller_company_inn: str | None
    customer_company: str | None
    customer_email: str | None
    customer_phone: str | None
    follow_up_date: datetime | None
    outcome: str | None
    recording: str | None
    recording_url: str | None
    recordings: list[RecordingItem]
    tags: str
    legs: list[Leg]
    timeline: list[TimelineEntry]
    deliveries: list[DeliveryItem]


async def list_calls(visit: Visit, params: CallsWanted) -> Page[CallItem]:
    """Calls, the newest first."""
    scope = visit.principal.scope(params.enterprise_number)
    async with visit.desk.services.pool.acquire() as connection:
        zone = await enterprises.timezone(connection, scope.enterprise_number)
        wanted = call_lists.CallFilter(
            status=params.status,
            search=params.search,
            began_from=moment("date_from", params.date_from, zone),
            began_before=moment("date_to", params.date_to, zone, end=True),
            user_id=params.user_id,
        )
        rows, total = await call_lists.listed(connection, scope, wanted, page=params.page, limit=params.limit)
    return Page.of([read(row, CallItem) for row in rows], page=params.page, limit=params.limit, total=total)


async def active_calls(visit: Visit, params: ActiveWanted) -> list[ActiveCall]:
    """Calls that are going on now."""
    scope = visit.principal.scope(params.enterprise_number)
    async with visit.desk.services.pool.acquire() as connection:
        rows = await call_lists.active(connection, scope, params.user_id)
    return [read(row, ActiveCall) for row in rows]


async def one_call(visit: Visit, params: OneWanted) -> CallWhole:
    """One call with its legs, timeline, recordings and deliveries."""
    scope = visit.principal.scope()
    async with visit.desk.services.pool.acquire() as connection:
        row = await call_lists.one(connection, scope, params.id)
        if row is None:
            raise CallNotFound()
        timeline = await call_lists.timeline(connection, params.id)
        recorded = await recordings_of(connection, [params.id])
        owed = await deliveries.of_calls(connection, [params.id])
    library = visit.desk.services.library
    return read(
        row,
        CallWhole,
        tags=", ".join(row["tags"]),
        customer_company=row["company"],
        customer_email=row["email"],
        customer_phone=row["client_number"],
        recordings=shown(library, recorded) if library is not None else [],
        timeline=[dict(entry) for entry in timeline],
        deliveries=[dict(delivery) for delivery in owed],
    )
