"""SQL of what a deployment is configured with, read and written whole: for `apply` and `export`.

The state holds secrets opened; rows hold them sealed, and their digests stand in `credentials`. What was changed by
somebody else meanwhile is not overwritten: reading takes the lock that every other `apply` waits for.
"""

from __future__ import annotations

from typing import Any

from bridge.configuration import Enterprise, Line, Pbx, State, User
from bridge.db import credentials, sealer
from bridge.db.pool import Connection
from bridge.errors import SecretProblem
from bridge.secrets import ENTERPRISE_SECRET, PBX_COLUMNS, Vault, pbx_field

LOCK = 0x6170706C  # "appl"

_LOCK = "select pg_advisory_xact_lock($1)"
_ENTERPRISES = """
select number, name, region, timezone, secret, fallback, active, integrations_config, recordings_days
from enterprises order by number
"""
_PBXS = """
select enterprise_number, name, ami_host, ami_port, ami_username, ami_secret, ami_tls, ari_url, ari_username,
       ari_password, extensions, trunks, click_to_call_contexts, endpoint, outgoing, dialplan, recordings,
       token
from pbxs order by enterprise_number, id
"""
_USERS = """
select enterprise_number, email, first_name, last_name, patronymic, role, city, password_hash from users order by id
"""
_EXTENSIONS = """
select p.enterprise_number, p.phone_number, lower(u.email) as email
from user_internal_phones p left join users u on u.id = p.user_id and u.enterprise_number = p.enterprise_number
order by p.enterprise_number, p.phone_number
"""
# A row without an enterprise belongs to the only one there is.
_LINES = """
select coalesce(enterprise_number, (select min(number) from enterprises having count(*) = 1)) as enterprise_number,
       number, smart_redirect, rk, city
from phones order by id
"""

_INSERT_ENTERPRISE = """
insert into enterprises (number, name, region, timezone, secret, fallback, active, integrations_config,
                         recordings_days)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""
_UPDATE_ENTERPRISE = """
update enterprises set name = $2, region = $3, timezone = $4, secret = $5, fallback = $6, active = $7,
       integrations_config = $8, recordings_days = $9
where number = $1
"""
_DELETE_ENTERPRISE = "delete from enterprises where number = $1"
_INSERT_PBX = """
insert into pbxs (enterprise_number, name, ami_host, ami_port, ami_username, ami_secret, ami_tls, ari_url, ari_username,
                  ari_password, extensions, trunks, click_to_call_contexts, endpoint, outgoing, dialplan, recordings,
                  token)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
"""
_UPDATE_PBX = """
update pbxs set ami_host = $3, ami_port = $4, ami_username = $5, ami_secret = $6, ami_tls = $7, ari_url = $8,
       ari_username = $9, ari_password = $10, extensions = $11, trunks = $12, click_to_call_contexts = $13,
       endpoint = $14, outgoing = $15, dialplan = $16, recordings = $17, token = $18,
       updated_at = now()
where enterprise_number = $1 and name = $2
"""
_DELETE_PBX = "delete from pbxs where enterprise_number = $1 and name = $2"
_INSERT_USER = """
insert into users (enterprise_number, email, first_name, last_name, patronymic, role, city, password_hash)
values ($1, $2, $3, $4, $5, $6, $7, $8)
"""
_UPDATE_USER = """
update users set email = $2, first_name = $3, last_name = $4, patronymic = $5, role = $6, city = $7,
       password_hash = $8, updated_at = now()
where enterprise_number = $1 and lower(email) = lower($2)
"""
_DELETE_USER = "delete from users where enterprise_number = $1 and lower(email) = $2"
_SET_EXTENSION = """
insert into user_internal_phones (enterprise_number, phone_number, user_id)
values ($1, $2, (select id from users where enterprise_number = $1 and lower(email) = $3))
on conflict (enterprise_number, phone_number) do update set user_id = excluded.user_id
"""
_DELETE_EXTENSION = "delete from user_internal_phones where enterprise_number = $1 and phone_number = $2"
_INSERT_LINE = """
insert into phones (enterprise_number, number, smart_redirect, rk, city) values ($1, $2, $3, $4, $5)
"""
_UPDATE_LINE = """
update phones set enterprise_number = $1, smart_redirect = $3, rk = $4, city = $5
where number = $2 and (enterprise_number = $1 or enterprise_number is null)
"""
_DELETE_LINE = "delete from phones where number = $2 and (enterprise_number = $1 or enterprise_number is null)"


_SECRETS = "select number, secret, integrations_config from enterprises where number = $1"
_PBX_SECRETS = "select id, name, ami_secret, ari_password, token from pbxs where enterprise_number = $1 order by id"
_PASSWORDS = """
select lower(email) as email, password_hash from users where lower(email) = any($1) and password_hash is not null
"""


async def lock(connection: Connection) -> None:
    """Until the transaction ends, nobody else applies."""
    await connection.execute(_LOCK, LOCK)


async def read(connection: Connection, vault: Vault) -> State:
    """All of it. A secret that the vault has no key for stays sealed: it can be entered again, or left as it is."""
    state = State()
    for row in await connection.fetch(_ENTERPRISES):
        number = row["number"]
        state.enterprise[number] = Enterprise(
            number=number,
            name=row["name"],
            region=row["region"],
            timezone=row["timezone"],
            secret=_opened(vault, row["secret"], number, ENTERPRISE_SECRET),
            fallback=row["fallback"],
            active=row["active"],
            recordings_days=row["recordings_days"],
            integrations={
                kind: _opened_integration(vault, kind, part, number)
                for kind, part in row["integrations_config"].items()
                if isinstance(part, dict)
            },
        )
    for row in await connection.fetch(_PBXS):
        values = dict(row)
        number = values.pop("enterprise_number")
        for column in PBX_COLUMNS:
            values[column] = _opened(vault, values[column], number, pbx_field(column))
        state.enterprise[number].pbx[values["name"]] = Pbx(**values)
    for row in await connection.fetch(_USERS):
        values = dict(row)
        number = values.pop("enterprise_number")
        state.emails[values["email"].lower()] = number
        if number is not None:
            state.enterprise[number].user[values["email"].lower()] = User(**values)
    for row in await connection.fetch(_EXTENSIONS):
        state.enterprise[row["enterprise_number"]].extension[row["phone_number"]] = row["email"]
    for row in await connection.fetch(_LINES):
        values = dict(row)
        number = values.pop("enterprise_number")
        if number is not None:
            state.enterprise[number].line.setdefault(values["number"], Line(**values))
    return state


async def password_hashes(connection: Connection, emails: list[str]) -> dict[str, str]:
    """Stored hashes by e-mail in small letters."""
    rows = await connection.fetch(_PASSWORDS, emails)
    return {row["email"]: row["password_hash"] for row in rows}


async def write(connection: Connection, vault: Vault, old: State, new: State) -> list[str]:
    """Make the rows say `new` where they say `old`: in the caller's transaction, under `lock`.

    Gives credentials that cannot be: what two present opens the door of one."""
    taken: list[str] = []
    for number in old.enterprise.keys() - new.enterprise.keys():
        await connection.execute(_DELETE_ENTERPRISE, number)
    for number, enterprise in new.enterprise.items():
        before = old.enterprise.get(number)
        if before is None:
            await connection.execute(_INSERT_ENTERPRISE, *_enterprise_values(vault, enterprise))
            before = Enterprise(number=number)
        elif _own(before) != _own(enterprise):
            await connection.execute(_UPDATE_ENTERPRISE, *_enterprise_values(vault, enterprise))
        await _write_pbxs(connection, vault, before, enterprise)
        await _write_users(connection, before, enterprise)
        await _write_lines(connection, before, enterprise)
        if before != enterprise:
            taken += await _write_digests(connection, vault, number)
    return taken


async def _write_pbxs(connection: Connection, vault: Vault, old: Enterprise, new: Enterprise) -> None:
    for name in old.pbx.keys() - new.pbx.keys():
        await connection.execute(_DELETE_PBX, new.number, name)
    for name, pbx in new.pbx.items():
        if old.pbx.get(name) != pbx:
            statement = _UPDATE_PBX if name in old.pbx else _INSERT_PBX
            await connection.execute(statement, new.number, *_pbx_values(vault, new.number, pbx))


async def _write_users(connection: Connection, old: Enterprise, new: Enterprise) -> None:
    for email in old.user.keys() - new.user.keys():
        await connection.execute(_DELETE_USER, new.number, email)
    for email, user in new.user.items():
        if old.user.get(email) != user:
            statement = _UPDATE_USER if email in old.user else _INSERT_USER
            await connection.execute(statement, new.number, *(getattr(user, name) for name in user.__struct_fields__))
    for extension in old.extension.keys() - new.extension.keys():
        await connection.execute(_DELETE_EXTENSION, new.number, extension)
    for extension, owner in new.extension.items():
        if extension not in old.extension or old.extension[extension] != owner:
            await connection.execute(_SET_EXTENSION, new.number, extension, owner)


async def _write_lines(connection: Connection, old: Enterprise, new: Enterprise) -> None:
    for number in old.line.keys() - new.line.keys():
        await connection.execute(_DELETE_LINE, new.number, number)
    for number, line in new.line.items():
        if old.line.get(number) != line:
            statement = _UPDATE_LINE if number in old.line else _INSERT_LINE
            await connection.execute(statement, new.number, number, line.smart_redirect, line.rk, line.city)


async def _write_digests(connection: Connection, vault: Vault, number: str) -> list[str]:
    """What the enterprise's callers present opens its doors from this transaction on. Gives what others have."""
    enterprise = await connection.fetchrow(_SECRETS, number)
    pbxs = await connection.fetch(_PBX_SECRETS, number)
    held = await credentials.held(connection, number)
    wanted = sealer.plan(vault, enterprise, pbxs, held).digests
    taken = await credentials.replace(connection, number, held, wanted)
    return [f"enterprise[{number}]: its {kind} credential {subject} is in use elsewhere" for kind, subject in taken]


# --- values of rows -------------------------------------------------------------------------------------------------


def _own(enterprise: Enterprise) -> tuple[object, ...]:
    """What stands in the enterprise's own row."""
    return (
        enterprise.name,
        enterprise.region,
        enterprise.timezone,
        enterprise.secret,
        enterprise.fallback,
        enterprise.active,
        enterprise.recordings_days,
        enterprise.integrations,
    )


def _enterprise_values(vault: Vault, enterprise: Enterprise) -> tuple[object, ...]:
    number = enterprise.number
    return (
        number,
        enterprise.name,
        enterprise.region,
        enterprise.timezone,
        _sealed(vault, enterprise.secret, number, ENTERPRISE_SECRET),
        enterprise.fallback,
        enterprise.active,
        {kind: _sealed_integration(vault, kind, part, number) for kind, part in enterprise.integrations.items()},
        enterprise.recordings_days,
    )


def _pbx_values(vault: Vault, number: str, pbx: Pbx) -> list[object]:
    values = {name: getattr(pbx, name) for name in pbx.__struct_fields__}
    for column in PBX_COLUMNS:
        values[column] = _sealed(vault, values[column], number, pbx_field(column))
    return list(values.values())


def _opened(vault: Vault, value: str | None, number: str, field: str) -> Any:
    if value is None:
        return None
    try:
        return vault.open(value, enterprise=number, field=field)
    except SecretProblem:
        return value


def _sealed(vault: Vault, value: str | None, number: str, field: str) -> str | None:
    if value is None or vault.is_sealed(value):
        return value
    return vault.seal(value, enterprise=number, field=field)


def _opened_integration(vault: Vault, kind: str, part: dict[str, Any], number: str) -> dict[str, Any]:
    try:
        opened: dict[str, Any] = vault.open_integration(kind, part, enterprise=number)
    except SecretProblem:
        return part
    return opened


def _sealed_integration(vault: Vault, kind: str, part: dict[str, Any], number: str) -> dict[str, Any]:
    try:
        sealed: dict[str, Any] = vault.seal_integration(kind, part, enterprise=number)
    except SecretProblem:
        return part  # the sealer says what cannot be opened, and seals what is plain once it can
    return sealed
