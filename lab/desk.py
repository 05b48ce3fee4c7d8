"""A company that stays open in the background, and how another process asks it for calls.

The open company listens on a Unix socket: one line of JSON in, `{"call": "inbound_answered", "options": {...}}`,
`{"cli": "core show channels"}`, `{"status": true}` or `{"stop": true}`; one out, `{"ok": ...}` or `{"error": "..."}`.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.company import Company
from lab.errors import LabError, NotReady
from lab.phones import answers

SCENARIOS = (
    "inbound_answered",
    "inbound_missed",
    "inbound_abandoned",
    "inbound_busy",
    "inbound_routed",
    "hold",
    "blind_transfer",
    "attended_transfer",
    "parked",
    "queue_answered",
    "queue_abandoned",
    "ring_group",
    "outbound",
    "outbound_busy",
    "outbound_no_answer",
    "outbound_cancelled",
    "internal",
)
"""The verbs of `Company` that can be asked for by name."""


def socket_path(name: str) -> Path:
    """Short, whatever the cache is called: a socket's path has 108 bytes."""
    return Path(tempfile.gettempdir()) / f"bridge-lab-{os.getuid()}-{name}.sock"


def log_path(name: str) -> Path:
    return socket_path(name).with_suffix(".log")


async def serve(company: Company, name: str) -> None:
    """Until somebody says stop. Phones pick up by themselves what no scenario expects, such as click-to-call."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    company.let_phones(answers(after=1.0))
    company.let_clients(answers(after=1.0, talk=5.0))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = json.loads(await reader.readline())
            said = {"ok": await _do(company, asked, stopped)}
        except (LabError, ValueError) as problem:
            said = {"error": str(problem)}
        writer.write(json.dumps(said, ensure_ascii=False).encode() + b"\n")
        await writer.drain()
        writer.close()

    path = socket_path(name)
    path.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(answer, path)
    try:
        await stopped.wait()
    finally:
        server.close()
        path.unlink(missing_ok=True)


async def _do(company: Company, asked: Mapping[str, Any], stopped: asyncio.Event) -> Any:
    match asked:
        case {"status": _}:
            return facts(company)
        case {"stop": _}:
            await company.close()
            stopped.set()
            return "stopped"
        case {"cli": str(command)}:
            return await company.pbx.cli(command)
        case {"call": str(scenario), "options": dict(options)}:
            return (await run(company, scenario, options)).as_dict()
    raise ValueError(f"cannot be asked: {', '.join(asked)}")


async def run(company: Company, scenario: str, options: Mapping[str, Any]) -> Any:
    """The verb of that name. Raises ValueError, naming what is allowed, for one there is not."""
    if scenario not in SCENARIOS:
        raise ValueError(f"there is no call {scenario!r}; there are {', '.join(SCENARIOS)}")
    verb = getattr(company, scenario)
    takes = inspect.signature(verb).parameters
    if unknown := options.keys() - takes.keys():
        raise ValueError(f"{scenario} takes {', '.join(takes)}; not {', '.join(sorted(unknown))}")
    return await verb(**options)


def facts(company: Company) -> dict[str, Any]:
    pbx = company.pbx
    return {
        "asterisk": pbx.version,
        "pid": pbx.pid,
        "ami": f"{pbx.host}:5038 as {pbx.bridge_user}/{pbx.bridge_secret}",
        "ari": f"http://{pbx.host}:8088/ari as {pbx.ari_user}/{pbx.ari_password}",
        "sip": f"{pbx.host}:5060",
        "phones": ", ".join(company.phones),
        "recordings": str(pbx.recordings),
    }


async def ask(name: str, question: Mapping[str, Any], timeout: float = 120.0) -> Any:
    """The answer of the company of that name. Raises LabError when there is none or it could not."""
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_unix_connection(socket_path(name))
            writer.write(json.dumps(question).encode() + b"\n")
            line = await reader.readline()
            writer.close()
    except (FileNotFoundError, ConnectionError):
        raise LabError(f"no lab named {name!r} is running: python -m lab start --name {name}") from None
    except TimeoutError:
        raise NotReady(f"the lab did not answer within {timeout:g} s") from None
    if not line:
        raise LabError(f"the lab went away; its log is {log_path(name)}")
    said = json.loads(line)
    if "error" in said:
        raise LabError(said["error"])
    return said["ok"]
