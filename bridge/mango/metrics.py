"""Prometheus metrics of Mango's webhooks. Labels hold kinds and outcomes, never an enterprise: /metrics is open."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_KINDS = frozenset(
    {
        "events/call",
        "events/summary",
        "events/recording",
        "events/record/added",
        "events/record/tagged",
        "events/dtmf",
        "events/sms",
        "flat",
    }
)


class WebhookMetrics:
    """`outcome`: taken, ignored, malformed, refused, check (of the connection), too_large, forbidden, busy."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._received = Counter(
            "bridge_mango_webhooks", "Webhooks of Mango Office by what became of them", ("kind", "outcome"),
            registry=registry,
        )  # fmt: skip

    def count(self, kind: str, outcome: str) -> None:
        known = kind if kind in _KINDS else "result" if kind.startswith("result/") else "other"
        self._received.labels(known, outcome).inc()


class WorkMetrics:
    """Of turning webhooks into calls."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.lag = Histogram(
            "bridge_mango_lag_seconds",
            "Seconds from a webhook's being kept to its call's being written",
            buckets=(0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 15, 60, 300, 3600),
            registry=registry,
        )
        self.worked = Counter("bridge_mango_worked", "Webhooks worked, by outcome", ("outcome",), registry=registry)
        self.waiting = Gauge("bridge_mango_waiting", "Webhooks kept and not worked yet", registry=registry)
        self.oldest = Gauge("bridge_mango_oldest_seconds", "Age of the oldest of them", registry=registry)
        self.clock = Gauge(
            "bridge_mango_clock_seconds",
            "How far Mango's last timestamp was behind (+) or before (-) its webhook's arrival",
            registry=registry,
        )
