"""Whatever happens, the answer is in the envelope: lost paths, wrong methods, large bodies, defects, no database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path as Folder
from zoneinfo import ZoneInfo

import httpx
import pytest
from http_office import KEY, URL, Office, People
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.applications import Starlette

from bridge.db.embedded import EmbeddedPostgres
from bridge.db.pool import open_pool
from bridge.errors import BadInput
from bridge.http.app import create_app
from bridge.http.edge import LARGEST_BODY
from bridge.http.operation import ANYONE, Operation, Path, Visit
from bridge.http.period import moment
from bridge.http.routes import API, specific_first
from bridge.http.services import HttpSettings, Services


@pytest.mark.parametrize(
    "path", ["/nothing", "/api/v1/callz", "/api/v1/calls/1/2", "/static/../app.py", "/static/x.js"]
)
async def test_a_lost_path(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)

    assert answer.status_code == 404
    assert answer.json()["success"] is False
    assert answer.json()["error"]["code"] == "NOT_FOUND"
    assert set(answer.json()["error"]) == {"code", "message", "details"}


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/api/v1/calls", "GET, HEAD, OPTIONS"),
        ("POST", "/health", "GET, HEAD, OPTIONS"),
        ("GET", "/start", "OPTIONS, POST"),
        ("PUT", "/login", "GET, HEAD, OPTIONS, POST"),
        ("BREW", "/api/v1/deliveries/resend", "OPTIONS, POST"),
        ("POST", "/static/live.js", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_wrong_method_names_all_that_are_possible(
    client: httpx.AsyncClient, method: str, path: str, allow: str
) -> None:
    answer = await client.request(method, path)
    options = await client.request("OPTIONS", path)

    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == options.headers["allow"] == allow
    assert options.status_code == 204


async def test_head_is_get_without_a_body(client: httpx.AsyncClient) -> None:
    assert (await client.head("/health")).status_code == 200


async def test_a_head_of_the_stream_does_not_wait_for_its_end(sign_in: People) -> None:
    olga = await sign_in("olga")

    answer = await olga.head("/live", timeout=5)

    assert answer.headers["content-type"].startswith("text/event-stream")


async def test_only_the_configured_front_ends_may_call_from_elsewhere(services: Services, office: Office) -> None:
    services.settings = HttpSettings(secret_keys=(KEY,), public_url=URL, cors_origins=("https://crm.example",))
    preflight = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    async with _client(create_app(services)) as client:
        allowed = await client.options("/api/v1/calls", headers={"Origin": "https://crm.example", **preflight})
        refused = await client.options("/api/v1/calls", headers={"Origin": "https://evil.example", **preflight})

    assert allowed.headers["access-control-allow-origin"] == "https://crm.example"
    assert "access-control-allow-credentials" not in allowed.headers
    assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize("path", ["/api/v1/auth/login", "/start", "/login"])
async def test_a_large_body_is_refused_before_it_is_read_whole(client: httpx.AsyncClient, path: str) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"} if path == "/login" else {}
    pieces = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal pieces
        while pieces < 100:
            pieces += 1
            yield b"x" * (LARGEST_BODY // 4)

    streamed = await client.post(path, content=endless(), headers=form)
    declared = await client.post(path, content=b"x" * (LARGEST_BODY + 1), headers=form)

    for refused in (streamed, declared):
        assert (refused.status_code, refused.json()["error"]["code"]) == (413, "TOO_LARGE")
    assert pieces < 10


async def test_a_defect_is_a_500_that_tells_nothing(
    services: Services, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(visit: Visit) -> int:
        """Breaks."""
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr("bridge.http.app.API", (*API, Path("/broken", GET=Operation(broken, ANYONE))))
    async with _client(create_app(services)) as client:
        answer = await client.get("/broken")

    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "INTERNAL_ERROR")
    assert "hunter2" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def _client(app: Starlette) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=URL)


async def test_every_answer_is_guarded_and_nothing_personal_is_cached(client: httpx.AsyncClient) -> None:
    for path in ("/login", "/health", "/nothing", "/api/v1/calls"):
        answer = await client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
    page = (await client.get("/login")).text
    assert "style=" not in page
    assert "<script>" not in page


async def test_files_may_be_kept_because_their_address_changes_with_them(client: httpx.AsyncClient) -> None:
    page = (await client.get("/login")).text
    address = page.partition('rel="stylesheet" href="')[2].partition('"')[0]

    answer = await client.get(address)

    assert answer.status_code == 200
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-type"].startswith("text/css")


# --- stats, metrics, a lost database ----------------------------------------------------------------------------------


async def test_a_database_that_went_away_is_503_everywhere_and_forgiven_when_it_is_back(
    services: Services, tmp_path: Folder
) -> None:
    server = EmbeddedPostgres(tmp_path, progress=lambda _: None)
    url = await asyncio.to_thread(server.start)
    services.pool = await open_pool(url)
    try:
        async with _client(create_app(services)) as client:
            assert (await client.get("/health")).status_code == 200
            await asyncio.to_thread(server.stop)

            for path in ("/health", "/api/v1/calls"):
                answer = await client.get(path, headers={"Cookie": "bridge_session=any"})
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "DATABASE_PROBLEM"), path
            assert (await client.get("/health")).json()["status"] == "down"
            metrics = await client.get("/metrics")
            assert "bridge_database_up 0.0" in metrics.text

            await asyncio.to_thread(server.start)
            assert (await client.get("/health")).status_code == 200
    finally:
        services.pool.terminate()
        await asyncio.to_thread(server.stop)


async def test_stats_show_ones_own_matrix_pbxs_and_debts(sign_in: People, office: Office) -> None:
    olga, root, anna = await sign_in("olga"), await sign_in("root"), await sign_in("anna")

    own = (await olga.get("/stats")).json()["data"]
    everything = (await root.get("/stats")).json()["data"]

    assert own["matrix"] == {"0367": {"retailcrm": True}}
    assert [pbx["name"] for pbx in own["pbxs"]] == ["office"]
    assert own["deliveries"] == [
        {"enterprise_number": "0367", "integration_type": "retailcrm", "state": "dead", "count": 1}
    ]
    assert own["active_calls"] == 1
    assert own["figures"] == {}, "they tell of every enterprise"
    assert everything["figures"] == {"cache": {"hits": 3}}
    assert everything["matrix"] == {"0367": {"retailcrm": True}, "0400": {"retailcrm": False}}
    assert len(everything["pbxs"]) == 2
    assert (await anna.get("/stats")).status_code == 403


async def test_metrics_count_routes_and_not_their_ids(sign_in: People) -> None:
    olga = await sign_in("olga")
    await olga.get("/api/v1/calls/98765")
    await olga.get("/api/v1/calls/98766")
    await olga.get("/nothing/at/all")

    text = (await olga.get("/metrics")).text

    assert 'bridge_http_requests_total{method="GET",route="/api/v1/calls/{id}",status="404"}' in text
    assert 'route="unknown",status="404"' in text
    assert "/nothing" not in text
    assert "0367" not in text
    assert "bridge_calls_active 1.0" in text
    assert 'bridge_pbxs{state="up"} 2.0' in text
    assert 'bridge_logins_total{outcome="accepted"} 1.0' in text


# --- the description ------------------------------------------------------------------------------------------------


async def test_the_description_is_valid_and_whole(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()

    OpenAPIV31SpecValidator(document).validate()
    described = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    assert described == {(path.template, method) for path in API for method in path.operations}
    calls = document["paths"]["/api/v1/calls"]["get"]
    assert {parameter["name"] for parameter in calls["parameters"]} >= {"page", "limit", "status", "userId"}
    answer = calls["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer["required"] == ["success", "data", "pagination"]
    assert document["paths"]["/api/v1/calls/{id}"]["get"]["parameters"][0]["in"] == "path"


def test_a_fixed_segment_wins_over_a_parameter() -> None:
    wanted = specific_first(["/calls/{id}", "/calls/active", "/{any}/active", "/calls/{id}/legs"])

    assert wanted.index("/calls/active") < wanted.index("/calls/{id}")
    assert wanted.index("/calls/{id}") < wanted.index("/{any}/active")


# --- moments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "x", "2026-13-01", "2026-01-01T25:00", "-1", "2026-01-01T00:00+99:00", "\0"])
def test_what_is_no_moment_is_named(text: str) -> None:
    with pytest.raises(BadInput, match="date_from"):
        moment("date_from", text, ZoneInfo("UTC"))
