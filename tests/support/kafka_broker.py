"""A real Kafka broker for tests: a process of its own, gone at the end; skipped, with the reason, where there cannot be one."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.demos.kafka import KafkaProcess
from deploy.engines.jars import EngineError, fetch

__all__ = ["KafkaProcess", "OpenKafka", "jars_or_skip", "running_kafka"]


def jars_or_skip(name: str) -> Path:
    """The directory with the jars of an engine, fetched where it is not there."""
    if shutil.which("java") is None:
        pytest.skip("there is no java; `make engines` installs it")
    try:
        return fetch(name, print)
    except EngineError as lacking:
        pytest.skip(str(lacking))


class OpenKafka(KafkaProcess):
    """One that makes a topic for whoever asks for it, as Kafka does where nobody says otherwise."""

    def properties(self, controller: int, data: Path) -> str:
        # Of a key that stands twice, Java takes the last.
        return super().properties(controller, data) + "auto.create.topics.enable=true\n"


@contextlib.contextmanager
def running_kafka(directory: Path, kind: type[KafkaProcess] = KafkaProcess) -> Iterator[KafkaProcess]:
    """A ready broker, gone afterwards with its data."""
    pytest.importorskip("confluent_kafka", reason="confluent_kafka is not installed; `make engines` does it")
    try:
        with kind(directory, jars_or_skip("kafka")) as broker:
            yield broker
    finally:
        shutil.rmtree(directory, ignore_errors=True)
