"""Is this PBX as the bridge needs it? Facts from the PBX itself, each with what to do about it.

What cannot be asked with the rights that administrators are told to give is not guessed. Nothing is changed on the PBX;
the one thing tried is an Originate to a technology that does not exist, whose failure is an event of class call.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from typing import Any, Literal

import msgspec

from bridge.ami.actions import Reply, Value
from bridge.ami.manager import NEWEST, OLDEST, Manager, Timing
from bridge.ami.pbx import PbxRow
from bridge.errors import ActionFailed, PbxUnavailable

Level = Literal["ok", "warning", "error"]

HOOK = "bridge-route"
"""The context of the product's dialplan that asks who should get a call."""

# action -> write class, what is lost without it
NEEDED = {
    "Originate": ("originate", "calls cannot be started from the CRM"),
    "Redirect": ("call", "a live call cannot be redirected"),
    "CoreShowChannels": ("reporting", "calls that ended while nobody watched stay open"),
}
# action -> write class, what whoever has our secret could do with it
TOO_MUCH = {
    "Command": ("command", "run any command of the console"),
    "GetConfig": ("config or system", "read every secret in Asterisk's configuration"),
    "ModuleLoad": ("system", "run programs on the PBX"),
}
_WRITE_TIMEOUT = (
    "Set writetimeout = 5000 in manager.conf, or a reader busy for 100 ms is cut off in the middle of an event."
)


class Finding(msgspec.Struct, frozen=True):
    """`subject` is what was looked at, `problem` what is wrong or was found right, `advice` what to do, if anything."""

    level: Level
    subject: str
    problem: str
    advice: str = ""


async def examine(pbx: PbxRow, *, tls: ssl.SSLContext | None = None, timing: Timing | None = None) -> list[Finding]:
    """What a link of its own finds; always at least one finding, never an exception for what the PBX does."""
    manager = Manager(pbx, tls=tls, timing=timing)
    seen: dict[str, asyncio.Event] = {"FullyBooted": asyncio.Event(), "OriginateResponse": asyncio.Event()}
    for name, event in seen.items():
        manager.register_event(name, lambda _manager, _message, event=event: event.set())
    manager.start()
    try:
        visit = _Visit(manager, seen)
        try:
            return await visit.findings()
        except PbxUnavailable as lost:
            return [*visit.found, _unreachable(manager, lost.message)]
    finally:
        manager.close()
        await manager.wait_closed()


class _Visit:
    """One examination, step by step."""

    def __init__(self, manager: Manager, seen: dict[str, asyncio.Event]) -> None:
        self.manager = manager
        self.seen = seen
        self.found: list[Finding] = []
        self.commands: set[str] = set()

    async def findings(self) -> list[Finding]:
        await self._version_and_clock()
        await self._rights()
        await self._events()
        await self._records()
        await self._contexts()
        await self._write_timeout()
        return self.found

    def _say(self, level: Level, subject: str, problem: str, advice: str = "") -> None:
        self.found.append(Finding(level, subject, problem, advice))

    async def _ask(self, action: dict[str, Value], **options: Any) -> Reply | None:
        """None where the PBX refuses."""
        try:
            return await self.manager.send(action, **options)
        except ActionFailed:
            return None

    async def _version_and_clock(self) -> None:
        await self.manager.settled()
        asked = time.time()
        pong = await self.manager.send({"Action": "Ping"})
        took = time.time() - asked
        settings = await self._ask({"Action": "CoreSettings"})
        named = settings.response.get("AsteriskVersion") if settings is not None else ""
        version = named or str(self.manager.asterisk)
        self._say(
            "ok",
            "login",
            f"{self.manager.pbx.username} is logged in to Asterisk {version}; it answers in {took * 1000:.0f} ms.",
        )
        if self.manager.asterisk > NEWEST:
            self._say(
                "warning",
                "version",
                f"Asterisk {version} is newer than those known, {OLDEST} to {NEWEST}.",
                "It is used as it is; look for a newer bridge.",
            )
        stamp = pong.response.get("Timestamp")
        if re.fullmatch(r"\d+(\.\d+)?", stamp) and abs(float(stamp) - asked) > took + 2:
            ahead = float(stamp) - asked
            self._say(
                "warning",
                "clock",
                f"The PBX's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's.",
                "Keep both by NTP: times of calls are the PBX's.",
            )

    async def _rights(self) -> None:
        listed = await self.manager.send({"Action": "ListCommands"})
        self.commands = {name for name, _ in listed.response}
        for action, (write_class, loss) in NEEDED.items():
            if action not in self.commands:
                self._say("error", f"write class {write_class}", f"Missing: {loss}.", self._grant("write", write_class))
        for action, (write_class, power) in TOO_MUCH.items():
            if action in self.commands:
                self._say(
                    "warning",
                    f"write class {write_class}",
                    f"More than the bridge needs: whoever has its secret could {power}.",
                    f"Take {write_class} from write of [{self.manager.pbx.username}] in manager.conf.",
                )

    def _grant(self, direction: str, name: str) -> str:
        return f"Add {name} to {direction} of [{self.manager.pbx.username}] in manager.conf, then `manager reload`."

    async def _events(self) -> None:
        # FullyBooted follows the login at once, for users with read class system
        if not await _within(self.seen["FullyBooted"], 1.0):
            self._say(
                "error",
                "read class system",
                "No FullyBooted after the login: restarts of Asterisk will look like lost links.",
                self._grant("read", "system"),
            )
        if "Originate" not in self.commands:
            return
        await self._ask({"Action": "Originate", "Channel": "BridgeCheck/nobody", "Application": "NoOp"})
        if await _within(self.seen["OriginateResponse"], 2.0):
            self._say("ok", "events", "Events of calls arrive.")
        else:
            self._say(
                "error",
                "read class call",
                "Events of calls do not arrive: no call will be seen.",
                self._grant("read", "call") + " An eventfilter there may keep them away, too.",
            )

    async def _records(self) -> None:
        settings = await self._ask({"Action": "CoreSettings"})
        if settings is not None and settings.response.get("CoreCDRenabled") == "No":
            self._say(
                "warning",
                "CDR",
                "Call detail records are off: times of calls are taken from events alone.",
                "Set enable = yes in cdr.conf and enabled = yes in cdr_manager.conf.",
            )
        await self._backend("cdr show status", "cdr_manager", "CDR", "Set enabled = yes in cdr_manager.conf.")
        await self._backend(
            "cel show status", "Manager Event", "CEL", "Set enabled = yes under [manager] in cel.conf, if you want CEL."
        )

    async def _backend(self, command: str, wanted: str, subject: str, advice: str) -> None:
        if "Command" not in self.commands:
            return
        shown = await self._ask({"Action": "Command", "Command": command})
        if shown is not None and not any(wanted in line for line in shown.output):
            self._say("warning", f"{subject} events", f"{subject} does not come as events.", advice)

    async def _contexts(self) -> None:
        if "ShowDialPlan" not in self.commands:
            return  # said already: the class is reporting
        if await self._has_context(HOOK):
            self._say("ok", f"context {HOOK}", "The dialplan has it: it can ask who should get a call.")
        else:
            self._say(
                "warning",
                f"context {HOOK}",
                "The dialplan has no such context: callers are not put through to their own manager.",
                "Include bridge-route.conf in extensions.conf, if smart redirect is wanted.",
            )
        for context in self.manager.pbx.rules.click_to_call_contexts:
            if not await self._has_context(context):
                self._say(
                    "error",
                    f"context {context}",
                    "click_to_call_contexts names it, and the dialplan has no such context: clicks reach nobody.",
                    "Name the context in which the office's phones dial outside.",
                )

    async def _has_context(self, name: str) -> bool:
        return await self._ask({"Action": "ShowDialPlan", "Context": name}) is not None

    async def _write_timeout(self) -> None:
        if "GetConfig" not in self.commands:
            self._say("ok", "writetimeout", "It cannot be asked for with the bridge's rights.", _WRITE_TIMEOUT)
            return
        category = self.manager.pbx.username
        shown = await self._ask({"Action": "GetConfig", "Filename": "manager.conf", "Category": category})
        lines = [value for _, value in shown.response] if shown is not None else []
        given = [int(found[1]) for line in lines if (found := re.fullmatch(r"writetimeout=(\d{1,9})", line))]
        if not given or given[-1] < 1000:
            self._say("warning", "writetimeout", f"It is {given[-1] if given else 100} ms.", _WRITE_TIMEOUT)


def _unreachable(manager: Manager, problem: str) -> Finding:
    pbx = manager.pbx
    if manager.state == "auth_failed":
        advice = (
            f"Compare [{pbx.username}] in manager.conf (secret, permit) with what the bridge has; `manager reload`."
        )
    elif manager.state == "wrong_version":
        advice = f"Upgrade the PBX to Asterisk {OLDEST} or newer."
    else:
        advice = "Check enabled, bindaddr and port in manager.conf, and that no firewall is between."
    return Finding("error", "login", problem, advice)


async def _within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
