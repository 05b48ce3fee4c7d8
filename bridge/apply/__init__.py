"""`asterisk-bridge apply`: from a file to what the deployment knows, in one transaction or not at all.

The file is read and checked whole (`reading`, `rules`), merged with what is known (`merge`, pure), checked again with
it, and written as differences (`bridge.db.configuration`). Nothing outside is called.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import msgspec
from msgspec import UNSET

from bridge import passwords
from bridge.apply import declared, reading, rules
from bridge.apply.merge import Made, Merge
from bridge.apply.reading import WrongFile
from bridge.configuration import State, differences
from bridge.crm.retailcrm.hosts import judge
from bridge.db import configuration
from bridge.db.deployment import opened
from bridge.db.pool import Connection
from bridge.hosts import Hosts
from bridge.secrets import Vault
from bridge.settings import Settings
from bridge.settings.keys import secret_keys

__all__ = ["Report", "WrongFile", "apply", "apply_file", "read_state"]


class Report(msgspec.Struct, frozen=True):
    """What came of it: a line for each change, and the secrets that were made, by their place in the file."""

    changes: list[str]
    made: Made
    warnings: list[str]


async def apply_file(
    settings: Settings,
    path: Path,
    env: Mapping[str, str],
    *,
    prune: bool = False,
    dry_run: bool = False,
    progress: Callable[[str], None],
) -> Report:
    """Raises WrongFile (nothing was written) and DatabaseProblem."""
    file = reading.read(path, env)  # before the database: a wrong file needs none
    async with opened(settings.database_url, settings.data_dir, progress) as pool, pool.acquire() as connection:
        vault = Vault(secret_keys(settings))
        return await apply(connection, vault, file, trusted=settings.crm_hosts, prune=prune, dry_run=dry_run)


async def apply(
    connection: Connection,
    vault: Vault,
    file: declared.File,
    *,
    trusted: tuple[str, ...] = (),
    prune: bool = False,
    dry_run: bool = False,
) -> Report:
    """`trusted`: hosts that integrations may call besides the CRMs' own. Raises WrongFile; nothing was written then."""
    if problems := list(rules.of_file(file)):
        raise WrongFile(problems)
    hashes = await _hashes(connection, file)
    async with connection.transaction():
        await configuration.lock(connection)
        old = await configuration.read(connection, vault)
        merge = Merge(old, hashes, prune=prune)
        merge.file(file)
        hosts = Hosts(trusted)
        try:
            problems = [*merge.problems, *rules.of_result(file, merge.new, partial(judge, hosts))]
        finally:
            hosts.close()
        if problems:
            raise WrongFile(problems)
        changes = differences(old, merge.new)
        if not dry_run and (taken := await configuration.write(connection, vault, old, merge.new)):
            raise WrongFile([f"{problem}; allowed: a secret of its own" for problem in taken])
    return Report(changes, merge.made, [*rules.warnings(file, merge.new), *_weak(file)])


async def read_state(settings: Settings, progress: Callable[[str], None]) -> State:
    """All that is configured, secrets opened. Raises DatabaseProblem."""
    async with opened(settings.database_url, settings.data_dir, progress) as pool, pool.acquire() as connection:
        return await configuration.read(connection, Vault(secret_keys(settings)))


def _weak(file: declared.File) -> Iterator[str]:
    """Passwords that are easily guessed: taken, and told of."""
    for enterprise in file.enterprise:
        for user in enterprise.user:
            if user.password is not UNSET and len(str(user.password)) < passwords.WEAK:
                place = f"enterprise[{enterprise.number}].user[{user.email}].password"
                yield f"{place}: is easily guessed; choose one of {passwords.WEAK} characters or more"


async def _hashes(connection: Connection, file: declared.File) -> dict[str, str]:
    """Hashes of the file's passwords by e-mail: the stored one where it is still right, so that nothing changes.

    A hash takes 90 ms and its memory, so they are made before the transaction, beside each other."""
    given = {
        user.email.lower(): user.password
        for enterprise in file.enterprise
        for user in enterprise.user
        if user.password is not UNSET
    }
    if not given:
        return {}
    stored = await configuration.password_hashes(connection, list(given))

    def hashed(email: str) -> str:
        password, known = str(given[email]), stored.get(email)
        still_right = known is not None and passwords.password_matches(known, password)
        return known if known is not None and still_right else passwords.hash_password(password)

    return dict(zip(given, await asyncio.gather(*(asyncio.to_thread(hashed, email) for email in given)), strict=True))
