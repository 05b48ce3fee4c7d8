"""What routing asks and is told: the caller's owner in a CRM, the rules of the house, the answer and its reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

LineSetting = Literal["off", "name", "route"]
"""What a line wants of routing: nothing, the caller's name, or the name and the responsible's extension."""


class Responsible(msgspec.Struct, frozen=True, kw_only=True):
    """What one CRM knows of a caller: the user who owns them, and what to call them.

    user_id   the CRM's id of that user, or None when the CRM knows the caller but nobody owns them
    code      the extension the CRM itself keeps for that user, or None
    customer  the caller's name, "" when the CRM does not know the caller
    manager   the user's name
    """

    user_id: str | None = None
    code: str | None = None
    customer: str = ""
    manager: str = ""


class Silence(msgspec.Struct, frozen=True):
    """A CRM that did not say anything useful, and why.

    unknown   it answered: it does not know the caller
    failed    it could not be asked or its answer made no sense
    deadline  it did not answer in time
    open      its breaker is open: it was not asked
    busy      too many questions of this enterprise are under way: it was not asked
    """

    why: Literal["unknown", "failed", "deadline", "open", "busy"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One CRM's part in the decision: what it said, and which of its users has which extension (`user_extensions`)."""

    crm: str
    said: Responsible | Silence
    extensions: Mapping[str, str | None] = {}


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """All that the decision depends on.

    caller       E.164, or None when the caller hides the number
    line         the setting of the line the call came in on
    fallback     the enterprise's: an extension, `queue:NAME` or `continue`
    rules        regular expressions of the extensions that may be rung: those of the asking PBX, or of every PBX
    findings     one for each enabled CRM, in the order they are believed; empty when the enterprise has none
    unavailable  extensions known not to be reachable now
    """

    caller: str | None
    line: LineSetting = "route"
    fallback: str = "continue"
    rules: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    unavailable: frozenset[str] = frozenset()


Reason = Literal[
    "mapped",
    "manager_code",
    "line_off",
    "line_name",
    "anonymous",
    "no_crm",
    "unknown_caller",
    "no_manager",
    "no_extension",
    "foreign_extension",
    "unavailable",
    "crm_failed",
    "crm_deadline",
    "crm_open",
    "crm_busy",
    "unknown_enterprise",
]
"""Why a call goes where it goes. `reasons.words` says it to a person."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Who gets the call. `extension` and `queue` both None: the PBX goes on as it would without us.

    name      the caller as phones show them, safe for any dialplan; may be ""
    fallback  whether `extension` or `queue` is the enterprise's fallback, not the responsible
    """

    extension: str | None = None
    queue: str | None = None
    name: str = ""
    reason: Reason
    fallback: bool = False
