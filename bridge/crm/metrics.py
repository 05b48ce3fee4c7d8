"""Prometheus metrics of the deliveries. Labels hold kinds and outcomes, never an enterprise: /metrics is open."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 15, 60, 300, 3600)


class DeliveryMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("integration", "kind", "outcome")
        self.attempts = Counter(
            "bridge_delivery_attempts", "Attempts to tell a CRM, by what came of them", labels, registry=registry
        )
        self.settled = Counter(
            "bridge_deliveries", "Deliveries that are over, by how they ended", labels, registry=registry
        )
        self.lag = Histogram(
            "bridge_delivery_lag_seconds",
            "Seconds from a call's change being stored to the CRM having it",
            ("integration", "kind"),
            buckets=_SECONDS,
            registry=registry,
        )
        self.owed = Gauge("bridge_deliveries_owed", "Deliveries not over yet", ("integration",), registry=registry)
        self.oldest = Gauge(
            "bridge_deliveries_oldest_seconds", "Age of the oldest of them", ("integration",), registry=registry
        )
        self.dead = Gauge("bridge_deliveries_dead", "Dead letters", ("integration",), registry=registry)
        self.open = Gauge("bridge_crm_breakers_open", "Accounts left alone now", ("integration",), registry=registry)
