"""TEST_MODE: calls are watched and understood, and go into the log. Nothing is stored, no CRM is told."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from bridge.mailbox import Work

log = structlog.get_logger(__name__)


class ObservedCalls:
    """In place of the ledger (`bridge.mailbox.Ledger`) of one PBX."""

    def __init__(self, enterprise_number: str, pbx_name: str) -> None:
        self._log = log.bind(enterprise=enterprise_number, pbx=pbx_name)

    async def states(self) -> Sequence[bytes]:
        """None: calls that are up when the watch begins are seen from there on."""
        return []

    async def write(self, works: Sequence[Work]) -> None:
        for work in works:
            if work.changes:
                self._log.info(
                    "call_observed",
                    call_id=work.call.call_id,
                    direction=work.call.direction,
                    status=work.call.status,
                    client=work.call.client_number,
                    extensions=work.call.extensions,
                    changes=[type(change).__name__.lower() for change in work.changes],
                )
