from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from ambry.service.tallies import Counts, Spreads

VALUES = [0.0, 0.001, 0.0010001, 0.5, 1.0, 2.0, 1e9]
BUCKETS = (0.001, 0.5, 1.0)


def lines(registry: CollectorRegistry) -> set[str]:
    return {line for line in generate_latest(registry).decode().splitlines() if "_created" not in line}


def test_they_say_what_those_of_the_library_say() -> None:
    own, library = CollectorRegistry(), CollectorRegistry()
    counts = Counts("a_requests", "Of both.", ["op"], registry=own)
    spreads = Spreads("a_seconds", "How long.", ["op"], buckets=BUCKETS, registry=own)
    counter = Counter("a_requests", "Of both.", ["op"], registry=library)
    histogram = Histogram("a_seconds", "How long.", ["op"], buckets=BUCKETS, registry=library)
    for op in ("x", 'y"\n'):
        for value in VALUES:
            counts.labels(op).inc(value)
            counter.labels(op).inc(value)
            spreads.labels(op).observe(value)
            histogram.labels(op).observe(value)
    assert lines(own) == lines(library)


def test_one_without_labels_is_there_from_the_start() -> None:
    registry = CollectorRegistry()
    bare = Counts("b_bytes", "All.", registry=registry)
    Spreads("b_seconds", "All.", buckets=BUCKETS, registry=registry)
    assert {"b_bytes_total 0.0", 'b_seconds_bucket{le="+Inf"} 0.0', "b_seconds_count 0.0"} <= lines(registry)
    bare.labels().inc()
    assert "b_bytes_total 1.0" in lines(registry)
