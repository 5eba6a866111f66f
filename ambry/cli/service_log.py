"""The log of a service that a client runs: one event a line on standard error, as servers write theirs.

JSON where nobody watches, text in a terminal. An event is in lower case, its pairs come from `extra=`.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, TextIO

from ambry.cli.output import printable
from ambry.cli.wording import in_options

ERROR_CHARACTERS_MAX = 500
"""Of an exception: it may repeat what a stranger sent."""
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; the rest are the pairs of an event."""


def log_to(stream: TextIO, name: str, level: int) -> None:
    """Write the events of a logger, and of those below it, to a stream from now on. A log that takes nothing stops nothing."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_AsText() if stream.isatty() else _AsJson())
    handler.handleError = lambda record: None  # type: ignore[method-assign]
    log = logging.getLogger(name)
    log.handlers[:] = [handler]
    log.setLevel(level)
    log.propagate = False


class _AsJson(logging.Formatter):
    """A line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        told = {**_pairs(record), "event": record.getMessage(), "level": record.levelname.lower()}
        return json.dumps({**told, "timestamp": _when(record)}, default=str)


class _AsText(logging.Formatter):
    """A line for people."""

    def format(self, record: logging.LogRecord) -> str:
        pairs = " ".join(f"{name}={value}" for name, value in _pairs(record).items())
        return printable(f"{_when(record)} [{record.levelname.lower()}] {record.getMessage()} {pairs}".rstrip())


def _pairs(record: logging.LogRecord) -> dict[str, Any]:
    """An error is told in the words of the command line; an exception that comes with the event in one line."""
    found = {name: value for name, value in vars(record).items() if name not in _OWN}
    raised = record.exc_info[1] if record.exc_info else None
    if raised is not None:
        found.setdefault("error", " ".join(f"{type(raised).__name__}: {raised}".split())[:ERROR_CHARACTERS_MAX])
    return {
        name: in_options(value) if name == "error" and isinstance(value, str) else value
        for name, value in found.items()
    }


def _when(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
