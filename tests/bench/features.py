"""What typed features cost: rows by key beside Feast, scoring, and the way through Avro files of names, terms and values.

    python -m tests.bench.features [--rounds 5] [--feast PYTHON] [--members 10000] [--output FILE] [--dir DIRECTORY]

Three data nodes and a frontend. PYTHON is an interpreter with Feast (`pip install feast`), whose SQLite online store has the
same table; without one its rows are left out, and it says so. Rounds go over all rows in turn; in each of them both sides
follow each other. Each ratio is the median of the rounds'. Exit codes: as tests.bench.run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from rich.console import Console

from ambry.client.model import CacheConfig
from ambry.client.sync.client import AmbryClient
from ambry.ml import snapshots, sources
from ambry.ml.features import FeatureMetadata, parse_definitions
from deploy.local_cluster import LocalCluster
from tests.bench import report
from tests.bench.child import BenchFailed, exit_code_of
from tests.bench.client_figures import Cost, Row, measure, show
from tests.bench.scratch import scratch

MEMBERS = 10_000
FEATURES = 10
KEYS = 100
READS = 20
SCORED_FEATURES = 100
MODELS = 50
SCORED_PER_S_MIN = 50_000_000
"""Of the article on LinkedIn's features: 100 features of 10,000 members for 50 models, each second."""
DISK_BYTES = 2 << 30
WHEN = datetime(2026, 11, 27, tzinfo=UTC)
SEED = 7
ACTIONS = [f"Action{number}" for number in range(SCORED_FEATURES - 1)]


def numbers(count: int) -> FeatureMetadata:
    text = "".join(f"f{number}: {{valType: FLOAT}}\n" for number in range(count))
    return FeatureMetadata.of([parse_definitions(text, "bench")])


def table_of(names: list[str], members: int) -> Any:
    draw = np.random.default_rng(SEED)
    columns = {name: draw.random(members, dtype=np.float32) for name in names}
    return pa.table({"member": np.arange(members), **columns})


@contextlib.contextmanager
def feast(python: str, table: Any, names: list[str], directory: Path) -> Iterator[Callable[[list[int]], int]]:
    """What reads rows by key out of Feast."""
    directory.mkdir()
    stamped = table.append_column("event_timestamp", pa.array([WHEN] * len(table), pa.timestamp("us", "UTC")))
    stamped.to_pandas().to_parquet(directory / "table.parquet")
    words: list[str | Path] = [
        python,
        Path(__file__).with_name("feast_child.py"),
        directory / "table.parquet",
        directory,
        *names,
    ]
    env = {**os.environ, "FEAST_USAGE": "False"}
    env.pop("PYTHONPATH", None)
    log = (directory / "log").open("wb")
    with (
        log,
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=env) as child,
    ):
        said, asked = child.stdout, child.stdin
        if said is None or asked is None:
            raise BenchFailed("Feast has no pipes")
        for line in said:
            if line == "ready\n":
                break
        else:
            raise BenchFailed(f"Feast did not start: {(directory / 'log').read_text(errors='replace')[-500:]}")

        def read(keys: list[int]) -> int:
            asked.write(" ".join(map(str, keys)) + "\n")
            asked.flush()
            return int(said.readline())

        yield read
        asked.close()


def key_rows(client: AmbryClient, table: Any, read_feast: Callable[[list[int]], int]) -> list[Row]:
    """100 random rows of 10 features: from the cache, and by ranges of the cluster."""
    metadata = numbers(FEATURES)
    urns = list(metadata.urns)
    # Batches of few rows, as one writes what is read by ranges: a row brings its batch along.
    settings: dict[str, Any] = {"metadata": metadata, "entity": "member", "as_of": WHEN}
    snapshots.write(client, "members", table, urns, **settings)
    snapshots.write(client, "members-ranges", table, urns, rows_per_batch=32, **settings)
    cached = snapshots.open(client, "members", metadata=metadata)
    ranged = snapshots.open(client, "members-ranges", metadata=metadata)
    reader = cached.reader(urns)
    chance = random.Random(SEED)

    def keys() -> list[int]:
        return [chance.randrange(len(table)) for _ in range(KEYS)]

    def checked(call: Callable[[list[int]], int]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(READS):
                if call(keys()) != KEYS * FEATURES:
                    raise BenchFailed("not all values were read")

        return run

    def from_cache(asked: list[int]) -> int:
        rows = reader.read(asked)
        return 0 if rows.missing else sum(len(values) for values in rows.values.values())

    def by_ranges(asked: list[int]) -> int:
        return sum(len(column) - column.null_count for column in ranged.read(urns, asked).columns[1:])

    beside = checked(read_feast)
    return [
        Row(name="100 rows, cached / Feast", ours=checked(from_cache), beside=beside, most=1 / 50, count=READS),
        Row(name="100 rows, by ranges / Feast", ours=checked(by_ranges), beside=beside, most=1.0, count=READS),
    ]


def scorings(client: AmbryClient, members: int) -> dict[str, Callable[[], float]]:
    """100 features of all members for 50 models, by how they lie: what each gives are feature values a second.

    The snapshot is in the cache, and opened and read in each run, as one that was written since would be: as 100 columns, and
    as one tensor of 100 cells.
    """
    draw = np.random.default_rng(SEED)
    values = draw.random((members, SCORED_FEATURES), dtype=np.float32)
    models = draw.random((SCORED_FEATURES, MODELS), dtype=np.float32)
    expected = values @ models
    scalars = numbers(SCORED_FEATURES)
    columns = [f"urn:li:(bench,f{number},1,0)" for number in range(SCORED_FEATURES)]
    text = f"all: {{valType: FLOAT, dims: [d-1-0]}}\nd: {{type: discrete : {{size: {SCORED_FEATURES}}}}}\n"
    tensors = FeatureMetadata.of([parse_definitions(text, "bench")])
    frames: dict[str, Any] = {
        "columns": {f"f{number}": values[:, number] for number in range(SCORED_FEATURES)},
        "tensor": {"all": values},
    }
    written = {
        name: snapshots.write(
            client,
            f"scored-{name}",
            {"member": np.arange(members), **frames[name]},
            urns,
            metadata=metadata,
            entity="member",
            as_of=WHEN,
        )
        for name, metadata, urns in (("columns", scalars, columns), ("tensor", tensors, list(tensors.urns)))
    }

    def opened(name: str, metadata: FeatureMetadata) -> snapshots.Snapshot:
        return snapshots.open(client, f"scored-{name}@{written[name].version}", metadata=metadata).fetch()

    def by_column() -> Any:
        with opened("columns", scalars) as snapshot:
            by_feature = [np.concatenate(snapshot.arrays(urn)) for urn in columns]
        return (models.T @ np.stack(by_feature)).T

    def by_tensor() -> Any:
        with opened("tensor", tensors) as snapshot:
            return np.concatenate([view @ models for view in snapshot.arrays(tensors.urns[0])])

    def timed(score: Callable[[], Any]) -> Callable[[], float]:
        def run() -> float:
            before = time.perf_counter()
            scores = score()
            took = time.perf_counter() - before
            if not np.allclose(scores, expected, rtol=1e-4):
                raise BenchFailed("the scores are others")
            return members * SCORED_FEATURES * MODELS / took

        return run

    found = {f"{SCORED_FEATURES} columns": timed(by_column), f"a tensor of {SCORED_FEATURES} cells": timed(by_tensor)}
    for score in found.values():
        score()  # Into the cache.
    return found


def avro_row(client: AmbryClient, directory: Path, members: int) -> Row:
    """The same rows for the same model, from a typed snapshot and from names, terms and values, both on this machine's disk.

    The first version: names are looked up while the file is read, as it was then, straight into the model's weights.
    """
    vocabulary = "0, OUT_OF_VOCAB\n" + "".join(f"{number}, {name}\n" for number, name in enumerate(ACTIONS, start=1))
    text = "actions: {valType: FLOAT, dims: [k-1-0]}\nk: {type: categorical : {idMappingFile: k.csv}}\n"
    text += f"// (k.csv)\n{vocabulary}"
    metadata = FeatureMetadata.of([parse_definitions(text, "bench")])
    urn = metadata.urns[0]
    draw = np.random.default_rng(SEED)
    cells: Any = draw.random((members, SCORED_FEATURES), dtype=np.float32)
    cells[draw.random(cells.shape) < 0.9] = 0
    frame = {"member": np.arange(members), "actions": cells}
    settings: dict[str, Any] = {"metadata": metadata, "entity": "member"}
    snapshots.write(client, "actions", frame, [urn], as_of=WHEN, **settings)
    sources.write_avro(directory / "actions.avro", frame, [urn], **settings)
    snapshot = snapshots.open(client, "actions", metadata=metadata).fetch()
    weights = draw.random(SCORED_FEATURES, dtype=np.float32)
    names = ["OUT_OF_VOCAB", *ACTIONS]
    weight_of = {("actions", name): float(weight) for name, weight in zip(names, weights, strict=True)}
    expected = cells @ weights

    def same(scores: Any) -> None:
        if not np.allclose(scores, expected, rtol=1e-3, atol=1e-4):
            raise BenchFailed("the scores are others")

    def typed() -> None:
        again = snapshots.open(client, f"actions@{snapshot.info.version}", metadata=metadata)
        same(np.concatenate([view @ weights for view in again.arrays(urn)]))

    def first_version() -> None:
        import fastavro

        with (directory / "actions.avro").open("rb") as file:
            records: Any = fastavro.reader(file)
            scores = [
                sum(each["value"] * weight_of.get((each["name"], each["term"]), 0.0) for each in record["features"])
                for record in records
            ]
        same(np.array(scores))

    return Row(name="typed / name-term-value Avro", ours=typed, beside=first_version, most=1 / 1.2)


def run(directory: Path, arguments: argparse.Namespace, out: Console) -> tuple[list[Cost], dict[str, list[float]]]:
    """The rows, and feature values scored a second of each round. Raises BenchFailed, LocalClusterError, OSError."""
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(
            LocalCluster(directory / "cluster", datacenters=1, frontends=1, port_base=0, partitions=4)
        )
        cache = CacheConfig(directory=directory / "cache")
        client = stack.enter_context(AmbryClient([cluster.frontends()[0].url], cache=cache))
        rows = [avro_row(client, directory, arguments.members)]
        if arguments.feast is None:
            out.print("the rows beside Feast are left out: --feast names an interpreter that has it")
        else:
            names = [f"f{number}" for number in range(FEATURES)]
            table = table_of(names, arguments.members)
            rows += key_rows(
                client, table, stack.enter_context(feast(arguments.feast, table, names, directory / "feast"))
            )
        scores = scorings(client, arguments.members)
        found = measure(rows, rounds=arguments.rounds, out=out)
        rates: dict[str, list[float]] = {name: [] for name in scores}
        for _ in range(arguments.rounds):
            for name, score in scores.items():
                rates[name].append(score())
        return found, rates


def bench(arguments: argparse.Namespace, out: Console) -> int:
    """One run; returns the exit code. Raises BenchFailed, LocalClusterError, OSError."""
    with scratch(arguments.dir, needed_bytes=DISK_BYTES) as directory:
        found, rates = run(directory, arguments, out)
    if arguments.output:
        told = {"rows": found, "scored_per_s": rates}
        arguments.output.write_bytes(msgspec.json.format(msgspec.json.encode(told), indent=1) + b"\n")
    show(out, found)
    for name, each in rates.items():
        out.print(
            f"{statistics.median(each) / 1e6:,.0f} million feature values read and scored a second from {name} "
            f"({min(each) / 1e6:,.0f} to {max(each) / 1e6:,.0f}; at least {SCORED_PER_S_MIN / 1e6:,.0f}: "
            f"{'held' if statistics.median(each) >= SCORED_PER_S_MIN else 'MISSED'})"
        )
    if not arguments.feast:
        out.print(
            "Not measured: the rows beside Feast, whose bars are 50 x and 1 x; FEAST=PYTHON names an interpreter that has it."
        )
    slow = any(statistics.median(each) < SCORED_PER_S_MIN for each in rates.values())
    return 1 if slow or not all(cost.held for cost in found) else 0


def main(words: Sequence[str] | None = None) -> int:
    parser = report.options("tests.bench.features", "Measure typed features.")
    parser.add_argument("--members", type=int, default=MEMBERS, help=f"rows of each table (default {MEMBERS})")
    parser.add_argument("--feast", metavar="PYTHON", help="an interpreter that has Feast")
    arguments = parser.parse_args(words)
    out = report.console()
    out.width = max(out.width, 170)
    return exit_code_of(lambda: bench(arguments, out))


if __name__ == "__main__":
    sys.exit(main())
