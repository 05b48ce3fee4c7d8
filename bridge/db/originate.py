"""Requests to call somebody: `originate_requests`, and the guard that makes a repeated click the same request."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bridge.calls.click import Click, Outcome, Source
from bridge.db.pool import Connection


class Settled(msgspec.Struct, frozen=True):
    """A request whose outcome became known just now."""

    enterprise_number: str
    pbx_name: str
    channel_id: str
    source: str
    outcome: str


# One statement: the guard's row lock decides between two instances, and only the winner writes a request.
_CLAIM = """
    with won as (
        insert into originate_guards (enterprise_number, extension, phone, channel_id, until)
        values ($1, $3, $4, $7, clock_timestamp() + make_interval(secs => $8))
        on conflict (enterprise_number, extension, phone) do update
            set channel_id = excluded.channel_id, until = excluded.until
            where originate_guards.until <= clock_timestamp()
        returning channel_id
    )
    insert into originate_requests
           (enterprise_number, pbx_name, extension, phone, external_phone, source, channel_id)
    select $1, $2, $3, $4, $5, $6, channel_id from won
    returning id
"""
_SETTLE = """
    update originate_requests
       set outcome = $2, detail = $3, ended_at = clock_timestamp()
     where channel_id = $1 and outcome is null
    returning enterprise_number, pbx_name, channel_id, source, outcome
"""
# A request whose call is over takes the call's result; one that never became a call is known to have rung nowhere. A
# call that a cloud exchange made has an id of its own; where nothing is heard of it, nobody knows what became of it.
_SETTLE_ENDED = """
    update originate_requests r
       set outcome = case when c.result = 'missed' then 'no_answer'
                          when c.id is not null then c.result
                          when m.state = 'refused' then 'refused'
                          when m.id is not null then 'unknown'
                          else 'unreachable' end,
           detail = coalesce(r.detail, m.detail),
           ended_at = coalesce(c.ended_at, clock_timestamp())
      from originate_requests o
      left join mango_commands m on m.command_id = o.channel_id
      left join calls c
             on (c.enterprise_number, c.pbx_name) = (o.enterprise_number, o.pbx_name)
            and c.call_id = coalesce(m.entry_id, o.channel_id)
     where o.id = r.id
       and r.outcome is null
       and o.outcome is null
       and case when c.id is null
                then o.channel_id = any($1) or m.state = 'refused'
                     or o.created_at < clock_timestamp() - make_interval(secs => $2)
                else c.result <> 'active' end
    returning r.enterprise_number, r.pbx_name, r.channel_id, r.source, r.outcome
"""


async def claim(
    connection: Connection, enterprise_number: str, click: Click, source: Source, channel_id: str, window: float
) -> bool:
    """Whether this request is a new one; false when the same was made within the last `window` seconds.

    Of two instances that ask at once exactly one gets true."""
    found = await connection.fetchval(
        _CLAIM,
        enterprise_number,
        click.pbx,
        click.extension,
        click.number,
        click.external_phone,
        source,
        channel_id,
        window,
    )
    return found is not None


async def release(connection: Connection, channel_id: str) -> None:
    """Lets the same be asked again at once: nothing rang."""
    await connection.execute("delete from originate_guards where channel_id = $1", channel_id)


async def settle(
    connection: Connection, channel_id: str, outcome: Outcome, detail: str | None = None
) -> Settled | None:
    """Writes the outcome, once; None when it was known already or the request is not ours."""
    row = await connection.fetchrow(_SETTLE, channel_id, outcome, detail)
    return Settled(*row) if row else None


async def settle_ended(connection: Connection, failed: Sequence[str], never_began_after: float) -> Sequence[Settled]:
    """Settles every request whose call is over, and those that never became one: the `failed` (channel ids) and
    whatever is older than `never_began_after` seconds. Of two instances each request is given to one."""
    return [Settled(*row) for row in await connection.fetch(_SETTLE_ENDED, failed, never_began_after)]


async def forget_guards(connection: Connection) -> None:
    """Removes guards that guard nothing any more."""
    await connection.execute("delete from originate_guards where until < clock_timestamp()")
