"""A near-line feature: actions per member and window, kept up to date from the change feed on Kafka, published as snapshots.

    files below a name -> their changes on a topic -> the job -> a topic with the days of each member -> `publish_snapshot`

The job is one of Quix Streams (job.py); deploy/streams/ has its twin for Samza, with the same topics:

    TOPIC-by-member  key: the member; value: {"member": 17, "file": "<blob id>", "days": {"2026-11-27": {"Click": 3}}}
    TOPIC            key: the member; value: {"member": 17, "days": {"2026-11-27": {"Click": 5}}}; the newest one counts

Both deliver at least once; a member takes each file once, so a repeat changes nothing (windows.py).
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ambry.client.sync.client import AmbryClient
from ambry.errors import MALFORMED, DataCorrupt, Unavailable
from ambry.ml import snapshots
from ambry.ml.extras import needed
from ambry.ml.features.publishing import LoadedFeatures
from ambry.ml.snapshots import WrittenSnapshot
from ambry.streams.broker import kafka_error
from ambry.streams.plan import TELL_AFTER_S
from ambry.streams.reads import FileReads
from ambry.streams.target import KafkaTarget
from ambry.streams.windows import DAYS_MAX, Days, is_days, parse_actions, windows

SILENCE_S = 30.0
"""Of the broker, while a topic is read to its end."""
UNKNOWN = "OUT_OF_VOCAB"


def split(
    files: FileReads, change: Mapping[str, Any], tell: Callable[[str], None] = lambda text: None
) -> list[dict[str, Any]]:
    """What a file adds, a message for each member of it; nothing for one that is gone. Raises AmbryError."""
    blob = str(change["id"])
    data = files.read(blob)
    if data is None:
        return []
    parsed = parse_actions(blob, data)
    if parsed.wrong:
        tell(f"{change.get('name')}: {parsed.wrong:,} lines are no actions, and left out")
    return [{"member": member, "file": blob, "days": days} for member, days in parsed.members.items()]


def read_members(target: KafkaTarget, tell: Callable[[str], None] = lambda text: None) -> dict[int, Days]:
    """What the topic of a job says now of each member; nothing where there is no such topic. A silence of seconds is told.

    Raises Unavailable where the broker is silent, AccessDenied, InvalidRequest, DataCorrupt.
    """
    kafka = needed("confluent_kafka")
    consumer = kafka.Consumer(
        {
            **target.client_settings(),
            "group.id": uuid.uuid4().hex,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        },
        logger=logging.getLogger("ambry.streams"),
    )
    found: dict[int, Days] = {}
    try:
        about = _asked(consumer, target, tell)
        if about.error is not None:
            if about.error.name() in ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC"):
                return {}
            raise kafka_error(target, about.error)
        places = about.partitions
        consumer.assign([kafka.TopicPartition(target.topic, place, 0) for place in places])
        unread = set(places)
        while unread:
            message = consumer.poll(TELL_AFTER_S)
            if message is None:
                tell(f"nothing came of {target} for {TELL_AFTER_S:.0f} s; it is waited for")
                message = consumer.poll(SILENCE_S - TELL_AFTER_S)
            if message is None:
                raise Unavailable(f"nothing came of {target} for {SILENCE_S:.0f} s")
            if message.error() is None:
                member, days = member_of(message.value(), target)
                found[member] = days
            elif message.error().name() == "_PARTITION_EOF":
                unread.discard(message.partition())
            else:
                raise kafka_error(target, message.error())
    except kafka.KafkaException as error:
        raise kafka_error(target, error.args[0]) from None
    finally:
        consumer.close()
    return found


def _asked(consumer: Any, target: KafkaTarget, tell: Callable[[str], None]) -> Any:
    """What the topic is. Raises KafkaException."""
    kafka = needed("confluent_kafka")
    try:
        found = consumer.list_topics(target.topic, timeout=TELL_AFTER_S)
    except kafka.KafkaException as error:
        trouble = kafka_error(target, error.args[0])
        if not trouble.retriable:
            raise
        tell(f"{trouble}; it is waited for, {SILENCE_S:.0f} s in all")
        found = consumer.list_topics(target.topic, timeout=SILENCE_S - TELL_AFTER_S)
    return found.topics[target.topic]


def publish_snapshot(
    client: AmbryClient,
    dataset: str,
    members: Mapping[int, Mapping[str, Mapping[str, int]]],
    urn: str,
    *,
    metadata: LoadedFeatures,
    as_of: datetime,
    lengths: Sequence[int] = (1, 7, 30),
) -> WrittenSnapshot:
    """The windows of all members as the version of `as_of` of a dataset. Raises what `snapshots.write` raises."""
    kind = metadata.metadata.tensor_type(urn)
    known = {
        action: action if kind.encode((action, 1))[0] else UNKNOWN
        for action in {action for days in members.values() for actions in days.values() for action in actions}
    }
    feature = kind.urn.name
    rows = (
        {"member": member, feature: _cells(windows(days, as_of, lengths), known)}
        for member, days in sorted(members.items())
    )
    return snapshots.write(client, dataset, rows, [urn], metadata=metadata, entity="member", as_of=as_of)


def check_lengths(lengths: Iterable[int]) -> tuple[int, ...]:
    """Windows in days, each once. Raises ValueError."""
    found = tuple(sorted(set(lengths)))
    if not found or not all(1 <= length <= DAYS_MAX for length in found):
        raise ValueError(f"a window has 1 to {DAYS_MAX} days")
    return found


def _cells(counts: Mapping[tuple[str, int], int], known: Mapping[str, str]) -> dict[tuple[str, int], int]:
    """With all actions that the vocabulary does not have as one."""
    found: dict[tuple[str, int], int] = {}
    for (action, length), times in counts.items():
        cell = known[action], length
        found[cell] = found.get(cell, 0) + times
    return found


def member_of(value: bytes | None, target: KafkaTarget) -> tuple[int, Days]:
    """What a message of a job's topic says: the member and its days. Raises DataCorrupt."""
    try:
        said = json.loads(value or b"")
        if type(said["member"]) is int and is_days(said["days"]):
            return said["member"], said["days"]
    except MALFORMED:
        pass
    raise DataCorrupt(f"a message of {target} is none of a job of actions; is it another topic?")
