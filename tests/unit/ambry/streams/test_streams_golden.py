"""What real engines wrote (golden/, made by tests/support/golden_streams.py) is what this project writes, and what it reads."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from ambry.streams.actions import member_of
from ambry.streams.messages import CHANGE_HEADER, EPOCH_HEADER, SEQUENCE_HEADER, key_of, message_of
from ambry.streams.target import KafkaTarget
from ambry.streams.windows import folded, over_files, parse_actions
from tests.support.golden_streams import CHANGES, EPOCH, PARTITIONS, action_files, read

TARGET = KafkaTarget(brokers=("b:1",), topic="t")
Record = dict[str, Any]


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


def of_samza(topic: str) -> dict[str, str]:
    """By key, what the job in Java wrote last."""
    found = read("samza.json")[topic]
    return {base64.b64decode(key).decode(): base64.b64decode(value).decode() for key, value in found.items()}


def test_samza_says_of_members_what_python_counts() -> None:
    said_of = {key: member_of(value.encode(), TARGET) for key, value in of_samza("members").items()}
    assert all(key == str(member) for key, (member, _) in said_of.items())
    assert dict(said_of.values()) == over_files(action_files().items())


class KeptBySamza:
    """A state as the job in Java keeps it, a text for each key: what is kept of one member. With the days stands the last file
    that is in them.
    """

    def __init__(self, records: dict[str, str], member: int) -> None:
        self._records, self._member, self._last = records, str(member), ""

    def get(self, key: str, default: Any = None) -> Any:
        if key != "days":
            return self._records.get(f"{self._member} {key.removeprefix('file ')}", default)
        return json.loads(self._records[self._member])["days"] if self._member in self._records else default

    def set(self, key: str, value: Any) -> None:
        if key != "days":
            self._last = key.removeprefix("file ")
            self._records[f"{self._member} {self._last}"] = "true"
            return
        self._records[self._member] = json.dumps({"last": self._last, "days": value})


def of_each(records: dict[str, str]) -> dict[str, Any]:
    """As JSON, but for which of its files is a member's last: files of several partitions come in any order."""
    found = {key: json.loads(value) for key, value in records.items()}
    for key, value in found.items():
        if " " not in key:
            assert found[f"{key} {value.pop('last')}"] is True
    return found


def test_the_changelog_of_samza_is_what_python_keeps() -> None:
    kept: dict[str, str] = {}
    for file, data in action_files().items():
        for member, days in parse_actions(file, data).members.items():
            folded(KeptBySamza(kept, member), file, days)
    theirs = of_samza("changelog")
    assert of_each(theirs) == of_each(kept)
    # And Python goes on with it: what comes again changes nothing, and another file is added.
    for file, data in action_files().items():
        for member, days in parse_actions(file, data).members.items():
            before = dict(theirs)
            assert folded(KeptBySamza(theirs, member), file, days) == json.loads(before[str(member)])["days"]
            assert theirs == before
            assert folded(KeptBySamza(before, member), "another", days) != json.loads(theirs[str(member)])["days"]
