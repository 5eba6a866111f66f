"""`ambry engines up`, as a person runs it; skipped, with the reason, where an engine cannot be had."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.engines.jars import EngineError
from deploy.engines.postgres import INSTALLED, binaries_of
from deploy.engines.spark import home_of_pyspark
from tests.support.kafka_broker import jars_or_skip


@contextmanager
def running(
    name: str, directory: Path, errors: int | None = None
) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """`ambry engines up`, with what it said it was."""
    if name == "postgres":
        try:
            binaries_of(INSTALLED)
        except EngineError as lacking:
            pytest.skip(str(lacking))
    elif name == "spark":
        try:
            home_of_pyspark()
        except EngineError as lacking:
            pytest.skip(str(lacking))
    else:
        jars_or_skip({"yarn": "hadoop", "hdfs": "hadoop"}.get(name, name))
    command = [sys.executable, "-m", "ambry.cli.main", "engines", "up", name, "--directory", str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
        said: dict[str, str] = {}
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("ready"):
                break
            what, _, where = line.strip().partition(" ")
            said[what] = where.strip()
        try:
            yield process, said
        finally:
            process.terminate()
            process.wait(60)
