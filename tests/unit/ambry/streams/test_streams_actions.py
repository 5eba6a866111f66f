"""What the job does with a change and with what a file adds, and what becomes a snapshot; Kafka is for the engine tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

from ambry import AmbryClient
from ambry.errors import DataCorrupt, Unavailable, UpdateConflict
from ambry.ml import features, snapshots
from ambry.streams import actions
from ambry.streams.actions import SILENCE_S, member_of, publish_snapshot, read_members, split
from ambry.streams.reads import FileReads
from ambry.streams.target import KafkaTarget
from deploy.demos.data import ARTICLE
from tests.support.kafka_errors import ErrorOfKafka
from tests.support.named_frontend import named_frontend

URN = "urn:li:(flagship,historicalActionsInFeed,1,0)"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AmbryClient]:
    path = tmp_path_factory.mktemp("meta") / "meta.sqlite"
    with named_frontend(path) as url, AmbryClient(url) as made:
        yield made


@pytest.fixture(scope="module")
def files(client: AmbryClient) -> Iterator[FileReads]:
    with FileReads(client) as made:
        yield made


def test_a_file_is_a_message_for_each_member(client: AmbryClient, files: FileReads) -> None:
    now = int(datetime.now(UTC).timestamp() * 1000)
    day = datetime.fromtimestamp(now / 1000, UTC).date().isoformat()
    lines = [{"member": member, "action": "Click", "at": now} for member in (5, 17, 5)]
    put = client.put("".join(json.dumps(line) + "\n" for line in lines).encode(), name="actions/1")
    told = split(files, {"type": "name.put", "name": "actions/1", "id": str(put.id)})
    assert told == [
        {"member": 5, "file": str(put.id), "days": {day: {"Click": 2}}},
        {"member": 17, "file": str(put.id), "days": {day: {"Click": 1}}},
    ]
    client.delete(put.id)
    assert split(files, {"type": "name.put", "name": "actions/1", "id": str(put.id)}) == []


def test_the_windows_of_members_are_a_snapshot(client: AmbryClient) -> None:
    metadata = features.FeatureMetadata.of([features.parse_definitions(ARTICLE, "flagship")])
    features.publish(client, "definitions", metadata)
    loaded = features.load(client, "definitions")
    noon = datetime(2026, 11, 27, 12, tzinfo=UTC)
    members = {
        17: {"2026-11-27": {"Click": 3, "Wave": 1, "Nod": 1}, "2026-11-21": {"Click": 1}},
        5: {"2020-01-01": {"Share": 1}},
    }
    written = publish_snapshot(client, "members", members, URN, metadata=loaded, as_of=noon, lengths=(1, 7))
    assert written.rows == 2
    with snapshots.open(client, "members") as snapshot:
        kind = snapshot.resolve(URN)
        [row] = snapshot.read([URN], [17]).column(1).to_pylist()
        told = {(kind.axes[0].decode(cell["feedActions"]), cell["numberOfDays"]): cell["value"] for cell in row}
    assert told == {("Click", 1): 3, ("Click", 7): 4, ("OUT_OF_VOCAB", 1): 2, ("OUT_OF_VOCAB", 7): 2}
    with pytest.raises(UpdateConflict):
        publish_snapshot(client, "members", {17: {"2026-11-27": {"Click": 9}}}, URN, metadata=loaded, as_of=noon)


def test_what_is_left_out_is_told(client: AmbryClient, files: FileReads) -> None:
    put = client.put(b"no action\n\nnone either\n", name="actions/2")
    told: list[str] = []
    assert split(files, {"type": "name.put", "name": "actions/2", "id": str(put.id)}, told.append) == []
    assert told == ["actions/2: 2 lines are no actions, and left out"]


def test_a_message_of_a_job_says_a_member_and_its_days() -> None:
    target = KafkaTarget(brokers=("b:1",), topic="t")
    assert member_of(b'{"member":17,"days":{}}', target) == (17, {})
    for value in (
        *(
            None,
            b"",
            b"x",
            b"[]",
            b'{"member":1,"days":{"today":{}}}',
            b'{"member":1,"days":{"2026-11-27":{"Click":"1"}}}',
        ),
        *(b'{"member":"17","days":{}}', b'{"member":true,"days":{}}', b'{"member":1}'),
    ):
        with pytest.raises(DataCorrupt, match="is it another topic"):
            member_of(value, target)


class OfKafka(Exception):
    """As KafkaException."""


@pytest.mark.parametrize("answers", [True, False])
def test_a_silence_is_told_while_members_are_waited_for(answers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    target = KafkaTarget(brokers=("b:1",), topic="t")
    away = OfKafka(ErrorOfKafka("_TRANSPORT"))
    there = SimpleNamespace(topics={"t": SimpleNamespace(error=None, partitions={0: None})})
    said, end = MagicMock(), MagicMock()
    said.error.return_value, said.value.return_value = None, b'{"member":17,"days":{}}'
    end.error.return_value, end.partition.return_value = ErrorOfKafka("_PARTITION_EOF"), 0
    consumer = MagicMock()
    consumer.list_topics.side_effect = [away, there] if answers else away
    consumer.poll.side_effect = [None, said, None, end]
    kafka = MagicMock(KafkaException=OfKafka, Consumer=MagicMock(return_value=consumer))
    monkeypatch.setattr(actions, "needed", lambda name: kafka)
    told: list[str] = []
    if answers:
        assert read_members(target, told.append) == {17: {}}
        assert len(told) == 3 and told[1] == "nothing came of kafka://b:1/t for 5 s; it is waited for"
    else:
        with pytest.raises(Unavailable, match="_TRANSPORT in words"):
            read_members(target, told.append)
    assert told[0] == "Kafka at b:1, topic t: _TRANSPORT in words; it is waited for, 30 s in all"
    assert sum(each.kwargs["timeout"] for each in consumer.list_topics.call_args_list) == SILENCE_S
