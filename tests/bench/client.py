"""What the client costs, each beside what people would do without it, in one run on one cluster.

    python -m tests.bench.client [--rounds 5] [--size BYTES] [--put-size BYTES] [--only WORD ...]
                                 [--output FILE] [--dir DIRECTORY]

Three data nodes and a frontend. Rounds go over all rows in turn; in each of them both sides follow each other, in an order that
changes with every round. Each ratio is the median of the rounds'. CPU is of the client's own process, or curl's. Rows whose
other side is not installed (curl, nginx, obstore) are left out, and it says so. Exit codes: as tests.bench.run.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from rich.console import Console

from ambry.client.model import CacheConfig, TransferConfig
from ambry.client.sync.client import AmbryClient
from deploy.local_cluster import LocalCluster
from tests.bench import report
from tests.bench.child import BenchFailed, exit_code_of
from tests.bench.client_figures import Cost, Row, measure, show
from tests.bench.client_parquet import parquet_rows
from tests.bench.client_tensors import tensor_rows
from tests.bench.scratch import scratch

SMALL = 4 << 10
GETS = 1_000
IMPORTS = 5
PARTS = 8
DISK_FACTOR = 6
"""Bytes on the disk for each byte of the large file: three replicas, the file itself, two copies."""
PUT_DISK_FACTOR = 30
"""Of the file that is put again and again, and not collected meanwhile."""


def ran(*words: str | Path, env: Mapping[str, str] | None = None) -> None:
    """Raises BenchFailed."""
    done = subprocess.run(words, capture_output=True, check=False, env=env)
    if done.returncode:
        raise BenchFailed(f"{words[0]} ended with {done.returncode}: {done.stderr.decode(errors='replace').strip()}")


def import_rows(directory: Path) -> list[Row]:
    """Whole processes, with the bytecode kept as an installation has it; of an import what it takes beyond an interpreter that
    does nothing.
    """
    env = {**os.environ, "PYTHONPYCACHEPREFIX": str(directory / "bytecode")}
    env.pop("PYTHONDONTWRITEBYTECODE", None)

    def times(code: str) -> Callable[[], object]:
        ran(sys.executable, "-c", code, env=env)

        def call() -> None:
            for _ in range(IMPORTS):
                ran(sys.executable, "-c", code, env=env)

        return call

    version = "import sys; sys.argv = ['ambry', '--version']; from ambry.cli.entry import main; main()"
    return [
        Row(name=name, ours=times(code), beside=times("pass"), judged="CPU ms more", most=most, count=IMPORTS)
        for name, code, most in (
            ("import ambry", "import ambry", 60.0),
            ("import AmbryClient", "from ambry import AmbryClient", 60.0),
            ("ambry --version", version, 120.0),
        )
    ]


def small_row(client: AmbryClient, url: str) -> Row:
    blob = client.put(os.urandom(SMALL)).id
    place = urlsplit(url)

    def beside() -> None:
        bare = http.client.HTTPConnection(place.hostname or "", place.port)
        for _ in range(GETS):
            bare.request("GET", f"/{blob}")
            if len(bare.getresponse().read()) != SMALL:
                raise BenchFailed("the frontend answered something else")
        bare.close()

    def ours() -> None:
        for _ in range(GETS):
            client.get_bytes(blob)

    return Row(name="4 KiB get / http.client", ours=ours, beside=beside, judged="CPU", most=1.4, count=GETS)


def file_rows(client: AmbryClient, url: str, directory: Path, size: int, put_size: int) -> list[Row]:
    source, copy, other = directory / "source", directory / "copy", directory / "other"
    block = os.urandom(1 << 20)
    for path, length in ((source, size), (directory / "put", put_size)):
        with path.open("wb") as file:
            for _ in range(length >> 20):
                file.write(block[1:] + block[:1])
                block = block[7:] + block[:7]
    blob = client.put_file(source, resume=False).id
    source.unlink()

    def get(concurrency: int | None = None) -> Callable[[], object]:
        transfer = None if concurrency is None else TransferConfig(max_concurrency=concurrency)

        def call() -> None:
            copy.unlink(missing_ok=True)
            client.get_file(blob, copy, resume=False, transfer=transfer)

        return call

    def curl_get() -> None:
        other.unlink(missing_ok=True)
        ran("curl", "-sS", "--fail", "-o", other, f"{url}/{blob}")

    def curl_ranges() -> None:
        """What the machine has for parts: as many of curl, each with a range."""
        bounds = [size * number // PARTS for number in range(PARTS + 1)]
        words = [
            ("curl", "-sS", "--fail", "-r", f"{start}-{stop - 1}", "-o", f"{other}.{start}", f"{url}/{blob}")
            for start, stop in pairwise(bounds)
        ]
        started = [subprocess.Popen(each) for each in words]
        codes = [each.wait() for each in started]
        if any(codes):
            raise BenchFailed("a curl of a range failed")
        for start in bounds[:-1]:
            other.with_name(f"{other.name}.{start}").unlink()

    rows = [
        Row(name=f"get_file, {PARTS} parts / one stream", ours=get(PARTS), beside=get(1), most=1 / 1.3),
    ]
    if shutil.which("curl"):
        rows += [
            Row(name=f"anchor: curl, {PARTS} ranges / one", ours=curl_ranges, beside=curl_get, most=1 / 1.3),
            Row(name="get_file / curl", ours=get(), beside=curl_get, most=1 / 0.9),
            Row(
                name="put_file / curl -T",
                ours=lambda: client.put_file(directory / "put", resume=False, ttl=3600),
                beside=lambda: ran("curl", "-sS", "--fail", "-o", os.devnull, "-T", directory / "put", f"{url}/"),
                most=1 / 0.9,
            ),
        ]
    return rows


def run(directory: Path, arguments: argparse.Namespace, out: Console) -> list[Cost]:
    """Raises BenchFailed, LocalClusterError, OSError."""
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(
            LocalCluster(directory / "cluster", datacenters=1, frontends=1, port_base=0, partitions=4)
        )
        url = cluster.frontends()[0].url
        cache = CacheConfig(directory=directory / "cache")
        client = stack.enter_context(AmbryClient([url], cache=cache))
        rows = [*import_rows(directory), small_row(client, url)]
        rows += tensor_rows(client, directory, stack, out)
        rows += parquet_rows(client, cluster.frontends()[0].admin_url, out)
        words = arguments.only or [""]
        if any(word in name for word in words for name in ("get_file, parts", "put_file / curl -T")):
            rows += file_rows(client, url, directory, arguments.size, arguments.put_size)
        rows = [row for row in rows if any(word in row.name for word in words)]
        if not rows:
            raise BenchFailed(f"no row has {' or '.join(words)} in its name")
        return measure(rows, rounds=arguments.rounds, out=out)


def bench(arguments: argparse.Namespace, out: Console) -> int:
    """One run; returns the exit code. Raises BenchFailed, LocalClusterError, OSError."""
    needed = arguments.size * DISK_FACTOR + arguments.put_size * PUT_DISK_FACTOR
    with scratch(arguments.dir, needed_bytes=needed) as directory:
        found = run(directory, arguments, out)
    if arguments.output:
        arguments.output.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    show(out, found)
    return 0 if all(cost.held for cost in found) else 1


def main(words: Sequence[str] | None = None) -> int:
    parser = report.options("tests.bench.client", "Measure the client.")
    parser.add_argument("--size", type=int, default=2 << 30, help="bytes of the file that is got (default 2 GiB)")
    parser.add_argument("--put-size", type=int, default=256 << 20, help="of the one that is put (default 256 MiB)")
    arguments = parser.parse_args(words)
    out = report.console()
    out.width = max(out.width, 170)
    return exit_code_of(lambda: bench(arguments, out))


if __name__ == "__main__":
    sys.exit(main())
