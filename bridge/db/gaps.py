"""Times during which nobody watched a PBX (`pbx_gaps`). They are shown as gaps; nothing is guessed about them."""

from __future__ import annotations

from bridge.db.pool import Connection

# One gap per PBX is open at a time: whoever opens a second one goes on with the first.
_BEGIN = """
insert into pbx_gaps (pbx_id, began_at, reason)
select $1, to_timestamp($2), $3
 where not exists (select from pbx_gaps where pbx_id = $1 and ended_at is null)
"""
_END = "update pbx_gaps set ended_at = to_timestamp($2) where pbx_id = $1 and ended_at is null returning id"
_WHOLE = """
insert into pbx_gaps (pbx_id, began_at, ended_at, reason)
select $1, to_timestamp($2), to_timestamp($3), $4 where $3 > $2
"""


async def keep(connection: Connection, pbx_id: int, began: float, ended: float | None, reason: str) -> None:
    """A gap from `began` to `ended`, seconds since the epoch; `ended` None: it lasts. Ends one that was open."""
    if ended is None:
        await connection.execute(_BEGIN, pbx_id, began, reason)
    elif await connection.fetchval(_END, pbx_id, ended) is None:
        await connection.execute(_WHOLE, pbx_id, began, ended, reason)
