"""Smart redirect: who should get a caller, answered within a hard deadline; and the redirect of a call already waiting.

Theory of operation. A question is answered from memory where it can be: the directory knows lines and fallbacks, the
lookups (`bridge.lookups`) what a CRM said of the caller within the last minute. Otherwise every enabled CRM is asked at
once, and the decision (`bridge.routing`, pure) is made as soon as the CRMs believed first have led to a phone, or when
the deadline, counted from the question's arrival, has passed. What a late CRM says is kept for the next call.

The reason is kept with the call. The call often has no row yet, and another instance may be the one to write it: the
note goes to the database (`route_notes`) after the answer is given, and the row takes it when it is written.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any, Protocol

import asyncpg
import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram

from bridge.calls.click import PbxDialing
from bridge.calls.extensions import belongs, exactly
from bridge.calls.numbers import SHORTEST, e164
from bridge.db.routes import RouteNote
from bridge.directory import Directory, Enterprise
from bridge.errors import ActionFailed, BadInput, BridgeError, CallNotFound, Conflict, NotFound, PbxUnavailable
from bridge.lookups import Lookups
from bridge.route_notes import RouteNotes
from bridge.routing import Answer, Finding, Question, decide
from bridge.routing.model import LineSetting

log = structlog.get_logger(__name__)

DEADLINE = 0.8
"""Seconds from a question's arrival to its answer, at the most."""

_UNIQUEID = re.compile(r"[0-9A-Za-z_.:-]{1,128}")


class Pbx(Protocol):
    """A command link to one PBX."""

    async def send(self, action: Mapping[str, Any], *, timeout: float | None = None) -> Any:
        """Raises PbxUnavailable, ActionFailed, BadInput."""


class Pbxs(Protocol):
    """The links to every enterprise's PBXs, whichever instance watches them."""

    def manager_for(self, enterprise_number: str, name: str | None = None) -> Pbx:
        """Raises NotFound for a PBX that is not there (yet)."""


class Cloud(Protocol):
    """A cloud exchange: calls and extensions that no PBX of ours has."""

    @property
    def name(self) -> str:
        """What its calls have as the name of their PBX."""

    def serves(self, enterprise_number: str) -> bool: ...

    async def knows(self, enterprise_number: str, call_unique_id: str) -> bool:
        """Whether that is a call of its. Raises DatabaseProblem."""

    async def route(self, enterprise_number: str, call_unique_id: str, extension: str, *, name: str = "") -> bool:
        """Raises CallNotFound, Conflict (CallOver too), BadInput, PbxUnavailable, ActionFailed, DatabaseProblem."""


class RoutingMetrics:
    """Answers by reason and their time. No enterprise and no number: /metrics is open."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.answers = Counter("bridge_routing_answers", "Callers routed, by reason", ("reason",), registry=registry)
        self.seconds = Histogram(
            "bridge_routing_seconds",
            "Seconds from a question's arrival to its answer",
            buckets=(0.0005, 0.001, 0.005, 0.015, 0.05, 0.1, 0.3, 0.5, 0.8, 1.0, 2.0),
            registry=registry,
        )
        self.redirects = Counter(
            "bridge_live_redirects", "Live calls redirected, by outcome", ("outcome",), registry=registry
        )


class Redirects:
    """`who` answers, `keep` keeps the reason with the call, `live_redirect` moves a call that is ringing or waiting."""

    def __init__(
        self,
        directory: Directory,
        lookups: Lookups,
        pbxs: Pbxs,
        pool: asyncpg.Pool,
        metrics: RoutingMetrics,
        *,
        cloud: Cloud | None = None,
        deadline: float = DEADLINE,
    ) -> None:
        self._directory = directory
        self._lookups = lookups
        self._pbxs = pbxs
        self._metrics = metrics
        self._cloud = cloud
        self._deadline = deadline
        self._notes = RouteNotes(pool)

    async def who(
        self,
        enterprise_number: str,
        phone: str | None,
        *,
        line: str | None = None,
        pbx: str | None = None,
        deadline: float | None = None,
        arrived: float | None = None,
    ) -> Answer:
        """Who should get a caller. Never raises for what the outside world does, never takes longer than `deadline`
        (None: the service's own).

        `line` None: the question is not about a line, the answer is the route. `pbx`: only its extensions count (of the
        cloud exchange, by its name, those that people have).
        `arrived`: when the question came, by time.monotonic()."""
        began = arrived if arrived is not None else time.monotonic()
        enterprise = self._directory.enterprise(enterprise_number)
        if enterprise is None:
            answer = Answer(reason="unknown_enterprise")
        else:
            answer = await self._answer(
                enterprise, phone, line, pbx, began + (self._deadline if deadline is None else deadline)
            )
        seconds = time.monotonic() - began
        self._metrics.answers.labels(answer.reason).inc()
        self._metrics.seconds.observe(seconds)
        log.info(
            "caller_routed",
            enterprise=enterprise_number,
            pbx=pbx,
            extension=answer.extension,
            queue=answer.queue,
            reason=answer.reason,
            milliseconds=round(seconds * 1000, 1),
        )
        return answer

    def keep(self, enterprise_number: str, pbx: str, call_id: str, answer: Answer) -> None:
        """Keep the answer with the call. Returns at once; a database that is away costs the note, and a log line."""
        target = answer.extension or (f"queue:{answer.queue}" if answer.queue else None)
        self._notes.add(RouteNote(enterprise_number, pbx, call_id, target, answer.reason))

    async def live_redirect(
        self, enterprise_number: str, call_unique_id: str, extension: str, because: Answer | None = None
    ) -> None:
        """Sends a client's channel that is ringing or waiting to `extension`; `because` is kept with the call.

        Raises CallNotFound when no PBX of the enterprise has the call, Conflict when somebody talks with the client
        already, BadInput for an extension of none of its PBXs, PbxUnavailable, ActionFailed."""
        try:
            name = because.name if because is not None else ""
            pbx = await self._live_redirect(enterprise_number, call_unique_id, extension, name)
        except (CallNotFound, Conflict, BadInput, PbxUnavailable, ActionFailed) as problem:
            self._metrics.redirects.labels(problem.code.lower()).inc()
            raise
        self._metrics.redirects.labels("redirected").inc()
        log.info("call_redirected", enterprise=enterprise_number, pbx=pbx, call_id=call_unique_id, extension=extension)
        if because is not None:
            self.keep(enterprise_number, pbx, call_unique_id, because)

    async def close(self) -> None:
        """Lets the notes be written."""
        await self._notes.close()

    async def _answer(
        self, enterprise: Enterprise, phone: str | None, line: str | None, pbx: str | None, until: float
    ) -> Answer:
        setting: LineSetting = "route" if line is None else enterprise.line(line)
        caller = _caller(phone, enterprise.region)
        question = Question(
            caller=caller,
            line=setting,
            fallback=enterprise.fallback,
            rules=self._rules(enterprise, pbx),
        )
        if setting == "off" or caller is None:
            return decide(question)
        findings: list[Finding] = []
        for crm, pending in self._lookups.ask(enterprise.number, caller):
            findings.append(await self._lookups.hear(enterprise.number, crm, pending, until))
            answer = decide(msgspec.structs.replace(question, findings=tuple(findings)))
            if (answer.extension and not answer.fallback) or (setting == "name" and answer.name):
                return answer
        return decide(msgspec.structs.replace(question, findings=tuple(findings)))

    def _rules(self, enterprise: Enterprise, pbx: str | None) -> tuple[str, ...]:
        rules = [each.extensions for each in enterprise.pbxs if pbx is None or each.name == pbx]
        if self._cloud is not None and pbx in (None, self._cloud.name) and self._cloud.serves(enterprise.number):
            rules.append(exactly(enterprise.extensions))
        return tuple(rules)

    async def _live_redirect(self, enterprise_number: str, call_unique_id: str, extension: str, name: str) -> str:
        """The name of the PBX that had the call."""
        enterprise = self._directory.enterprise(enterprise_number)
        if enterprise is None:
            raise CallNotFound()
        if not belongs(extension, self._rules(enterprise, None)):
            raise BadInput(f"extension: {extension[:32]!r} is not one of this enterprise", field="extension")
        cloud = self._cloud if self._cloud is not None and self._cloud.serves(enterprise_number) else None
        if cloud is not None and await cloud.knows(enterprise_number, call_unique_id):
            if not belongs(extension, self._rules(enterprise, cloud.name)):
                raise BadInput(f"extension: {extension} is not one of {cloud.name}", field="extension")
            await cloud.route(enterprise_number, call_unique_id, extension, name=name)
            return cloud.name
        if not _UNIQUEID.fullmatch(call_unique_id):
            if cloud is not None:  # its ids have any form
                raise CallNotFound()
            raise BadInput(
                "call_unique_id: not a Uniqueid of Asterisk", field="call_unique_id", found=call_unique_id[:80]
            )
        problem: BridgeError | None = None
        for pbx in enterprise.pbxs:
            try:
                link = self._pbxs.manager_for(enterprise_number, pbx.name)
                channels = await link.send({"Action": "CoreShowChannels"}, timeout=2.0)
            except (PbxUnavailable, NotFound) as gone:
                problem = gone
                continue
            channel = next((each for each in channels.events if each.get("Uniqueid") == call_unique_id), None)
            if channel is not None:
                await self._move(link, pbx, channel, extension)
                return pbx.name
        raise problem or CallNotFound()

    async def _move(self, link: Pbx, pbx: PbxDialing, channel: Any, extension: str) -> None:
        name = channel.get("Channel")
        peer = name.partition("/")[2].rpartition("-")[0]
        if belongs(peer, [pbx.extensions]):
            raise Conflict("This is an extension's channel, not a client's", field="call_unique_id")
        if channel.get("BridgeId"):
            raise Conflict("Somebody talks with this client already", field="call_unique_id")
        if not belongs(extension, [pbx.extensions]):
            raise BadInput(f"extension: {extension} is not one of PBX {pbx.name}", field="extension")
        if not pbx.contexts:
            raise BadInput(f"PBX {pbx.name} has no click_to_call_contexts", field="click_to_call_contexts")
        await link.send(
            {"Action": "Redirect", "Channel": name, "Context": pbx.contexts[0], "Exten": extension, "Priority": "1"},
            timeout=2.0,
        )


def _caller(phone: str | None, region: str) -> str | None:
    """The caller in E.164; the bare digits of a number that is none but long enough for a CRM to know it."""
    if not phone:
        return None
    number = e164(phone, region)
    if number is not None:
        return number
    bare = phone.removeprefix("+")
    return bare if bare.isascii() and bare.isdigit() and len(bare) >= SHORTEST else None
