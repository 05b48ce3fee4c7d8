"""Where the calls of a cloud exchange are written, as any other PBX's are: its webhooks' transaction is ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bridge.crm.outbox import Outbox
from bridge.db import calls
from bridge.db.pool import Connection
from bridge.mango.fold import News
from bridge.mango.recordings import CallRecording
from bridge.recordings.journal import ADDRESS, MANGO, Owed, Recordings

NAME = "mango"
"""The PBX's name in rows and in the CRM's external ids."""


EXPECTED_WITHIN = 2 * 3600.0
"""Seconds after which a recording that Mango promised is asked for though nobody said that it is there: the webhook
that says so may be lost."""


class CloudLedger:
    """Rows, timelines, deliveries and recordings of the calls of Mango Office."""

    def __init__(self, outbox: Outbox, recordings: Recordings) -> None:
        self._outbox = outbox
        self._recordings = recordings

    async def write(self, connection: Connection, enterprise_number: str, news: Sequence[News]) -> Mapping[str, int]:
        """In the caller's transaction; call_id -> the row's id, of those that changed."""
        changed = [each for each in news if each.changes or each.notices]
        ids = await calls.save(
            connection,
            enterprise_number,
            NAME,
            [calls.CallWrite(call=each.call, changes=each.changes) for each in changed],
        )
        await calls.attribute(
            connection,
            enterprise_number,
            [
                calls.Attribution(id=ids[each.call.call_id], extension=each.operator, reconciled=each.reconciled)
                for each in changed
            ],
        )
        owed = [_owed(each.call.call_id, recording) for each in news for recording in each.recordings]
        links = await self._recordings.owe_all(
            connection, enterprise_number, NAME, [each for each in owed if each is not None]
        )
        rows = {each.call.call_id: each.call_pk for each in news if each.call_pk is not None} | ids
        for each in news:
            if each.notices:
                await self._outbox.enqueue(
                    connection,
                    enterprise_number,
                    rows.get(each.call.call_id),
                    f"{NAME}:{each.call.call_id}",
                    each.call,
                    each.notices,
                )
        heard = {each.call_id for each in links}
        await calls.announce(
            connection, enterprise_number, [pk for call_id, pk in rows.items() if call_id in ids or call_id in heard]
        )
        return ids


def _owed(call_id: str, recording: CallRecording) -> Owed | None:
    """What is expected has its link, and is fetched once it is there."""
    if recording.state not in ("expected", "ready"):
        return None
    after = 0.0 if recording.state == "ready" else EXPECTED_WITHIN
    if recording.url is not None:
        return Owed(call_id=call_id, source=ADDRESS, reference=recording.url, after=after)
    return Owed(call_id=call_id, source=MANGO, reference=recording.recording_id, after=after)
