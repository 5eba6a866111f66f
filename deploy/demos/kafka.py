"""What is in a Kafka broker of one's own (deploy/engines/kafka.py): for the demonstration, and for tests."""

from __future__ import annotations

import uuid
from typing import Any

from ambry.ml.extras import needed
from deploy.engines.jars import EngineError
from deploy.engines.kafka import LocalKafka

SILENCE_S = 30.0


class KafkaProcess(LocalKafka):
    """One broker, whose data outlives its processes; it dies with this process."""

    def messages(self, topic: str) -> list[Any]:
        """All that is in a topic now, partition by partition. Raises EngineError."""
        kafka = needed("confluent_kafka")
        consumer = kafka.Consumer(
            {
                "bootstrap.servers": self.address,
                "group.id": uuid.uuid4().hex,
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        try:
            places = list(consumer.list_topics(topic, timeout=20).topics[topic].partitions)
            consumer.assign([kafka.TopicPartition(topic, place, 0) for place in places])
            found, open_places = [], set(places)
            while open_places:
                message = consumer.poll(SILENCE_S)
                if message is None:
                    raise EngineError(f"nothing came of {topic} for {SILENCE_S:.0f} s")
                if message.error() is None:
                    found.append(message)
                elif message.error().name() == "_PARTITION_EOF":
                    open_places.discard(message.partition())
            return sorted(found, key=lambda each: (each.partition(), each.offset()))
        finally:
            consumer.close()
