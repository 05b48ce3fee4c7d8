"""How PBXs' links stand, for instances that do not hold them: columns of `pbx_leases`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bridge.db.pool import Connection


class LinkState(msgspec.Struct, frozen=True, kw_only=True):
    """`state` is the link's word, "unwatched" where no instance holds the PBX's lease."""

    id: int
    enterprise_number: str
    name: str
    state: str
    problem: str = ""


_WRITE = """
update pbx_leases l set state = s.state, problem = s.problem, version = s.version
  from unnest($2::bigint[], $3::text[], $4::text[], $5::text[]) as s (pbx_id, state, problem, version)
 where l.pbx_id = s.pbx_id and l.owner = $1
   and (l.state, l.problem, l.version) is distinct from (s.state, s.problem, s.version)
"""
_READ = """
select p.id, p.enterprise_number, p.name,
       case when l.expires_at > now() then coalesce(nullif(l.state, ''), 'connecting') else 'unwatched' end as state,
       case when l.expires_at > now() then l.problem else 'No instance of the bridge watches it.' end as problem
  from pbxs p
  join enterprises e on e.number = p.enterprise_number and e.active
  left join pbx_leases l on l.pbx_id = p.id
 order by p.enterprise_number, p.name
"""


async def write(connection: Connection, instance: str, states: Sequence[tuple[int, str, str, str]]) -> None:
    """(PBX id, state, problem, version) of PBXs that `instance` owns; what has not changed is not written."""
    columns = list(zip(*states, strict=True)) or [(), (), (), ()]
    await connection.execute(_WRITE, instance, *(list(column) for column in columns))


async def read(connection: Connection) -> list[LinkState]:
    """Every PBX there is, in the order of enterprises and names."""
    return [LinkState(**row) for row in await connection.fetch(_READ)]
