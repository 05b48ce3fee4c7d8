"""What commands do against the deployment's database: between the command line and the parts of the house."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from bridge.ami.pbx import PbxRow
from bridge.ami.record import record
from bridge.crm import deadletters
from bridge.db.deployment import opened
from bridge.errors import BadInput, Outside
from bridge.hosts import Hosts
from bridge.integrations import deployment_product
from bridge.mango.client import Api
from bridge.mango.limits import Paces
from bridge.mango.products import Products
from bridge.mango.reconcile import Reconciler
from bridge.mango.users import Users
from bridge.pbxs import PbxRows
from bridge.secrets import Vault
from bridge.settings import Settings
from bridge.settings.keys import secret_keys

Progress = Callable[[str], None]


async def dead_letters(settings: Settings, enterprise: str | None, limit: int, progress: Progress) -> list[str]:
    """A tab-separated line for each, the newest first."""
    async with opened(settings.database_url, settings.data_dir, progress) as pool, pool.acquire() as connection:
        letters = await deadletters.list_dead(connection, enterprise, limit=limit)
    return [
        "\t".join(
            (
                str(letter.id),
                (letter.done_at or letter.queued_at).isoformat(timespec="seconds"),
                letter.enterprise_number,
                letter.integration_type,
                letter.external_id,
                letter.kind,
                letter.phone or "-",
                f"{letter.attempts} attempts",
                " ".join((letter.reason or "").split()),
            )
        )
        for letter in letters
    ]


async def resend_dead_letters(
    settings: Settings, enterprise: str | None, ids: Sequence[int] | None, progress: Progress
) -> int:
    """How many were queued again."""
    async with opened(settings.database_url, settings.data_dir, progress) as pool, pool.acquire() as connection:
        return await deadletters.resend(connection, enterprise, ids)


class Reconciled(NamedTuple):
    """A line for each product, and whether one could not be compared."""

    lines: list[str]
    failed: bool


async def reconcile_mango(settings: Settings, enterprise: str, since: float | None, progress: Progress) -> Reconciled:
    """Raises NotFound (no such enterprise, or it has no Mango), Conflict (another one goes on)."""
    hosts = Hosts(settings.crm_hosts)
    async with opened(settings.database_url, settings.data_dir, progress) as pool:
        products = Products(pool, Vault(secret_keys(settings)), deployment_product(settings))
        await products.refresh()
        api = Api(hosts, settings.mango_api_url, Paces(pool))
        users = Users(api)
        progress("asking Mango Office; its answers take some seconds each")
        try:
            compared = await Reconciler(api, products, users, pool).reconcile(enterprise, since)
        finally:
            await users.close()
            await api.close()
            hosts.close()
    return Reconciled(
        [
            f"product {each.product}: {each.calls} calls, news of {each.told}"
            + (f"; then it failed: {each.problem}" if each.problem else "")
            for each in compared
        ],
        any(each.problem for each in compared),
    )


async def record_pbx(
    settings: Settings, name: str, output: Path, *, seconds: float | None, scrub: bool, progress: Progress
) -> int:
    """The bytes that came, until SIGINT, SIGTERM or `seconds` are over.

    Raises BadInput (no such PBX, a file that cannot be written) and PbxUnavailable."""
    async with opened(settings.database_url, settings.data_dir, progress) as pool:
        pbx = _named(await PbxRows(pool, Vault(secret_keys(settings)))(), name)
    try:
        out = os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
    except OSError as error:
        raise BadInput(f"--output: {output} cannot be written: {error.strerror}") from error
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if seconds is not None:
        loop.call_later(seconds, stop.set)
    with out:
        progress(
            f"recording {pbx.enterprise_number}:{pbx.name} into {output}" + ("" if seconds else "; Ctrl-C ends it")
        )
        try:
            return await record(pbx, out, scrub=scrub, stop=stop)
        except OSError as error:
            raise Outside(f"{output} cannot be written to any more: {error.strerror}") from error


def _named(pbxs: Sequence[PbxRow], name: str) -> PbxRow:
    """The PBX called NAME, or ENTERPRISE:NAME. Raises BadInput naming those there are."""
    found = [pbx for pbx in pbxs if name in (pbx.name, f"{pbx.enterprise_number}:{pbx.name}")]
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"{pbx.enterprise_number}:{pbx.name}" for pbx in found or pbxs) or "none is configured"
    raise BadInput(f"PBX: {name!r} is {'several' if found else 'none of those there are'}; allowed: {known}")
