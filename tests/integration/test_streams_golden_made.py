"""The golden files of the streams are made once more, on the engines, and are the same: tests/support/golden_streams.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import golden_streams
from tests.support.kafka_broker import KafkaProcess, jars_or_skip, running_kafka

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaProcess]:
    with running_kafka(tmp_path_factory.mktemp("kafka") / "broker") as running:
        yield running


def test_the_broker_stores_what_the_publisher_sends_where_java_would(broker: KafkaProcess) -> None:
    assert golden_streams.feed(broker) == golden_streams.read("feed.json")
    assert golden_streams.partitions(jars_or_skip("kafka")) == golden_streams.read("partitions.json")
