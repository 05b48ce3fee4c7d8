"""Many calls at a steady rate, by SIPp: for load, where what each phone hears does not matter.

    load = await call_in(pbx, "wait", calls=200, rate=50, talk=1.0)
    assert load.failed == 0

The calls enter the dialplan in the context `load`, at `wait`, `record`, `route`, `bridge`, or a DID.
"""

from __future__ import annotations

import asyncio
import csv
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import debian
from lab.asterisk import Asterisk
from lab.cache import Say, say_on_stderr
from lab.errors import LabError

CALLER = Path(__file__).parent / "static" / "sipp_caller.xml"
FIRST_CLIENT = 79170000000
"""The calls come from this number and those after it."""


@dataclass(frozen=True)
class Load:
    """What became of it. `seconds` from the first INVITE to the last answer to a BYE."""

    calls: int
    succeeded: int
    failed: int
    repeated: int
    seconds: float


def program(say: Say = say_on_stderr) -> tuple[str, dict[str, str]]:
    """The path of sipp and the environment it needs; installed beside the system where the system has none. Blocks."""
    if found := shutil.which("sipp"):
        return found, dict(os.environ)
    root = debian.overlay("sipp", ["sip-tester"], say)
    return str(root / "usr" / "bin" / "sipp"), debian.environment(root)


async def call_in(
    pbx: Asterisk, extension: str, *, calls: int, rate: float, talk: float = 1.0, timeout: float | None = None
) -> Load:
    """`calls` calls, `rate` new ones a second, each `talk` seconds long. `timeout` is for all of it.

    Raises LabError when SIPp itself fails or time is up; calls that Asterisk did not take are counted, not raised."""
    limit = timeout or calls / rate + talk + 30
    with tempfile.TemporaryDirectory(prefix="sipp-") as folder:
        clients, figures = Path(folder) / "clients.csv", Path(folder) / "figures.csv"
        numbers = "".join(f"{FIRST_CLIENT + number}\n" for number in range(calls))
        clients.write_text(f"SEQUENTIAL\n{numbers}")
        arguments = [
            *("-sf", str(CALLER), "-inf", str(clients), "-s", extension, "-i", pbx.network.load, "-p", "5060"),
            *("-m", str(calls), "-r", f"{rate:g}", "-d", f"{talk * 1000:.0f}", "-l", str(max(calls, 10))),
            *("-timeout", f"{limit:.0f}s", "-timeout_error", "-trace_stat", "-stf", str(figures), "-fd", "1"),
            f"{pbx.host}:5060",
        ]
        async with _running(arguments, Path(folder)) as process:
            _, said = await process.communicate()
        if process.returncode not in (0, 1):
            raise LabError(f"sipp failed ({process.returncode}): {said.decode()[-500:].strip()}")
        return _read(figures)


@asynccontextmanager
async def answering(pbx: Asterisk) -> AsyncIterator[None]:
    """The far end of the extension `bridge`: it takes every call, for as long as this lasts."""
    with tempfile.TemporaryDirectory(prefix="sipp-") as folder:
        arguments = ["-sn", "uas", "-i", pbx.network.answering, "-p", "5060", f"{pbx.host}:5060"]
        async with _running(arguments, Path(folder)):
            yield


@asynccontextmanager
async def _running(arguments: list[str], folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    path, environment = await asyncio.to_thread(program)
    process = await asyncio.create_subprocess_exec(
        path,
        "-nostdin",
        *arguments,
        cwd=folder,
        env={**environment, "TERM": "dumb"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def _read(figures: Path) -> Load:
    """The last line of SIPp's statistics counts everything (columns that end in "(C)" are cumulative)."""
    with figures.open(newline="") as file:
        last = list(csv.DictReader(file, delimiter=";"))[-1]
    hours, minutes, seconds = (float(part) for part in last["ElapsedTime(C)"].split(":")[:3])
    return Load(
        calls=int(last["TotalCallCreated"]),
        succeeded=int(last["SuccessfulCall(C)"]),
        failed=int(last["FailedCall(C)"]),
        repeated=int(last["Retransmissions(C)"]),
        seconds=hours * 3600 + minutes * 60 + seconds,
    )
