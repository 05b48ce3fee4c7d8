"""The emulator as a process of its own: `python -m lab.mango --help`."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import signal

import click

from lab.mango.product import Group, Product
from lab.mango.scenarios import SCENARIOS
from lab.mango.server import Emulator


@click.command(epilog="Example: python -m lab.mango --webhooks http://127.0.0.1:8000/api/v1/webhook/mango --every 5")
@click.option("--port", default=0, help="Port of the API (0: a free one).")
@click.option("--product", "names", multiple=True, metavar="NAME", help="A product; several may be given. [june]")
@click.option("--employees", default=3, show_default=True, help="Of each product: extensions 170, 171, …")
@click.option("--webhooks", default="", metavar="URL", help="Where webhooks go; Mango's own paths are appended.")
@click.option(
    "--play", "scenarios", multiple=True, type=click.Choice(sorted(SCENARIOS)), help="Calls to make, in turn."
)
@click.option("--every", default=0.0, metavar="SECONDS", help="Make calls for ever, one in so many seconds.")
def main(
    port: int, names: tuple[str, ...], employees: int, webhooks: str, scenarios: tuple[str, ...], every: float
) -> None:
    """Mango Office's virtual PBX API on a loopback port, as strict as the real one.

    Prints a line for each product: name, address of its API, key, salt. Runs until it is interrupted. Calls can be
    asked for while it runs: POST /_lab/play {"scenario": "inbound_answered", "options": {"by": "170"}}.
    """
    products = [_staffed(Product(name, webhooks=webhooks), employees) for name in names or ("june",)]
    asyncio.run(_serve(products, port, scenarios, every))


def _staffed(product: Product, employees: int) -> Product:
    for number in range(employees):
        product.hire(str(170 + number), f"Сотрудник {170 + number}")
    product.groups.append(Group(7001, "999", "Продажи", tuple(one.extension for one in product.employees)))
    return product


async def _serve(products: list[Product], port: int, scenarios: tuple[str, ...], every: float) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Emulator(*products, port=port) as mango:
        for product in products:
            click.echo(f"{product.name}\t{mango.api_url}\t{product.key}\t{product.salt}")
        calls = asyncio.create_task(_call(mango, products, scenarios, every))
        await stop.wait()
        calls.cancel()
        await asyncio.gather(calls, return_exceptions=True)


async def _call(mango: Emulator, products: list[Product], scenarios: tuple[str, ...], every: float) -> None:
    if not every:
        await asyncio.gather(*(_one(mango, product, name, 0) for product in products for name in scenarios))
        return
    for number in itertools.count():
        names = scenarios or tuple(SCENARIOS)
        asyncio.create_task(_one(mango, products[number % len(products)], names[number % len(names)], number))  # noqa: RUF006 the loop outlives it
        await asyncio.sleep(every)


async def _one(mango: Emulator, product: Product, name: str, number: int) -> None:
    make = SCENARIOS[name]
    parts = {"by": product.employees[0].extension, "to": product.employees[-1].extension}
    parts |= {"group": product.groups[0].extension, "client": f"7916{number % 10_000_000:07}"}
    takes = inspect.signature(make).parameters
    given = {key: value for key, value in parts.items() if key in takes}
    played = make(product, at=product.clock(), **given)
    click.echo(f"{name}\t{played.entry_id}", err=True)
    await mango.play(played)


if __name__ == "__main__":
    main()
