"""The outbox: what a call's changes owe to CRMs, written in the very transaction that stores the call.

Until that transaction commits nothing is owed, and once it has nothing can be lost: the worker finds it in the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from bridge.calls.model import Call, Notice
from bridge.crm import accounts
from bridge.crm.accounts import Connection
from bridge.crm.journal import GROUP, fit

_MERGE = """
update deliveries set
    extensions = extensions || array(
        select e from unnest($3::text[]) with ordinality as new(e, n) where e <> all(extensions) order by n
    ),
    sequence = $4, call = $5::text::jsonb, queued_at = clock_timestamp()
where id in (
    select max(id) from deliveries where account_id = any($1) and external_id = $2 group by account_id
) and kind = 'ringing' and state = 'pending' and sequence < $4
returning account_id, pg_notify('bridge_deliveries', account_id::text)
"""

_QUEUE = f"""
with fresh as (
    insert into deliveries
        (account_id, enterprise_number, integration_type, call_pk, external_id, kind, sequence, extensions, call)
    select a.id, a.enterprise_number, a.integration_type, $2, $3, $4, $5, $6, $7::text::jsonb
    from crm_accounts a
    where a.id = any($1) and not exists (
        select from deliveries d
        where d.account_id = a.id and d.external_id = $3 and d.kind = $4 and d.sequence >= $5
    )
    on conflict do nothing
    returning id, account_id
)
select pgmq.send(
           a.queue, jsonb_build_object('delivery', fresh.id), jsonb_build_object('{GROUP}', $3::text)
       ),
       pg_notify('bridge_deliveries', a.id::text)
from fresh join crm_accounts a on a.id = fresh.account_id
"""  # noqa: S608 - a constant

_WITHDRAW = """
update deliveries set state = 'skipped', reason = $3, done_at = clock_timestamp()
where enterprise_number = $1 and external_id = $2 and state = 'pending'
"""


class Outbox:
    """`enabled` answers from memory which integrations an enterprise has; `kinds` are those that are told of calls."""

    def __init__(self, enabled: Callable[[str], Mapping[str, bool]], kinds: Collection[str]) -> None:
        self._enabled = enabled
        self._kinds = frozenset(kinds)

    async def enqueue(
        self,
        conn: Connection,
        enterprise_number: str,
        call_pk: int | None,
        external_id: str,
        call: Call,
        notices: Sequence[Notice],
    ) -> int:
        """Owe `notices` of `call` to every CRM the enterprise has enabled; how many deliveries are new.

        In the caller's transaction, which may hold many calls: no lock is taken that a worker keeps for longer than a
        statement. A notice that was owed before (same kind and sequence) is not owed twice. A `ringing` whose
        predecessor nobody has begun to send is united with it: one pop-up for the whole ring group. Internal calls
        never leave.
        """
        if call.direction == "internal" or not notices:
            return 0
        kinds = sorted(kind for kind, on in self._enabled(enterprise_number).items() if on and kind in self._kinds)
        if not kinds:
            return 0
        owed = await accounts.ensure(conn, enterprise_number, kinds)
        snapshot = _snapshot(call)
        external_id = fit(external_id)
        fresh = 0
        for notice in notices:
            remaining = owed
            extensions = fit(notice.extensions)
            if notice.kind == "ringing":
                merged = await _merge(conn, owed, external_id, extensions, notice.sequence, snapshot)
                remaining = [account for account in owed if account not in merged]
            if remaining:
                fresh += await _queue(
                    conn, remaining, call_pk, external_id, notice.kind, notice.sequence, extensions, snapshot
                )
        return fresh

    async def withdraw(self, conn: Connection, enterprise_number: str, external_id: str, into: str) -> None:
        """The call turned out to be part of the call `into`: what nobody has begun to send of it is not sent."""
        await conn.execute(_WITHDRAW, enterprise_number, external_id, f"part of the call {into}")


def _snapshot(call: Call) -> str:
    """The call as JSON, without its legs: no CRM is told of channels."""
    plain = msgspec.to_builtins(msgspec.structs.replace(call, legs=[]))
    return msgspec.json.encode(fit(plain)).decode()


async def _merge(
    conn: Connection, account_ids: Sequence[int], external_id: str, extensions: Sequence[str], sequence: int, call: str
) -> list[int]:
    """Unite a new `ringing` with the call's last delivery where that is a `ringing` nobody has begun to send.

    Returns the accounts where that was so. In the caller's transaction.
    """
    rows = await conn.fetch(_MERGE, account_ids, external_id, list(extensions), sequence, call)
    return [row["account_id"] for row in rows]


async def _queue(
    conn: Connection,
    account_ids: Sequence[int],
    call_pk: int | None,
    external_id: str,
    kind: str,
    sequence: int,
    extensions: Sequence[str],
    call: str,
) -> int:
    """Journal row, message and wake-up, in the caller's transaction; how many were new.

    The wake-up is one NOTIFY per account and transaction (Postgres drops equal ones): a writer that batches pays for it
    once. pgmq's own throttled trigger is not used. Its marks are in an unlogged table that a crash empties, after which
    it never notifies again, and two writers can wait for each other's marks.
    """
    rows = await conn.fetch(_QUEUE, account_ids, call_pk, external_id, kind, sequence, list(extensions), call)
    return len(rows)
