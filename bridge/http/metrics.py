"""Prometheus metrics of the HTTP side, in a registry of the service's own; the other parts add theirs to it."""

from __future__ import annotations

from collections import Counter as Counted
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class HttpMetrics:
    """Labels hold route templates and states, never a number, a name or an enterprise: /metrics is open."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "bridge_http_requests", "HTTP requests answered", ("method", "route", "status"), registry=registry
        )
        self._seconds = Histogram(
            "bridge_http_request_seconds",
            "Seconds from a request's arrival to the end of its answer",
            ("route",),
            buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
            registry=registry,
        )
        self.logins = Counter("bridge_logins", "Sign-in attempts by outcome", ("outcome",), registry=registry)
        self.streams = Gauge("bridge_live_streams", "Browsers that watch live calls", registry=registry)
        self.script_events = Counter(
            "bridge_script_events", "Events posted by legacy PBX scripts", ("event",), registry=registry
        )

        self.active_calls = Gauge("bridge_calls_active", "Calls going on now", registry=registry)
        self.database_up = Gauge("bridge_database_up", "Whether the database answers", registry=registry)
        self._pbxs = Gauge("bridge_pbxs", "PBXs by the state of their connection", ("state",), registry=registry)

    def show_pbxs(self, states: Iterable[str]) -> None:
        self._pbxs.clear()
        for state, count in Counted(states).items():
            self._pbxs.labels(state).set(count)

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method if method in _METHODS else "other", route, str(status or 499)).inc()
        if route != "/live":  # a stream lasts as long as its page is open
            self._seconds.labels(route).observe(seconds)
