"""What it costs to publish 10,000 models of entities in one version, and to score one of them.

    python -m tests.bench.photon [--rounds 5] [--models 10000] [--dir DIRECTORY]

Three data nodes and a frontend. A GLMix of one fixed effect and so many members, ten coefficients each, is written in Photon's
layout, published, and scored: from the cluster by one range for each, and from the cache. Each score is compared with that of
the model in memory. Exit codes: as tests.bench.run.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence

from rich.console import Console

from ambry import CacheConfig
from ambry.client.sync.client import AmbryClient
from ambry.ml import models
from ambry.ml.photon.examples import examples_of
from ambry.ml.photon.serving import open_scorer
from deploy.local_cluster import LocalCluster
from tests.bench import report
from tests.bench.child import BenchFailed, exit_code_of
from tests.bench.scratch import scratch
from tests.support.photon_models import many_entities

MODELS = 10_000
PUBLISH_S_MAX = 30.0
CLUSTER_S_MAX = 5e-3
CACHE_S_MAX = 50e-6
"""To score one, at the median."""
ASKED = 1_000
DISK_BYTES = 2 << 30


def times(call: Callable[[str], object], ids: Sequence[str]) -> list[float]:
    """Of each call, seconds, sorted."""
    found = []
    for id in ids:
        before = time.perf_counter()
        call(id)
        found.append(time.perf_counter() - before)
    return sorted(found)


def bench(arguments: argparse.Namespace, out: Console) -> int:
    made = many_entities(arguments.models)
    features = dict.fromkeys(made.fixed["global"].index.features[1:], 0.5)
    ids = random.Random(1).choices(made.random["per-member"].entities, k=ASKED)
    rows = examples_of([features] * ASKED, [0.0] * ASKED, ids={"memberId": ids})
    expected = made.scores(rows).tolist()
    with (
        scratch(arguments.dir, needed_bytes=DISK_BYTES) as directory,
        LocalCluster(directory / "cluster", datacenters=1, frontends=1, port_base=0, partitions=4) as cluster,
        AmbryClient([cluster.frontends()[0].url], cache=CacheConfig(directory=directory / "cache")) as client,
    ):
        published = []
        for number in range(arguments.rounds):
            # Another model each time: the parts of the same one would not be stored again.
            other = many_entities(arguments.models, seed=number + 2) if number else made
            before = time.perf_counter()
            version = models.publish(client, "members", other)
            published.append(time.perf_counter() - before)
            if not number:
                first = version
        opened_at = time.perf_counter()
        scorer = open_scorer(client, first.place)
        opened = time.perf_counter() - opened_at

        def score(id: str) -> float:
            return scorer.score({"memberId": id}, features)

        def compare(where: str) -> None:
            wrong = sum(abs(score(id) - value) > 1e-12 for id, value in zip(ids, expected, strict=True))
            if wrong:
                raise BenchFailed(f"{wrong} of {ASKED} scores from {where} are not those of the model in memory")

        compare("the cluster")
        cluster_s = times(score, ids)
        scorer.fetch()
        compare("the cache")
        cache_s = times(score, ids)
    held = True
    for what, found, most, unit in (
        (f"{arguments.models:,} models published", sorted(published), PUBLISH_S_MAX, 1.0),
        ("one scored from the cluster", cluster_s, CLUSTER_S_MAX, 1e-3),
        ("one scored from the cache", cache_s, CACHE_S_MAX, 1e-6),
    ):
        median = statistics.median(found)
        name = {1.0: "s", 1e-3: "ms", 1e-6: "us"}[unit]
        high = found[int(len(found) * 0.99)]
        held = held and median <= most
        out.print(
            f"{what}: {median / unit:.2f} {name} (p99 {high / unit:.2f}; at most {most / unit:g}: "
            f"{'held' if median <= most else 'MISSED'})"
        )
    out.print(f"opened, the indexes of entities and fixed effects fetched: {opened * 1000:.1f} ms")
    return 0 if held else 1


def main(words: Sequence[str] | None = None) -> int:
    parser = report.options("tests.bench.photon", "Measure models of entities.")
    parser.add_argument("--models", type=int, default=MODELS, help=f"how many there are (default {MODELS})")
    arguments = parser.parse_args(words)
    return exit_code_of(lambda: bench(arguments, report.console()))


if __name__ == "__main__":
    raise SystemExit(main())
