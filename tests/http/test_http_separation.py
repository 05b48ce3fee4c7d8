"""No route shows one enterprise what is another's: proved by walking the application's own table of routes."""

from __future__ import annotations

import json
import re

import httpx
import pytest
from http_office import SECRET, Ingested, Office, People
from starlette.routing import Route

from bridge.http.app import create_app
from bridge.http.operation import ANYONE
from bridge.http.routes import ALIASES, API, PAGES
from bridge.http.services import Services

PATHS = {path.template: path for path in (*API, *PAGES)}
TEMPLATES = {**{template: template for template in PATHS}, **ALIASES}
GUARDED = [
    (template, method)
    for template, canonical in TEMPLATES.items()
    for method, operation in PATHS[canonical].operations.items()
    if operation.roles != ANYONE
]
OPEN = {
    *(("GET", path) for path in ("/", "/health", "/metrics", "/login", "/language", "/static/{name}")),
    *(("POST", path) for path in ("/login", "/logout", "/api/v1/auth/login", "/api/auth/login")),
    *(("GET", path) for path in ("/api/v1/calls/{id}/recording", "/api/calls/{id}/recording")),  # or by a signed link
    *(("POST", "/" + event) for event in ("start", "dial", "bridge", "hangup")),
    *(("POST", "/" + event) for event in ("bridge_create", "bridge_leave", "bridge_destroy", "new_callerid")),
}
"""Everything that asks for no sign-in. Whoever opens another door must come here and say so."""


def test_what_is_open_is_known() -> None:
    found = {
        (method, template)
        for template, canonical in TEMPLATES.items()
        for method, operation in PATHS[canonical].operations.items()
        if operation.roles == ANYONE
    }

    assert found == OPEN


def test_the_walk_covers_the_application(services: Services) -> None:
    served = {route.path for route in create_app(services).routes if isinstance(route, Route)}

    assert served == set(TEMPLATES) | {"/openapi.json"}


@pytest.mark.parametrize(("template", "method"), GUARDED)
async def test_a_stranger_sees_nothing(client: httpx.AsyncClient, template: str, method: str) -> None:
    answer = await client.request(method, template.replace("{id}", "1"))

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize("person", ["boris", "anna", "robot"])
@pytest.mark.parametrize(("template", "method"), [pair for pair in GUARDED if pair[0] != "/live"])
async def test_another_enterprises_things_are_not_there(
    sign_in: People, office: Office, template: str, method: str, person: str
) -> None:
    """Each id and number that is not one's own gives 404, or 403 where the role may not at all; no answer names it."""
    who = await sign_in(person)
    foreign = {"boris": ("of anna", "dead", "0367"), "anna": ("of boris", "dead of boris", "0400")}
    call, delivery, number = foreign.get(person, foreign["anna"])
    ids = {"calls": office.calls[call], "deliveries": office.deliveries[delivery]}
    kind = "deliveries" if "deliveries" in template else "calls"
    path = template.replace("{id}", str(ids[kind]))
    fields = _fields(template, method)
    names_enterprise = "enterprise_number" in fields

    if method == "GET":
        answer = await who.get(path, params={"enterprise_number": number} if names_enterprise else None)
    else:
        answer = await who.post(path, json=_body(fields, number) if names_enterprise else None)

    if "{id}" in template or names_enterprise:
        assert answer.status_code in (403, 404), answer.text
    else:
        own = "0400" if person == "boris" else "0367"
        assert answer.status_code in (200, 403), answer.text
        assert set(re.findall(r'"(0367|0400)"', answer.text)) <= {own}


def _body(fields: tuple[str, ...], number: str) -> dict[str, object]:
    return {"enterprise_number": number, **({"all": True} if "all" in fields else {})}


def _fields(template: str, method: str) -> tuple[str, ...]:
    operation = PATHS[TEMPLATES[template]].operations[method]
    kind = operation.params or operation.body
    return kind.__struct_fields__ if kind else ()


async def test_a_page_shows_only_ones_own(client: httpx.AsyncClient) -> None:
    await client.post("/login", data={"email": "boris@example.com", "password": "correct horse battery"})

    page = (await client.get("/")).text

    assert "shop" in page
    assert "office" not in page
    assert page.count('class="call ') == 1


@pytest.mark.parametrize("token", ["", "wrong", "0367", SECRET[:-1], SECRET + " x", "' or true --", "\ud800"])
async def test_scripts_without_the_secret_are_refused(
    client: httpx.AsyncClient, services: Services, token: str
) -> None:
    body = {"Token": token, "UniqueId": "1795224447.0", "Phone": "79161234567", "CallType": 0, "Trunk": "74951000001"}
    content = json.dumps(body)

    answer = await client.post("/start", content=content)

    assert answer.status_code in (400, 401)
    assert answer.json()["success"] is False
    assert isinstance(services.scripts, Ingested)
    assert services.scripts.events == []
