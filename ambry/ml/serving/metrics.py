"""What a scoring service tells of itself, in the text format of Prometheus. docs/guide/serving.md says what each one means."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ambry.clock import SystemClock
from ambry.errors import InvalidRequest
from ambry.ml.extras import needed

if TYPE_CHECKING:
    from ambry.ml.serving.served import ServedModel

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class ServingMetrics:
    """Counters and times. Usable by threads."""

    def __init__(self) -> None:
        client = needed("prometheus_client")
        self._client = client
        self._clock = SystemClock()
        self._rendering = threading.Lock()
        self.registry = client.CollectorRegistry()

        def made(kind: Any, name: str, what: str, *labels: str, **more: Any) -> Any:
            return kind(f"ambry_serving_{name}", what, labels, registry=self.registry, **more)

        counter, gauge, histogram = client.Counter, client.Gauge, client.Histogram
        self._requests = made(
            counter, "requests", "Requests to score, by the status that they were answered with.", "code"
        )
        self._request_seconds = made(
            histogram, "request_seconds", "From the head of a request to its answer.", buckets=_BUCKETS
        )
        self._seconds = made(histogram, "seconds", "What a model took to score a request.", "model", buckets=_BUCKETS)
        self._rows = made(counter, "rows", "Rows that were scored.", "model")
        self._failures = made(counter, "failures", "Requests that a model could not score, by its own fault.", "model")
        self._loads = made(counter, "loads", "Times that a model was loaded.", "model")
        self._serving = made(gauge, "model", "1 for each model that serves, and as what.", "role", "model")
        self._watch_error = made(
            gauge, "watch_error", "1 where the newest could not be looked up or loaded; the one before serves.", "role"
        )
        self._waiting = made(gauge, "waiting", "Requests that are scored or wait for a thread.")
        self._held_bytes = made(gauge, "held_bytes", "Bytes of bodies that are held.")
        self._shadowed = made(counter, "shadowed", "Requests that the challenger scored too.", "model")
        self._not_shadowed = made(counter, "not_shadowed", "Requests for which the challenger had no time.")
        self._agreement = made(
            gauge, "shadow_agreement", "Part of the rows of the last shadowed request with the same answer.", "model"
        )
        self._exposures = made(counter, "exposures", "Exposures that were taken.", "arm")
        self._lost = made(counter, "lost_exposures", "Exposures that could not be written down.")
        self._dropped = made(
            gauge, "dropped_lines", "Lines of a log that were given up, as the store took none.", "log"
        )
        self._mean = made(gauge, "input_mean", "Mean of an input since its model was loaded.", "model", "column")
        self._missing = made(gauge, "input_missing", "Part of an input's values that is missing.", "model", "column")
        self._shift = made(
            gauge, "input_shift", "How many deviations of training the mean of an input has moved.", "model", "column"
        )
        self._psi = made(
            gauge, "input_psi", "Population stability index of an input beside its training.", "model", "column"
        )
        self._distance = made(
            gauge,
            "input_distance",
            "Largest distance between the distribution functions of an input, now and in training.",
            "model",
            "column",
        )
        self._missing_before = made(
            gauge,
            "input_training_missing",
            "Part of an input's values that was missing in training.",
            "model",
            "column",
        )
        self._unknown = made(
            gauge, "input_unknown", "Part of the cells of a feature that is out of its vocabulary.", "model", "column"
        )
        self._unknown_before = made(gauge, "input_training_unknown", "The same part in training.", "model", "column")
        self._skipped = made(gauge, "input_skipped", "Requests that drift did not look at.", "model")
        self._strange = made(gauge, "input_strange", "Requests with another number of columns than training.", "model")
        self._left_out = made(
            gauge, "left_out_names", "Names of training that rows did not have, of each row.", "model"
        )
        self._new_terms = made(gauge, "unknown_terms", "Terms of rows that no effect has a coefficient for.", "model")
        self._new_entities = made(gauge, "unknown_entities", "Entities of rows that have no model.", "model")

    @contextmanager
    def timed(self, model: str) -> Generator[None]:
        """Time a scoring; one that raises is a failure, unless it is of the request."""
        began = self._clock.monotonic()
        try:
            yield
        except InvalidRequest:
            raise
        except Exception:
            self.failed(model)
            raise
        self._seconds.labels(model).observe(self._clock.monotonic() - began)

    def began(self) -> float:
        return self._clock.monotonic()

    def answered(self, code: int, began: float) -> None:
        self._requests.labels(str(code)).inc()
        self._request_seconds.observe(self._clock.monotonic() - began)

    def taken(self, waiting: int, held_bytes: int) -> None:
        self._waiting.set(waiting)
        self._held_bytes.set(held_bytes)

    def rows(self, model: str, count: int) -> None:
        self._rows.labels(model).inc(count)

    def loaded(self, model: str) -> None:
        self._loads.labels(model).inc()

    def failed(self, model: str) -> None:
        self._failures.labels(model).inc()

    def shadowed(self, model: str, agreement: float) -> None:
        self._shadowed.labels(model).inc()
        with self._rendering:
            self._agreement.clear()
            self._agreement.labels(model).set(agreement)

    def not_shadowed(self) -> None:
        self._not_shadowed.inc()

    def exposed(self, arm: str) -> None:
        self._exposures.labels(arm).inc()

    def lost_exposure(self) -> None:
        self._lost.inc()

    def render(
        self,
        *,
        serving: Mapping[str, str],
        errors: Mapping[str, bool],
        drift: Iterable[ServedModel],
        dropped: Mapping[str, int],
    ) -> bytes:
        """The whole page. What served before has no gauges any more."""
        with self._rendering:
            for gauge in (
                self._serving,
                self._watch_error,
                self._dropped,
                self._strange,
                self._skipped,
                self._left_out,
                self._new_terms,
                self._new_entities,
                *self._drifts(),
            ):
                gauge.clear()
            for role, model in serving.items():
                self._serving.labels(role, model).set(1)
            for role, failed in errors.items():
                self._watch_error.labels(role).set(failed)
            for log, lines in dropped.items():
                self._dropped.labels(log).set(lines)
            for served in drift:
                self._tell_drift(served)
            page: bytes = self._client.generate_latest(self.registry)
            return page

    def _tell_drift(self, served: ServedModel) -> None:
        model, drift = served.name, served.drift
        self._strange.labels(model).set(drift.strange)
        self._skipped.labels(model).set(drift.skipped)
        if (unmatched := served.predictor.unmatched) is not None:
            self._left_out.labels(model).set(unmatched.names)
            self._new_terms.labels(model).set(unmatched.terms)
            self._new_entities.labels(model).set(unmatched.entities)
        columns = drift.columns()
        for name, each in zip(served.column_names(len(columns)), columns, strict=True):
            self._mean.labels(model, name).set(each.mean)
            self._missing.labels(model, name).set(each.missing / max(1, each.rows + each.missing))
            for gauge, value in (
                (self._shift, each.shift),
                (self._psi, each.psi),
                (self._distance, each.distance),
                (self._missing_before, each.training_missing),
            ):
                if value is not None:
                    gauge.labels(model, name).set(value)
        for feature in drift.vocabularies():
            if feature.unknown is not None:
                self._unknown.labels(model, feature.feature).set(feature.unknown)
            self._unknown_before.labels(model, feature.feature).set(feature.training_unknown)

    def _drifts(self) -> tuple[Any, ...]:
        """What is told of each input."""
        return (
            self._mean,
            self._missing,
            self._shift,
            self._psi,
            self._distance,
            self._missing_before,
            self._unknown,
            self._unknown_before,
        )
