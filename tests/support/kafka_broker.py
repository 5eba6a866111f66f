"""A real Kafka broker for tests: skipped, with the reason, where there cannot be one."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.demos.kafka import KafkaProcess, KafkaUnavailable, kafka_jars

__all__ = ["KafkaProcess", "jars_or_skip", "running_kafka"]


def jars_or_skip(variable: str) -> Path:
    """The folder with jars that the environment names."""
    named = os.environ.get(variable)
    if not named:
        pytest.skip(f"{variable} names no folder with jars; docs/testing.md says how they are fetched")
    return Path(named)


@contextlib.contextmanager
def running_kafka(directory: Path) -> Iterator[KafkaProcess]:
    """A ready broker, gone afterwards with its data."""
    pytest.importorskip("confluent_kafka", reason="pip install 'ambry[kafka]'")
    try:
        broker = KafkaProcess(directory, kafka_jars())
    except KafkaUnavailable as lacking:
        pytest.skip(str(lacking))
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()
        shutil.rmtree(directory, ignore_errors=True)
