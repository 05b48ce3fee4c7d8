"""The pages people see: signing in, and live calls with what the CRMs were told of them."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from bridge.errors import BadInput, NotFound, TooManyRequests, Unauthorized
from bridge.http.api.deliveries import resend_one
from bridge.http.api.types import OneWanted
from bridge.http.auth.principal import Principal
from bridge.http.live import HEARTBEAT, Watcher
from bridge.http.operation import Visit
from bridge.http.render import STATIC, render
from bridge.http.stream import EventStream
from bridge.http.words import LANGUAGES, Language, preferred

_LANGUAGE_COOKIE = "bridge_language"
_YEAR = 365 * 24 * 3600
_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


class LanguageWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`back`: the page to return to."""

    to: Language
    back: Literal["/", "/login"] = "/"


class FileWanted(msgspec.Struct, frozen=True, kw_only=True):
    """Whatever else is asked for is the content's mark in the address."""

    name: str


async def live_page(visit: Visit) -> Response:
    """Live calls and recent deliveries."""
    principal = await visit.desk.doors.principal(visit.request)
    if principal is None:
        return RedirectResponse("/login", 303)
    chosen = _language(visit.request)
    page = await visit.desk.hub.page(principal)
    html = render(chosen, "live.html", name=principal.name, enterprise=principal.enterprise_number, **page)
    return HTMLResponse(html)


async def live_stream(visit: Visit) -> Response:
    """The live page's changes, as server-sent events."""
    if visit.request.method == "HEAD":
        return Response(media_type=EventStream.media_type)
    watcher = Watcher(visit.principal, _language(visit.request))
    return EventStream(_while_signed_in(visit, watcher))


async def _while_signed_in(visit: Visit, watcher: Watcher) -> AsyncGenerator[bytes, None]:
    """The hub's stream, until the reader has been signed out, moved or given another role."""
    checked = time.monotonic()
    async with aclosing(visit.desk.hub.stream(watcher)) as events:
        async for event in events:
            if time.monotonic() - checked >= HEARTBEAT:
                checked = time.monotonic()
                if not await _still(visit, watcher.principal):
                    return
            yield event


async def _still(visit: Visit, principal: Principal) -> bool:
    try:
        return await visit.desk.doors.principal(visit.request) == principal
    except Unauthorized:
        return False


async def login_page(visit: Visit) -> Response:
    """The form to sign in."""
    return HTMLResponse(render(_language(visit.request), "login.html", problem="", email=""))


async def sign_in(visit: Visit) -> Response:
    """Takes the form, opens a session."""
    doors = visit.desk.doors
    doors.refuse_forgery(visit.request)
    email, password = await _login_form(visit.request)
    problem, status = "", 303
    try:
        account = await doors.check_password(email, password, visit.address)
    except Unauthorized as error:
        problem, status = error.message, 401
    except TooManyRequests:
        problem, status = "Too many attempts: try again in a few minutes", 429
    if problem:
        return HTMLResponse(render(_language(visit.request), "login.html", problem=problem, email=email), status)
    response = RedirectResponse("/", status)
    await doors.open_session(account, response)
    return response


async def sign_out(visit: Visit) -> Response:
    """Ends the session."""
    visit.desk.doors.refuse_forgery(visit.request)
    response = RedirectResponse("/login", 303)
    await visit.desk.doors.close_session(visit.request, response)
    return response


async def resend(visit: Visit, params: OneWanted) -> Response:
    """The live page's button beside a dead letter."""
    await resend_one(visit, params)
    return RedirectResponse("/", 303)


async def choose_language(visit: Visit, params: LanguageWanted) -> Response:
    """Remembers a language in the browser."""
    response = RedirectResponse(params.back, 303)
    response.set_cookie(_LANGUAGE_COOKIE, params.to, max_age=_YEAR, path="/", httponly=True, samesite="lax")
    return response


async def static_file(visit: Visit, params: FileWanted) -> Response:
    """Style, script and pictures of the pages."""
    content = STATIC.get(params.name)
    if content is None:
        raise NotFound()
    media_type = _TYPES[params.name.rpartition(".")[2]]
    return Response(content, media_type=media_type, headers={"Cache-Control": "public, max-age=31536000, immutable"})


def _language(request: Request) -> Language:
    chosen = request.cookies.get(_LANGUAGE_COOKIE)
    for language in LANGUAGES:
        if chosen == language:
            return language
    return preferred(request.headers.get("accept-language", ""))


async def _login_form(request: Request) -> tuple[str, str]:
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise BadInput("The form must be sent as application/x-www-form-urlencoded", field="Content-Type")
    async with request.form(max_fields=10) as form:
        values = [form.get(name) for name in ("email", "password")]
    for name, value, longest in zip(("email", "password"), values, (254, 1024), strict=True):
        if not isinstance(value, str) or not value or len(value) > longest or "\0" in value:
            raise BadInput(f"{name}: 1 to {longest} characters are needed", field=name)
    return str(values[0]), str(values[1])
