"""The dialog of one call: who talks to whom under which tags, and the requests made inside it (RFC 3261 §12). Pure."""

from __future__ import annotations

import random
import string
from collections.abc import Iterable
from dataclasses import dataclass, field

from lab.phones.message import Headers, Request, Response, tag_of, uri_of, without_tag

ALLOWED = "INVITE, ACK, CANCEL, BYE, OPTIONS, REFER, NOTIFY, UPDATE"


def token(length: int = 12) -> str:
    return "".join(random.choices(string.ascii_lowercase + string.digits, k=length))


def new_branch() -> str:
    """§8.1.1.7: the cookie that marks branches unique by construction."""
    return f"z9hG4bK{token()}"


@dataclass
class Dialog:
    """`local` and `remote` are addresses without tags; `target` is where requests go."""

    local: str
    remote: str
    target: str
    contact: str
    via: str
    call_id: str = field(default_factory=lambda: token(20))
    local_tag: str = field(default_factory=token)
    remote_tag: str = ""
    routes: list[str] = field(default_factory=list)
    cseq: int = 0

    @classmethod
    def of_incoming(cls, invite: Request, contact: str, via: str) -> Dialog:
        return cls(
            local=without_tag(invite.get("To")),
            remote=without_tag(invite.get("From")),
            target=uri_of(invite.get("Contact")),
            contact=contact,
            via=via,
            call_id=invite.call_id,
            remote_tag=tag_of(invite.get("From")),
            routes=invite.all("Record-Route"),
        )

    def learn(self, response: Response) -> None:
        """What a provisional or successful answer to our INVITE says of the other side."""
        self.remote_tag = tag_of(response.get("To")) or self.remote_tag
        self.target = uri_of(response.get("Contact")) or self.target
        self.routes = response.all("Record-Route")[::-1] or self.routes

    def request(self, method: str, headers: Iterable[tuple[str, str]] = (), body: str = "") -> Request:
        """A new request of its own transaction."""
        self.cseq += 1
        return self._request(method, self.cseq, new_branch(), self._to(), headers, body)

    def ack(self, invite: Request, response: Response) -> Request:
        """§13.2.2.4 and §17.1.1.3: a success has an ACK of its own, a refusal one inside the INVITE's transaction."""
        number, _ = invite.cseq
        if response.status < 300:
            return self._request("ACK", number, new_branch(), self._to())
        ack = self._request("ACK", number, invite.branch, response.get("To"))
        ack.uri = invite.uri
        return ack

    def cancel(self, invite: Request) -> Request:
        """§9.1: as the INVITE was."""
        number, _ = invite.cseq
        cancel = self._request("CANCEL", number, invite.branch, invite.get("To"))
        cancel.uri = invite.uri
        return cancel

    @property
    def replaces(self) -> str:
        """This dialog as another one names it in order to take its place (RFC 3891)."""
        return f"{self.call_id};to-tag={self.remote_tag};from-tag={self.local_tag}"

    def _to(self) -> str:
        return f"{self.remote};tag={self.remote_tag}" if self.remote_tag else self.remote

    def _request(
        self, method: str, cseq: int, branch: str, to: str, headers: Iterable[tuple[str, str]] = (), body: str = ""
    ) -> Request:
        common: Headers = [
            ("Via", f"SIP/2.0/UDP {self.via};rport;branch={branch}"),
            ("Max-Forwards", "70"),
            *(("Route", route) for route in self.routes),
            ("From", f"{self.local};tag={self.local_tag}"),
            ("To", to),
            ("Call-ID", self.call_id),
            ("CSeq", f"{cseq} {method}"),
            ("Contact", self.contact),
            ("Allow", ALLOWED),
            ("Supported", "replaces"),
        ]
        return Request([*common, *headers], body, method, self.target)
