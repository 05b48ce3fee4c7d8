"""Webhooks: what a cloud exchange said, word for word, and what became of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from bridge.db import webhooks
from bridge.http.api.types import EnterpriseNumber, Limit, PageNumber, read
from bridge.http.envelope import Page
from bridge.http.operation import Visit

State = Literal["new", "worked", "ignored", "malformed", "refused", "failed"]
EntryId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class WebhooksWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    page: PageNumber = 1
    limit: Limit = 50
    state: State | None = None
    entry_id: EntryId | None = None
    enterprise_number: EnterpriseNumber | None = None


class WebhookItem(msgspec.Struct, frozen=True, kw_only=True):
    """One webhook. `body`: what was said, without the sender's credentials, its first 64 KiB of `size` bytes; `call`:
    the id of the call's row; `enterprise_number` null: nobody knows whose it is; `reason`: why it is of no use."""

    id: int
    enterprise_number: str | None
    product: str | None
    dialect: Literal["signed", "flat", "statistics"]
    path: str
    entry_id: str | None
    call: int | None
    body: str
    size: int
    remote: str
    state: State
    reason: str | None
    received_at: datetime
    worked_at: datetime | None


async def list_mango(visit: Visit, params: WebhooksWanted) -> Page[WebhookItem]:
    """Webhooks of Mango Office, the newest first."""
    async with visit.desk.services.pool.acquire() as connection:
        rows, total = await webhooks.listed(
            connection,
            visit.principal.scope(params.enterprise_number),
            state=params.state,
            entry_id=params.entry_id,
            page=params.page,
            limit=params.limit,
        )
    items = [read(row, WebhookItem, body=row["body"].decode("utf-8", "replace")) for row in rows]
    return Page.of(items, page=params.page, limit=params.limit, total=total)
