from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from frontend import metrics
from frontend.http import access_log
from frontend.http.access_log import STATUS_CLIENT_GONE, AccessLog, trace_of
from frontend.request import RequestContext
from tests.support.captured_log import capture_log


class FakeExchange:
    """As much of an exchange as is told of."""

    method = "GET"
    context = RequestContext(id="r1", timeout_s=20.0, deadline=20.0, client="10.0.0.7")
    connection = SimpleNamespace(unsent=30)
    http = SimpleNamespace(content=SimpleNamespace(total_bytes=5), writer=SimpleNamespace(output_size=100))

    def __init__(self, op: str) -> None:
        self.op = op
        self.noted = {"blob": "b1"}


@pytest.mark.parametrize(
    ("enabled", "op", "status", "level"),
    [
        (True, "get", 200, "info"),
        (True, "get", 404, "info"),
        (True, "health", 200, None),
        (True, "health", 421, "info"),
        (True, "health", 503, "warning"),
        (False, "get", 200, None),
        (False, "get", 500, "warning"),
    ],
)
def test_a_request_has_a_line_where_it_is_wanted_and_is_counted_always(
    monkeypatch: pytest.MonkeyPatch, enabled: bool, op: str, status: int, level: str | None
) -> None:
    events = capture_log(monkeypatch, access_log)
    counter = metrics.REQUESTS.labels(op, str(status))
    before = counter.value
    AccessLog(enabled=enabled, random_source=random.Random(1)).record(cast(Any, FakeExchange(op)), status, 0.25)
    assert counter.value == before + 1
    assert [event["log_level"] for event in events] == ([] if level is None else [level])
    for event in events:
        assert (event["request_id"], event["blob"], event["status"], event["ms"]) == ("r1", "b1", status, 250.0)
        assert (event["client"], event["bytes_in"], event["bytes_out"]) == ("10.0.0.7", 5, 100)


def test_an_answer_that_broke_off_is_told_with_the_bytes_that_went(monkeypatch: pytest.MonkeyPatch) -> None:
    events = capture_log(monkeypatch, access_log)
    AccessLog(enabled=True, random_source=random.Random(1)).record(
        cast(Any, FakeExchange("get")), STATUS_CLIENT_GONE, 0.25
    )
    assert [(event["status"], event["bytes_out"]) for event in events] == [(499, 70)]


def test_of_successful_reads_one_in_some_has_a_line_and_of_changes_and_errors_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events = capture_log(monkeypatch, access_log)
    log = AccessLog(enabled=True, random_source=random.Random(1), reads_one_in=10)
    counter = metrics.REQUESTS.labels("get", "200")
    before = counter.value

    def tell(method: str, status: int) -> None:
        context = RequestContext(id="r1", timeout_s=20.0, deadline=20.0)
        log.tell("get", method, None, context, status=status, seconds=0.1, received=0, sent=1, noted={})

    for _ in range(1_000):
        tell("GET", 200)
    assert counter.value == before + 1_000
    assert 50 < len(events) < 150
    assert {event["one_in"] for event in events} == {10}
    events.clear()
    for method, status in (("GET", 404), ("GET", 503), ("PUT", 201), ("DELETE", 202), ("GET", STATUS_CLIENT_GONE)):
        tell(method, status)
    assert [event["status"] for event in events] == [404, 503, 201, 202, STATUS_CLIENT_GONE]
    assert not any("one_in" in event for event in events)


TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize("version", ["00", "01", "fe"])
def test_the_trace_that_a_traceparent_names(version: str) -> None:
    assert trace_of(f"{version}-{TRACE}-b7ad6b7169203331-01") == TRACE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        TRACE,
        f"ff-{TRACE}-b7ad6b7169203331-01",
        f"00-{TRACE.upper()}-b7ad6b7169203331-01",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-b7ad6b7169203331-01\n",
        f"00-{TRACE}-b7ad6b7169203331-01-" + "a" * 10_000,
        f"00-{TRACE}-b7ad6b7169203331-01, 00-{TRACE}-b7ad6b7169203331-01",
    ],
)
def test_what_is_no_traceparent_names_no_trace(text: str) -> None:
    assert trace_of(text) == ""


def test_an_account_is_its_number_in_every_line_and_its_name_has_a_field_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was a number in most lines and a name in those of settings, in one field: an index of logs takes one of the two."""
    events = capture_log(monkeypatch, access_log)
    context = RequestContext(id="r1", timeout_s=20.0, deadline=20.0)
    noted = {"account": "ml", "container": "models"}
    AccessLog(enabled=True, random_source=random.Random(1)).tell(
        "containers_post", "POST", None, context, status=200, seconds=0.1, received=0, sent=1, noted=noted
    )
    [line] = events
    assert (line["account_name"], line["container_name"]) == ("ml", "models")
    assert not {"account", "container"} & set(line)
    assert noted == {"account": "ml", "container": "models"}, "the audit has the same"
