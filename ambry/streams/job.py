"""The job of `ambry stream actions`, by Quix Streams: it follows the files below a name until it is told to end.

Quix ends with whatever went wrong. What may be over by itself, brokers and frontends that are away first of all, is waited
for here: the job is set up again and goes on at its group's offsets, so some messages are processed twice, which changes
nothing (windows.py). What somebody has to see to ends the job with a sentence; so do changes that Kafka's retention dropped
before they were read, since what they said would be missing for ever.
"""

from __future__ import annotations

import hashlib
import json
import logging
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ambry.client.locked_file import LockedFile
from ambry.client.state_file import read_bytes, replace_text
from ambry.client.sync.client import AmbryClient
from ambry.clock import SystemClock
from ambry.errors import AmbryError, InvalidRequest, Unavailable
from ambry.ml.extras import needed
from ambry.streams.actions import split
from ambry.streams.broker import ASK_S, KafkaBroker, kafka_error
from ambry.streams.reads import FileReads, ReadFailed
from ambry.streams.restarts import JobRestarts
from ambry.streams.target import KafkaTarget
from ambry.streams.told import is_file, part_of
from ambry.streams.windows import folded

GIVE_UP_AFTER_S = 3600.0
"""Without an attempt that was sound."""
ANSWER_S = 20.0
"""Of the brokers, for messages and commits; then the job is set up again."""
SESSION_S = 10.0
"""A job that was killed is in nobody's way for longer."""

_TO_DO = (
    "Publish the changes once more, from the beginning (`ambry changes --to ... --state` with a new file), and start the job "
    "with an empty --keep and another topic; a member takes each file once"
)
_log = logging.getLogger("ambry.streams")
_DROPPED = (
    "Kafka's retention dropped messages of {changes}, or of the job's own topics, that it had not read, so what they said is "
    f"not counted. {_TO_DO}"
)
_DELETED = (
    "one of the topics {topics} was deleted, or was given more partitions, since the job began, so what it made of what it had "
    f"read is not all there. {_TO_DO}"
)


def run_job(
    client: AmbryClient,
    changes: KafkaTarget,
    topic: str,
    *,
    folder: str,
    state: Path,
    give_up_after_s: float | None = GIVE_UP_AFTER_S,
    tell: Callable[[str], None] = lambda text: None,
    clock: SystemClock | None = None,
) -> None:
    """Follow the files below the name `folder`, which stand on the topic of `changes`, until SIGTERM or an interruption.

    `state` is a directory for what is kept of members, of this job alone; an empty one is filled again from Kafka. The
    consumer group has the topic's name. Raises Unavailable when it was set up again and again for `give_up_after_s` (None:
    never), InvalidRequest, AccessDenied, AmbryError, ModuleNotFoundError.
    """
    clock = clock or SystemClock()
    restarts = JobRestarts(give_up_after_s)
    with _kept_for(state, {"changes": changes.topic, "topic": topic, "folder": folder}):
        while True:
            began = clock.monotonic()
            try:
                with _handlers_restored():
                    _run(client, changes, topic, folder, state, tell, partial(_left_s, restarts, clock, began))
                return
            except ModuleNotFoundError:
                raise
            except Exception as error:
                trouble = error_of(error, changes)
                if trouble is None:
                    raise
                if not trouble.retriable:
                    raise trouble from error
            waited_s = trouble.waited_s if isinstance(trouble, ReadFailed) else 0.0
            pause = restarts.pause_s(began, clock.monotonic(), waited_s)
            if pause is None:
                raise Unavailable(f"{trouble}; the same command goes on where it was")
            tell(f"{trouble}; the job goes on where it was in {pause:.0f} s")
            clock.sleep(pause)


def error_of(error: Exception, changes: KafkaTarget) -> AmbryError | None:
    """What it is that a job ended with; None for what nobody expected."""
    of_quix = needed("quixstreams.exceptions").QuixException
    causes: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in causes:
        causes.append(at)
        at = at.__cause__ or at.__context__
    for each in causes:
        if isinstance(each, AmbryError):
            return each
        told: Any = getattr(each, "error", None) or (each.args[0] if each.args else None)
        if hasattr(told, "retriable") and hasattr(told, "name"):
            if told.name() == "_AUTO_OFFSET_RESET":
                return InvalidRequest(_DROPPED.format(changes=changes))
            if told.name() in ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION"):
                return Unavailable(f"{changes}: {told.str()}")  # Or it was deleted: the next attempt finds out.
            return kafka_error(changes, told)
    name = type(error).__name__
    if name == "StateRecoveryOffsetOutOfRange":
        return InvalidRequest(_DROPPED.format(changes=changes))
    if name in (
        "PartitionAssignmentError",
        "KafkaBrokerUnavailableError",
        "CheckpointProducerTimeout",
        "CreateTopicTimeout",
    ):
        return Unavailable(f"no broker of {changes} answers as it should ({causes[-1]})")
    if name.endswith("SerializationError"):
        return InvalidRequest(f"a message of {changes} is no change; is it another topic? ({causes[-1]})")
    return InvalidRequest(f"the job on {changes} cannot go on: {error}") if isinstance(error, of_quix) else None


def _left_s(restarts: JobRestarts, clock: SystemClock, began: float) -> float:
    return restarts.left_s(clock.monotonic(), began)


def _run(
    client: AmbryClient,
    changes: KafkaTarget,
    topic: str,
    folder: str,
    state: Path,
    tell: Callable[[str], None],
    left_s: Callable[[], float],
) -> None:
    """One attempt, which waits `left_s` at most for each answer of brokers before its begin, and for each file of the store.

    Whatever ends it, nothing of it is published later.
    """
    quix, ask_s = needed("quixstreams"), min(ASK_S, left_s())
    logging.getLogger("quixstreams").addHandler(logging.NullHandler())  # What matters is told as a sentence.
    parts = f"{topic}-by-member"
    client_id = f"ambry-actions-{hashlib.sha256(json.dumps([changes.topic, folder]).encode()).hexdigest()[:12]}"
    _alone(changes, topic, client_id, ask_s)
    _checked(changes, topic, parts, ask_s)
    app = quix.Application(
        broker_address=",".join(changes.brokers),
        consumer_group=topic,
        consumer_extra_config={"session.timeout.ms": int(SESSION_S * 1000), **changes.settings, "client.id": client_id},
        producer_extra_config={
            "message.timeout.ms": int(ANSWER_S * 1000),
            **changes.settings,
            "allow.auto.create.topics": False,  # One that was deleted is told, and not made again without what it had.
        },
        # What the group has not read is not to be passed over.
        auto_offset_reset="error",
        auto_recover_from_source_offset_out_of_range=False,
        broker_availability_timeout=min(ANSWER_S, 2 * ask_s),
        commit_interval=1.0,
        state_dir=state,
        loglevel=None,
        on_consumer_error=_not_ignored,
        on_processing_error=_not_ignored,
        on_producer_error=_not_ignored,
    )
    try:
        with FileReads(client, tell, left_s) as files:
            _flow(app, partial(split, files, tell=tell), changes.topic, parts, topic, folder)
            _begun(changes, topic, tell, ask_s)
            app.run()
    finally:
        # What an attempt that failed has not sent would come behind what the next one says of the same members.
        app._producer.purge()


def _flow(
    app: Any, read: Callable[[Any], list[dict[str, Any]]], changes: str, parts: str, topic: str, folder: str
) -> None:
    text = {"key_deserializer": "str", "key_serializer": "str"}
    by_member, out = app.topic(parts, **text), app.topic(topic, **text)

    def key_of_part(part: dict[str, Any]) -> str:
        return str(part["member"])

    def fold(told: Any, kept: Any) -> dict[str, Any]:
        member, file, days = part_of(told)
        return {"member": member, "days": folded(kept, file, days)}

    files = app.dataframe(app.topic(changes, **text)).filter(partial(is_file, folder=folder))
    files.apply(read, expand=True).to_topic(by_member, key=key_of_part)
    app.dataframe(by_member).apply(fold, stateful=True).to_topic(out)


def _not_ignored(*_: Any) -> bool:
    return False


def _made(changes: KafkaTarget, topic: str, ask_s: float) -> None:
    broker = KafkaBroker(KafkaTarget(brokers=changes.brokers, topic=topic, settings=changes.settings), lambda _: None)
    try:
        broker.topic(ask_s)
    finally:
        broker.close()


def _alone(changes: KafkaTarget, group: str, client_id: str, ask_s: float) -> None:
    """Raises InvalidRequest where another job is in the group: each would have a part of the messages. KafkaException."""
    admin = needed("confluent_kafka.admin").AdminClient(changes.client_settings(), logger=_log)
    try:
        described = admin.describe_consumer_groups([group], request_timeout=ask_s)[group].result(2 * ask_s)
    except needed("confluent_kafka").KafkaException as error:
        if error.args[0].name() == "GROUP_ID_NOT_FOUND":
            return
        raise
    others = sorted({f"{each.client_id} on {each.host}" for each in described.members if each.client_id != client_id})
    if others:
        raise InvalidRequest(
            f"somebody else is in the consumer group {group} ({', '.join(others)}), and has a part of the messages: a job of "
            "another folder, or of another system; name another topic"
        )


def _checked(changes: KafkaTarget, topic: str, parts: str, ask_s: float) -> None:
    """Have the topics made. Raises InvalidRequest where one of them was deleted, KafkaException."""
    with _asking(changes, topic) as consumer:
        _made(changes, changes.topic, ask_s)
        found = consumer.list_topics(timeout=ask_s).topics
        at = _offsets(consumer, [name for name in (changes.topic, parts) if name in found], ask_s)
        if any(each.offset >= 0 for each in at) and (
            topic not in found or parts not in found or any(each.offset < 0 for each in at)
        ):
            raise InvalidRequest(_DELETED.format(topics=f"{changes.topic}, {parts}, {topic}"))
    for name in (parts, topic):
        _made(changes, name, ask_s)


def _begun(changes: KafkaTarget, group: str, tell: Callable[[str], None], ask_s: float) -> None:
    """Have a group that is new begin where its topics begin: it is at an offset everywhere from then on, and what is dropped or
    deleted later shows. Those of Quix's changelog, which it follows as well, are among them. Raises KafkaException.
    """
    kafka = needed("confluent_kafka")
    with _asking(changes, group) as consumer:
        known = consumer.list_topics(timeout=ask_s).topics
        kept = [name for name in known if name.startswith(f"changelog__{group}--")]
        at = _offsets(consumer, [changes.topic, f"{group}-by-member", *kept], ask_s)
        new = [each for each in at if each.offset < 0]
        for each in new:
            each.offset, _ = consumer.get_watermark_offsets(each, timeout=ask_s)
        if any(each.offset > 0 and each.topic == changes.topic for each in new):
            tell(f"{changes} does not have its first messages any more: what they said is not counted")
        try:
            if new:
                consumer.commit(offsets=new, asynchronous=False)
        except kafka.KafkaException as error:
            # Another process of the job began at the same time, and is at work.
            if error.args[0].name() not in ("UNKNOWN_MEMBER_ID", "ILLEGAL_GENERATION", "REBALANCE_IN_PROGRESS"):
                raise


@contextmanager
def _asking(changes: KafkaTarget, group: str) -> Generator[Any]:
    """A consumer of the group that takes part in nothing."""
    settings = {**changes.client_settings(), "group.id": group, "enable.auto.commit": False}
    consumer = needed("confluent_kafka").Consumer(settings, logger=_log)
    try:
        yield consumer
    finally:
        consumer.close()


def _offsets(consumer: Any, topics: list[str], ask_s: float) -> list[Any]:
    """Where the group is in each partition; below 0 where it is nowhere."""
    kafka = needed("confluent_kafka")
    found = [(name, consumer.list_topics(name, timeout=ask_s).topics[name].partitions) for name in topics]
    places = [kafka.TopicPartition(name, each) for name, partitions in found for each in partitions]
    return list(consumer.committed(places, timeout=ask_s)) if places else []


@contextmanager
def _handlers_restored() -> Generator[None]:
    """An application of Quix takes signals for itself; between two of them they do what they did."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _kept_for(state: Path, job: dict[str, str]) -> Generator[None]:
    """The directory, while this process has it. Raises InvalidRequest where another job's or another process's, OSError."""
    state.mkdir(parents=True, exist_ok=True)
    with LockedFile(state / "job.lock") as lock:
        try:
            lock.lock(wait=False)
        except BlockingIOError:
            raise InvalidRequest(f"another process keeps {state}; end it first, or name another directory") from None
        about = state / "job.json"
        text = json.dumps(job) + "\n"
        if about.exists() and (said := read_bytes(about).decode(errors="backslashreplace")) != text:
            raise InvalidRequest(
                f"{state} is kept for another job: {said.strip()}; name another directory, and give each job a topic of its own"
            )
        replace_text(about, text)
        yield
