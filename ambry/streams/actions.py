"""A near-line feature: actions per member and window, kept up to date from the change feed on Kafka, published as snapshots.

    files below a name -> their changes on a topic -> `run_job` -> a topic with the days of each member -> `publish_snapshot`

`run_job` is a job of Quix Streams; deploy/streams/ has its twin for Samza, with the same topics:

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
from functools import partial
from pathlib import Path
from typing import Any

from ambry.client.sync.client import AmbryClient
from ambry.clock import SystemClock
from ambry.errors import MALFORMED, AmbryError, BlobNotFound, DataCorrupt, TooLarge, Unavailable
from ambry.ml import snapshots
from ambry.ml.extras import needed
from ambry.ml.features.publishing import LoadedFeatures
from ambry.ml.line_log import FILE_SIZE_MAX
from ambry.ml.snapshots import WrittenSnapshot
from ambry.streams.broker import KafkaBroker
from ambry.streams.target import KafkaTarget
from ambry.streams.windows import DAYS_MAX, Days, folded, parse_actions, windows

READ_MAX = 8 * FILE_SIZE_MAX
"""Bytes of a file of actions; a larger one is left out, and logged."""
STORE_WAIT_S = 240.0
"""While the store does not answer; Kafka gives a consumer that is silent for five minutes up."""
SILENCE_S = 30.0
"""Of the broker, while a topic is read to its end."""
UNKNOWN = "OUT_OF_VOCAB"

_log = logging.getLogger("ambry.streams")
_clock = SystemClock()


def split(client: AmbryClient, change: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a file adds, a message for each member of it; nothing for one that is gone."""
    blob = str(change["id"])
    data = _read(client, blob)
    if data is None:
        return []
    parsed = parse_actions(blob, data)
    if parsed.wrong:
        _log.warning("lines are no actions", extra={"name": change.get("name"), "blob": blob, "lines": parsed.wrong})
    return [{"member": member, "file": blob, "days": days} for member, days in parsed.members.items()]


def run_job(
    client: AmbryClient,
    changes: KafkaTarget,
    topic: str,
    *,
    folder: str,
    state: Path,
    group: str = "",
    ready: Callable[[Any], None] = lambda app: None,
) -> None:
    """Follow the files below the name `folder`, which stand on the topic of `changes`, until SIGTERM or an interruption.

    `state` is a directory for what is kept of members; an empty one is filled again from Kafka. `group` is the consumer group,
    which goes on where it was (the topic's name without one). Raises what the store or Kafka raise; ModuleNotFoundError.
    """
    quix = needed("quixstreams")
    for each in (topic, f"{topic}-by-member"):
        _made(KafkaTarget(brokers=changes.brokers, topic=each, settings=changes.settings))
    app = quix.Application(
        broker_address=",".join(changes.brokers),
        consumer_group=group or topic,
        # A job that was killed is in nobody's way for long.
        consumer_extra_config={"session.timeout.ms": 10_000, **changes.settings},
        producer_extra_config=dict(changes.settings),
        auto_offset_reset="earliest",
        commit_interval=1.0,
        state_dir=state,
        loglevel="WARNING",
    )
    text = {"key_deserializer": "str", "key_serializer": "str"}
    by_member, out = app.topic(f"{topic}-by-member", **text), app.topic(topic, **text)
    files = app.dataframe(app.topic(changes.topic, **text))

    def is_file(change: dict[str, Any]) -> bool:
        return change["type"] == "name.put" and str(change["name"]).startswith(folder)

    def member_of(part: dict[str, Any]) -> str:
        return str(part["member"])

    parts = files.filter(is_file).apply(partial(split, client), expand=True)
    parts.to_topic(by_member, key=member_of)

    def fold(told: dict[str, Any], kept: Any) -> dict[str, Any]:
        return {"member": told["member"], "days": folded(kept, told["file"], told["days"])}

    app.dataframe(by_member).apply(fold, stateful=True).to_topic(out)
    ready(app)
    try:
        app.run()
    except needed("quixstreams.exceptions").PartitionAssignmentError as error:
        # Quix asks once for where topics end, and gives the job up where no broker answers in 30 s.
        raise Unavailable(
            f"no broker of {changes} answered as the job's partitions were given out; start it again, it goes on where it was"
        ) from error


def read_members(target: KafkaTarget) -> dict[int, Days]:
    """What the topic of a job says now of each member. Raises Unavailable where the broker is silent, AmbryError."""
    kafka = needed("confluent_kafka")
    _made(target)
    consumer = kafka.Consumer(
        {
            **target.client_settings(),
            "group.id": uuid.uuid4().hex,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    found: dict[int, Days] = {}
    try:
        places = consumer.list_topics(target.topic, timeout=SILENCE_S).topics[target.topic].partitions
        consumer.assign([kafka.TopicPartition(target.topic, place, 0) for place in places])
        unread = set(places)
        while unread:
            message = consumer.poll(SILENCE_S)
            if message is None:
                raise Unavailable(f"nothing came of {target} for {SILENCE_S:.0f} s")
            if message.error() is None:
                said = _json(message.value(), target)
                found[said["member"]] = said["days"]
            elif message.error().name() == "_PARTITION_EOF":
                unread.discard(message.partition())
            else:
                raise Unavailable(f"{target}: {message.error().str()}")
    except kafka.KafkaException as error:
        raise Unavailable(f"{target}: {error.args[0].str()}") from None
    finally:
        consumer.close()
    return found


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


def _read(client: AmbryClient, blob: str) -> bytes | None:
    deadline = _clock.monotonic() + STORE_WAIT_S
    while True:
        try:
            return client.get_bytes(blob, max_size=READ_MAX)
        except BlobNotFound:
            return None
        except TooLarge:
            _log.warning("a file of actions is too large, and left out", extra={"blob": blob, "bytes_max": READ_MAX})
            return None
        except AmbryError as error:
            if not error.retriable or _clock.monotonic() >= deadline:
                raise
        _clock.sleep(1.0)


def _made(target: KafkaTarget) -> None:
    broker = KafkaBroker(target, lambda sequence: None)
    try:
        broker.topic()
    finally:
        broker.close()


def _json(value: bytes | None, target: KafkaTarget) -> Any:
    try:
        said = json.loads(value or b"")
        if type(said["member"]) is int and isinstance(said["days"], dict):
            return said
    except MALFORMED:
        pass
    raise DataCorrupt(f"a message of {target} is none of a job of actions; is it another topic?")
