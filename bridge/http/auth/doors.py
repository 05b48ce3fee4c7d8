"""Proof of who is asking: a bearer token or a session cookie; signing in and out; the guard against forged requests."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from urllib.parse import urlsplit

import asyncpg
import structlog
from starlette.requests import Request
from starlette.responses import Response

from bridge.db import accounts, sessions
from bridge.db.accounts import Account
from bridge.errors import Forbidden, SettingsError, TooManyRequests, Unauthorized
from bridge.http.auth.limits import LoginLimits
from bridge.http.auth.principal import Principal, password_mark
from bridge.http.auth.tokens import Tokens
from bridge.http.metrics import HttpMetrics
from bridge.passwords import WEAK, hash_password, password_matches

log = structlog.get_logger(__name__)

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_SESSION_SECONDS = 30 * 24 * 3600
_VERIFICATIONS = 4
"""Passwords checked at once: each takes 64 MiB."""


class Doors:
    """Authentication over one database. `public_url` says which origin is ours and whether cookies are for https."""

    def __init__(
        self, pool: asyncpg.Pool, tokens: Tokens, metrics: HttpMetrics, public_url: str, limits: LoginLimits
    ) -> None:
        self._pool = pool
        self._tokens = tokens
        self._metrics = metrics
        self._limits = limits
        self._verifying = asyncio.Semaphore(_VERIFICATIONS)
        public = urlsplit(public_url)
        self._public_host = public.netloc
        self._secure = public.scheme == "https"
        # The __Host- prefix makes browsers refuse the cookie from a sibling domain or without https.
        self.cookie = "__Host-bridge_session" if self._secure else "bridge_session"

    async def principal(self, request: Request) -> Principal | None:
        """Who sent the request; None when it carries no proof. Raises Unauthorized for a proof that does not hold,
        Forbidden for one that a foreign page made the browser send."""
        authorization = request.headers.get("authorization")
        if authorization is not None:
            scheme, _, token = authorization.partition(" ")
            if scheme.lower() != "bearer":
                raise Unauthorized("Authorization: only Bearer tokens are accepted")
            return await self._bearer(token.strip())
        session_id = request.cookies.get(self.cookie)
        if not session_id:
            return None
        if request.method not in SAFE_METHODS:
            self.refuse_forgery(request)
        return await self.session(session_id)

    async def session(self, session_id: str) -> Principal | None:
        """Whose session this is; None when it has lapsed, was ended, or its password has changed."""
        async with self._pool.acquire() as connection:
            found = await sessions.find(connection, _digest(session_id))
        if found is None or not hmac.compare_digest(found[1], password_mark(found[0])):
            return None
        return Principal.of(found[0])

    async def check_password(self, email: str, password: str, address: str) -> Account:
        """The account behind `email` and `password`. Raises Unauthorized and TooManyRequests; a stranger's email takes
        as long as a wrong password."""
        try:
            self._limits.begin(email, address)
        except TooManyRequests:
            self._metrics.logins.labels("limited").inc()
            raise
        async with self._pool.acquire() as connection:
            account = await accounts.by_email(connection, email)
        async with self._verifying:
            matches = await asyncio.to_thread(password_matches, account.password_hash if account else None, password)
        if account is None or not matches:
            self._metrics.logins.labels("refused").inc()
            log.info("login_refused", address=address)
            raise Unauthorized("The email or the password is wrong")
        self._limits.succeeded(email, address)
        self._metrics.logins.labels("accepted").inc()
        log.info("login_accepted", user_id=account.id, address=address)
        return account

    def token(self, account: Account) -> tuple[str, int]:
        """A token for the API and when it lapses (seconds since the epoch)."""
        return self._tokens.issue(account)

    async def open_session(self, account: Account, response: Response) -> None:
        """Signs a browser in: stores a session and puts its id, and nothing else, into the cookie."""
        session_id = secrets.token_urlsafe(32)
        async with self._pool.acquire() as connection:
            await sessions.create(connection, _digest(session_id), account.id, password_mark(account))
        response.set_cookie(
            self.cookie,
            session_id,
            max_age=_SESSION_SECONDS,
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="lax",
        )

    async def close_session(self, request: Request, response: Response) -> None:
        """Signs a browser out, here and in the database."""
        if session_id := request.cookies.get(self.cookie):
            async with self._pool.acquire() as connection:
                await sessions.end(connection, _digest(session_id))
        response.delete_cookie(self.cookie, path="/", secure=self._secure, httponly=True, samesite="lax")

    def refuse_forgery(self, request: Request) -> None:
        """Raises Forbidden when a browser says that another site's page sent this. Every browser of today says so by
        Sec-Fetch-Site, older ones by Origin; what sends neither is no browser, and nobody can forge through it."""
        site = request.headers.get("sec-fetch-site")
        if site is not None:
            if site not in ("same-origin", "none"):
                raise Forbidden("Requests from pages of other sites are refused", field="Sec-Fetch-Site")
            return
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc not in (self._public_host, request.headers.get("host")):
            raise Forbidden("Requests from pages of other sites are refused", field="Origin")

    async def _bearer(self, token: str) -> Principal:
        user_id, mark = self._tokens.open(token)
        async with self._pool.acquire() as connection:
            account = await accounts.by_id(connection, user_id)
        if account is None or not hmac.compare_digest(mark, password_mark(account)):
            raise Unauthorized("The token is not valid")
        return Principal.of(account)


async def bootstrap_admin(pool: asyncpg.Pool, email: str, password: str) -> None:
    """Makes sure that the deployment's first administrator exists and has this password.

    An unchanged password is left alone, or every start would sign the administrator out. Raises SettingsError when the
    email belongs to a user of an enterprise, BadInput for a password of a wrong length."""
    async with pool.acquire() as connection:
        known = await accounts.by_email(connection, email)
    unchanged = known is not None and await asyncio.to_thread(password_matches, known.password_hash, password)
    if known and unchanged and known.role == "administrator" and known.enterprise_number is None:
        return
    if len(password) < WEAK:
        log.warning("weak_password", setting="BRIDGE_ADMIN_PASSWORD", advice=f"choose one of {WEAK} characters or more")
    password_hash = await asyncio.to_thread(hash_password, password)
    async with pool.acquire() as connection:
        user_id = await accounts.store_deployment_administrator(connection, email, password_hash)
    if not user_id:
        raise SettingsError(
            f"BRIDGE_ADMIN_EMAIL: {email} is a user of an enterprise; the deployment's administrator needs another",
            field="BRIDGE_ADMIN_EMAIL",
        )
    log.info("deployment_administrator_ready", user_id=user_id)


def _digest(session_id: str) -> bytes:
    return hashlib.sha256(session_id.encode()).digest()
