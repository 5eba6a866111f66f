"""Where changes are published: `kafka://host:port[,host:port]/topic`, and the settings of a client in a properties file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ambry.client.small_file import read_small
from ambry.errors import InvalidRequest
from ambry.shown_urls import shown_place

SCHEME = "kafka://"
BROKERS_MAX = 100
SETTINGS_SIZE_MAX = 64 << 10
"""Bytes of a properties file."""
OURS = {
    "bootstrap.servers": "--to says which brokers",
    "enable.idempotence": "it is on, for the order of a key",
    "acks": "it is all, so that nothing is lost",
    "request.required.acks": "it is all, so that nothing is lost",
    "message.timeout.ms": "it is for ever, since what is given up would break the order of its key",
    "delivery.timeout.ms": "it is for ever, since what is given up would break the order of its key",
    "max.in.flight.requests.per.connection": "it is what keeps the order of a key",
    "max.in.flight": "it is what keeps the order of a key",
    "transactional.id": "there are no transactions",
    "partitioner": "it is Java's own, so that a key is in one partition whoever writes it",
    "allow.auto.create.topics": "the command makes the topic itself, dated by the broker's clock",
}
"""Settings that nobody else sets, and why."""

_OBJECTS = frozenset(("logger", "on_delivery", "on_commit", "default.topic.config", "opaque", "interceptors"))
"""Of Python and C, beside functions to call (`..._cb`)."""
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_BROKER = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):(\d{1,5})")
_SETTING = re.compile(r"[a-z][a-z0-9._]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaTarget:
    """Brokers that know the others, as `host:port`, and the topic. `settings` are those of librdkafka's clients."""

    brokers: tuple[str, ...]
    topic: str
    settings: Mapping[str, str] = field(default_factory=dict[str, str])

    def __str__(self) -> str:
        return f"{SCHEME}{','.join(self.brokers)}/{self.topic}"

    def client_settings(self) -> dict[str, object]:
        """What a client of any kind is made with.

        No question and no message makes a topic, whatever the brokers allow: it would be dated by the clocks of those who
        write, and stand for one that was deleted.
        """
        return {**self.settings, "bootstrap.servers": ",".join(self.brokers), "allow.auto.create.topics": False}

    def producer_settings(self) -> dict[str, object]:
        """What the producer is made with: in order for each key, and nothing is given up before the program is."""
        return {
            "linger.ms": 5,
            **self.client_settings(),
            "enable.idempotence": True,
            "acks": "all",
            "message.timeout.ms": 0,
            "partitioner": "murmur2_random",
        }


def parse_target(text: str, settings: Mapping[str, str] | None = None) -> KafkaTarget:
    """`kafka://host:port[,host:port]/topic`. Raises InvalidRequest."""
    shape = f"{shown_place(text)!r} is not {SCHEME}host:port[,host:port]/topic"
    if not text.startswith(SCHEME):
        raise InvalidRequest(shape)
    hosts, _, topic = text.removeprefix(SCHEME).partition("/")
    brokers = tuple(hosts.split(","))
    if len(brokers) > BROKERS_MAX:
        raise InvalidRequest(f"{len(brokers)} brokers are named, and {BROKERS_MAX} are enough to find the others")
    if "@" in text.removeprefix(SCHEME):
        raise InvalidRequest(f"{shape}: no user and no password stand there; they are settings, of --kafka-config")
    for broker in brokers:
        found = _BROKER.fullmatch(broker)
        if found is None or not 1 <= int(found[1]) <= 65_535:
            raise InvalidRequest(f"{shape}: {broker!r} is no host:port")
    if _TOPIC.fullmatch(topic) is None or topic in (".", ".."):
        raise InvalidRequest(f"{shape}: a topic is up to 249 of the letters a to z, digits, dot, _ and -")
    return KafkaTarget(brokers=brokers, topic=topic, settings=dict(settings or {}))


def parse_settings(text: str) -> dict[str, str]:
    """Lines of `key=value`, with # before comments, as librdkafka calls its settings. Raises InvalidRequest."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith(("#", "!")):
            continue
        key, equals, value = (part.strip() for part in line.partition("="))
        # The value may be a password: it is in no message.
        if not equals or _SETTING.fullmatch(key) is None:
            raise InvalidRequest(f"line {number} of the settings is not key=value")
        if key in _OBJECTS or key.endswith("_cb"):
            raise InvalidRequest(f"line {number} of the settings sets {key}, which no text can be")
        if key in OURS:
            raise InvalidRequest(f"line {number} of the settings sets {key}, which is not to be set: {OURS[key]}")
        if key in found:
            raise InvalidRequest(f"line {number} of the settings sets {key} a second time")
        found[key] = value
    return found


def read_settings(path: Path) -> dict[str, str]:
    """The settings in a file. Raises InvalidRequest, ConfigInvalid for one that is too large, OSError."""
    try:
        return parse_settings(read_small(path, SETTINGS_SIZE_MAX).decode())
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path} is no text in UTF-8") from None
