"""Dead letters: deliveries that were given up, for a person to look at and send again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from bridge.crm.accounts import Connection
from bridge.crm.journal import GROUP

_DEAD = """
select id, enterprise_number, integration_type, call_pk, external_id, kind, extensions, attempts, reason,
       queued_at, done_at, call ->> 'client_number' as phone
from deliveries
where state = 'dead' and ($1::text is null or enterprise_number = $1) and ($2::bigint is null or id < $2)
order by id desc limit $3
"""

_RESEND = f"""
with again as (
    update deliveries set state = 'pending', attempts = 0, reason = null, done_at = null,
        queued_at = clock_timestamp(), due_at = clock_timestamp()
    where state = 'dead' and ($1::text is null or enterprise_number = $1) and ($2::bigint[] is null or id = any($2))
    returning id, account_id, external_id
), ordered as (select * from again order by id)
select pgmq.send(a.queue, jsonb_build_object('delivery', o.id), jsonb_build_object('{GROUP}', o.external_id)),
       pg_notify('bridge_deliveries', a.id::text)
from ordered o join crm_accounts a on a.id = o.account_id
order by o.id
"""  # noqa: S608 - a constant


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """`done_at` is when it was given up, `reason` why; `phone` the client's."""

    id: int
    enterprise_number: str
    integration_type: str
    call_pk: int | None
    external_id: str
    kind: str
    extensions: list[str]
    attempts: int
    reason: str | None
    phone: str | None
    queued_at: datetime
    done_at: datetime | None


async def list_dead(
    conn: Connection, enterprise_number: str | None, *, before: int | None = None, limit: int = 100
) -> list[DeadLetter]:
    """The newest dead letters of an enterprise, or of all where it is None; older than the id `before`, to page."""
    rows = await conn.fetch(_DEAD, enterprise_number, before, limit)
    return [DeadLetter(**dict(row)) for row in rows]


async def resend(conn: Connection, enterprise_number: str | None, ids: Sequence[int] | None = None) -> int:
    """Queue dead letters again, those of `ids` or all, each with a horizon of its own; how many there were.

    An id that is not a dead letter of this enterprise counts as none: nobody learns of another enterprise's. The order
    within a call is kept.
    """
    return len(await conn.fetch(_RESEND, enterprise_number, None if ids is None else list(ids)))
