"""Rows of `credentials`: digests of what opens one enterprise's doors, found without opening any secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from bridge.db.pool import Connection
from bridge.secrets import Vault

Kind = Literal["enterprise", "retailcrm", "pbx", "amocrm", "mango"]
Held = Mapping[tuple[str, str], bytes]
"""(kind, subject) -> digest, of one enterprise."""

_FIND = """
select c.enterprise_number, c.subject
from credentials c join enterprises e on e.number = c.enterprise_number
where c.kind = $1 and c.digest = $2 and e.active
"""
_OF_ENTERPRISE = "select kind, subject, digest from credentials where enterprise_number = $1"
_REMOVE = """
delete from credentials c using unnest($2::text[], $3::text[]) as gone (kind, subject)
where c.enterprise_number = $1 and c.kind = gone.kind and c.subject = gone.subject
"""
_ADD = """
insert into credentials (enterprise_number, kind, subject, digest)
select $1, new.kind, new.subject, new.digest
from unnest($2::text[], $3::text[], $4::bytea[]) as new (kind, subject, digest)
on conflict do nothing
returning kind, subject
"""


async def find(connection: Connection, kind: Kind, presented: str) -> tuple[str, str] | None:
    """(enterprise number, subject) of an active enterprise's credential; None when nobody has it.

    The look-up goes by digest: what its timing could tell says nothing of the secret.
    """
    if not presented:
        return None
    found = await connection.fetchrow(_FIND, kind, Vault.digest(presented))
    return (found["enterprise_number"], found["subject"]) if found else None


async def held(connection: Connection, enterprise_number: str) -> dict[tuple[str, str], bytes]:
    rows = await connection.fetch(_OF_ENTERPRISE, enterprise_number)
    return {(row["kind"], row["subject"]): row["digest"] for row in rows}


async def replace(connection: Connection, enterprise_number: str, old: Held, new: Held) -> list[tuple[str, str]]:
    """Make the enterprise's credentials `new` instead of `old`. Gives what could not be had, because another has it."""
    gone = [key for key in old if new.get(key) != old[key]]
    fresh = [key for key in new if old.get(key) != new[key]]
    if gone:
        await connection.execute(
            _REMOVE, enterprise_number, [kind for kind, _ in gone], [subject for _, subject in gone]
        )
    if not fresh:
        return []
    kinds, subjects, digests = zip(*((*key, new[key]) for key in fresh), strict=True)
    rows = await connection.fetch(_ADD, enterprise_number, list(kinds), list(subjects), list(digests))
    added = {(row["kind"], row["subject"]) for row in rows}
    return [key for key in fresh if key not in added]
