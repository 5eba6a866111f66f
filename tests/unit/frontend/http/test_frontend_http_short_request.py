"""One request is one line and one count, whichever way it went; the side of the connection has a file of its own."""

from __future__ import annotations

import pytest

from frontend import metrics
from frontend.http import access_log
from tests.support.captured_log import capture_log
from tests.support.fake_cluster import some_id
from tests.support.http_frontend import http_frontend


@pytest.mark.parametrize("shortcut", [True, False])
async def test_each_request_has_one_line_and_is_counted_in_and_out(
    monkeypatch: pytest.MonkeyPatch, shortcut: bool
) -> None:
    events = capture_log(monkeypatch, access_log)
    begun, over = metrics.begun.value, metrics.over.value
    async with http_frontend(access_log=True, shortcut=shortcut) as frontend:
        blob_id = await frontend.put(b"here")
        whole = await frontend.call("GET", f"/{blob_id}")
        await frontend.call("GET", f"/{some_id()}")
    assert metrics.begun.value - begun == metrics.over.value - over
    told = [(event["op"], event["method"], event["status"], event["bytes_in"]) for event in events]
    assert told == [("put", "POST", 201, 4), ("get", "GET", 200, 0), ("get", "GET", 404, 0)]
    assert [event["blob"] for event in events[:2]] == [blob_id, blob_id]
    assert events[1]["request_id"] == whole.headers["x-ambry-request-id"]
    assert {(event["account"], event["container"]) for event in events[:2]} == {(1, 1)}
