"""Every path, who may use it, and the source documents' names for the same."""

from __future__ import annotations

from collections.abc import Iterable

from bridge.http import legacy, pages
from bridge.http.api import auth, calls, deliveries, health, mango, recordings, service, webhooks
from bridge.http.operation import ADMINISTRATORS, ANYONE, STAFF, USERS, Operation, Path

API: tuple[Path, ...] = (
    Path("/health", GET=Operation(health.health, ANYONE)),
    Path("/metrics", GET=Operation(service.metrics, ANYONE)),
    Path("/stats", GET=Operation(service.stats, STAFF)),
    Path("/api/v1/auth/login", POST=Operation(auth.login, ANYONE)),
    Path("/api/v1/auth/logout", POST=Operation(auth.logout, USERS)),
    Path("/api/v1/auth/me", GET=Operation(auth.me, USERS)),
    Path("/api/v1/calls", GET=Operation(calls.list_calls, USERS)),
    Path("/api/v1/calls/active", GET=Operation(calls.active_calls, USERS)),
    Path("/api/v1/calls/{id}", GET=Operation(calls.one_call, USERS)),
    Path("/api/v1/calls/{id}/recording", GET=Operation(recordings.play, ANYONE)),
    Path("/api/v1/calls/{id}/recording/revoke", POST=Operation(recordings.revoke, ADMINISTRATORS)),
    Path("/api/v1/calls/{id}/recording/retry", POST=Operation(recordings.fetch_again, STAFF)),
    Path("/api/v1/deliveries", GET=Operation(deliveries.list_deliveries, STAFF)),
    Path("/api/v1/deliveries/resend", POST=Operation(deliveries.resend_many, ADMINISTRATORS)),
    Path("/api/v1/deliveries/{id}/resend", POST=Operation(deliveries.resend_one, ADMINISTRATORS)),
    Path("/api/v1/webhooks/mango", GET=Operation(webhooks.list_mango, ADMINISTRATORS)),
    Path(
        "/api/v1/mango/reconcile",
        GET=Operation(mango.reconciliations, ADMINISTRATORS),
        POST=Operation(mango.reconcile, ADMINISTRATORS),
    ),
    *legacy.PATHS,
)

PAGES: tuple[Path, ...] = (
    Path("/", GET=Operation(pages.live_page, ANYONE)),
    Path("/live", GET=Operation(pages.live_stream, USERS)),
    Path("/login", GET=Operation(pages.login_page, ANYONE), POST=Operation(pages.sign_in, ANYONE)),
    Path("/logout", POST=Operation(pages.sign_out, ANYONE)),
    Path("/language", GET=Operation(pages.choose_language, ANYONE)),
    Path("/deliveries/{id}/resend", POST=Operation(pages.resend, ADMINISTRATORS)),
    Path("/static/{name}", GET=Operation(pages.static_file, ANYONE)),
)

ALIASES = {
    "/api/auth/login": "/api/v1/auth/login",
    "/api/auth/logout": "/api/v1/auth/logout",
    "/api/auth/me": "/api/v1/auth/me",
    "/api/calls": "/api/v1/calls",
    "/api/calls/active": "/api/v1/calls/active",
    "/api/calls/{id}": "/api/v1/calls/{id}",
    "/api/calls/{id}/recording": "/api/v1/calls/{id}/recording",
}
"""Paths of the source documents -> ours. The same handlers answer; the API's document knows only ours."""


def specific_first(templates: Iterable[str]) -> list[str]:
    """The order in which a router must try them: a fixed segment wins over a parameter in its place."""
    return sorted(templates, key=lambda template: [(part.startswith("{"), part) for part in template.split("/")])
