"""What a frontend tells of what is stored and was asked for. Against a frontend: test_cli_usage.py."""

from __future__ import annotations

import pytest

from ambry.client.usage import Requested, UsageReport
from ambry.client.wire import usage as wire
from ambry.errors import ProtocolViolation


def test_what_a_later_server_tells_beside_it_is_passed_over() -> None:
    body = b'{"atMs": 5, "later": 1, "withoutKey": {"requests": 3, "bytesIn": 2, "new": 1}}'
    assert wire.parse_usage({}, body) == UsageReport(at_ms=5, without_key=Requested(requests=3, bytes_in=2))
    assert (wire.usage_request().method, wire.usage_request().path) == ("GET", "/usage")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"atMs": "x"}', b'{"atMs": 1, "containers": [{}]}', b"\xff"])
def test_an_answer_that_is_no_usage_is_a_violation(body: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        wire.parse_usage({"x-ambry-request-id": "r"}, body)
