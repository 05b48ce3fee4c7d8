"""How webhooks travel: signed, and as badly ordered, doubled, lost and spelled as Mango's may be.

`arranged` and `spelled` are pure; `Delivery` posts. Only the HTTP status of an answer is read, and nothing is sent
again: whether Mango does is not documented.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlencode

import aiohttp

from lab.mango.entry import Webhook
from lab.mango.product import Product
from lab.mango.signing import sealed

_FORM = {"content-type": "application/x-www-form-urlencoded"}
_CONFUSED = str.maketrans("CMaeo", "СМаео")
"""Letters that the documentation has in Cyrillic inside `MissGroupCallCallback` and the like."""


@dataclass(frozen=True)
class Knobs:
    """Shares are from 0 to 1. `shuffle`: within a call, or across all of them."""

    shuffle: Literal["", "within", "across"] = ""
    doubled: float = 0.0
    dropped: float = 0.0
    delay: float = 0.0  # seconds at most before each post
    parallel: int = 1
    as_text: float = 0.0  # of integers that travel as strings, and of extensions that travel as integers
    spaced: float = 0.0  # of documents with spaces in them
    escaped: float = 0.0  # of documents with \u escapes
    cyrillic: bool = False  # callback_initiator with a Cyrillic letter
    seed: int = 1


@dataclass
class Sent:
    """One post. `status` 0: no answer."""

    path: str
    json: str
    status: int


def arranged(webhooks: Sequence[Webhook], knobs: Knobs, dice: random.Random) -> list[Webhook]:
    """In the order in which they are posted: dropped, doubled, shuffled."""
    chosen = [webhook for webhook in webhooks if dice.random() >= knobs.dropped]
    chosen = [copy for webhook in chosen for copy in [webhook] * (1 + (dice.random() < knobs.doubled))]
    if knobs.shuffle == "across":
        dice.shuffle(chosen)
    elif knobs.shuffle == "within":
        calls: dict[str, list[Webhook]] = {}
        for webhook in chosen:
            calls.setdefault(webhook.entry_id, []).append(webhook)
        chosen = [webhook for call in calls.values() for webhook in dice.sample(call, len(call))]
    return chosen


def spelled(body: dict[str, Any], knobs: Knobs, dice: random.Random) -> str:
    """The same facts in one of the ways in which the vendor's examples write them."""
    fields = _twins(body, knobs, dice)
    if knobs.cyrillic and isinstance(fields.get("callback_initiator"), str):
        fields["callback_initiator"] = fields["callback_initiator"].translate(_CONFUSED)
    spaced = dice.random() < knobs.spaced
    return json.dumps(
        fields,
        ensure_ascii=dice.random() < knobs.escaped,
        separators=(", ", " : ") if spaced else (",", ":"),
        indent=1 if spaced and dice.random() < 0.5 else None,
    )


def _twins(value: Any, knobs: Knobs, dice: random.Random, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _twins(each, knobs, dice, key) for key, each in value.items()}
    if isinstance(value, bool) or dice.random() >= knobs.as_text:
        return value
    if isinstance(value, int):
        return str(value)
    if name in ("extension", "acd_group") and isinstance(value, str) and value.isdecimal() and value[0] != "0":
        return int(value)
    return value


@dataclass
class Delivery:
    """Posts a product's webhooks, until it is closed."""

    product: Product
    knobs: Knobs = field(default_factory=Knobs)
    sent: list[Sent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.knobs.seed)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def turn(self, knobs: Knobs) -> None:
        self.knobs = knobs
        self._dice = random.Random(knobs.seed)

    async def post(self, webhook: Webhook) -> int:
        """Sends it now: the HTTP status, 0 when there was no answer."""
        return await self.post_json(webhook.path, spelled(webhook.body, self.knobs, self._dice))

    async def post_json(self, path: str, document: str) -> int:
        form = sealed(self.product.key, self.product.salt, document)
        return await self.post_form(path, form)

    async def post_form(self, path: str, form: dict[str, str]) -> int:
        if self._session is None:
            # a storm is thousands of posts, of which httpx would make a tenth in the same time
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30))
        body = urlencode(form)
        try:
            async with self._session.post(self._address(path), data=body, headers=_FORM) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError):
            status = 0
        self.sent.append(Sent(path, form.get("json", ""), status))
        return status

    def _address(self, path: str) -> str:
        """Mango appends its own path to the address it was given."""
        return f"{self.product.webhooks.rstrip('/')}/{path}"

    async def storm(self, webhooks: Iterable[Webhook], progress: asyncio.Event | None = None, after: int = 0) -> None:
        """All of them, as the knobs say, as fast as they are taken; `progress` is set once `after` were answered."""
        waiting = iter(arranged(list(webhooks), self.knobs, self._dice))
        answered = 0

        async def one_after_another() -> None:
            nonlocal answered
            for webhook in waiting:
                if self.knobs.delay:
                    await asyncio.sleep(self._dice.random() * self.knobs.delay)
                await self.post(webhook)
                answered += 1
                if progress is not None and answered >= after:
                    progress.set()

        await asyncio.gather(*(one_after_another() for _ in range(self.knobs.parallel)))

    async def play(self, webhooks: Iterable[Webhook]) -> None:
        """Each at its time: what is past goes at once."""
        clock = self.product.clock
        posts: list[asyncio.Task[int]] = []
        for webhook in sorted(webhooks, key=lambda webhook: webhook.at):
            await asyncio.sleep(max(0.0, webhook.at - clock()))
            posts.append(asyncio.create_task(self.post(webhook)))
        await asyncio.gather(*posts)

    async def check_connection(self) -> int:
        """What the cabinet's button sends: no json. What else is in it is not known."""
        return await self.post_form("", {})
