"""Where changes are published: what is understood, and what is refused with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambry.errors import ConfigInvalid, InvalidRequest
from ambry.streams.target import parse_settings, parse_target, read_settings


def test_brokers_and_a_topic_are_found() -> None:
    target = parse_target("kafka://one.example:9092,[::1]:19092/some.topic-1", {"linger.ms": "50"})
    assert target.brokers == ("one.example:9092", "[::1]:19092")
    assert target.topic == "some.topic-1"
    assert str(target) == "kafka://one.example:9092,[::1]:19092/some.topic-1"
    settings = target.producer_settings()
    assert settings["bootstrap.servers"] == "one.example:9092,[::1]:19092"
    assert (settings["enable.idempotence"], settings["acks"], settings["message.timeout.ms"]) == (True, "all", 0)
    assert settings["linger.ms"] == "50"
    assert "acks" not in target.client_settings()


@pytest.mark.parametrize(
    "text",
    [
        "kafka://",
        "kafka://host:9092",
        "kafka://host:9092/",
        "kafka://host/topic",
        "kafka://host:0/topic",
        "kafka://host:65536/topic",
        "kafka://host:9092,/topic",
        "kafka://host:9092/a/b",
        "kafka://host:9092/..",
        "kafka://host:9092/" + "a" * 250,
        "kafka://ann:secret@host:9092/topic",
        "http://host:9092/topic",
        "kafka://" + ",".join(["host:9092"] * 101) + "/topic",
    ],
)
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_target(text)


@pytest.mark.parametrize(
    "text", ["kafka://ann:WORD@host:9092/topic", "kafka://host:9092,ann:WORD@b:9092/t", "http://u:WORD@h/t?WORD"]
)
def test_of_a_target_with_a_password_no_error_tells_it(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is not kafka://host:port") as raised:
        parse_target(text)
    assert "WORD" not in raised.value.message


def test_settings_are_lines_of_keys_and_values() -> None:
    text = "# of the cluster\n\nsecurity.protocol = SASL_SSL\nsasl.password=a=b #c\n! end\n"
    assert parse_settings(text) == {"security.protocol": "SASL_SSL", "sasl.password": "a=b #c"}


@pytest.mark.parametrize(
    "line",
    ["hunter2", "=hunter2", "sasl password=hunter2", "acks=hunter2", "a=1\na=hunter2",
     "default.topic.config=hunter2", "error_cb=hunter2", "logger=hunter2"],
)  # fmt: skip
def test_a_refusal_of_settings_says_no_value(line: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_settings(line)
    assert "hunter2" not in str(refused.value)


def test_settings_of_a_file_are_bounded(tmp_path: Path) -> None:
    file = tmp_path / "client.properties"
    file.write_bytes(b"client.id=x\n")
    assert read_settings(file) == {"client.id": "x"}
    file.write_bytes(b"#" * 70_000)
    with pytest.raises(ConfigInvalid):
        read_settings(file)
    file.write_bytes(b"client.id=\xff\n")
    with pytest.raises(InvalidRequest, match="no text in UTF-8"):
        read_settings(file)
