"""What RetailCRM, its users' tools and older dialplans call: click-to-call, and who should get a caller.

`make-call` is opened by the module's client id, `makecallexternal` and `getcustomerdata` by the enterprise's secret,
`smart-redirect` by that secret or by somebody who is signed in. An enterprise's number alone opens nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol
from urllib.parse import parse_qsl

import msgspec
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bridge.calls.click import ClickAnswer, Source
from bridge.errors import BadInput, Forbidden, NotFound, Unauthorized
from bridge.routing import Answer, customer_data, dialplan

PREFIXES = ("/retailcrm/api", "/retailcrm-admin/api", "/api")


class Enterprise(Protocol):
    """What these routes need to know of one. `dialplans`: templates of getcustomerdata's DialPlan by PBX name."""

    @property
    def name(self) -> str: ...
    @property
    def dialplans(self) -> Mapping[str, str]: ...


class Directory(Protocol):
    """Who is who."""

    def enterprise(self, number: str) -> Enterprise | None: ...

    def credential(self, kind: Any, presented: str) -> tuple[str, str] | None:
        """(enterprise number, subject) of whom the secret belongs to; kinds "retailcrm", "enterprise", "pbx"."""


class Crms(Protocol):
    """Which CRMs an enterprise has enabled, and the extensions of their users."""

    def crms(self, enterprise_number: str) -> Any: ...

    async def extensions(self, enterprise_number: str, crm: str) -> Mapping[str, str | None]: ...


class Clicks(Protocol):
    """Who makes calls."""

    async def start(
        self, enterprise_number: str, *, extension: str, phone: str, external_phone: str | None = None, source: Source
    ) -> ClickAnswer: ...


class Redirects(Protocol):
    """Who decides where a caller goes."""

    async def who(self, enterprise_number: str, phone: str | None, *, line: str | None = None) -> Answer: ...

    async def live_redirect(
        self, enterprise_number: str, call_unique_id: str, extension: str, because: Answer | None = None
    ) -> None: ...


class Guest(Protocol):
    """Somebody who is signed in. `enterprise_number` None: the deployment's own staff."""

    @property
    def enterprise_number(self) -> str | None: ...


_MISSING = re.compile(r"missing required field `(\w+)`")

Reception = Callable[[Request], Awaitable[Guest | None]]
"""Who sent a request, by session or bearer token. Raises Unauthorized for a proof that does not hold."""


class MakeCall(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the CRM sends when a user clicks on a number. `code` wins over `userId`."""

    client_id: str = ""
    user_id: str = ""
    code: str = ""
    phone: str = ""
    external_phone: str = ""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `smart-redirect`."""

    enterprise_number: str
    phone: str
    call_unique_id: str | None = None


class Redirected(msgspec.Struct, frozen=True, kw_only=True):
    """Who should get the caller (null: nobody in particular), why, and whether the live call was sent there."""

    extension: str | None
    name: str
    reason: str
    redirected: bool


class CalledExternally(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `makecallexternal`, in the older shape."""

    success: bool = True
    message: str
    enterprise: str
    enterprise_number: str
    from_ext: str
    to_phone: str
    pbx: str
    repeated: bool
    response_time_ms: float


class CustomerQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `getcustomerdata`; LoadDialPlan is a string there."""

    phone: str = msgspec.field(name="Phone", default="")
    trunk_id: str = msgspec.field(name="TrunkId", default="")
    load_dialplan: str | bool = msgspec.field(name="LoadDialPlan", default="true")


class RetailcrmRoutes:
    """The handlers over their ports. Errors are raised; the application turns them into answers."""

    def __init__(
        self, directory: Directory, crms: Crms, clicks: Clicks, redirects: Redirects, reception: Reception
    ) -> None:
        self._directory = directory
        self._crms = crms
        self._clicks = clicks
        self._redirects = redirects
        self._reception = reception

    def routes(self) -> list[Route]:
        return [
            _route("/retailcrm/make-call", self.make_call, "GET", "POST"),
            _route("/api/makecallexternal", self.make_call_external, "GET"),
            *(_route(f"{prefix}/smart-redirect", self.smart_redirect, "POST") for prefix in PREFIXES),
            _route("/api/callevent/getcustomerdata", self.get_customer_data, "POST"),
        ]

    async def make_call(self, request: Request) -> Response:
        """A user of RetailCRM clicked on a number."""
        asked = msgspec.convert(await _parameters(request), MakeCall)
        found = self._directory.credential("retailcrm", asked.client_id)
        if found is None:
            raise Unauthorized("clientId: unknown" if asked.client_id else "clientId: missing")
        enterprise_number = found[0]
        if "retailcrm" not in self._crms.crms(enterprise_number):
            raise Forbidden("RetailCRM is switched off for this enterprise")
        answer = await self._clicks.start(
            enterprise_number,
            extension=asked.code.strip() or await self._extension_of(enterprise_number, asked.user_id.strip()),
            phone=asked.phone,
            external_phone=asked.external_phone or None,
            source="retailcrm",
        )
        return _json({"success": True, "data": answer})

    async def make_call_external(self, request: Request) -> Response:
        """The older way in: by extension, opened by the enterprise's secret; answers in the older shape too."""
        began = time.perf_counter()
        found = self._directory.credential("enterprise", request.query_params.get("clientId", ""))
        enterprise = self._directory.enterprise(found[0]) if found else None
        if found is None or enterprise is None:
            raise Unauthorized("Invalid clientId")
        answer = await self._clicks.start(
            found[0],
            extension=request.query_params.get("code", "").strip(),
            phone=request.query_params.get("phone", ""),
            source="makecallexternal",
        )
        return _json(
            CalledExternally(
                message=f"Call from {answer.extension} to {answer.phone} is queued",
                enterprise=enterprise.name,
                enterprise_number=found[0],
                from_ext=answer.extension,
                to_phone=answer.phone,
                pbx=answer.pbx,
                repeated=answer.repeated,
                response_time_ms=round((time.perf_counter() - began) * 1000, 1),
            )
        )

    async def smart_redirect(self, request: Request) -> Response:
        """Who should get a caller; a call that rings or waits is sent there when its id is given."""
        asked = _decoded(await request.body(), Asked)
        await self._admit(request, asked.enterprise_number)
        if "\0" in asked.phone:
            raise BadInput("phone: holds a NUL character", field="phone")
        if self._directory.enterprise(asked.enterprise_number) is None:
            raise NotFound("There is no such enterprise", field="enterprise_number")
        answer = await self._redirects.who(asked.enterprise_number, asked.phone)
        redirected = bool(asked.call_unique_id and answer.extension)
        if asked.call_unique_id and answer.extension:
            await self._redirects.live_redirect(
                asked.enterprise_number, asked.call_unique_id, answer.extension, because=answer
            )
        data = Redirected(extension=answer.extension, name=answer.name, reason=answer.reason, redirected=redirected)
        return _json({"success": True, "data": data})

    async def get_customer_data(self, request: Request) -> Response:
        """An older dialplan asks who is calling and which context gets the call. The answer's bytes are a contract."""
        token = request.headers.get("Token", "")
        found = self._directory.credential("enterprise", token) or self._directory.credential("pbx", token)
        enterprise = self._directory.enterprise(found[0]) if found else None
        if found is None or enterprise is None:
            raise Unauthorized("Token: unknown")
        asked = _decoded(await request.body(), CustomerQuestion)
        answer = await self._redirects.who(found[0], asked.phone, line=asked.trunk_id)
        wants_dialplan = str(asked.load_dialplan).lower() == "true"
        template = enterprise.dialplans.get(found[1]) or next(filter(None, enterprise.dialplans.values()), "")
        context = dialplan(template, answer.extension, asked.trunk_id) if wants_dialplan else None
        return Response(customer_data(answer.name, context), media_type="application/json")

    async def _extension_of(self, enterprise_number: str, user_id: str) -> str:
        if not user_id:
            raise BadInput("code: missing, and no userId to find it by", field="code")
        extension = (await self._crms.extensions(enterprise_number, "retailcrm")).get(user_id)
        if not extension:
            raise BadInput(f"No extension configured for user {user_id[:40]}", field="userId", found=user_id[:40])
        return extension

    async def _admit(self, request: Request, enterprise_number: str) -> None:
        """Raises Unauthorized for a stranger; NotFound for somebody else's enterprise: nobody learns which exist."""
        token = request.headers.get("Token")
        if token is not None:
            found = self._directory.credential("enterprise", token)
            if found is None:
                raise Unauthorized("Token: unknown")
            mine: str | None = found[0]
        else:
            guest = await self._reception(request)
            if guest is None:
                raise Unauthorized()
            mine = guest.enterprise_number
        if mine not in (None, enterprise_number):
            raise NotFound("There is no such enterprise", field="enterprise_number")


async def _parameters(request: Request) -> dict[str, str]:
    """Of the query and the body (a form or JSON), the first of each name; numbers become text."""
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        found.setdefault(name, value)
    if request.method == "GET":
        return found
    body = await request.body()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        for name, value in _decoded(body, dict[str, str | int | None]).items():
            if value is not None:
                found.setdefault(name, str(value))
    elif kind == "multipart/form-data":
        for name, part in (await request.form(max_files=0)).multi_items():
            if not isinstance(part, UploadFile):
                found.setdefault(name, part)
    else:
        for name, value in parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True):
            found.setdefault(name, value)
    return found


def _route(path: str, handler: Callable[[Request], Awaitable[Response]], *methods: str) -> Route:
    """Starlette answers HEAD wherever it answers GET, and a GET of these makes a telephone ring."""
    route = Route(path, handler, methods=list(methods))
    route.methods = set(methods)
    return route


def _decoded(body: bytes, kind: type[Any]) -> Any:
    """Raises BadInput naming the field."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as problem:
        reason, _, at = str(problem).partition(" - at `$")
        missing = _MISSING.search(reason)
        field = missing[1] if missing else at.strip("`.") or "body"
        raise BadInput(f"{field}: {'missing' if missing else reason}", field=field) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadInput("body: not JSON", field="body") from None


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
