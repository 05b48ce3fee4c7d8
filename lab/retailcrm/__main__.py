"""The emulator as a process of its own: `python -m lab.retailcrm --help`."""

from __future__ import annotations

import asyncio
import signal
import tomllib
from pathlib import Path
from typing import Any

import click
import msgspec

from lab.retailcrm.account import SCOPES, Account, Customer, User
from lab.retailcrm.server import Emulator


class Declared(msgspec.Struct, forbid_unknown_fields=True):
    """`[[account]]` of the file given by --accounts."""

    name: str
    port: int = 0
    key: str = ""
    timezone: str = "Europe/Moscow"
    users: list[User] = []
    customers: list[Customer] = []

    def account(self) -> Account:
        keys = {self.key: SCOPES} if self.key else {}
        return Account(self.name, keys, self.users, self.customers, timezone=self.timezone)


class Declarations(msgspec.Struct, forbid_unknown_fields=True):
    account: list[Declared] = []


@click.command(epilog="Example: python -m lab.retailcrm --account june --account july:8072")
@click.option("--port", default=0, help="Port of the front door, a page with all accounts (0: a free one).")
@click.option("--account", "named", multiple=True, metavar="NAME[:PORT]", help="An account without users.")
@click.option(
    "--accounts",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML with [[account]]: name, port, key, timezone, users = [{id, first_name, code}], customers.",
)
def main(port: int, named: tuple[str, ...], file: Path | None) -> None:
    """RetailCRM's telephony API on loopback ports, as strict as the real one.

    Prints a line for each account: name, address, API key. Runs until it is interrupted.
    """
    declared = [Declared(name, int(number or 0)) for name, _, number in (entry.partition(":") for entry in named)]
    if file is not None:
        try:
            content: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
            declared += msgspec.convert(content, Declarations).account
        except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            raise click.ClickException(f"{file}: {error}") from error
    asyncio.run(_serve(declared or [Declared("june")], port))


async def _serve(declared: list[Declared], port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    accounts = [entry.account() for entry in declared]
    async with Emulator(*accounts, port=port, ports={entry.name: entry.port for entry in declared}) as crm:
        click.echo(f"front door\t{crm.url}")
        for account in accounts:
            click.echo(f"{account.name}\t{account.url}\t{account.key}")
        await stop.wait()


if __name__ == "__main__":
    main()
