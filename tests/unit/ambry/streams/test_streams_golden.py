"""What real engines wrote (golden/, made by tests/support/golden_streams.py) is what this project writes, and what it reads."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from ambry.streams.actions import member_of
from ambry.streams.messages import CHANGE_HEADER, EPOCH_HEADER, SEQUENCE_HEADER, key_of, message_of
from ambry.streams.target import KafkaTarget
from ambry.streams.windows import Days, folded, over_files, parse_actions
from tests.support.golden_streams import CHANGES, EPOCH, PARTITIONS, action_changes, action_files, read

TARGET = KafkaTarget(brokers=("b:1",), topic="t")
Record = dict[str, Any]


@pytest.fixture(scope="module")
def samza() -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = read("samza.json")
    return found


def said(record: Record, field: str) -> bytes:
    return base64.b64decode(record[field])


def test_a_broker_has_of_changes_what_their_messages_are() -> None:
    found = {int(dict_of(each)[SEQUENCE_HEADER]): each for each in read("feed.json")}
    assert found.keys() == set(range(len(CHANGES)))
    for number, change in enumerate(CHANGES):
        message, record = message_of(change), found[number]
        assert message is not None
        assert (said(record, "key"), said(record, "value")) == (message.key, message.value)
        assert dict_of(record) == {
            CHANGE_HEADER: message.change,
            SEQUENCE_HEADER: b"%d" % number,
            EPOCH_HEADER: EPOCH,
        }


def dict_of(record: Record) -> dict[str, bytes]:
    return {name: base64.b64decode(value) for name, value in record["headers"]}


def test_a_key_is_in_the_partition_where_java_puts_it() -> None:
    of_java = read("partitions.json")["4"]
    found = read("feed.json")
    assert {said(each, "key").decode(): each["partition"] for each in found} == {
        key: of_java[key] for key in map(key_of, CHANGES)
    }
    assert len({each["partition"] for each in found}) == 4
    # What wrote them there, and what writes now.
    assert TARGET.producer_settings()["partitioner"] == "murmur2_random"
    by_samza = read("samza.json")
    for each in (*by_samza["by-member"], *by_samza["members"]):
        assert each["partition"] == of_java[said(each, "key").decode()]


@pytest.mark.parametrize("count", PARTITIONS)
def test_the_hash_is_the_one_that_java_has(count: int) -> None:
    """Of librdkafka it is known by the records above; this is the same for other numbers of partitions, written out."""
    of_java = read("partitions.json")[str(count)]
    assert {key: (murmur2(key.encode()) & 0x7FFFFFFF) % count for key in of_java} == of_java


def murmur2(data: bytes) -> int:
    """As the clients of Kafka have it (seed 0x9747b28c)."""
    factor, mask = 0x5BD1E995, 0xFFFFFFFF
    hash = (0x9747B28C ^ len(data)) & mask
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * factor & mask
        word = (word ^ (word >> 24)) * factor & mask
        hash = (hash * factor & mask) ^ word
    if whole < len(data):
        hash = (hash ^ int.from_bytes(data[whole:], "little")) * factor & mask
    hash = (hash ^ (hash >> 13)) * factor & mask
    return hash ^ (hash >> 15)


def test_samza_splits_files_as_python_does(samza: dict[str, list[Record]]) -> None:
    parts = [json.loads(said(each, "value")) for each in samza["by-member"]]
    assert all(
        said(each, "key").decode() == str(part["member"]) for each, part in zip(samza["by-member"], parts, strict=True)
    )
    found = {(part["file"], part["member"]): part["days"] for part in parts}
    wanted = {
        (file, member): days
        for file, data in action_files().items()
        for member, days in parse_actions(file, data).members.items()
    }
    assert found == wanted and len(parts) == 2 * len(wanted) == len(action_changes()) * len(wanted) // len(
        action_files()
    )


class KeptRecords:
    """A state as Samza's job keeps it: a text for each key, of one member."""

    def __init__(self, records: dict[str, str], member: int) -> None:
        self._records, self._member = records, member

    def get(self, key: str, default: Any = None) -> Any:
        told = self._records.get(self._place(key))
        return default if told is None else json.loads(told)

    def set(self, key: str, value: Any) -> None:
        self._records[self._place(key)] = json.dumps(value, separators=(",", ":"), ensure_ascii=False)

    def _place(self, key: str) -> str:
        return str(self._member) if key == "days" else f"{self._member} {key.removeprefix('file ')}"


def test_samza_keeps_and_says_of_members_what_python_does(samza: dict[str, list[Record]]) -> None:
    """Each message by member is folded here as there, in its order; what is kept at the end is what the changelog has."""
    kept: dict[str, str] = {}
    ours: dict[int, list[Days]] = {}
    for record in samza["by-member"]:
        part = json.loads(said(record, "value"))
        member = part["member"]
        ours.setdefault(member, []).append(folded(KeptRecords(kept, member), part["file"], part["days"]))
    theirs: dict[int, list[Days]] = {}
    for record in samza["members"]:
        member, days = member_of(said(record, "value"), TARGET)
        assert said(record, "key").decode() == str(member)
        theirs.setdefault(member, []).append(days)
    assert theirs == ours
    assert {member: days[-1] for member, days in theirs.items()} == over_files(action_files().items())

    changelog = {said(each, "key").decode(): json.loads(said(each, "value")) for each in samza["changelog"]}
    assert changelog == {key: json.loads(text) for key, text in kept.items()}


def test_python_goes_on_with_what_samza_keeps(samza: dict[str, list[Record]]) -> None:
    kept = {said(each, "key").decode(): said(each, "value").decode() for each in samza["changelog"]}
    [(file, data)] = list(action_files().items())[:1]
    for member, days in parse_actions(file, data).members.items():
        before = dict(kept)
        assert folded(KeptRecords(kept, member), file, days) == json.loads(before[str(member)]) and kept == before
        more = folded(KeptRecords(kept, member), "another file", days)
        assert more != json.loads(before[str(member)])
