"""What an error of Kafka is: to wait for, or for somebody to see to. The rest is on a real broker."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

from ambry.errors import AccessDenied, InvalidRequest, Unavailable
from ambry.streams import broker
from ambry.streams.broker import ASKS, KafkaBroker, kafka_error
from ambry.streams.target import KafkaTarget
from tests.support.kafka_errors import ErrorOfKafka

TARGET = KafkaTarget(brokers=("one:9092", "two:9092"), topic="topic")


@pytest.mark.parametrize(
    ("name", "kind", "to_do"),
    [
        ("_ALL_BROKERS_DOWN", Unavailable, ""),
        ("_MSG_TIMED_OUT", Unavailable, ""),
        ("NOT_ENOUGH_REPLICAS", Unavailable, ""),
        ("KAFKA_STORAGE_ERROR", Unavailable, ""),
        ("REBALANCE_IN_PROGRESS", Unavailable, ""),
        ("_AUTHENTICATION", AccessDenied, "look at the settings"),
        ("GROUP_AUTHORIZATION_FAILED", AccessDenied, "what this user may do there"),
        ("UNKNOWN_TOPIC_OR_PART", InvalidRequest, "publish it all again, with another --state"),
        ("MSG_SIZE_TOO_LARGE", InvalidRequest, "raise max.message.bytes"),
        ("INVALID_TIMESTAMP", InvalidRequest, ""),
    ],
)
def test_an_error_is_a_sentence(name: str, kind: type[Exception], to_do: str) -> None:
    found = kafka_error(TARGET, ErrorOfKafka(name))
    assert type(found) is kind and str(found).startswith(f"Kafka at one:9092,two:9092, topic topic: {name} in words")
    assert to_do in str(found)


def test_what_kafka_calls_retriable_is_waited_for() -> None:
    found = kafka_error(TARGET, ErrorOfKafka("OF_ANOTHER_RELEASE", retriable=True), "connection refused")
    assert type(found) is Unavailable and str(found).endswith("(connection refused)")


class OfKafka(Exception):
    """As KafkaException."""


@pytest.mark.parametrize("unknown", [0, 2, ASKS])
def test_a_topic_that_was_made_a_moment_ago_is_waited_for(unknown: int, monkeypatch: pytest.MonkeyPatch) -> None:
    not_yet = OfKafka(ErrorOfKafka("UNKNOWN_TOPIC_OR_PART"))
    described = MagicMock(result=MagicMock(side_effect=[not_yet] * unknown + [SimpleNamespace(topic_id="abc")]))
    admin = MagicMock()
    about = SimpleNamespace(error=ErrorOfKafka("UNKNOWN_TOPIC_OR_PART"))
    admin.list_topics.return_value = SimpleNamespace(cluster_id="here", topics={"topic": about})
    admin.describe_topics.return_value = {"topic": described}
    kafka = MagicMock(KafkaException=OfKafka, AdminClient=MagicMock(return_value=admin))
    monkeypatch.setattr(broker, "needed", lambda name: kafka)
    producer = KafkaBroker(TARGET, lambda sequence: None)
    if unknown < ASKS:
        assert producer.topic(within_s=3) == ("here", "abc")
        assert admin.list_topics.call_args.kwargs["timeout"] == 3 / ASKS
        assert admin.describe_topics.call_args.kwargs["request_timeout"] == 3
    else:
        with pytest.raises(Unavailable, match="no broker knows it yet"):
            producer.topic()
    [made] = kafka.NewTopic.call_args_list
    assert made.kwargs["config"] == {"message.timestamp.type": "LogAppendTime"}


def test_the_topic_is_asked_about_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    questions: list[Future[SimpleNamespace]] = []

    def describe(names: object, **_: object) -> dict[str, Future[SimpleNamespace]]:
        questions.append(Future())
        return {"topic": questions[-1]}

    kafka = MagicMock(KafkaException=OfKafka, AdminClient=MagicMock(return_value=MagicMock(describe_topics=describe)))
    monkeypatch.setattr(broker, "needed", lambda name: kafka)
    producer = KafkaBroker(TARGET, lambda sequence: None)
    assert producer.told() is None
    producer.ask()
    assert producer.told() is None
    questions[0].set_result(SimpleNamespace(topic_id="abc"))
    assert (producer.told(), producer.told()) == ("abc", None)
    for name, answer in (("UNKNOWN_TOPIC_OR_PART", ""), ("_TIMED_OUT", None)):
        producer.ask()
        questions[-1].set_exception(OfKafka(ErrorOfKafka(name)))
        assert producer.told() == answer
    producer.ask()
    questions[-1].set_exception(OfKafka(ErrorOfKafka("TOPIC_AUTHORIZATION_FAILED")))
    with pytest.raises(AccessDenied):
        producer.told()


def test_no_client_makes_a_topic_by_asking_or_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where brokers allow it (Kafka's default), a question made it first, so it was dated by the clocks of those who write."""
    kafka = MagicMock(KafkaException=OfKafka)
    monkeypatch.setattr(broker, "needed", lambda name: kafka)
    KafkaBroker(TARGET, lambda sequence: None)
    for made in (kafka.Producer, kafka.AdminClient):
        assert made.call_args.args[0]["allow.auto.create.topics"] is False


@pytest.mark.parametrize("key", ["security.protocol", "debug", "compression.codec"])
def test_a_refusal_of_a_client_says_no_value(key: str) -> None:
    """librdkafka tells what it does not know, which may be the password of a mistyped line."""
    pytest.importorskip("confluent_kafka", reason="pip install 'ambry[kafka]'")
    target = KafkaTarget(brokers=("127.0.0.1:1",), topic="t", settings={key: "hunter2"})
    with pytest.raises(InvalidRequest, match=f"settings for Kafka are refused: .*{key}") as refused:
        KafkaBroker(target, lambda _: None)
    assert "hunter2" not in refused.value.message
