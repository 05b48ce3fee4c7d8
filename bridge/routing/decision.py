"""Who should get this call.

Theory of operation. Each enabled CRM is asked in its order. The first whose answer leads to an extension decides: the
extension assigned to the caller's owner in our own settings (`user_extensions`), else the one the CRM keeps for that
user (`manager.code`). An extension counts only where the PBX's rule says it is one, and only while its phone can be
reached. Nothing else is tried: a call that no CRM can place goes to the enterprise's documented fallback, never to
"the first user" or "the smallest extension", which is how calls came to be credited to the wrong person.
"""

from __future__ import annotations

import re
from typing import assert_never

from bridge.calls.extensions import belongs
from bridge.routing.display import display_name
from bridge.routing.model import Answer, Finding, Question, Reason, Responsible, Silence

_QUEUE = re.compile(r"queue:([0-9A-Za-z_.-]{1,64})")


def decide(question: Question) -> Answer:
    """The answer to `question`; it depends on nothing else."""
    if question.line == "off":
        return Answer(reason="line_off")
    name = next((name for finding in question.findings if (name := _name(finding))), "")
    if question.line == "name":
        return Answer(name=name, reason="line_name")
    if question.caller is None:
        return _fallback(question, "", "anonymous")
    if not question.findings:
        return _fallback(question, "", "no_crm")

    refusals: list[Reason] = []
    for finding in question.findings:
        extension, reason = _extension(finding, question)
        if extension is not None:
            return Answer(extension=extension, name=name, reason=reason)
        refusals.append(reason)
    return _fallback(question, name, _most_telling(refusals))


def _extension(finding: Finding, question: Question) -> tuple[str | None, Reason]:
    said = finding.said
    if isinstance(said, Silence):
        return None, _silence(said)
    if said.user_id is None and not said.code:
        return None, "no_manager" if said.customer else "unknown_caller"
    mapped = finding.extensions.get(said.user_id) if said.user_id is not None else None
    extension, reason = (mapped, "mapped") if mapped else (said.code, "manager_code")
    if not extension:
        return None, "no_extension"
    if not belongs(extension, question.rules):
        return None, "foreign_extension"
    if extension in question.unavailable:
        return None, "unavailable"
    return extension, "mapped" if reason == "mapped" else "manager_code"


def _silence(said: Silence) -> Reason:
    match said.why:
        case "unknown":
            return "unknown_caller"
        case "failed":
            return "crm_failed"
        case "deadline":
            return "crm_deadline"
        case "open":
            return "crm_open"
        case "busy":
            return "crm_busy"
        case other:
            assert_never(other)


def _most_telling(reasons: list[Reason]) -> Reason:
    # a CRM that does not know the caller says less than one that knows them, or one that could not be asked
    return next((reason for reason in reasons if reason != "unknown_caller"), "unknown_caller")


def _fallback(question: Question, name: str, reason: Reason) -> Answer:
    target = question.fallback
    if queue := _QUEUE.fullmatch(target):
        return Answer(queue=queue[1], name=name, reason=reason, fallback=True)
    if belongs(target, question.rules):
        return Answer(extension=target, name=name, reason=reason, fallback=True)
    return Answer(name=name, reason=reason)


def _name(finding: Finding) -> str:
    return display_name(finding.said.customer) if isinstance(finding.said, Responsible) else ""
