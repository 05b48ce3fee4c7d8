"""Where routing sent calls and why, kept for the calls' own rows (`route_notes`)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bridge.db.pool import Connection


class RouteNote(msgspec.Struct, frozen=True):
    """`routed_to`: an extension, `queue:NAME`, or None where the PBX went on as it would."""

    enterprise_number: str
    pbx_name: str
    call_id: str
    routed_to: str | None
    reason: str


_KEEP = """
    insert into route_notes (enterprise_number, pbx_name, call_id, routed_to, route_reason)
    select n.*
      from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
           as n (enterprise_number, pbx_name, call_id, routed_to, route_reason)
     where exists (select from enterprises e where e.number = n.enterprise_number)
    on conflict (enterprise_number, pbx_name, call_id) do update
        set routed_to = excluded.routed_to, route_reason = excluded.route_reason, created_at = excluded.created_at
"""
# Rows that are being written are skipped: waiting for several, in an order of our own, could be a deadlock
_APPLY = """
    with found as (
        select c.id, n.routed_to, n.route_reason
          from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
               as n (enterprise_number, pbx_name, call_id, routed_to, route_reason)
          join calls c on (c.enterprise_number, c.pbx_name, c.call_id) = (n.enterprise_number, n.pbx_name, n.call_id)
           for update of c skip locked
    )
    update calls c set routed_to = found.routed_to, route_reason = found.route_reason from found where c.id = found.id
"""


async def keep(connection: Connection, notes: Sequence[RouteNote]) -> None:
    """Keeps notes of different calls, whether or not the calls have their rows yet.

    Two transactions, in this order: a call either has its row by the second, or takes the note when its row is written.
    A row that is being written just then takes it with its next change."""
    columns = [list(column) for column in zip(*map(msgspec.structs.astuple, notes), strict=True)]
    await connection.execute(_KEEP, *columns)
    await connection.execute(_APPLY, *columns)


async def forget(connection: Connection, older_than_hours: float) -> None:
    """Removes notes whose calls are long over."""
    await connection.execute(
        "delete from route_notes where created_at < clock_timestamp() - make_interval(secs => $1)",
        older_than_hours * 3600,
    )
