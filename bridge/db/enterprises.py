"""What readers need to know of enterprises."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bridge.db.pool import Connection
from bridge.db.scope import Scope

UTC = ZoneInfo("UTC")


async def timezone(connection: Connection, number: str | None) -> ZoneInfo:
    """The enterprise's time zone; UTC when there is none, or none that this machine knows."""
    if number is None:
        return UTC
    name = await connection.fetchval("select timezone from enterprises where number = $1", number)
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


async def names(connection: Connection, scope: Scope) -> dict[str, str]:
    """number -> name of the enterprises within the scope."""
    rows = await connection.fetch(
        "select number, name from enterprises where $1::text is null or number = $1 order by number",
        scope.enterprise_number,
    )
    return {row["number"]: row["name"] for row in rows}
