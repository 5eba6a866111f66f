"""Errors as confluent_kafka raises them, where it is not installed."""

from __future__ import annotations


class ErrorOfKafka:
    """As a KafkaError, of what is used of one."""

    def __init__(self, name: str, retriable: bool = False) -> None:
        self._name, self._retriable = name, retriable

    def name(self) -> str:
        return self._name

    def str(self) -> str:
        return f"{self._name} in words"

    def retriable(self) -> bool:
        return self._retriable

    def fatal(self) -> bool:
        return False


def kafka_error(name: str) -> Exception:
    """What a client raises."""
    return Exception(ErrorOfKafka(name))


def raised(error: Exception, cause: Exception) -> Exception:
    """As `raise error from cause` leaves it."""
    error.__cause__ = cause
    return error
