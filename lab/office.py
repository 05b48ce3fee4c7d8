"""A small office: an Asterisk, the phones on its desks, the provider's line to the world, and a crowd to call at once.

async with Office(provision(22)) as office:
    call = await office.provider.call("74951000001", caller="79161234567")
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.asterisk import Asterisk, Installation
from lab.asterisk.config import CROWD, EXTENSIONS
from lab.errors import CallProblem
from lab.phones import Phone, Policy

MAIN_LINE, QUEUE_LINE, WAITING_LINE, ROUTED_LINE, GROUP_LINE = (
    "74951000001",
    "74951000002",
    "74951000003",
    "74951000004",
    "74951000006",
)
"""What the dialplan does with each is written in asterisk/etc/extensions.conf."""

CLIENT_TONE = 500
TONES = {extension: 600 + 100 * number for number, extension in enumerate(EXTENSIONS)}
"""Each party speaks in a pitch of its own, so that who hears whom can be heard."""


class Office:
    """150, 151 and 152 are registered once it is open; `phone("200")` to `phone("249")` appear when asked for."""

    def __init__(
        self,
        installation: Installation,
        *,
        name: str = "office",
        agi: str = "127.0.0.1:4573",
        agi_token: str = "lab-token",
        ring_seconds: int = 15,
        work: Path | None = None,
    ) -> None:
        self.pbx = Asterisk(installation, name=name, agi=agi, agi_token=agi_token, ring_seconds=ring_seconds, work=work)
        network = self.pbx.network
        self.ring_seconds = ring_seconds
        self.provider = Phone(network.provider, "trunk", server=self.pbx.host, hertz=CLIENT_TONE)
        self.phones = {
            extension: Phone(
                network.phone(extension),
                extension,
                server=self.pbx.host,
                password=f"lab{extension}",
                hertz=TONES[extension],
            )
            for extension in EXTENSIONS
        }

    async def phone(self, extension: str) -> Phone:
        """The phone on that desk, switched on."""
        if extension not in self.phones:
            if extension not in CROWD:
                raise CallProblem(f"the office has no extension {extension}")
            phone = Phone(self.pbx.network.phone(extension), extension, server=self.pbx.host, hertz=None)
            self.phones[extension] = phone
            await phone.open()
        return self.phones[extension]

    def direct_line(self, extension: str) -> str:
        """The number outside that rings this phone alone."""
        return MAIN_LINE if extension == "150" else f"74951000{extension}"

    def let_phones(self, policy: Policy | None) -> None:
        """What phones do by themselves with calls that no scenario expects, such as those the bridge starts."""
        for phone in self.phones.values():
            phone.policy = policy

    def let_clients(self, policy: Policy | None) -> None:
        """What clients do by themselves when the office calls them."""
        self.provider.policy = policy

    async def open(self) -> None:
        await self.pbx.start()
        await asyncio.gather(self.provider.open(), *(phone.open() for phone in self.phones.values()))
        await self.register()

    async def register(self) -> None:
        """Again, after an Asterisk that lost its database."""
        await asyncio.gather(*(phone.register() for phone in self.phones.values() if phone.password))

    async def tidy_up(self) -> None:
        """Whatever was going on is over: no policies, no calls, no channels."""
        self.let_phones(None)
        self.let_clients(None)
        for phone in (self.provider, *self.phones.values()):
            phone.abandon_calls()
        async with self.pbx.tap() as tap:
            await tap.send({"Action": "Hangup", "Channel": "/.*/"})
        await self.pbx.quiet()

    async def close(self) -> None:
        try:
            await asyncio.gather(self.provider.close(), *(phone.close() for phone in self.phones.values()))
        finally:
            await self.pbx.close()

    async def __aenter__(self) -> Self:
        try:
            await self.open()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()
