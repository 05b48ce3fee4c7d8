"""Where routing sent a call and why, kept for the call's own row (`route_notes`)."""

from __future__ import annotations

from bridge.db.pool import Connection

_NOTE = """
    insert into route_notes (enterprise_number, pbx_name, call_id, routed_to, route_reason)
    values ($1, $2, $3, $4, $5)
    on conflict (enterprise_number, pbx_name, call_id) do update
        set routed_to = excluded.routed_to, route_reason = excluded.route_reason, created_at = excluded.created_at
"""
_APPLY = """
    update calls set routed_to = $4, route_reason = $5
     where enterprise_number = $1 and pbx_name = $2 and call_id = $3
"""


async def note(
    connection: Connection, enterprise_number: str, pbx_name: str, call_id: str, routed_to: str | None, reason: str
) -> None:
    """Keeps the answer to the latest question about a call, whether or not the call has its row yet.

    Two transactions, in this order: a row of `calls` that is being written meanwhile either sees the note or is seen
    by the update; one that is neither takes the note with its next change."""
    values = (enterprise_number, pbx_name, call_id, routed_to, reason)
    await connection.execute(_NOTE, *values)
    await connection.execute(_APPLY, *values)


async def forget(connection: Connection, older_than_hours: float) -> None:
    """Removes notes whose calls are long over."""
    await connection.execute(
        "delete from route_notes where created_at < clock_timestamp() - make_interval(secs => $1)",
        older_than_hours * 3600,
    )
