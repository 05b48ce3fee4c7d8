"""Two enterprises in a database: 0367 "June" with the PBX `office` and its lines, and 0999 with a PBX of its own."""

from __future__ import annotations

import hashlib

from bridge.db.pool import Pool
from bridge.directory import Directory

ENTERPRISES = """
insert into enterprises (number, name, fallback) values ('0367', 'June', '150'), ('0999', 'Other', 'continue');
insert into pbxs (enterprise_number, name, ami_host, ami_username, extensions, click_to_call_contexts, dialplan)
values ('0367', 'office', '127.0.0.1', 'bridge', '^1\\d\\d$', '{inoffice}', 'mngr{extension}_{line}_1'),
       ('0999', 'other', '127.0.0.1', 'bridge', '^1\\d\\d$', '{inoffice}', '');
insert into phones (enterprise_number, number, smart_redirect)
values ('0367', '+74951000004', 'route'), ('0367', '8 (495) 100-00-05', 'name'), ('0367', '+74951000006', 'off'),
       ('0367', '0001001', 'route');
"""

CREDENTIALS = (
    ("pbx", "office-token", "0367", "office"),
    ("pbx", "other-token", "0999", "other"),
    ("enterprise", "june-secret", "0367", ""),
    ("enterprise", "other-secret", "0999", ""),
    ("retailcrm", "june-client", "0367", ""),
    ("retailcrm", "other-client", "0999", ""),
)


async def furnish(pool: Pool) -> Directory:
    """The directory of a database with both in it."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(ENTERPRISES)
        for kind, secret, enterprise, subject in CREDENTIALS:
            await connection.execute(
                "insert into credentials (kind, digest, enterprise_number, subject) values ($1, $2, $3, $4)",
                kind,
                hashlib.sha256(secret.encode()).digest(),
                enterprise,
                subject,
            )
    directory = Directory(pool)
    await directory.refresh()
    return directory
