"""`python -m lab`: a telephone company on this machine, for whoever works on the bridge."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from lab import browser, desk, sipp
from lab.asterisk import provision
from lab.cache import folder
from lab.company import Company
from lab.errors import LabError

PARTS: dict[str, Callable[[], object]] = {
    "asterisk-22": lambda: provision(22),
    "asterisk-16": lambda: provision(16),
    "sipp": sipp.program,
    "chromium": browser.program,
    "playwright": browser.driver,
}

_name = click.option("--name", default="office", show_default=True, help="Which lab: several may run at once.")
_version = click.option("--version", type=click.Choice(["22", "16"]), default="22", show_default=True, help="Asterisk.")


class _Problems(click.Group):
    """What went wrong in one line, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LabError as problem:
            raise click.ClickException(str(problem)) from None


@click.group(cls=_Problems)
def main() -> None:
    """A telephone company on this machine: a real Asterisk and SIP phones that do as they are told.

    \b
    python -m lab install                 everything the tests and the demo need, into the cache
    python -m lab start                   an office: Asterisk, phones 150 151 152, a provider
    python -m lab call inbound_answered   a client calls, 150 picks up; prints what they did
    python -m lab call blind_transfer -o to=152 -o talk=3
    python -m lab cli "core show channels"
    python -m lab stop
    """


@main.command()
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
def install(parts: tuple[str, ...]) -> None:
    """Install PARTS (all of them by default), side by side; nothing of the system is touched.

    Asterisk comes from Debian's packages, unpacked into $BRIDGE_CACHE or ~/.cache/asterisk-bridge. Afterwards no part
    of the lab needs the network.
    """

    async def side_by_side() -> list[BaseException | object]:
        jobs = (asyncio.to_thread(PARTS[part]) for part in parts or PARTS)
        return await asyncio.gather(*jobs, return_exceptions=True)

    began = time.monotonic()
    problems = [done for done in asyncio.run(side_by_side()) if isinstance(done, BaseException)]
    for problem in problems:
        click.echo(f"error: {problem}", err=True)
    if problems:
        sys.exit(1)
    click.echo(f"installed in {folder()} ({time.monotonic() - began:.1f} s)", err=True)


@main.command()
@_version
@_name
@click.option("--agi", default="127.0.0.1:4573", show_default=True, help="Where the bridge listens for FastAGI.")
@click.option("--agi-token", default="lab-token", show_default=True, help="The PBX's token at the bridge.")
@click.option("--ring-seconds", default=15, show_default=True, help="How long the dialplan lets a phone ring.")
def start(version: str, name: str, agi: str, agi_token: str, ring_seconds: int) -> None:
    """Open an office that stays open in the background until `stop`.

    Phones that the bridge makes ring pick up by themselves after a second, and so do clients it calls.
    """
    if _answer(name, {"status": True}, quietly=True) is not None:
        raise LabError(f"a lab named {name!r} runs already: python -m lab status --name {name}")
    provision(int(version))
    options = ["--version", version, "--name", name, "--agi", agi, "--agi-token", agi_token]
    with desk.log_path(name).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "lab", "serve", *options, "--ring-seconds", str(ring_seconds)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    _tell(_answer_of_started(name, process))


@main.command(hidden=True)
@_version
@_name
@click.option("--agi", required=True)
@click.option("--agi-token", required=True)
@click.option("--ring-seconds", type=int, required=True)
def serve(version: str, name: str, agi: str, agi_token: str, ring_seconds: int) -> None:
    """What `start` leaves running."""

    async def run() -> None:
        installation = provision(int(version))
        async with Company(installation, name=name, agi=agi, agi_token=agi_token, ring_seconds=ring_seconds) as company:
            await desk.serve(company, name)

    asyncio.run(run())


@main.command()
@_name
def status(name: str) -> None:
    """Where the running office is reached."""
    _tell(_answer(name, {"status": True}))


@main.command()
@_name
def stop(name: str) -> None:
    """Close the office. Its ports are free afterwards."""
    _answer(name, {"stop": True})
    click.echo("stopped", err=True)


@main.command()
@click.argument("scenario", type=click.Choice(desk.SCENARIOS))
@click.option("-o", "--option", "options", multiple=True, metavar="NAME=VALUE", help="client, by, to, talk, ring, …")
@_name
def call(scenario: str, options: tuple[str, ...], name: str) -> None:
    """Have a call made; prints what the people did, as JSON.

    \b
    python -m lab call inbound_answered -o client=79161112233 -o by=151 -o talk=3
    python -m lab call blind_transfer -o outcome=busy
    """
    chosen = dict(_option(option) for option in options)
    click.echo(json.dumps(_answer(name, {"call": scenario, "options": chosen}), ensure_ascii=False, indent=1))


@main.command()
@click.argument("command")
@_name
def cli(command: str, name: str) -> None:
    """One command on Asterisk's own command line."""
    click.echo(_answer(name, {"cli": command}), nl=False)


def _option(text: str) -> tuple[str, str | float]:
    key, separator, value = text.partition("=")
    if not separator:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--option")
    return key, float(value) if key in ("talk", "ring", "held") else value


def _answer(name: str, question: dict[str, Any], *, quietly: bool = False) -> Any:
    try:
        return asyncio.run(desk.ask(name, question))
    except LabError:
        if quietly:
            return None
        raise


def _answer_of_started(name: str, process: subprocess.Popen[bytes]) -> Any:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise LabError(f"the lab did not start:\n{desk.log_path(name).read_text()[-2000:]}")
        if (said := _answer(name, {"status": True}, quietly=True)) is not None:
            return said
        time.sleep(0.05)
    process.kill()
    raise LabError(f"the lab did not start within a minute; its log is {desk.log_path(name)}")


def _tell(facts: dict[str, Any]) -> None:
    for key, value in facts.items():
        click.echo(f"{key:<11} {value}")


if __name__ == "__main__":
    main(prog_name="python -m lab")
