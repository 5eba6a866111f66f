from __future__ import annotations

import errno
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from ambry.service import logs


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """What is configured here must not reach the other tests."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_of_json_with_its_pairs() -> None:
    stream = io.StringIO()
    logs.configure(format="json", stream=stream, node="n1")
    logs.get_logger(part="x").warning("replica lagging", lag_bytes=5, blob="é\n", raw=b"\x01")
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "replica lagging",
        "level": "warning",
        "node": "n1",
        "part": "x",
        "lag_bytes": 5,
        "blob": "é\n",
        "raw": "AQ==",
    }


def test_what_is_below_the_level_is_not_written() -> None:
    stream = io.StringIO()
    logs.configure(level="warning", format="json", stream=stream)
    log = logs.get_logger()
    log.info("quiet")
    log.error("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_an_exception_stays_on_one_line() -> None:
    stream = io.StringIO()
    logs.configure(format="json", stream=stream)
    try:
        raise ValueError("broken")
    except ValueError:
        logs.get_logger().exception("failed")
    (line,) = lines(stream)
    assert "ValueError: broken" in line["exception"]


def test_a_value_that_json_cannot_say_is_written_as_text() -> None:
    stream = io.StringIO()
    logs.configure(format="json", stream=stream)
    logs.get_logger().info("odd", value=object)
    assert "object" in lines(stream)[0]["value"]


def test_text_is_for_people() -> None:
    stream = io.StringIO()
    logs.configure(format="text", stream=stream)
    logs.get_logger().info("hello", name="x")
    assert "hello" in stream.getvalue()
    assert "\x1b" not in stream.getvalue(), "no colours where nobody is watching"


def test_libraries_log_events_of_ours() -> None:
    stream = io.StringIO()
    logs.configure(format="json", stream=stream)
    logging.getLogger("somebody").error("over %d", 9000)
    (line,) = lines(stream)
    assert (line["library"], line["message"], line["level"]) == ("somebody", "over 9000", "error")


def test_a_log_that_cannot_be_written_stops_nobody() -> None:
    """A node on a full disk once died of its own log."""

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    logs.configure(stream=Full(), format="json")
    logs.get_logger().error("disk full")
