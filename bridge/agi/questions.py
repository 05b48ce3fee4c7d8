"""What the dialplan asks, and how it is told: `agi://host:4573/route?pbx=NAME&token=…` sets the BRIDGE_ variables."""

from __future__ import annotations

from typing import Protocol

import structlog

from bridge.agi.server import Dialogue
from bridge.routing.model import Answer

log = structlog.get_logger(__name__)


class Router(Protocol):
    """Who decides."""

    async def who(
        self, enterprise_number: str, phone: str | None, *, line: str | None, pbx: str | None, arrived: float | None
    ) -> Answer: ...

    def keep(self, enterprise_number: str, pbx: str, call_id: str, answer: Answer) -> None: ...


class Doorkeeper(Protocol):
    """Who knows the PBXs' tokens."""

    def pbx_credential(self, pbx_name: str, token: str) -> str | None: ...


class RouteQuestion:
    """The handler of `/route`. Its first argument, else `line` of the query, else the number dialled names the line.

    BRIDGE_EXTEN is set last: a conversation that breaks off half-way sends nobody anywhere.
    """

    def __init__(self, router: Router, doorkeeper: Doorkeeper) -> None:
        self._router = router
        self._doorkeeper = doorkeeper

    async def __call__(self, dialogue: Dialogue) -> None:
        request = dialogue.request
        pbx = request.query.get("pbx", "")
        enterprise_number = self._doorkeeper.pbx_credential(pbx, request.query.get("token", ""))
        if enterprise_number is None:
            log.warning("agi_token_refused", pbx=pbx[:64])
            await dialogue.set_variable("BRIDGE_REASON", "refused")
            return
        answer = await self._router.who(
            enterprise_number,
            _said(request.environment.get("agi_callerid")),
            line=_line(dialogue),
            pbx=pbx,
            arrived=dialogue.arrived,
        )
        if uniqueid := request.environment.get("agi_uniqueid"):
            self._router.keep(enterprise_number, pbx, uniqueid, answer)
        await dialogue.set_variable("BRIDGE_NAME", answer.name)
        await dialogue.set_variable("BRIDGE_REASON", answer.reason)
        await dialogue.set_variable("BRIDGE_QUEUE", answer.queue or "")
        await dialogue.set_variable("BRIDGE_EXTEN", answer.extension or "")


def _line(dialogue: Dialogue) -> str:
    request = dialogue.request
    named = (request.args[0] if request.args else "") or request.query.get("line", "")
    return named or _said(request.environment.get("agi_dnid")) or _said(request.environment.get("agi_extension")) or ""


def _said(value: str | None) -> str | None:
    # Asterisk writes "unknown" where it knows nothing
    return value if value and value != "unknown" else None
