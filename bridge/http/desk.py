"""What every request can reach: the services, the doors people come in by, the metrics and the live page's hub."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.http.auth.doors import Doors
from bridge.http.live import Hub
from bridge.http.metrics import HttpMetrics
from bridge.http.services import Services


@dataclass(slots=True, frozen=True)
class Desk:
    services: Services
    doors: Doors
    metrics: HttpMetrics
    hub: Hub
