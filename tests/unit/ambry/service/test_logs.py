from __future__ import annotations

import asyncio
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
    logs._bulk = None
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


async def test_lines_in_bulk_are_as_others_and_wait_for_the_next_one_at_most() -> None:
    stream = io.StringIO()
    logs.configure(format="json", stream=stream, node="n1")
    bulk = logs.bulk("request")
    assert bulk is not None
    bulk.info({"op": "get", "n": 1})
    bulk.info({"op": "get", "n": 2})
    assert not lines(stream)
    logs.get_logger().info("request", op="get", n=3)
    told = lines(stream)
    assert all(line.pop("timestamp").endswith("Z") for line in told)
    assert told == [{"event": "request", "level": "info", "node": "n1", "op": "get", "n": n} for n in (1, 2, 3)]


async def test_lines_in_bulk_are_written_soon_and_when_there_are_many() -> None:
    stream = io.StringIO()
    logs.configure(format="json", stream=stream)
    bulk = logs.bulk("request")
    assert bulk is not None
    bulk.info({"n": 1})
    async with asyncio.timeout(60):
        while not lines(stream):  # noqa: ASYNC110  what is waited for tells nobody
            await asyncio.sleep(0.01)
    long = "x" * 1_000
    for _ in range(logs.HELD_BYTES_MAX // len(long)):
        bulk.info({"text": long})
    assert len(lines(stream)) > 1


async def test_a_line_in_bulk_that_may_not_wait_goes_with_those_of_its_turn() -> None:
    stream = io.StringIO()
    logs.configure(format="json", stream=stream)
    bulk = logs.bulk("request")
    assert bulk is not None
    for turn in range(2):
        before = len(lines(stream))
        bulk.info({"n": 1})
        bulk.info({"n": 2}, this_turn=True)
        bulk.info({"n": 3}, this_turn=True)
        assert len(lines(stream)) == before
        await asyncio.sleep(0)
        assert [line["n"] for line in lines(stream)] == [1, 2, 3] * (turn + 1)


@pytest.mark.parametrize(("level", "format"), [("warning", "json"), ("info", "text")])
def test_there_is_no_bulk_of_what_is_not_wanted_or_is_for_people(level: str, format: logs.LogFormat) -> None:
    logs.configure(level=level, format=format, stream=io.StringIO())
    assert logs.bulk("request") is None


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
