"""Prometheus metrics of recordings."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class RecordingMetrics:
    """Labels hold sources and states, never an enterprise or a number: /metrics is open."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.attempts = Counter(
            "bridge_recording_attempts",
            "Attempts to fetch a recording, by what came of them",
            ("source", "outcome"),
            registry=registry,
        )
        self.bytes = Counter("bridge_recording_bytes", "Bytes of recordings stored", ("source",), registry=registry)
        self.seconds = Histogram(
            "bridge_recording_seconds",
            "Seconds that fetching, storing and verifying one recording took",
            ("source",),
            buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000),
            registry=registry,
        )
        self.expired = Counter(
            "bridge_recordings_expired", "Recordings removed when their time was over", registry=registry
        )
        self.owed = Gauge("bridge_recordings_owed", "Recordings that are still to be fetched", registry=registry)
        self.oldest = Gauge(
            "bridge_recordings_oldest_seconds", "How long the oldest of them has been due", registry=registry
        )
        self.failed = Gauge("bridge_recordings_failed", "Recordings that were given up", registry=registry)
