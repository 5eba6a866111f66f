"""The change feed of a container on Kafka, and features that are kept up to date from it.

    ambry changes --to kafka://localhost:9092/changes --follow

Needs confluent-kafka: pip install 'ambry[kafka]'. How it works, and what a message says: docs/guide/streams.md.
"""
