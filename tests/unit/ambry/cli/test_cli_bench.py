from __future__ import annotations

import json

from click.testing import CliRunner

from ambry.cli.bench import BenchRow
from ambry.cli.main import cli
from tests.support.stub_frontend import StubFrontend


def test_a_row_tells_rates_and_times() -> None:
    row = BenchRow("get", 1_000, seconds=[0.001 * n for n in range(1, 101)], took_s=2.0, processor_s=0.1)
    assert row.fields() == {
        "call": "get",
        "size": 1_000,
        "calls": 100,
        "errors": 0,
        "calls_per_s": 50.0,
        "bytes_per_s": 50_000,
        "p50_ms": 51.0,
        "p99_ms": 100.0,
        "client_cpu_ms": 1.0,
    }
    assert BenchRow("put", 1).fields()["p99_ms"] == 0.0


def test_what_was_put_is_read_and_deleted_again_and_lives_no_longer_than_an_hour(stub: StubFrontend) -> None:
    done = CliRunner().invoke(cli, ["bench", "--seconds", "0.1", "--size", "100", "--size", "2K", "--json"])
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["call"], row["size"]) for row in rows] == [
        (call, size) for size in (100, 2_048) for call in ("put", "get", "delete")
    ]
    assert all(row["calls"] == rows[0 if row["size"] == 100 else 3]["calls"] > 0 for row in rows)
    assert stub.deleted == set(stub.blobs)
    assert {each.headers["x-ambry-ttl"] for each in stub.seen("POST")} == {"3600"}


def test_errors_are_counted_and_the_first_is_told(stub: StubFrontend) -> None:
    stub.fail("GET", "corrupt")
    done = CliRunner().invoke(cli, ["bench", "--seconds", "0.1", "--size", "100", "--json"])
    assert done.exit_code == 1 and "the first error was:" in done.stderr
    assert [json.loads(line)["errors"] for line in done.stdout.splitlines()] == [0, 1, 0]
    assert stub.deleted == set(stub.blobs)
