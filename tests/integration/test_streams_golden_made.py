"""The golden files of the streams are made once more, on the engines, and are the same: tests/support/golden_streams.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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


def test_samza_writes_what_it_wrote(broker: KafkaProcess, tmp_path: Path) -> None:
    classes = tmp_path / "classes"
    classes.mkdir()
    made = golden_streams.samza(broker, samza_classes(classes), tmp_path)
    golden = golden_streams.read("samza.json")
    # Files of one partition may be told before those of another; what is of a member, and what is kept, is the same.
    assert {name: sorted(found, key=repr) for name, found in made.items() if name == "by-member"} == {
        "by-member": sorted(golden["by-member"], key=repr)
    }
    last = [{each["key"]: each["value"] for each in found["changelog"]} for found in (made, golden)]
    assert last[0].keys() == last[1].keys()
