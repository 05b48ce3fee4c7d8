"""A whole day of calls, of every kind there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lab.mango.played import (
    Played,
)
from lab.mango.product import Product
from lab.mango.scenarios import (
    callback,
    group_answered,
    group_missed,
    hold,
    inbound_answered,
    inbound_busy,
    inbound_missed,
    menu_abandoned,
    off_hours,
    outbound,
    sip_line,
)
from lab.mango.transfers import blind_transfer, consultative_transfer


def traffic(product: Product, clients: Sequence[str], *, since: float, until: float) -> list[Played]:
    """A call of each client, begun and over between the two times: every kind there is, by the product's dice."""
    extensions = [one.extension for one in product.employees]
    dice = product.dice

    def pair() -> dict[str, str]:
        by, to = dice.sample(extensions, 2)
        return {"by": by, "to": to}

    def grouped() -> dict[str, str]:
        group = dice.choice(product.groups)
        return {"group": group.extension, "by": dice.choice(group.members)}

    kinds: list[tuple[Callable[..., Played], Callable[[], dict[str, Any]]]] = [
        (inbound_answered, lambda: {"by": dice.choice(extensions), "talk": dice.randint(2, 90)}),
        (inbound_answered, lambda: {"by": dice.choice(extensions), "menu": 6, "talk": dice.randint(2, 90)}),
        (inbound_missed, lambda: {"by": dice.choice(extensions), "gives_up": dice.random() < 0.5}),
        (inbound_busy, lambda: {"by": dice.choice(extensions)}),
        (menu_abandoned, dict),
        (off_hours, lambda: {"by": dice.choice(extensions)}),
        (hold, lambda: {"by": dice.choice(extensions)}),
        (sip_line, lambda: {"by": dice.choice(extensions)}),
        (blind_transfer, pair),
        (consultative_transfer, pair),
        (outbound, lambda: {"by": dice.choice(extensions), "talk": dice.randint(2, 90)}),
        (outbound, lambda: {"by": dice.choice(extensions), "outcome": dice.choice(("busy", "no_answer", "cancelled"))}),
        (callback, lambda: {"by": dice.choice(extensions), "talk": dice.randint(2, 60)}),
        (callback, lambda: {"by": dice.choice(extensions), "outcome": "rejected"}),
    ]
    if product.groups:
        kinds.append((group_answered, grouped))
        kinds.append((group_missed, lambda: {"group": dice.choice(product.groups).extension}))
    latest = max(since, until - LONGEST)
    played = []
    for number, client in enumerate(clients):
        make, options = kinds[number % len(kinds)]
        played.append(make(product, client, at=dice.uniform(since, latest), **options()))
    return played


LONGEST = 150.0
"""Seconds that the longest call of `traffic` may take."""
