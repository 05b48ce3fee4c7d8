"""`asterisk-bridge`: what a person types. Thin: each command reads its options, calls one part of the house, prints.

Parts are imported when their command runs, so that `--help` is there at once and `replay` needs no database.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bridge.errors import BadInput, BridgeError

if TYPE_CHECKING:
    from bridge.settings import Role, Settings

T = TypeVar("T")

DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130


class _Commands(click.Group):
    """Problems end as plain lines on stderr, never as a traceback (unless --debug asks for it)."""

    debug = False

    def main(self, *args: Any, **extra: Any) -> Any:
        try:
            return super().main(*args, **{**extra, "standalone_mode": False})
        except click.ClickException as wrong:
            wrong.show()
            sys.exit(WRONG_INPUT)
        except (click.Abort, KeyboardInterrupt):
            sys.exit(INTERRUPTED)
        except BridgeError as problem:
            for line in problem.message.splitlines():
                click.echo(f"error: {line}", err=True)
            sys.exit(WRONG_INPUT if isinstance(problem, BadInput) else FAILED)
        except BrokenPipeError:
            # Whoever read our output is gone (`… | head`): end quietly, also when Python flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(FAILED)
        except Exception as problem:
            if self.debug:
                raise
            from bridge.logs import redact_text

            said = redact_text(f"{type(problem).__name__}: {problem}")
            click.echo(f"error: this should not happen: {said} (--debug shows where)", err=True)
            sys.exit(FAILED)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done; 1 could not be done, or `check` found something wrong; 2 the input is wrong, nothing "
    "was changed; 130 interrupted.",
)
@click.version_option(package_name="asterisk-bridge")
@click.option("--debug", is_flag=True, help="Show where an unexpected error came from.")
@click.pass_context
def main(context: click.Context, debug: bool) -> None:
    """The bridge between telephone exchanges (Asterisk, Mango Office) and CRMs (RetailCRM, amoCRM).

    \b
    A first start:
      asterisk-bridge apply company.toml    say what you have: PBXs, people, lines, CRM
      asterisk-bridge check                 what is wrong, and what to do
      asterisk-bridge serve                 run

    \b
    Or watch it work, with a telephone company of its own:
      asterisk-bridge demo

    Settings are environment variables; .env.example explains each. All have defaults.
    """
    if isinstance(context.command, _Commands):
        context.command.debug = debug


def _settings() -> Settings:
    """For a command: only what is wrong is logged, on stderr; stdout belongs to the result."""
    from msgspec.structs import replace

    from bridge import logs
    from bridge.settings import Settings

    settings = Settings.load(os.environ)
    logs.configure(replace(settings, log_level="warning", log_dir=None))
    return settings


def _run(work: Coroutine[Any, Any, T]) -> T:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def _progress(text: str) -> None:
    """What takes a while is said on stderr."""
    click.echo(text, err=True)


# --- the service ----------------------------------------------------------------------------------------------------


@main.command(short_help="Run the service.")
@click.option(
    "--roles", metavar="ROLE,…", help="Only these of pbx, http, worker; the default is BRIDGE_ROLES, else all."
)
def serve(roles: str | None) -> None:
    """Run the service: PBX connections, API and pages, deliveries to CRMs.

    \b
    Examples:
      asterisk-bridge serve
      BRIDGE_HTTP=0.0.0.0:8000 asterisk-bridge serve --roles http
      asterisk-bridge serve --roles pbx,worker      beside it, on the same database

    SIGTERM and Ctrl-C end it cleanly.
    """
    from bridge import logs
    from bridge.settings import Settings

    settings = Settings.load(os.environ, **({"roles": _roles(roles)} if roles is not None else {}))
    logs.configure(settings)
    from bridge.app import serve as serve_forever

    _run(serve_forever(settings, settings.roles))


def _roles(text: str) -> tuple[Role, ...]:
    from bridge.settings import ALL_ROLES

    named = [role.strip() for role in text.split(",") if role.strip()]
    known = tuple(role for role in ALL_ROLES if role in named)
    if not known or set(named) != set(known):
        raise BadInput(f"--roles: found {text!r}; allowed: {', '.join(ALL_ROLES)}, separated by commas")
    return known


@main.command(short_help="Watch the whole product at work on this machine.")
@click.option("--once", is_flag=True, help="Play every scene once and end: exit code 0 when the CRM was told right.")
@click.option("--version", type=click.Choice(["22", "16"]), default="22", show_default=True, help="Asterisk.")
def demo(once: bool, version: str) -> None:
    """Show the whole product on this machine: real calls through a real Asterisk into a CRM.

    Prints where to look. Everything is on loopback and in a temporary folder; Ctrl-C ends it and removes it.
    """
    from lab.asterisk import provision
    from lab.demo import main as play

    provision(int(version))  # the first time it fetches: here, where Ctrl-C ends it at once
    sys.exit(_run(play(once=once, version=int(version), say=click.echo)))


# --- configuration --------------------------------------------------------------------------------------------------


@main.command(short_help="Declare everything from one file.")
@click.argument("file", metavar="FILE.toml", type=click.Path(path_type=Path))
@click.option("--prune", is_flag=True, help="Remove what the file does not have, with its calls. Nothing else removes.")
@click.option("--dry-run", is_flag=True, help="Say what would change and change nothing.")
def apply(file: Path, prune: bool, dry_run: bool) -> None:
    """Declare enterprises, PBXs, people, lines and integrations from one FILE.toml.

    What the file has is made or changed; what it does not have is left alone. It can be applied again at any time: a
    second time changes nothing. Running services know within a second. A wrong file is refused whole (exit code 2),
    with every wrong key named. Credentials the file leaves out are made, and printed this once.

    \b
    company.toml:
      [[enterprise]]
      number = "0367"
      name = "June"
    \b
        [[enterprise.pbx]]
        name = "office"
        ami = { host = "10.0.0.5", username = "bridge", secret = { env = "OFFICE_AMI_SECRET" } }
        extensions = '^1\\d\\d$'
        trunks = ["PJSIP/trunk"]
    \b
        [enterprise.integrations.retailcrm]
        domain = "https://june.retailcrm.ru"
        api_key = { file = "retailcrm.key" }
        user_extensions = { "19" = "150" }
    """
    from bridge.apply import apply_file

    report = _run(apply_file(_settings(), file, os.environ, prune=prune, dry_run=dry_run, progress=_progress))
    for warning in report.warnings:
        click.echo(f"warning: {warning}", err=True)
    for change in report.changes:
        click.echo(change)
    if report.made:
        click.echo("\nCredentials that were made; they are not shown again:" if not dry_run else "\nWould be made:")
        for place, secret in report.made:
            click.echo(f'{place} = "{secret}"' if not dry_run else place)
    if not report.changes:
        click.echo("nothing to change")


@main.command(short_help="Write what is configured as such a file.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to this file (for its owner only).")
@click.option("--secrets", is_flag=True, help="With API keys, AMI secrets and tokens: keep such a file safe.")
def export(output: Path | None, secrets: bool) -> None:
    """Write what is configured as a file that `apply` reads.

    \b
    Examples:
      asterisk-bridge export > company.toml
      asterisk-bridge export --secrets -o backup.toml
    """
    from bridge.apply import read_state
    from bridge.export import export as write

    text = write(_run(read_state(_settings(), _progress)), secrets=secrets)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise BadInput(f"--output: {output} cannot be written: {error.strerror}") from error


@main.command(short_help="Find out what is wrong, and what to do.")
@click.option("--timeout", default=5.0, show_default=True, help="Seconds for each thing that is asked.")
def check(timeout: float) -> None:
    """Examine settings, database, every PBX and every CRM: what is wrong, and what to do.

    Changes nothing. Exit code 0: all is well; 1: something is wrong. Speaks Russian or English, by LANG.
    """
    from bridge import logs
    from bridge.check import run
    from bridge.settings import Settings

    logs.configure(Settings(log_level="error"))  # findings tell all; the log of what was tried would repeat it
    sys.exit(DONE if _run(run(os.environ, click.echo, timeout=timeout)) else FAILED)


# --- event streams --------------------------------------------------------------------------------------------------


@main.command(short_help="Turn recorded event streams into calls.")
@click.argument("files", nargs=-1, required=True)
@click.option("--rules", required=True, metavar="RULES.toml", help="What is known of the PBX.")
def replay(files: tuple[str, ...], rules: str) -> None:
    """Turn recorded AMI event streams into calls: JSON lines on stdout. No database, no network.

    \b
    RULES.toml:
      region = "RU"                       country of the numbers
      extensions = '^1\\d\\d$'              internal numbers
      trunks = ["PJSIP/trunk"]            channel names that lead outside, up to the final "-"
      click_to_call_contexts = ["inoffice"]

    \b
    Example:
      asterisk-bridge replay monday.ami.txt --rules office.toml | jq .status
    """
    from bridge.replay import run

    sys.exit(run(files, rules, sys.stdout, sys.stderr))


@main.command(short_help="Write a PBX's live event stream into a file.")
@click.argument("pbx")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="The transcript; `replay` reads it."
)
@click.option("--seconds", type=float, help="Stop after this time; the default is until Ctrl-C.")
@click.option("--scrub", is_flag=True, help="Replace telephone numbers and names; secrets never get in.")
def record(pbx: str, output: Path, seconds: float | None, scrub: bool) -> None:
    """Write a PBX's live event stream into a file.

    PBX is its name, or ENTERPRISE:NAME where several enterprises have one of that name.

    \b
    Example:
      asterisk-bridge record office -o monday.ami.txt --scrub --seconds 3600
    """
    from bridge.commands import record_pbx

    size = _run(record_pbx(_settings(), pbx, output, seconds=seconds, scrub=scrub, progress=_progress))
    _progress(f"{size} bytes in {output}")


# --- Mango Office -----------------------------------------------------------------------------------------------------


@main.group(short_help="Compare Mango Office's history with what was heard.")
def mango() -> None:
    """Mango Office: compare its history of calls with what was heard of them."""


@mango.command(short_help="Add the calls that were not heard of.")
@click.argument("enterprise")
@click.option(
    "--since",
    metavar="TIME",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]),
    help="Calls that began after this time (of this machine's zone); the default is since the last time.",
)
def reconcile(enterprise: str, since: datetime | None) -> None:
    """Ask Mango Office for its history of calls; what was not heard of is added, ends that were lost are found.

    ENTERPRISE is its number. The service does this once an hour by itself, and makes calls of what is found.

    \b
    Examples:
      asterisk-bridge mango reconcile 0367
      asterisk-bridge mango reconcile 0367 --since 2026-11-01
    """
    from bridge.commands import reconcile_mango

    found = _run(reconcile_mango(_settings(), enterprise, since.timestamp() if since else None, _progress))
    for line in found.lines:
        click.echo(line)
    sys.exit(FAILED if found.failed else DONE)


# --- deliveries -----------------------------------------------------------------------------------------------------


@main.group(short_help="See what CRMs could not be told; send it again.")
def deliveries() -> None:
    """What CRMs could not be told within 72 hours: see it, send it again."""


@deliveries.command("list")
@click.option("--enterprise", metavar="NUMBER", help="Only this enterprise's.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000), help="The newest of them.")
def list_deliveries(enterprise: str | None, limit: int) -> None:
    """Show dead letters, the newest first: id, when, enterprise, CRM, call, what, why.

    \b
    Example:
      asterisk-bridge deliveries list --enterprise 0367
    """
    from bridge.commands import dead_letters

    lines = _run(dead_letters(_settings(), enterprise, limit, _progress))
    for line in lines:
        click.echo(line)
    if not lines:
        click.echo("no dead letters", err=True)


@deliveries.command()
@click.argument("ids", nargs=-1, type=int)
@click.option("--all", "everything", is_flag=True, help="All of them, instead of naming IDS.")
@click.option("--enterprise", metavar="NUMBER", help="Only this enterprise's.")
def resend(ids: tuple[int, ...], everything: bool, enterprise: str | None) -> None:
    """Queue dead letters again: they are tried for another 72 hours. The CRM keeps each call once.

    \b
    Examples:
      asterisk-bridge deliveries resend 17 18
      asterisk-bridge deliveries resend --all --enterprise 0367
    """
    if bool(ids) == everything:
        raise click.UsageError("name the IDS of dead letters, or give --all")
    from bridge.commands import resend_dead_letters

    count = _run(resend_dead_letters(_settings(), enterprise, None if everything else ids, _progress))
    click.echo(f"queued again: {count}")
    if ids and count < len(ids):
        click.echo(f"warning: {len(ids) - count} of the ids are no dead letters", err=True)


if __name__ == "__main__":
    main(prog_name="asterisk-bridge")
