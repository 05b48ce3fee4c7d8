"""A call that came to our phone (RFC 3261 §13.3, §17.2.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.phones import sdp
from lab.phones.call import Call
from lab.phones.dialog import Dialog
from lab.phones.media import Stream
from lab.phones.message import Headers, Request, Response, answer, name_of, user_of
from lab.phones.transactions import Repeated

if TYPE_CHECKING:
    from lab.phones.phone import Phone

REASONS = {
    302: "Moved Temporarily",
    404: "Not Found",
    480: "Temporarily Unavailable",
    486: "Busy Here",
    503: "Service Unavailable",
    603: "Decline",
}


class Incoming(Call):
    """`caller` and `called` are numbers as the phone sees them, `caller_name` what its display shows."""

    def __init__(self, phone: Phone, dialog: Dialog, stream: Stream, invite: Request) -> None:
        super().__init__(phone, dialog, stream)
        self.caller = user_of(invite.get("From"))
        self.caller_name = name_of(invite.get("From"))
        self.called = user_of(f"<{invite.uri}>")
        self._invite = invite
        self._success: Repeated | None = None

    # --- what the person does -----------------------------------------------------------------------------------

    def ring(self) -> None:
        self._respond(180, "Ringing")
        self._rings()

    def sound_early(self) -> None:
        """Sound before the answer: an announcement, a ring-back tone of the other network."""
        self._connect_media(self._invite.body)
        self._respond(183, "Session Progress", [sdp.CONTENT_TYPE], self._describe())
        self._rings()

    async def answer(self, timeout: float = 10.0) -> None:
        """Returns when the other side knows."""
        self._connect_media(self._invite.body)
        response = self._response(200, "OK", [sdp.CONTENT_TYPE], self._describe())
        # it goes to the wire through the transaction, so that a repeated INVITE gets it too
        self.phone.transactions.respond(self._invite, response)
        self._success = Repeated(response.encode(), self.phone.send_bytes)
        await self.until("up", timeout=timeout)

    def refuse(self, status: int = 486) -> None:
        self._respond(status, REASONS.get(status, "Refused"))
        self._end("us", status)

    def forward(self, number: str) -> None:
        """The phone's own forwarding: whoever calls is told to call `number`."""
        contact = f"<sip:{number}@{self.phone.server}>"
        self.phone.transactions.respond(
            self._invite, answer(self._invite, 302, REASONS[302], self.dialog.local_tag, [("Contact", contact)])
        )
        self._end("us", 302)

    async def hang_up(self) -> None:
        if self.state == "up":
            await super().hang_up()
        elif self.state != "ended":
            self.refuse(603)

    # --- what the other side does -------------------------------------------------------------------------------

    def receive(self, request: Request) -> None:
        if request.method == "ACK" and self._success is not None:
            self._success.stop()
            if self.answered_at is None and self.state != "ended":
                self._is_up()
        elif request.method == "CANCEL":
            self._cancelled(request)
        else:
            super().receive(request)

    def _cancelled(self, cancel: Request) -> None:
        self.phone.transactions.respond(cancel, answer(cancel, 200, "OK", self.dialog.local_tag))
        if self.state in ("trying", "ringing"):
            self.reason = cancel.get("Reason")
            self._respond(487, "Request Terminated")
            self._end("them", 487)

    def _respond(self, status: int, reason: str, headers: Headers | None = None, body: str = "") -> None:
        self.phone.transactions.respond(self._invite, self._response(status, reason, headers, body))

    def _response(self, status: int, reason: str, headers: Headers | None = None, body: str = "") -> Response:
        contact = ("Contact", self.dialog.contact)
        return answer(self._invite, status, reason, self.dialog.local_tag, [contact, *(headers or [])], body)

    def forget(self) -> None:
        if self._success is not None:
            self._success.stop()
