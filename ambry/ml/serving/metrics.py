"""What a scoring service tells of itself, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from ambry.clock import SystemClock
from ambry.ml.extras import needed
from ambry.ml.serving.drift import ColumnDrift

EXTRA = "'ambry[serving]'"
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class ServingMetrics:
    """Counters and times, by model. Usable by threads."""

    def __init__(self) -> None:
        client = needed("prometheus_client", EXTRA)
        self._client = client
        self._clock = SystemClock()
        self.registry = client.CollectorRegistry()
        model: dict[str, Any] = {"labelnames": ["model"], "registry": self.registry}
        self._seconds = client.Histogram("ambry_serving_seconds", "Scoring of a request.", buckets=_BUCKETS, **model)
        self._rows = client.Counter("ambry_serving_rows", "Rows that were scored.", **model)
        self._failures = client.Counter("ambry_serving_failures", "Requests that the model could not score.", **model)
        self._loads = client.Counter("ambry_serving_loads", "Times that a model was loaded.", **model)
        self._shadowed = client.Counter("ambry_serving_shadowed", "Requests that the challenger scored too.", **model)
        self._agreement = client.Gauge(
            "ambry_serving_shadow_agreement",
            "Part of the rows of the last shadowed request with the same answer.",
            **model,
        )
        self._lost = client.Counter(
            "ambry_serving_lost_exposures", "Exposures that could not be written down.", registry=self.registry
        )
        column: dict[str, Any] = {"labelnames": ["column"], "registry": self.registry}
        self._mean = client.Gauge("ambry_serving_input_mean", "Mean of an input since the start.", **column)
        self._missing = client.Gauge(
            "ambry_serving_input_missing", "Part of an input's values that is missing.", **column
        )
        self._shift = client.Gauge(
            "ambry_serving_input_shift", "How many deviations of training the mean of an input has moved.", **column
        )

    @contextmanager
    def timed(self, model: str) -> Generator[None]:
        """Time a scoring; one that raises is a failure."""
        began = self._clock.monotonic()
        try:
            yield
        except Exception:
            self._failures.labels(model).inc()
            raise
        self._seconds.labels(model).observe(self._clock.monotonic() - began)

    def rows(self, model: str, count: int) -> None:
        self._rows.labels(model).inc(count)

    def loaded(self, model: str) -> None:
        self._loads.labels(model).inc()

    def failed(self, model: str) -> None:
        self._failures.labels(model).inc()

    def shadowed(self, model: str, agreement: float) -> None:
        self._shadowed.labels(model).inc()
        self._agreement.labels(model).set(agreement)

    def lost_exposure(self) -> None:
        self._lost.inc()

    def render(self, drift: list[ColumnDrift]) -> bytes:
        """The whole page."""
        for each in drift:
            name = str(each.column)
            self._mean.labels(name).set(each.mean)
            self._missing.labels(name).set(each.missing / max(1, each.rows + each.missing))
            if each.shift is not None:
                self._shift.labels(name).set(each.shift)
        page: bytes = self._client.generate_latest(self.registry)
        return page


def training_of(params: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a manifest's params say of the inputs in training; None where they say nothing."""
    said = params.get("inputs")
    return said if isinstance(said, dict) else None
