"""Signing in: passwords, tokens, sessions, and everything that must be refused."""

from __future__ import annotations

import base64
import json
import time

import httpx
import jwt
import pytest
from http_office import KEY, PASSWORD, URL, Office, People
from starlette.applications import Starlette

from bridge.db import accounts
from bridge.db.pool import Pool
from bridge.errors import BadInput, SettingsError, TooManyRequests, Unauthorized
from bridge.http.app import create_app
from bridge.http.auth.doors import bootstrap_admin
from bridge.http.auth.limits import LoginLimits
from bridge.http.auth.tokens import AUDIENCE, ISSUER, Tokens
from bridge.http.services import HttpSettings, Services
from bridge.passwords import password_matches

LOGIN = "/api/v1/auth/login"
ANNA = {"email": "anna@example.com", "password": PASSWORD}


async def test_a_right_password_gives_a_token_that_says_who_one_is(sign_in: People, office: Office) -> None:
    anna = await sign_in("anna")

    me = (await anna.get("/api/v1/auth/me")).json()["data"]

    assert me == {
        "id": office.users["anna"],
        "email": "anna@example.com",
        "name": "Анна Иванова",
        "role": "operator",
        "enterprise_number": "0367",
    }


async def test_an_email_is_the_same_in_capitals(client: httpx.AsyncClient) -> None:
    answer = await client.post(LOGIN, json={"email": "ANNA@Example.com", "password": PASSWORD})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"email": "anna@example.com", "password": "guessed"},
        {"email": "nobody@example.com", "password": PASSWORD},
        {"email": "anna@example.com' or '1'='1", "password": PASSWORD},
    ],
)
async def test_a_wrong_password_and_a_stranger_are_refused_in_the_same_words(
    client: httpx.AsyncClient, wrong: dict[str, str]
) -> None:
    answer = await client.post(LOGIN, json=wrong)

    assert answer.status_code == 401
    assert answer.json() == {
        "success": False,
        "error": {"code": "UNAUTHORIZED", "message": "The email or the password is wrong", "details": {}},
    }


async def test_a_user_without_a_password_and_one_of_a_closed_enterprise_cannot_sign_in(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    await pool.execute("update users set password_hash = null where email = 'anna@example.com'")
    await pool.execute("update enterprises set active = false where number = '0400'")

    for name in ("anna", "boris"):
        answer = await client.post(LOGIN, json={"email": f"{name}@example.com", "password": PASSWORD})
        assert answer.status_code == 401


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email": "a@example.com"}, "password"),
        ({"email": "a@example.com", "password": "x", "admin": True}, "admin"),
        ({"email": 5, "password": "x"}, "email"),
        ({"email": "a\0@example.com", "password": "x"}, "email"),
        ({"email": "a@example.com", "password": "x" * 2000}, "password"),
        ([], "body"),
    ],
)
async def test_a_wrong_login_body_is_refused_with_its_field_and_without_its_password(
    client: httpx.AsyncClient, body: object, field: str
) -> None:
    answer = await client.post(LOGIN, json=body)

    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["details"]["field"]) == (400, "BAD_REQUEST", field)
    assert "found" not in error["details"]


async def test_what_is_not_json_is_bad_input(client: httpx.AsyncClient) -> None:
    for body in (b"", b"{", b"\xff\xfe", b"[" * 100_000):
        answer = await client.post(LOGIN, content=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BAD_REQUEST")


async def test_guessing_is_stopped_with_a_time_to_wait(services: Services, office: Office) -> None:
    now = 1000.0
    services.login_limits = LoginLimits(clock=lambda: now)
    async with _stranger(create_app(services)) as client:
        for _ in range(10):
            assert (await client.post(LOGIN, json={**ANNA, "password": "guessed"})).status_code == 401
        refused = await client.post(LOGIN, json=ANNA)
        other = await client.post(LOGIN, json={"email": "olga@example.com", "password": PASSWORD})
        now += 301
        later = await client.post(LOGIN, json=ANNA)

    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "TOO_MANY_REQUESTS")
    assert 0 < int(refused.headers["retry-after"]) <= 300
    assert (other.status_code, later.status_code) == (200, 200)


def test_one_address_cannot_try_many_accounts_but_may_sign_in_as_often_as_it_likes() -> None:
    limits = LoginLimits(clock=lambda: 0.0)
    for _ in range(100):
        limits.begin("anna@example.com", "192.0.2.1")
        limits.succeeded("anna@example.com", "192.0.2.1")

    for account in range(30):
        limits.begin(f"{account}@example.com", "2001:db8::1")
    with pytest.raises(TooManyRequests):
        limits.begin("one-more@example.com", "2001:db8::2")
    limits.begin("one-more@example.com", "2001:db8:0:1::1")


# --- tokens ---------------------------------------------------------------------------------------------------------


def _forged(**changes: object) -> str:
    now = int(time.time())
    claims = {"sub": "1", "iat": now, "exp": now + 60, "iss": ISSUER, "aud": AUDIENCE, "mark": "00" * 16, **changes}
    return jwt.encode({key: value for key, value in claims.items() if value is not None}, KEY, "HS256")


async def test_tokens_that_do_not_hold_are_refused(sign_in: People, client: httpx.AsyncClient) -> None:
    anna = await sign_in("anna")
    good = anna.headers["Authorization"].removeprefix("Bearer ")
    head, claims, signature = good.split(".")
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode() + f".{claims}."
    raised = json.loads(base64.urlsafe_b64decode(claims + "=="))
    raised["sub"] = str(int(raised["sub"]) + 5)
    other = base64.urlsafe_b64encode(json.dumps(raised).encode()).rstrip(b"=").decode()

    for token in (unsigned, f"{head}.{other}.{signature}", _forged(), "x", "", good + "x", "é"):
        answer = await client.get("/api/v1/calls", headers={"Authorization": f"Bearer {token}".encode()})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UNAUTHORIZED"), token
        assert answer.headers["www-authenticate"] == "Bearer"
    basic = await client.get("/api/v1/calls", headers={"Authorization": "Basic YTpi"})
    assert basic.status_code == 401


@pytest.mark.parametrize("missing", ["sub", "iat", "exp", "iss", "aud", "mark"])
def test_a_token_must_have_every_claim(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = Tokens([KEY], 60)
    encode = jwt.encode
    monkeypatch.setattr(
        jwt,
        "encode",
        lambda claims, *rest: encode(
            {**claims, missing: None} if missing == "mark" else {k: v for k, v in claims.items() if k != missing}, *rest
        ),
    )
    token, _ = tokens.issue(_account())

    with pytest.raises(Unauthorized):
        tokens.open(token)


def _account(password_hash: str = "hash") -> accounts.Account:
    return accounts.Account(7, "0367", "anna@example.com", "", "", "operator", password_hash)


def test_a_token_lapses() -> None:
    token, expires = Tokens([KEY], 60).issue(_account(), now=time.time() - 100)

    assert expires < time.time()
    with pytest.raises(Unauthorized, match="expired"):
        Tokens([KEY], 60).open(token)


def test_an_old_key_opens_what_it_signed_until_it_is_taken_from_the_list() -> None:
    newer = "another secret key, newer and long enough"
    token, _ = Tokens([KEY], 60).issue(_account())

    assert Tokens([newer, KEY], 60).open(token)[0] == 7
    with pytest.raises(Unauthorized):
        Tokens([newer], 60).open(token)


@pytest.mark.parametrize("keys", [[], ["short"], [KEY, "short"]])
def test_a_short_key_is_refused_at_the_start(keys: list[str]) -> None:
    with pytest.raises(SettingsError, match="BRIDGE_SECRET_KEY"):
        Tokens(keys, 60)


async def test_a_changed_password_a_deleted_user_and_a_closed_enterprise_end_tokens(
    sign_in: People, pool: Pool, password_hash: str
) -> None:
    anna, petr, boris = await sign_in("anna"), await sign_in("petr"), await sign_in("boris")
    await pool.execute("update users set password_hash = 'changed' where email = 'anna@example.com'")
    await pool.execute("delete from users where email = 'petr@example.com'")
    await pool.execute("update enterprises set active = false where number = '0400'")

    for person in (anna, petr, boris):
        assert (await person.get("/api/v1/calls")).status_code == 401


# --- sessions -------------------------------------------------------------------------------------------------------


def _stranger(app: Starlette, url: str = URL) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=url)


async def _browser(client: httpx.AsyncClient, name: str = "anna") -> httpx.Response:
    return await client.post("/login", data={"email": f"{name}@example.com", "password": PASSWORD})


async def test_a_session_is_a_random_id_in_a_guarded_cookie_and_a_digest_in_the_database(
    client: httpx.AsyncClient, pool: Pool
) -> None:
    answer = await _browser(client)

    cookie = answer.headers["set-cookie"]
    session_id = client.cookies["bridge_session"]
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie
    assert len(session_id) >= 32
    stored = await pool.fetchval("select digest from sessions")
    assert session_id.encode() not in stored
    assert (await client.get("/")).status_code == 200
    assert (await client.get("/api/v1/auth/me")).json()["data"]["email"] == "anna@example.com"


async def test_behind_https_the_cookie_is_secure_and_bound_to_the_host(services: Services, office: Office) -> None:
    services.settings = HttpSettings(secret_keys=(KEY,), public_url="https://bridge.example")
    async with _stranger(create_app(services), "https://bridge.example") as client:
        answer = await _browser(client)
        page = await client.get("/login")

    assert answer.headers["set-cookie"].startswith("__Host-bridge_session=")
    assert "Secure" in answer.headers["set-cookie"]
    assert page.headers["strict-transport-security"].startswith("max-age=")


async def test_signing_out_ends_the_session_for_every_copy_of_the_cookie(
    client: httpx.AsyncClient, app: Starlette
) -> None:
    await _browser(client)
    stolen = client.cookies["bridge_session"]

    await client.post("/logout", headers={"Origin": URL})

    async with _stranger(app) as thief:
        thief.cookies["bridge_session"] = stolen
        assert (await thief.get("/api/v1/calls")).status_code == 401
        assert (await thief.get("/")).headers["location"] == "/login"


@pytest.mark.parametrize(
    "change",
    [
        "update users set password_hash = 'changed' where email = 'anna@example.com'",
        "update sessions set seen_at = now() - interval '13 hours'",
        "update sessions set created_at = now() - interval '31 days'",
        "update enterprises set active = false",
        "delete from sessions",
    ],
)
async def test_a_session_ends(client: httpx.AsyncClient, pool: Pool, change: str) -> None:
    await _browser(client)
    assert (await client.get("/api/v1/auth/me")).status_code == 200

    await pool.execute(change)

    assert (await client.get("/api/v1/auth/me")).status_code == 401


async def test_a_session_in_use_lasts_and_lapsed_ones_are_forgotten(client: httpx.AsyncClient, pool: Pool) -> None:
    await _browser(client)
    await pool.execute("update sessions set seen_at = now() - interval '11 hours'")

    await client.get("/api/v1/auth/me")

    assert await pool.fetchval("select now() - seen_at < interval '1 minute' from sessions")
    await pool.execute("update sessions set seen_at = now() - interval '13 hours'")
    await _browser(client)
    assert await pool.fetchval("select count(*) from sessions") == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Origin": URL},
    ],
)
async def test_a_foreign_page_cannot_use_somebodys_session(
    client: httpx.AsyncClient, office: Office, headers: dict[str, str]
) -> None:
    await _browser(client, "olga")
    dead = office.deliveries["dead"]

    for path in (f"/api/v1/deliveries/{dead}/resend", f"/deliveries/{dead}/resend", "/logout", "/login"):
        answer = await client.post(path, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "FORBIDDEN"), path
    assert (await client.get("/api/v1/auth/me")).status_code == 200


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "same-origin"}, {"Origin": URL}, {}])
async def test_our_own_pages_can(client: httpx.AsyncClient, office: Office, headers: dict[str, str]) -> None:
    await _browser(client, "olga")

    answer = await client.post(f"/deliveries/{office.deliveries['dead']}/resend", headers=headers)

    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_the_form_says_what_is_wrong_in_the_readers_language(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/login",
        data={"email": "anna@example.com<script>", "password": "guessed"},
        headers={"Accept-Language": "de, ru;q=0.9, en;q=0.5"},
    )

    assert answer.status_code == 401
    assert "Почта или пароль не подходят" in answer.text
    assert "<script>" not in answer.text


# --- the first administrator ----------------------------------------------------------------------------------------


async def test_the_first_administrator_is_made_once_and_follows_the_settings(pool: Pool) -> None:
    await bootstrap_admin(pool, "root@example.com", "the first password")
    async with pool.acquire() as db:
        first = await accounts.by_email(db, "root@example.com")
        await bootstrap_admin(pool, "Root@example.com", "the first password")
        same = await accounts.by_email(db, "root@example.com")
        await bootstrap_admin(pool, "root@example.com", "the second password")
        changed = await accounts.by_email(db, "root@example.com")

    assert first
    assert changed
    assert (first.role, first.enterprise_number) == ("administrator", None)
    assert first == same
    assert password_matches(changed.password_hash, "the second password")


async def test_a_user_of_an_enterprise_never_becomes_the_deployments_administrator(pool: Pool, office: Office) -> None:
    with pytest.raises(SettingsError, match="BRIDGE_ADMIN_EMAIL"):
        await bootstrap_admin(pool, "anna@example.com", "another password")
    with pytest.raises(BadInput, match="password"):
        await bootstrap_admin(pool, "new@example.com", "")
