"""Prometheus metrics of a process: made once, children bound once, rendered off the event loop.

The names of a process's metrics stand in one module of its own package (`datanode/metrics.py`, `frontend/metrics.py`).
"""

from __future__ import annotations

from prometheus_client import GC_COLLECTOR as _GC
from prometheus_client import PLATFORM_COLLECTOR as _PLATFORM
from prometheus_client import PROCESS_COLLECTOR as _PROCESS
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["CONTENT_TYPE", "LATENCY_BUCKETS_S", "Counter", "Gauge", "Histogram", "registry", "render"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

LATENCY_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

registry = CollectorRegistry()
for _collector in (_PROCESS, _PLATFORM, _GC):
    registry.register(_collector)


def render() -> bytes:
    """The text that /metrics serves. Takes milliseconds: call it in a thread."""
    return generate_latest(registry)
