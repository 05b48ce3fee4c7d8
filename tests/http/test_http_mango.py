"""Comparing Mango's history by the API: by administrators, each for their own enterprise."""

from __future__ import annotations

import httpx
import pytest
from http_office import People, Remembered

from bridge.errors import Conflict, NotFound
from bridge.http.services import Services

PATH = "/api/v1/mango/reconcile"


@pytest.fixture
def history(services: Services) -> Remembered:
    assert isinstance(services.histories, Remembered)
    return services.histories


async def test_an_administrator_has_the_history_compared(sign_in: People, history: Remembered) -> None:
    boris = await sign_in("boris")
    answer = await boris.post(PATH, json={"since": "2026-11-20T00:00:00+03:00"})
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    assert (data["done"], data["products"][0]["product"], data["products"][0]["told"]) == (True, "of 0400", 2)
    assert history.begun == [("0400", 1795122000.0)]


async def test_what_takes_longer_goes_on(sign_in: People, history: Remembered) -> None:
    history.done = False
    boris = await sign_in("boris")
    data = (await boris.post(PATH, json={})).json()["data"]
    assert (data["done"], data["products"][0]["running"]) == (False, True)
    assert (await boris.get(PATH)).json()["data"][0]["running"] is True
    assert history.begun == [("0400", None)]


@pytest.mark.parametrize(
    ("body", "field"),
    [({"since": "yesterday"}, "since"), ({"since": "2026-11-20T00:00:00"}, "since"), ({"till": 1}, "till")],
)
async def test_bad_input_compares_nothing(
    sign_in: People, history: Remembered, body: dict[str, object], field: str
) -> None:
    answer = await (await sign_in("boris")).post(PATH, json=body)
    assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (400, field)
    assert history.begun == []


async def test_the_deployments_staff_say_whose(sign_in: People, history: Remembered) -> None:
    root = await sign_in("root")
    assert (await root.post(PATH, json={})).status_code == 400
    assert (await root.post(PATH, json={"enterprise_number": "0367"})).status_code == 200
    assert history.begun == [("0367", None)]


@pytest.mark.parametrize("problem", [Conflict("It goes on"), NotFound("No Mango")])
async def test_why_not(sign_in: People, history: Remembered, problem: Conflict | NotFound) -> None:
    history.problem = problem
    answer = await (await sign_in("boris")).post(PATH, json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (problem.status, problem.code)


@pytest.mark.parametrize("person", ["anna", "robot"])
async def test_it_is_for_administrators(sign_in: People, history: Remembered, person: str) -> None:
    who: httpx.AsyncClient = await sign_in(person)
    assert (await who.post(PATH, json={})).status_code == 403
    assert history.begun == []
