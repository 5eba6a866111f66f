"""Kafka as the publisher needs it: an idempotent producer, the topic, and what its errors are in sentences."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

from ambry.errors import AccessDenied, AmbryError, InvalidRequest, Unavailable
from ambry.ml.extras import needed
from ambry.streams.messages import CHANGE_HEADER, EPOCH_HEADER, SEQUENCE_HEADER, ChangeMessage
from ambry.streams.target import KafkaTarget

ASK_S = 10.0
"""For one question about the topic."""
ASKS = 5
"""In how many parts it is asked, so that what is refused for good is told before its end."""

_log = logging.getLogger("ambry.streams")
_log.addHandler(logging.NullHandler())  # librdkafka tells of every attempt; what matters is told as a sentence.

_LATER = frozenset(
    (
        "_TRANSPORT",
        "_ALL_BROKERS_DOWN",
        "_TIMED_OUT",
        "_TIMED_OUT_QUEUE",
        "_RESOLVE",
        "_DESTROY",
        "_PURGE_QUEUE",
        "_PURGE_INFLIGHT",
        "_SSL",
        "_MSG_TIMED_OUT",
        "_WAIT_COORD",
        "_MAX_POLL_EXCEEDED",
        "_ASSIGNMENT_LOST",
        "COORDINATOR_LOAD_IN_PROGRESS",
        "COORDINATOR_NOT_AVAILABLE",
        "NOT_COORDINATOR",
        "REBALANCE_IN_PROGRESS",
        "ILLEGAL_GENERATION",
        "UNKNOWN_MEMBER_ID",
        "LEADER_NOT_AVAILABLE",
        "NOT_LEADER_FOR_PARTITION",
        "BROKER_NOT_AVAILABLE",
        "REQUEST_TIMED_OUT",
        "NETWORK_EXCEPTION",
        "NOT_ENOUGH_REPLICAS",
        "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
        "KAFKA_STORAGE_ERROR",
        "NOT_CONTROLLER",
    )
)
"""Of errors that may be over by themselves; so may those that Kafka calls retriable."""

_UNKNOWN = ("UNKNOWN_TOPIC_OR_PART", "UNKNOWN_TOPIC_OR_PARTITION")
_GONE = "; where the topic was deleted, what was published on it is gone: publish it all again, with another --state"
_TO_DO = {
    "UNKNOWN_TOPIC_OR_PART": _GONE,
    "_UNKNOWN_TOPIC": _GONE,
    "_UNKNOWN_PARTITION": _GONE,
    "MSG_SIZE_TOO_LARGE": "; raise max.message.bytes of the topic, and publish again: it goes on where it was",
}
"""By error, what is to be done."""


class KafkaBroker:
    """One producer. Of one thread; `close` it."""

    def __init__(self, target: KafkaTarget, on_delivery: Callable[[int], None]) -> None:
        """`on_delivery` is told the sequence of each message that is acknowledged, within `poll`.

        Raises InvalidRequest for settings that no client has, ModuleNotFoundError.
        """
        self._kafka = needed("confluent_kafka")
        self._admin_module = needed("confluent_kafka.admin")
        self._target = target
        self._on_delivery = on_delivery
        self._failed: AmbryError | None = None
        self._ask_s = ASK_S
        self._question: Any = None
        self.trouble = ""
        """What the client said last that is wrong; empty where nothing is."""
        try:
            self._producer = self._kafka.Producer({**target.producer_settings(), "error_cb": self._heard}, logger=_log)
            self._admin = self._admin_module.AdminClient(
                {**target.client_settings(), "error_cb": self._heard}, logger=_log
            )
        except (self._kafka.KafkaException, ValueError, TypeError) as error:
            raise InvalidRequest(f"the settings for Kafka are refused: {_without_values(_words(error))}") from None

    def topic(self, within_s: float = ASK_S) -> tuple[str, str]:
        """Kafka's id of itself and that of the topic, which is there on return: made by the broker's defaults if it was not.

        Each question is given up after `within_s`, or ASK_S. Raises Unavailable while nobody answers, AccessDenied,
        InvalidRequest.
        """
        self._ask_s = min(ASK_S, within_s)
        try:
            found = self._asked()
            about = found.topics[self._target.topic]
            if about.error is not None:
                if about.error.name() not in _UNKNOWN:
                    raise self._sentence(about.error)
                self._make()
            described = self._described()
        except self._kafka.KafkaException as error:
            raise self._sentence(error.args[0]) from None
        return str(found.cluster_id or ""), str(described.topic_id)

    def _described(self) -> Any:
        """With its id. Raises KafkaException, Unavailable where one that was made a moment ago is not known yet."""
        for _ in range(ASKS):
            try:
                return self._description(self._ask_s).result(2 * self._ask_s)
            except self._kafka.KafkaException as error:
                if error.args[0].name() not in _UNKNOWN:
                    raise
                self.poll(0.5)
        raise Unavailable(f"{self._target} was made, and no broker knows it yet")

    def _description(self, ask_s: float) -> Any:
        """A future."""
        names = self._kafka.TopicCollection([self._target.topic])
        return self._admin.describe_topics(names, request_timeout=ask_s)[self._target.topic]

    def ask(self) -> None:
        """Which topic is there now, which `told` says; no question of before is answered any more."""
        self._question = self._description(ASK_S)

    def told(self) -> str | None:
        """The answer, once: the id of the topic, empty where a broker knows none. None while there is no answer, and where it
        could not be had. Raises AccessDenied, InvalidRequest.
        """
        if self._question is None or not self._question.done():
            return None
        question, self._question = self._question, None
        try:
            return str(question.result(0).topic_id)
        except self._kafka.KafkaException as error:
            if error.args[0].name() in _UNKNOWN:
                return ""
            trouble = self._sentence(error.args[0])
            if trouble.retriable:
                return None
            raise trouble from None

    def _asked(self) -> Any:
        """What the topic is. Raises KafkaException, and what the client was refused with for good."""
        for left in reversed(range(ASKS)):
            try:
                return self._admin.list_topics(self._target.topic, timeout=self._ask_s / ASKS)
            except self._kafka.KafkaException:
                # Why, it says beside the answer.
                self._admin.poll(0)
                self.poll(0)
                if not left:
                    raise
        return None

    def _make(self) -> None:
        # By the broker's clock: what retention deletes is not for that of this machine to say.
        new = self._admin_module.NewTopic(
            self._target.topic, -1, -1, config={"message.timestamp.type": "LogAppendTime"}
        )
        try:
            self._admin.create_topics([new], operation_timeout=self._ask_s)[self._target.topic].result(2 * self._ask_s)
        except self._kafka.KafkaException as error:
            if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise

    def send(self, message: ChangeMessage, sequence: int, epoch: bytes) -> None:
        """Give it to the producer, which sends it by itself. Waits while that has no room."""
        headers = [(CHANGE_HEADER, message.change), (SEQUENCE_HEADER, b"%d" % sequence), (EPOCH_HEADER, epoch)]

        def delivered(error: Any, _: Any) -> None:
            if error is None:
                self._on_delivery(sequence)
            elif self._failed is None:
                self._failed = self._sentence(error)

        while True:
            try:
                self._producer.produce(
                    self._target.topic, message.value, message.key, headers=headers, on_delivery=delivered
                )
                return
            except BufferError:
                self.poll(0.1)
            except self._kafka.KafkaException as error:
                raise self._sentence(error.args[0]) from None

    def poll(self, wait_s: float) -> None:
        """Hear what was acknowledged. Raises what a message failed with: the run is over then."""
        self._producer.poll(wait_s)
        if self._failed is not None:
            raise self._failed

    def close(self) -> None:
        """Drop what was not sent. What is under way of a key may arrive, in its order."""
        self._producer.purge(in_queue=True, in_flight=True, blocking=False)
        self._producer.poll(0)

    def _heard(self, error: Any) -> None:
        self.trouble = error.str()
        if (error.fatal() or _is_permanent(error)) and self._failed is None:
            self._failed = self._sentence(error)

    def _sentence(self, error: Any) -> AmbryError:
        return kafka_error(self._target, error, self.trouble)


def kafka_error(target: KafkaTarget, error: Any, trouble: str = "") -> AmbryError:
    """What an error of Kafka (a KafkaError) is here; `trouble` is what the client said beside it.

    Unavailable for what may be over by itself, AccessDenied, and InvalidRequest for what somebody has to see to.
    """
    told = f"Kafka at {','.join(target.brokers)}, topic {target.topic}: {error.str()}"
    name = error.name()
    if name == "_SSL" and _is_permanent(error):
        return InvalidRequest(f"{told}; look at ssl.ca.location and what else is said of TLS (--kafka-config)")
    if name in ("_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED") or name.endswith("AUTHORIZATION_FAILED"):
        return AccessDenied(f"{told}; look at the settings (--kafka-config) and at what this user may do there")
    if name in _LATER or error.retriable():
        return Unavailable(f"{told}{f' ({trouble})' if trouble else ''}")
    return InvalidRequest(f"{told}{_TO_DO.get(name, '')}")


def _is_permanent(error: Any) -> bool:
    """Of TLS, what is wrong with a certificate; a handshake also ends when a broker does."""
    if error.name() == "_SSL":
        return any(word in error.str().lower() for word in ("certificate", "alert", "unknown ca"))
    return error.name() in ("_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED")


def _without_values(words: str) -> str:
    """What librdkafka says of settings. A value that it does not know may be the password of a mistyped line."""
    return re.sub(r'(value) ".*?"(?= for configuration|$)', r"\1", words, flags=re.DOTALL)


def _words(error: Exception) -> str:
    first: Any = error.args[0] if error.args else error
    return first.str() if hasattr(first, "str") else str(first)
