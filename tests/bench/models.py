"""What it costs to learn which models there are, and which bytes each of them is.

    python -m tests.bench.models [--rounds 5] [--models 10000] [--dir DIRECTORY]

Three data nodes and a frontend; each model is a linear one, published with its weights and metrics: a dataset with one version.
`list_models` gives all of them with their newest versions and the ids of these; beside it, one model by its name, version or
alias. Exit codes: as tests.bench.run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from rich.console import Console

from ambry.client.refs import VersionRef
from ambry.client.sync.client import AmbryClient
from ambry.ml import models
from deploy.local_cluster import LocalCluster
from tests.bench import report
from tests.bench.child import BenchFailed, exit_code_of
from tests.bench.scratch import scratch

MODELS = 10_000
LIST_S_MAX = 1.0
"""To list and resolve them all."""
WRITERS = 8
ONE_BY_ONE = 200
DISK_BYTES = 2 << 30


def seconds(call: Callable[[], object], rounds: int) -> list[float]:
    found = []
    for _ in range(rounds):
        before = time.perf_counter()
        call()
        found.append(time.perf_counter() - before)
    return found


def weights_of(number: int) -> dict[str, Any]:
    """A linear model of ten features, of which no two are the same."""
    return {"coef": np.full(10, number, np.float32), "intercept": np.zeros(1, np.float32)}


def fill(client: AmbryClient, count: int) -> None:
    def make(number: int) -> None:
        name = f"model-{number:05}"
        models.publish(
            client, name, weights_of(number), metrics={"accuracy": number / count}, code="tests.bench.models"
        )
        if number < ONE_BY_ONE:
            models.promote(client, f"{name}@1.0.0")

    with ThreadPoolExecutor(WRITERS) as pool:
        for _ in pool.map(make, range(count)):
            pass


def bench(arguments: argparse.Namespace, out: Console) -> int:
    with (
        scratch(arguments.dir, needed_bytes=DISK_BYTES) as directory,
        LocalCluster(directory / "cluster", datacenters=1, frontends=1, port_base=0, partitions=4) as cluster,
        AmbryClient([cluster.frontends()[0].url]) as client,
    ):
        fill(client, arguments.models)
        listed = list(models.list_models(client))
        if len({each.id for each in listed}) != arguments.models:
            raise BenchFailed(f"{len(listed)} models were listed, and {arguments.models} were made")
        last = arguments.models - 1
        if models.open(client, f"model-{last:05}").load()["coef"][0] != last:
            raise BenchFailed("the newest model is another one")
        whole = seconds(lambda: list(models.list_models(client)), arguments.rounds)
        each = range(min(ONE_BY_ONE, arguments.models))
        ways = {
            "by version": [VersionRef(f"model-{number:05}", "1.0.0") for number in each],
            "by name": [VersionRef(f"model-{number:05}") for number in each],
            "by alias": [VersionRef(f"model-{number:05}", "@champion") for number in each],
        }
        single = {
            way: seconds(lambda places=places: [client.head(place) for place in places], arguments.rounds)  # type: ignore[misc]
            for way, places in ways.items()
        }
    median = statistics.median(whole)
    out.print(
        f"{arguments.models:,} models listed with their newest versions in {median:.2f} s ({min(whole):.2f} to "
        f"{max(whole):.2f}; at most {LIST_S_MAX:g}: {'held' if median <= LIST_S_MAX else 'MISSED'})"
    )
    for way, found in single.items():
        out.print(f"one {way}: {statistics.median(found) / len(each) * 1000:.2f} ms")
    return 0 if median <= LIST_S_MAX else 1


def main(words: Sequence[str] | None = None) -> int:
    parser = report.options("tests.bench.models", "Measure the list of models.")
    parser.add_argument("--models", type=int, default=MODELS, help=f"how many there are (default {MODELS})")
    arguments = parser.parse_args(words)
    return exit_code_of(lambda: bench(arguments, report.console()))


if __name__ == "__main__":
    raise SystemExit(main())
