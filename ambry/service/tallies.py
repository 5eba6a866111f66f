"""Counters and histograms of what happens thousands of times a second on one thread: plain numbers, read when scraped.

prometheus_client's own take a lock and check their arguments at every step, a few microseconds of each request. These are
collectors of its registry like any other, with the part of its face that is used here. One thread counts; any may collect.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class Count:
    """One counter; add to its `value` where that happens often."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        self.value += amount


class Counts(Collector):
    """A counter for each set of labels."""

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str] = (), *, registry: CollectorRegistry
    ) -> None:
        self._name, self._documentation, self._names = name, documentation, labels
        self._children: dict[tuple[str, ...], Count] = {}
        if not labels:
            self.labels()
        registry.register(self)

    def labels(self, *values: str) -> Count:
        """The counter of these values, the same each time: keep it where it is needed often."""
        return self._children.setdefault(values, Count())

    def describe(self) -> Iterable[Metric]:
        return [CounterMetricFamily(self._name, self._documentation, labels=self._names)]

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self._name, self._documentation, labels=self._names)
        for values, count in list(self._children.items()):
            family.add_metric(values, count.value)
        yield family


class Spread:
    """One histogram."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Of values up to each bound and above the one before; the last are those above all."""
        self.sum = 0.0

    def observe(self, amount: float) -> None:
        self.counts[bisect_left(self._bounds, amount)] += 1
        self.sum += amount


class Spreads(Collector):
    """A histogram for each set of labels; `buckets` are its bounds, in growing order, without infinity."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str] = (),
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name, self._documentation, self._names = name, documentation, labels
        self._bounds = tuple(map(float, buckets))
        self._children: dict[tuple[str, ...], Spread] = {}
        if not labels:
            self.labels()
        registry.register(self)

    def labels(self, *values: str) -> Spread:
        """The histogram of these values, the same each time."""
        return self._children.setdefault(values, Spread(self._bounds))

    def describe(self) -> Iterable[Metric]:
        return [HistogramMetricFamily(self._name, self._documentation, labels=self._names)]

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._names)
        for values, spread in list(self._children.items()):
            total = 0
            buckets: list[tuple[str, float]] = []
            for bound, count in zip((*self._bounds, float("inf")), list(spread.counts), strict=True):
                total += count
                buckets.append(("+Inf" if bound == float("inf") else str(bound), total))
            family.add_metric(values, buckets, spread.sum)
        yield family
