"""Mango's API over HTTP: envelope and signature, limits and penalties, one-time files. A back door for tests.

The product is the one whose `vpbx_api_key` was sent. What is wrong with a request is told by a code in the body; its
HTTP status is not documented well (`Product.error_status`).
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from lab.mango.limits import Limits
from lab.mango.methods import METHODS, NOT_SUBSCRIBED, WRONG_FORMAT, WRONG_KEY, WRONG_SIGN, Answer, Desk, Refused
from lab.mango.product import Product, Request
from lab.mango.scenarios import SCENARIOS
from lab.mango.signing import link_sign, sign

NOT_POST, WRONG_PARAMETERS = 3101, 3100
TOO_MANY = {"name": "Service Unavailable", "message": "Rate limit exceeded.", "code": 0, "status": 429}
SHUT = {"name": "Unauthorized", "message": "Your request was made with invalid credentials.", "code": 0, "status": 401}
NO_METHOD = {"name": "Not Found", "message": "Page not found.", "code": 0, "status": 404}


class Api:
    """ASGI application for several products."""

    def __init__(self, desks: Mapping[str, Desk]) -> None:
        """`desks` by API key: it may grow."""
        self._desks = desks
        self._whole = Limits(whole=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = HttpRequest(scope, receive)
        path = request.url.path
        if path.startswith("/vpbx/queries/recording/link/"):
            response: Response | None = self._link(scope)
        elif path.startswith("/vpbx/"):
            response = await self._method(request, path.removeprefix("/vpbx/").rstrip("/"))
        elif path.startswith("/files/"):
            response = self._file(path.removeprefix("/files/").removesuffix(".mp3"))
        elif path.startswith("/_lab/"):
            response = await self._back_door(request)
        else:
            response = JSONResponse(NO_METHOD, 404)
        if response is not None:
            await response(scope, receive, send)

    # --- methods ------------------------------------------------------------------------------------------------------

    async def _method(self, request: HttpRequest, method: str) -> Response | None:
        form = dict(await request.form()) if request.method == "POST" else {}
        desk = self._desks.get(str(form.get("vpbx_api_key", "")))
        if desk is None:
            return JSONResponse(_error(WRONG_KEY, "Неверный ключ доступа", 420), 420)
        product = desk.product
        if product.faults.hang:
            await _gone(request)
            return None
        if product.faults.slow:
            await asyncio.sleep(product.faults.slow)
        status, fields, answer = self._answer(desk, request.method, method, form)
        product.note(Request(product.clock(), method, fields, status, answer.body or answer.location))
        return _response(status, answer)

    def _answer(
        self, desk: Desk, verb: str, method: str, form: Mapping[str, Any]
    ) -> tuple[int, dict[str, Any], Answer]:
        """The HTTP status, what was asked for, and the answer."""
        product = desk.product
        now = product.clock()
        if product.faults.status:
            return product.faults.status, {}, Answer(body=_error(0, "", product.faults.status))
        if product.penalty.shut(now):
            return 401, {}, Answer(body=SHUT)
        if self._too_many(product, method, now):
            return 429, {}, Answer(body=TOO_MANY)
        fields: dict[str, Any] = {}
        try:
            if not product.faults.subscribed:
                raise Refused(NOT_SUBSCRIBED, "Услуга недоступна", status=503)
            if verb != "POST":
                raise Refused(NOT_POST, "Запрос выполнен по методу, отличному от POST")
            fields = _opened(product, form)
            if method not in METHODS:
                return 404, fields, Answer(body=NO_METHOD)
            answer = METHODS[method](desk, fields)
        except Refused as refused:
            if 3000 <= refused.code < 4000 and product.penalty.blunder(now):
                return 401, fields, Answer(body=SHUT)
            status = refused.status or product.error_status
            return status, fields, Answer(body=_error(refused.code, refused.message, status))
        if answer.result is not None:
            code = answer.result[1].get("result")
            if code == WRONG_PARAMETERS:
                product.penalty.blunder(now)
            self._tell(desk, *answer.result)
        return answer.status, fields, answer

    def _too_many(self, product: Product, method: str, now: float) -> bool:
        windows = [window for limits in (product.limits, self._whole) if (window := limits.window(method)) is not None]
        if any(window.full(now) for window in windows):
            return True
        for window in windows:
            window.take(now)
        return False

    def _tell(self, desk: Desk, path: str, fields: dict[str, Any]) -> None:
        """The result of a command: before the events it causes, after them, or never."""
        faults = desk.product.faults
        if faults.results_lost:
            return
        delivery = desk.switchboard.delivery

        async def post() -> None:
            if faults.results_after:
                # after a leg has rung; when exactly is not promised
                await asyncio.sleep(desk.product.habits.ring)
            await delivery.post_json(path, json.dumps(fields))

        if desk.product.webhooks:
            desk.switchboard.spawn(post())

    # --- recordings ---------------------------------------------------------------------------------------------------

    def _file(self, token: str) -> Response:
        """Whoever asks first has it; whoever asks again does not."""
        for desk in self._desks.values():
            recording_id = desk.tokens.pop(token, None)
            if recording_id is not None:
                content = desk.product.files[recording_id].content
                desk.product.note(Request(desk.product.clock(), "files", recording_id, 200, len(content)))
                return Response(content, media_type="audio/mpeg")
        return PlainTextResponse("Not Found", 404)

    def _link(self, scope: Scope) -> Response:
        """queries/recording/link/{id}/{action}/{key}/{timestamp}/{sign}; the id is quoted, for it may hold slashes."""
        parts = bytes(scope["raw_path"]).decode().split("?")[0].split("/")[5:]
        if len(parts) != 5:
            return JSONResponse(NO_METHOD, 404)
        recording_id, _, key, timestamp, signed = map(unquote, parts)
        desk = self._desks.get(key)
        if desk is None or not desk.product.links:
            return PlainTextResponse("Forbidden", 403)
        product = desk.product
        genuine = hmac.compare_digest(link_sign(key, timestamp, recording_id, product.salt), signed)
        if not genuine or not timestamp.isdecimal() or int(timestamp) < product.clock():
            return PlainTextResponse("Forbidden", 403)
        try:
            return RedirectResponse(desk.lend(recording_id), 302)
        except Refused as refused:
            return PlainTextResponse(refused.message, refused.status)

    # --- for another process ------------------------------------------------------------------------------------------

    async def _back_door(self, request: HttpRequest) -> Response:
        """/_lab/state: what there is. /_lab/play {"key", "scenario", "options"}: a call, as if it had just ended."""
        if request.url.path == "/_lab/state":
            return JSONResponse([_state(desk) for desk in self._desks.values()])
        asked = json.loads(await request.body())
        desk = self._desks.get(asked.get("key", "")) or next(iter(self._desks.values()))
        make = SCENARIOS.get(asked.get("scenario", ""))
        if request.url.path != "/_lab/play" or make is None:
            return JSONResponse({"error": f"there are {', '.join(SCENARIOS)}"}, 400)
        played = make(desk.product, **{"at": desk.product.clock(), **asked.get("options", {})})
        desk.switchboard.spawn(desk.switchboard.delivery.play(played.webhooks))
        return JSONResponse(played.truth.as_dict())


def _state(desk: Desk) -> dict[str, Any]:
    product = desk.product
    return {
        "name": product.name,
        "calls": [{"entry_id": entry.entry_id, "direction": entry.direction} for entry in product.entries.values()],
        "commands": product.commands,
        "requests": len(product.requests),
        "webhooks": len(desk.switchboard.delivery.sent),
    }


def _opened(product: Product, form: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of a genuine request. Raises Refused."""
    document = form.get("json")
    if not isinstance(document, str):
        raise Refused(3103, "json: В запросе отсутствует обязательный параметр")
    if not hmac.compare_digest(sign(product.key, document, product.salt), str(form.get("sign", ""))):
        raise Refused(WRONG_SIGN, "Значение ключа не соответствует рассчитанному")
    try:
        fields = json.loads(document)
    except ValueError:
        raise Refused(WRONG_FORMAT, "json: Параметр передан в неправильном формате") from None
    if not isinstance(fields, dict):
        # PHP's empty array is an empty object here
        if fields == []:
            return {}
        raise Refused(WRONG_FORMAT, "json: Параметр передан в неправильном формате")
    return fields


def _error(code: int, message: str, status: int) -> dict[str, Any]:
    return {"name": "Error", "message": message, "code": code, "status": status}


def _response(status: int, answer: Answer) -> Response:
    if answer.location:
        return RedirectResponse(answer.location, status)
    if answer.body is None:
        return Response(status_code=status)
    if isinstance(answer.body, str):
        return PlainTextResponse(answer.body, status, media_type="text/csv")
    return JSONResponse(answer.body, status)


async def _gone(request: HttpRequest) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
