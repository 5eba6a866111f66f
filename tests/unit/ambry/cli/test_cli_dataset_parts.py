"""`ambry dataset parts`, whole commands against a frontend with a metadata store."""

from __future__ import annotations

import threading
from itertools import count
from pathlib import Path

import pytest

from ambry.clock import SystemClock
from tests.support.whole_commands import lines, run, said

pytestmark = pytest.mark.usefixtures("here")

JOB = "0123456789abcdef"
_numbers = count()


def test_parts_are_listed_and_those_of_no_version_go(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"by-spark-{next(_numbers)}"
    lines("dataset", "create", name, "--schema", "MONOTONIC")
    (here / "rows").write_bytes(b"rows")
    for job in (JOB, JOB[::-1]):
        lines("put", "rows", "--name", f"{name}.parts/{job}/00000-1.parquet")
    lines("dataset", "put", name, "rows", "--meta", f"parquet-job={JOB}")
    all = lines("dataset", "parts", name)
    assert [(each["job"], each["size"], each["versions"]) for each in all] == [(JOB, 4, ["1"]), (JOB[::-1], 4, [])]
    assert f"{name}.parts/{JOB}/00000-1.parquet" in said("dataset", "parts", name)
    assert [each["job"] for each in lines("dataset", "parts", name, "--unused")] == [JOB[::-1]]
    assert lines("dataset", "parts", name, "--unused", "--delete") == []
    now = SystemClock().wall_ms()
    # Of this machine alone, and then of the frontend alone, which has a thread of its own.
    here_ms, there_ms = now + 30 * 86_400_000, now
    ours = threading.main_thread()
    monkeypatch.setattr(SystemClock, "wall_ms", lambda _: here_ms if threading.current_thread() is ours else there_ms)
    assert lines("dataset", "parts", name, "--unused", "--delete", "--older", "1d") == []
    here_ms, there_ms = now - 30 * 86_400_000, now + 2 * 86_400_000
    gone = lines("dataset", "parts", name, "--unused", "--delete", "--older", "1d")
    assert [each["job"] for each in gone] == [JOB[::-1]] and [
        each["job"] for each in lines("dataset", "parts", name)
    ] == [JOB]


def test_what_makes_no_sense_is_refused(here: Path) -> None:
    assert "--delete is of --unused parts alone" in run("dataset", "parts", "x", "--delete").stderr
    assert run("dataset", "parts", "nowhere").exit_code == 3
    assert "nothing is older than forever" in run("dataset", "parts", "x", "--older", "forever").stderr


def test_who_fetches_a_footer_is_told_where_its_rows_are(here: Path) -> None:
    name = f"by-spark-{next(_numbers)}"
    lines("dataset", "create", name, "--schema", "MONOTONIC")
    (here / "rows").write_bytes(b"rows")
    lines("dataset", "put", name, "rows", "--meta", "parquet-parts=3")
    lines("dataset", "put", name, "rows", "--meta", "parquet-parts=0")
    told = f"{name}@1 is a footer: its rows are in 3 parts (`ambry dataset parts {name}`)"
    for target in ("-", str(here / "got")):
        for version in ("1", "2"):
            done = run("dataset", "get", name, version, "-o", target, "--overwrite")
            assert done.exit_code == 0 and (told in done.stderr) == (version == "1")
