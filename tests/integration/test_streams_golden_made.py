"""The golden files of the streams are made once more, on the engines, and are the same: tests/support/golden_streams.py."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import golden_streams
from tests.support.kafka_broker import KafkaProcess, jars_or_skip, running_kafka
from tests.support.stream_jobs import samza_classes

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaProcess]:
    with running_kafka(tmp_path_factory.mktemp("kafka") / "broker") as running:
        yield running


def test_the_broker_stores_what_the_publisher_sends_where_java_would(broker: KafkaProcess) -> None:
    assert golden_streams.feed(broker) == golden_streams.read("feed.json")
    assert golden_streams.partitions(jars_or_skip("kafka")) == golden_streams.read("partitions.json")


def test_samza_keeps_what_it_kept(broker: KafkaProcess, tmp_path: Path) -> None:
    """As JSON: in which order the files of several partitions come differs from run to run, and so the order of a record's days
    and its last file.
    """
    classes = tmp_path / "classes"
    classes.mkdir()
    made = golden_streams.samza(broker, samza_classes(classes), tmp_path)
    assert as_json(made) == as_json(golden_streams.read("samza.json"))


def as_json(made: dict[str, dict[str, str]]) -> dict[str, dict[str, Any]]:
    found = {
        topic: {key: json.loads(base64.b64decode(value)) for key, value in records.items()}
        for topic, records in made.items()
    }
    for value in found["changelog"].values():
        if value is not True:
            del value["last"]
    return found
