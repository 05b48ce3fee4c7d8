"""From a click to a ringing phone: this service beside the way it replaces, in one run.

    .venv/bin/python bench/click_to_call.py [--clicks 300]

ours      GET /retailcrm/make-call over a kept connection, sent -> Newchannel of the manager's phone on Asterisk's AMI
replaced  `asterisk -rx "channel originate PJSIP/150 extension …"` spawned -> the same Newchannel

Both are observed by the same AMI session, which has nothing to do with the service, on the same real Asterisk 22. The
two take turns; one call at a time, the next begins when the channel of the last is gone. Ours is the whole service, a
process of its own: HTTP, the credential, the check of the request, the claim in Postgres (on disk, durable), AMI.

Caveats. Everything is on one machine and loopback, so the network of neither way is in it: the predecessor spawned the
command over SSH, which alone took 315 ms on loopback and made its clicks 1,200 ms in the field. TLS and the CRM's own
way to us are not in it. The observer is a Python process that shares the machine's cores with what it observes.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from lab.asterisk.tap import Fields, Tap
from lab.phones import refuses
from lab.stage import CLIENT_ID, Stage, stage

EXTENSION = "150"
WARM_UP = 20
TARGET_MS = 10.0


class Crm:
    """RetailCRM's side of a click: one kept HTTP connection, as thin as can be."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self.reader, self.writer, self.host = reader, writer, host

    @classmethod
    async def connect(cls, url: str) -> Crm:
        address = urlsplit(url)
        assert address.hostname is not None
        return cls(*await asyncio.open_connection(address.hostname, address.port), address.netloc)

    def click(self, phone: str) -> None:
        query = urlencode({"clientId": CLIENT_ID, "userId": "19", "phone": f"+{phone}"})
        self.writer.write(f"GET /retailcrm/make-call?{query} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())

    async def answered(self, began: float) -> float:
        """Seconds from `began` to the whole answer."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length:"))
        body = await self.reader.readexactly(length)
        if not head.startswith("http/1.1 200"):
            raise SystemExit(f"the service refused a click: {body.decode()}")
        return time.perf_counter() - began


async def ours(tap: Tap, crm: Crm, phone: str) -> tuple[float, float]:
    """Seconds to Newchannel, and to the answer."""
    after = len(tap.messages)
    began = time.perf_counter()
    crm.click(phone)
    answering = asyncio.create_task(crm.answered(began))
    channel, seconds = await newchannel(tap, after, began)
    answered = await answering
    await gone(tap, channel, after)
    return seconds, answered


async def replaced(tap: Tap, command: Sequence[str], phone: str) -> float:
    """Seconds to Newchannel."""
    after = len(tap.messages)
    began = time.perf_counter()
    process = spawn([*command, f"channel originate PJSIP/{EXTENSION} extension {phone}@inoffice"])
    channel, seconds = await newchannel(tap, after, began)
    await asyncio.to_thread(process.wait)
    await gone(tap, channel, after)
    return seconds


def spawn(command: Sequence[str]) -> subprocess.Popen[bytes]:
    # close_fds=False lets Python use posix_spawn: what is measured is the command, not a fork of this process
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, close_fds=False)


async def newchannel(tap: Tap, after: int, began: float) -> tuple[Fields, float]:
    found = await tap.until(
        lambda m: m.get("Event") == "Newchannel" and m["Channel"].startswith(f"PJSIP/{EXTENSION}-"), after=after
    )
    return found, time.perf_counter() - began


async def gone(tap: Tap, channel: Fields, after: int) -> None:
    await tap.event("Hangup", Uniqueid=channel["Uniqueid"], after=after)


async def measure(on: Stage, clicks: int) -> dict[str, list[float]]:
    pbx = on.company.pbx
    on.company.let_phones(refuses(486))  # rings nobody for long: the next click can come
    crm = await Crm.connect(on.service.url)
    figures: dict[str, list[float]] = {"ours": [], "answer": [], "replaced": []}
    async with pbx.tap() as tap:
        for number in range(WARM_UP + clicks):
            # a number of its own for each: the same one again within 15 s would be the same request
            to_newchannel, to_answer = await ours(tap, crm, f"7903{number:07}")
            before = await replaced(tap, pbx.cli_command, f"7904{number:07}")
            if number >= WARM_UP:
                figures["ours"].append(to_newchannel)
                figures["answer"].append(to_answer)
                figures["replaced"].append(before)
    crm.writer.close()
    return figures


def row(name: str, seconds: list[float]) -> str:
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    shown = (cuts[49], cuts[89], cuts[98], max(seconds))
    return f"{name:<44}" + "".join(f"{1000 * value:>10.2f}" for value in shown)


async def run(clicks: int) -> int:
    with tempfile.TemporaryDirectory(prefix="bridge-bench-") as folder:
        async with stage(Path(folder)) as on:
            version = (await on.company.pbx.cli("core show version")).split(" built")[0]
            figures = await measure(on, clicks)
    print(__doc__)
    print(f"{version}; {clicks} clicks each way, after {WARM_UP} to warm up; milliseconds\n")
    print(f"{'':<44}{'p50':>10}{'p90':>10}{'p99':>10}{'max':>10}")
    print(row("ours: HTTP request -> Newchannel", figures["ours"]))
    print(row("ours: HTTP request -> answer 'queued'", figures["answer"]))
    print(row("replaced: asterisk -rx spawned -> Newchannel", figures["replaced"]))
    p50 = 1000 * statistics.median(figures["ours"])
    times = statistics.median(figures["replaced"]) / statistics.median(figures["ours"])
    verdict = "met" if p50 < TARGET_MS else "MISSED"
    print(f"\nours is {times:.1f}x as fast at the median; p50 {p50:.2f} ms, wanted under {TARGET_MS:g}: {verdict}")
    return 0 if verdict == "met" else 1


def main() -> None:
    parser = argparse.ArgumentParser(description="Click-to-call: this service beside what it replaces.")
    parser.add_argument("--clicks", type=int, default=300, help="how many each way (default 300)")
    sys.exit(asyncio.run(run(parser.parse_args().clicks)))


if __name__ == "__main__":
    main()
