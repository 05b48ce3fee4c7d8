"""One call as a phone sees it, from the moment both sides know of it: talk, hold, transfer, end.

How a call begins differs by who began it: see `outgoing` and `incoming`. Every wait is for something the other side
does and has a deadline; what happened instead is in the CallProblem.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from lab.errors import CallProblem
from lab.phones import sdp
from lab.phones.dialog import Dialog
from lab.phones.media import Stream
from lab.phones.message import Request, answer, user_of

if TYPE_CHECKING:
    from lab.phones.phone import Phone

State = Literal["trying", "ringing", "up", "ended"]
Side = Literal["us", "them"]


class Call:
    """`status` is the SIP status the call ended with before it was up (200 after talk), `ended_by` who ended it."""

    def __init__(self, phone: Phone, dialog: Dialog, stream: Stream) -> None:
        self.phone = phone
        self.dialog = dialog
        self.stream = stream
        self.state: State = "trying"
        self.status = 0
        self.ended_by: Side | None = None
        self.reason = ""
        """The Reason header of what ended it: `Call completed elsewhere` where another phone was quicker."""
        self.began_at = time.time()
        self.rang_at: float | None = None
        self.answered_at: float | None = None
        self.ended_at: float | None = None
        self.on_hold = False
        """Whether the other side put us on hold."""
        self.progress: list[int] = []
        """What was reported of a transfer we asked for: SIP statuses."""
        self._version = 0
        self._changed = asyncio.Event()

    # --- waiting ------------------------------------------------------------------------------------------------

    async def until(self, *states: State, timeout: float = 10.0) -> None:
        """Returns once the call is in one of `states`. Raises CallProblem, at once when it ended and never will be."""
        await self._when(lambda: self.state in states, f"{' or '.join(states)}", timeout)

    async def ended(self, timeout: float = 10.0) -> None:
        await self.until("ended", timeout=timeout)

    async def hears(self, hertz: int | None = None, timeout: float = 5.0) -> None:
        await self.stream.hears(hertz, timeout)

    async def transferred(self, timeout: float = 20.0) -> int:
        """The final status of the transfer we asked for, as it was reported to us."""
        await self._when(
            lambda: any(status >= 200 for status in self.progress), "a transfer's outcome", timeout, dead=False
        )
        return next(status for status in self.progress if status >= 200)

    async def _when(self, is_so: Callable[[], bool], wanted: str, timeout: float, dead: bool = True) -> None:
        try:
            async with asyncio.timeout(timeout):
                while not is_so():
                    if dead and self.state == "ended":
                        raise CallProblem(f"{self}: wanted {wanted}, but it ended with {self.status} {self.reason}")
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise CallProblem(f"{self}: wanted {wanted}, after {timeout:g} s it is {self.state}") from None

    def _notice(self) -> None:
        self._changed.set()

    # --- what people do -----------------------------------------------------------------------------------------

    async def hang_up(self) -> None:
        """Ends a call that is up; the subclasses know how to end one that is not."""
        if self.state != "ended":
            self._end("us", 200)
            await self._ask("BYE")

    async def hold(self) -> None:
        await self._reinvite("sendonly")

    async def resume(self) -> None:
        await self._reinvite("sendrecv")

    async def press(self, digits: str) -> None:
        await self.stream.press(digits)

    async def transfer(self, number: str) -> None:
        """Blind: the other side is to call `number` instead (RFC 3515). Returns when that is accepted."""
        await self._refer(f"<sip:{number}@{self.phone.server}>")

    async def transfer_to(self, other: Call) -> None:
        """Attended: the other side takes our place in `other` (RFC 3891). Returns when that is accepted."""
        replaces = quote(other.dialog.replaces, safe="")
        await self._refer(f"<sip:{user_of(other.dialog.remote)}@{self.phone.server}?Replaces={replaces}>")

    async def _refer(self, to: str) -> None:
        self.progress.clear()
        status = await self._ask("REFER", ("Refer-To", to), ("Referred-By", self.dialog.local))
        if status != 202:
            raise CallProblem(f"{self}: the transfer was refused with {status}")

    async def _ask(self, method: str, *headers: tuple[str, str]) -> int:
        """A request inside the dialog: the final status."""
        client = self.phone.transactions.start(self.dialog.request(method, headers))
        try:
            return (await client.final()).status
        finally:
            self.phone.transactions.forget(client)

    async def _reinvite(self, direction: sdp.Direction) -> None:
        invite = self.dialog.request("INVITE", [sdp.CONTENT_TYPE], self._describe(direction))
        client = self.phone.transactions.start(invite)
        try:
            response = await client.final()
        finally:
            self.phone.transactions.forget(client)
        self.phone.send(self.dialog.ack(invite, response))
        if response.status >= 300:
            raise CallProblem(f"{self}: {direction} was refused with {response.status}")
        self._connect_media(response.body)

    # --- what the other side does -------------------------------------------------------------------------------

    def receive(self, request: Request) -> None:
        """A request inside the dialog."""
        body = ""
        match request.method:
            case "ACK":
                return
            case "BYE":
                self.reason = request.get("Reason")
                self._end("them", 200)
            case "INVITE" | "UPDATE":
                body = self._reanswer(request)
            case "NOTIFY":
                self._note_progress(request)
        headers = [("Contact", self.dialog.contact), *([sdp.CONTENT_TYPE] if body else [])]
        self.phone.transactions.respond(request, answer(request, 200, "OK", self.dialog.local_tag, headers, body))

    def _reanswer(self, request: Request) -> str:
        offer = sdp.read(request.body)
        if offer is None:
            return self._describe("sendrecv") if request.method == "INVITE" else ""
        self._connect_media(request.body)
        return self._describe(sdp.MIRRORED[offer.direction])

    def _note_progress(self, request: Request) -> None:
        """RFC 3515 §2.4.5: the body is the response that the transfer's own INVITE got so far."""
        if found := re.match(r"SIP/2\.0 (\d{3})", request.body):
            self.progress.append(int(found.group(1)))
            self._notice()
            # as desk phones do: our part is over once the transfer is reported done
            if self.progress[-1] == 200 and self.state == "up":
                self.phone.in_background(self.hang_up())

    # --- media and state ----------------------------------------------------------------------------------------

    def _describe(self, direction: sdp.Direction = "sendrecv") -> str:
        self._version += 1
        return sdp.Description(self.phone.host, self.stream.port, direction).write(id(self) & 0xFFFFFF, self._version)

    def _connect_media(self, body: str) -> None:
        if described := sdp.read(body):
            self.on_hold = described.direction in ("sendonly", "inactive")
            self.stream.speak(described.host, described.port, muted=self.on_hold)
            self._notice()

    def _rings(self) -> None:
        self.rang_at = self.rang_at or time.time()
        self.state = "ringing"
        self._notice()

    def _is_up(self) -> None:
        self.answered_at = time.time()
        self.state = "up"
        self._notice()

    def _end(self, by: Side, status: int) -> None:
        if self.state != "ended":
            self.ended_at = time.time()
            self.ended_by, self.status, self.state = by, status, "ended"
            self.stream.close()
            self._notice()

    @property
    def talked(self) -> float:
        """Seconds between answer and end (so far)."""
        return (self.ended_at or time.time()) - self.answered_at if self.answered_at else 0.0

    def __str__(self) -> str:
        return f"{self.phone.user}'s call with {user_of(self.dialog.remote) or self.dialog.remote}"
