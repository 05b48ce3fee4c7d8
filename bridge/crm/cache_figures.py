"""How well a cache of configurations does: counted in plain numbers on the way, shown by /stats and /metrics."""

from __future__ import annotations

import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector


class CacheFigures:
    """One cache's. `invalidations` by integration type; `ignored`: notifications of what was known already."""

    def __init__(self, cache: str) -> None:
        self.cache = cache
        self.hits = 0
        self.misses = 0
        self.ignored = 0
        self.failures = 0
        self.size = 0
        self.invalidations: Counter[str] = Counter()
        self.loads: Counter[str] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.last_seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def loading(self, what: str) -> Iterator[None]:
        """Times a load from the source and counts it, or its failure."""
        begun = time.perf_counter()
        try:
            yield
        except BaseException:
            self.failures += 1
            raise
        took = time.perf_counter() - begun
        self.loads[what] += 1
        self.seconds[what] += took
        self.last_seconds[what] = took

    def shown(self) -> dict[str, Any]:
        """For /stats. Times in milliseconds."""
        asked = self.hits + self.misses
        return {
            "size": self.size,
            "hits": self.hits,
            "misses": self.misses,
            "hit_ratio": round(self.hits / asked, 4) if asked else None,
            "loads": dict(self.loads),
            "load_ms": {what: round(seconds * 1000, 2) for what, seconds in self.last_seconds.items()},
            "failures": self.failures,
            "invalidations": dict(self.invalidations),
            "ignored": self.ignored,
        }


class _Caches(Collector):
    def __init__(self, caches: tuple[CacheFigures, ...]) -> None:
        self._caches = caches

    def collect(self) -> Iterator[Metric]:
        lookups = CounterMetricFamily("bridge_cache_lookups", "Look-ups in a cache", labels=("cache", "result"))
        loads = SummaryMetricFamily("bridge_cache_load_seconds", "Loads from the database", labels=("cache", "what"))
        failures = CounterMetricFamily("bridge_cache_load_failures", "Loads that failed", labels=("cache",))
        dropped = CounterMetricFamily(
            "bridge_cache_invalidations", "Entries dropped on a NOTIFY", labels=("cache", "integration")
        )
        ignored = CounterMetricFamily("bridge_cache_ignored", "NOTIFYs of what was known already", labels=("cache",))
        size = GaugeMetricFamily("bridge_cache_size", "Entries in a cache", labels=("cache",))
        for cache in self._caches:
            lookups.add_metric((cache.cache, "hit"), cache.hits)
            lookups.add_metric((cache.cache, "miss"), cache.misses)
            for what, count in cache.loads.items():
                loads.add_metric((cache.cache, what), count, cache.seconds[what])
            failures.add_metric((cache.cache,), cache.failures)
            for kind, count in cache.invalidations.items():
                dropped.add_metric((cache.cache, kind), count)
            ignored.add_metric((cache.cache,), cache.ignored)
            size.add_metric((cache.cache,), cache.size)
        yield from (lookups, loads, failures, dropped, ignored, size)


def publish(registry: CollectorRegistry, *caches: CacheFigures) -> None:
    """Have /metrics show these caches."""
    registry.register(_Caches(caches))
