"""The FastAGI server's counters, as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from bridge.agi.server import Counters

_ENDS = ("refused", "served", "silent", "malformed", "unrouted", "hung_up", "overdue", "failed")


class _Conversations(Collector):
    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        ended = CounterMetricFamily(
            "bridge_agi_conversations", "FastAGI connections, by how they ended", labels=["outcome"]
        )
        for outcome in _ENDS:
            ended.add_metric([outcome], getattr(self._counters, outcome))
        yield ended
        yield GaugeMetricFamily(
            "bridge_agi_conversations_active", "FastAGI conversations under way", self._counters.active
        )


def publish_conversations(registry: CollectorRegistry, counters: Counters) -> None:
    """Shows `counters` in `registry` from now on."""
    registry.register(_Conversations(counters))
