"""The demonstration: calls that people make on one side, what the CRM is told of them on the other.

Everything is on loopback and in a temporary folder, and all of it is gone afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from lab.mango import Habits, scenarios
from lab.phones.policy import answers
from lab.retailcrm import Account
from lab.retailcrm.account import ReceivedCall
from lab.stage import CLOUD_EXTENSION, KNOWN_CLIENT, KNOWN_CLIENTS_MANAGER, Stage, stage
from lab.truth import Truth

DELIVERED_WITHIN = 20.0
"""Seconds from the end of a call until the CRM has it. It takes some 50 ms; a first breath may take longer."""

Scene = tuple[str, str, Callable[[Stage, str], Awaitable[Truth]]]


async def _to_the_manager(at: Stage, client: str) -> Truth:
    """Whoever's phone rang: it should be that of the client's manager."""
    truth = await at.company.inbound_routed(client)
    return replace(truth, answered_by=KNOWN_CLIENTS_MANAGER)


async def _in_the_cloud(at: Stage, client: str) -> Truth:
    """A call that no Asterisk sees: Mango Office tells of it."""
    played = scenarios.inbound_answered(at.exchange, client, at=time.time(), by=CLOUD_EXTENSION, ring=0.5, talk=1.5)
    await at.cloud.play(played)
    return played.truth


async def _clicked_in_the_cloud(at: Stage, client: str) -> Truth:
    """The service makes Mango Office call the manager, then the client."""
    at.exchange.habits = Habits(ring=0.2, talk=1)
    (await at.click(client, CLOUD_EXTENSION)).raise_for_status()
    board = at.cloud.switchboard(at.exchange)
    await at.exchange.until(lambda _: bool(board.done))
    return board.done.popitem()[1]


SCENES: tuple[Scene, ...] = (
    ("answered by 150", "79161110001", lambda at, who: at.company.inbound_answered(who, talk=2)),
    ("missed by 151", "79161110002", lambda at, who: at.company.inbound_missed(who, by="151")),
    ("the client gave up", "79161110003", lambda at, who: at.company.inbound_abandoned(who)),
    ("150 was busy", "79161110004", lambda at, who: at.company.inbound_busy(who)),
    ("150 passed the client to 152", "79161110005", lambda at, who: at.company.blind_transfer(who)),
    ("150 asked 152 first, then passed on", "79161110006", lambda at, who: at.company.attended_transfer(who)),
    ("queue: 150 and 151 rang, 151 answered", "79161110007", lambda at, who: at.company.queue_answered(who)),
    ("a known caller: put through to 152", KNOWN_CLIENT, lambda at, who: _to_the_manager(at, who)),
    (
        "a click in the CRM: 150 calls out",
        "79161110008",
        lambda at, who: at.company.clicked(lambda: at.click(who), who),
    ),
    ("150 called out, no answer", "79161110009", lambda at, who: at.company.outbound_cancelled(who)),
    ("in the cloud (Mango Office): 301 answered", "79161110010", _in_the_cloud),
    ("a click: 301 calls out of the cloud", "79161110011", _clicked_in_the_cloud),
)

RESULTS = {
    "answered": "answered",
    "missed": "no answer",
    "busy": "busy",
    "no_answer": "no answer",
    "cancelled": "no answer",
}
"""RetailCRM's word for each of ours."""


async def told(at: Stage, client: str) -> list[ReceivedCall]:
    """The calls of this client that the CRM was told of, once there is one."""

    def of(account: Account) -> list[ReceivedCall]:
        return [call for call in account.calls if call.phone.lstrip("+") == client]

    with contextlib.suppress(TimeoutError):
        await at.account.until(lambda account: bool(of(account)), DELIVERED_WITHIN)
    return of(at.account)


def faults(truth: Truth, calls: list[ReceivedCall]) -> list[str]:
    """What is wrong with what the CRM was told; empty when it is right."""
    if len(calls) != 1:
        return [f"told {len(calls)} times"]
    call = calls[0]
    found = []
    if call.type != ("out" if truth.direction == "outbound" else "in"):
        found.append(f"direction {call.type}")
    if call.result != RESULTS[truth.status]:
        found.append(f"result {call.result!r}")
    if truth.answered_by and call.code != truth.answered_by:
        found.append(f"credited to {call.code}")
    if abs((call.duration or 0) - truth.talk_seconds) > 1.5:
        found.append(f"talk {call.duration} s, in truth {truth.talk_seconds:.1f} s")
    return found


async def play(at: Stage) -> int:
    """Makes each call, then shows what people did beside what the CRM was told. How many were told wrong."""
    wrong = 0
    print(f"\n  {'what people did':<42} {'client':<14} what the CRM was told")
    for title, client, scene in SCENES:
        truth = await scene(at, client)
        calls = await told(at, client)
        problems = faults(truth, calls)
        wrong += bool(problems)
        call = calls[0] if calls else None
        heard = f"{call.type} {call.result}, {call.code or '—'}, {call.duration or 0} s" if call else "nothing"
        print(
            f"  {title:<42} +{client:<13} {heard:<28} {'✔ once' if not problems else '✘ ' + '; '.join(problems)}",
            flush=True,
        )
    await at.company.internal()
    print(
        f"  {'150 called 152 inside the office':<42} {'—':<14} {'nothing: it is no business of a CRM':<28}", flush=True
    )
    return wrong


async def main(*, once: bool = False, version: int = 22, say: Callable[[str], None] = print) -> int:
    """Sets the stage, plays every scene, and goes on with calls until it is stopped (`once`: does not).

    Gives the exit code: 0 when the CRM was told of every call once and right, or when it was stopped."""
    folder = Path(tempfile.mkdtemp(prefix="bridge-demo-"))
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    try:
        show = asyncio.create_task(_show(folder, once=once, version=version, say=say))
        stop = asyncio.create_task(stopped.wait())
        await asyncio.wait({show, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not stopped.is_set():
            return show.result()
        say("\nStopping …")
        show.cancel()
        # Ctrl-C reaches the service as well: what fails in the show now fails because it was stopped
        await asyncio.gather(show, return_exceptions=True)
        return 0
    finally:
        await _remove(folder)


async def _show(folder: Path, *, once: bool, version: int, say: Callable[[str], None]) -> int:
    began = time.monotonic()
    say(f"Setting up a real Asterisk {version}, a Mango Office, a RetailCRM, and the service between them …")
    async with stage(folder, version=version, cloud=True) as at:
        say(f"Ready after {time.monotonic() - began:.1f} s.\n\n{guide(at)}")
        return await perform(at, once=once, say=say)


async def _remove(folder: Path, within: float = 10.0) -> None:
    """The embedded Postgres stops once its last user is gone, and writes until it has."""
    deadline = time.monotonic() + within
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists() or time.monotonic() > deadline:
            return
        await asyncio.sleep(0.05)


def guide(at: Stage) -> str:
    """Where to look."""
    data = at.service.data
    return (
        f"  Live page     {at.service.url}/\n"
        f"                sign in: {at.service.environment['BRIDGE_ADMIN_EMAIL']} / "
        f"{at.service.environment['BRIDGE_ADMIN_PASSWORD']}\n"
        f"  The CRM       {at.account.url}/    (click a number there: a phone rings here)\n"
        f"  The API       {at.service.url}/openapi.json\n"
        f"  Postgres      {(data / 'postgres.url').read_text().strip()}\n"
        f"  The log       {at.service.log}"
    )


async def perform(at: Stage, *, once: bool, say: Callable[[str], None]) -> int:
    wrong = await play(at)
    say(
        "\nThe CRM was told of every call, once and right."
        if not wrong
        else f"\n{wrong} calls were told wrong: see the log."
    )
    if once:
        return int(bool(wrong))
    at.company.let_phones(answers(after=1.0))
    at.company.let_clients(answers(after=1.5, talk=4.0))
    say("Calls go on being made. Ctrl-C ends it all.")
    number = 0
    while True:
        number += 1
        await asyncio.gather(
            at.company.inbound_answered(f"7916222{number % 10_000:04}", by="150", ring=1.5, talk=6),
            at.company.inbound_abandoned(f"7916333{number % 10_000:04}", by="151", ring=4),
            at.company.outbound(f"7903444{number % 10_000:04}", by="152", ring=2, talk=5),
        )
        await asyncio.sleep(2)  # people are not machines
