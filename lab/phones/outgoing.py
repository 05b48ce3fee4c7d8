"""A call that our phone began (RFC 3261 §13.2, §17.1.1)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lab.phones import sdp
from lab.phones.call import Call
from lab.phones.dialog import Dialog, token
from lab.phones.digest import authorization
from lab.phones.media import Stream
from lab.phones.message import Request, Response, tag_of
from lab.phones.transactions import Client

if TYPE_CHECKING:
    from lab.phones.phone import Phone


class Outgoing(Call):
    """`dial` it, then wait until it is `ringing`, `up` or `ended`."""

    def __init__(self, phone: Phone, dialog: Dialog, stream: Stream, number: str) -> None:
        super().__init__(phone, dialog, stream)
        self.number = number
        self._given_up = False
        self._tried = False
        self._known_there = asyncio.Event()
        self._client: Client | None = None
        self._following: asyncio.Task[None] | None = None

    def dial(self) -> None:
        self._client = self._invite()
        self._following = self.phone.in_background(self._follow())

    def _invite(self, *credentials: tuple[str, str]) -> Client:
        headers = [*credentials, sdp.CONTENT_TYPE]
        return self.phone.transactions.start(self.dialog.request("INVITE", headers, self._describe()))

    async def _follow(self) -> None:
        """Every response to the INVITE, for as long as the call lives: a success may be repeated."""
        while self._client is not None:
            client = self._client
            response = await client.responses.get()
            self._known_there.set()
            if response.status < 200:
                self._provisional(response)
            elif response.status < 300:
                await self._accepted(client.request, response)
            else:
                self.phone.send(self.dialog.ack(client.request, response))
                self._refused(client, response)

    def _provisional(self, response: Response) -> None:
        if response.status > 100 and self.state != "ended" and tag_of(response.get("To")):
            self.dialog.learn(response)
            self._connect_media(response.body)
            self._rings()

    async def _accepted(self, invite: Request, response: Response) -> None:
        first = self.answered_at is None
        if first:
            self.dialog.learn(response)
        self.phone.send(self.dialog.ack(invite, response))
        if first and self.state != "ended":
            self._connect_media(response.body)
            self._is_up()
            if self._given_up:  # our CANCEL and their answer crossed
                await super().hang_up()

    def _refused(self, client: Client, response: Response) -> None:
        self.phone.transactions.forget(client)
        if response.status in (401, 407) and not self._tried and self.phone.password:
            self._tried = True
            credentials = authorization(
                response, "INVITE", client.request.uri, self.phone.user, self.phone.password, token()
            )
            self._client = self._invite(credentials)
            return
        self._client = None
        self.reason = response.get("Reason") or response.reason
        self._end("us" if self._given_up else "them", response.status)

    async def hang_up(self) -> None:
        """Gives up a call that is not answered yet (CANCEL), ends one that is."""
        if self.state == "up" or self._client is None:
            await super().hang_up()
        elif self.state != "ended":
            self._given_up = True
            await self._known_there.wait()  # §9.1: no CANCEL before the other side spoke
            client = self._client
            if client is not None and self.answered_at is None:
                cancel = self.phone.transactions.start(self.dialog.cancel(client.request))
                await cancel.final()
                self.phone.transactions.forget(cancel)
            await self.ended()

    def forget(self) -> None:
        if self._following is not None:
            self._following.cancel()
        if self._client is not None:
            self.phone.transactions.forget(self._client)
