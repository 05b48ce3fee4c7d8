"""The account's doors over HTTP: API methods with key, limits and faults; pages for people; a back door for tests.

An account is found by the port that was called, or by the sub-domain in `Host` as on the real service.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import httpx
import msgspec
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from lab.retailcrm import callbacks, page
from lab.retailcrm.account import Account, Faults, Request
from lab.retailcrm.formats import Refused
from lab.retailcrm.methods import METHODS, Answer, Asked, Method

NO_ACCOUNT = "<!DOCTYPE html><html><head><title>RetailCRM</title></head><body>Account does not exist</body></html>"
OVERLOADED = "<html><head><title>503</title></head><body>503 Service Temporarily Unavailable</body></html>"
ROUTES = [(compile_path(method.path), method) for method in METHODS]


class Api:
    """ASGI application. `ports` maps a listening port to its account; other ports are the front door."""

    def __init__(self, accounts: Mapping[str, Account], ports: Mapping[int, Account]) -> None:
        self._accounts = accounts
        self._ports = ports
        self.released: dict[int, asyncio.Event] = {}  # set when the port closes: nobody waits for a hung answer then

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = HttpRequest(scope, receive)
        account = self._account(request)
        if account is None:
            response: Response | None = self._nobody(request)
        elif request.url.path.startswith("/api/"):
            response = await self._api(account, request)
        else:
            response = await self._page(account, request)
        if response is not None:
            await response(scope, receive, send)
        else:
            await self._silence(request)

    def _account(self, request: HttpRequest) -> Account | None:
        host = request.headers.get("host", "").split(":")[0].lower()
        if host and not host.replace(".", "").isdecimal() and host != "localhost":
            return self._accounts.get(host.split(".")[0])
        return self._ports.get(request.scope["server"][1])

    def _nobody(self, request: HttpRequest) -> Response:
        host = request.headers.get("host", "")
        if request.method == "GET" and request.url.path == "/" and host.startswith(("127.0.0.1", "localhost")):
            return HTMLResponse(page.overview(self._accounts.values(), request.headers.get("accept-language", "")))
        # A sub-domain nobody has: anything but GET is "not allowed", and the body is a page, not JSON.
        return HTMLResponse(NO_ACCOUNT, status_code=404 if request.method == "GET" else 405)

    # --- the API ------------------------------------------------------------------------------------------------

    async def _api(self, account: Account, request: HttpRequest) -> Response | None:
        """None: the request gets no answer at all."""
        faults = account.faults
        form = {} if faults.hang or request.method == "GET" else await _form(request)
        query = dict(request.query_params)
        in_url = "apiKey" in query or any(key in str(request.url) for key in account.keys)
        key = request.headers.get("x-api-key") or query.pop("apiKey", None) or form.get("apiKey")
        query.pop("apiKey", None)
        form.pop("apiKey", None)
        if faults.hang:
            status, body = 0, None
        else:
            status, body = self._answer(account, request, key, Asked("", {}, query, form))
        answered = 0 if faults.mute else status
        if faults.slow:
            await asyncio.sleep(faults.slow)
        account.note(Request(account.clock(), request.method, request.url.path, query, form, in_url, answered, body))
        if answered == 0:
            return None
        if isinstance(body, str):
            return HTMLResponse(body, status_code=status)
        return JSONResponse(body, status_code=status)

    def _answer(self, account: Account, request: HttpRequest, key: Any, asked: Asked) -> tuple[int, Any]:
        faults = account.faults
        if faults.status:
            return faults.status, OVERLOADED
        if faults.busy and account.dice.random() < faults.busy:
            return 503, OVERLOADED
        try:
            if faults.refuse:
                raise Refused(200, faults.refuse)
            method, path = _find(request.method, request.url.path)
            if not key:
                raise Refused(403, '"apiKey" is missing.')
            if key not in account.keys:
                raise Refused(403, 'Wrong "apiKey" value.')
            if account.over_limit(key, method.telephony):
                return 503, OVERLOADED
            if method.scope and method.scope not in account.keys[key]:
                raise Refused(403, "Access denied.")
            answer: Answer = method.handle(account, Asked(key, path, asked.query, asked.form))
            return answer
        except Refused as refused:
            return refused.status, refused.body

    async def _silence(self, request: HttpRequest) -> None:
        """Hold the connection until the client gives up or the port closes."""
        port = request.scope["server"][1]
        closing = asyncio.create_task(self.released[port].wait())
        gone = asyncio.create_task(_disconnected(request))
        await asyncio.wait({closing, gone}, return_when=asyncio.FIRST_COMPLETED)
        for task in (closing, gone):
            task.cancel()

    # --- pages for people, and what a test in another process needs ---------------------------------------------

    async def _page(self, account: Account, request: HttpRequest) -> Response:
        match request.method, request.url.path:
            case "GET", "/":
                return HTMLResponse(page.account(account, request.headers.get("accept-language", "")))
            case "POST", "/click":
                account.clicked = await _clicked(account, request)
                return RedirectResponse("/", status_code=303)
            case "GET", "/_lab/state":
                return Response(msgspec.json.encode(state(account)), media_type="application/json")
            case "POST", "/_lab/faults":
                account.faults = msgspec.json.decode(await request.body(), type=Faults)
                return Response(status_code=204)
            case _:
                return HTMLResponse(NO_ACCOUNT, status_code=404 if request.method == "GET" else 405)


async def _clicked(account: Account, request: HttpRequest) -> str:
    """How the module answered, for the person who clicked."""
    form = await request.form()
    user, phone = str(form.get("user", "")), str(form.get("phone", ""))
    if not user.isdecimal() or not phone:
        return "choose a manager and write a number"
    try:
        answer = await callbacks.click(account, int(user), phone)
    except (callbacks.NoModule, httpx.HTTPError) as problem:
        return str(problem)
    return f"{answer.status_code} {answer.text[:200]}"


def state(account: Account) -> dict[str, Any]:
    """Everything the account was told, for a reader in another process."""
    return {
        "name": account.name,
        "calls": account.calls,
        "events": account.events,
        "duplicates": account.duplicates,
        "modules": account.modules,
        "keys_in_urls": len(account.keys_in_urls),
        "requests": len(account.requests),
    }


def _find(verb: str, path: str) -> tuple[Method, dict[str, str]]:
    known = False
    for (pattern, _, _), method in ROUTES:
        if match := pattern.match(path):
            if method.verb == verb:
                return method, match.groupdict()
            known = True
    raise Refused(405, "Method Not Allowed") if known else Refused(404, "API method not found")


async def _form(request: HttpRequest) -> dict[str, Any]:
    """The fields of a form. Of a JSON body only what is not scalar: the CRM trips over it and sees nothing else."""
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            body = json.loads(await request.body())
        except ValueError:
            return {}
        return (
            {name: value for name, value in body.items() if not isinstance(value, str)}
            if isinstance(body, dict)
            else {}
        )
    return dict(await request.form())


async def _disconnected(request: HttpRequest) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
