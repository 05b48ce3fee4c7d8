"""A client and an extension who talk with each other, until one of them hangs up or passes the other on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Literal

from lab.phones import Call
from lab.truth import Truth

Who = Literal["client", "extension"]


@dataclass(frozen=True)
class Conversation:
    """`truth` is what is known so far, `end` gives all of it; `since` is when the client first talked with somebody."""

    truth: Truth
    outside: Call
    inside: Call
    since: float

    async def talk(self, seconds: float) -> None:
        """They hear each other, and go on for as long. Phones that make no sound are believed."""
        client, extension = self.outside.phone.hertz, self.inside.phone.hertz
        if client is not None and extension is not None:
            await asyncio.gather(self.outside.hears(extension), self.inside.hears(client))
        await asyncio.sleep(seconds)

    def passed_on(self, truth: Truth, to: Call) -> Conversation:
        """The same client with somebody else."""
        return replace(self, truth=truth, inside=to)

    async def end(self, hangs_up: Who = "client") -> Truth:
        first, second = (self.outside, self.inside) if hangs_up == "client" else (self.inside, self.outside)
        await first.hang_up()
        await second.ended()
        return replace(self.truth, ended_by=hangs_up, talk_seconds=(self.outside.ended_at or 0) - self.since)
