from __future__ import annotations

import pytest

from ambry.errors import InvariantBroken
from frontend.http.wire import Fields, answer_head, lines, status_line


def test_a_head_has_its_lines_in_order_and_an_empty_one() -> None:
    assert answer_head(200, {"A": "b", "C": "é"}) == "HTTP/1.1 200 OK\r\nA: b\r\nC: é\r\n\r\n".encode()
    assert answer_head(503, {"A": ""}) == b"HTTP/1.1 503 Service Unavailable\r\nA: \r\n\r\n"


@pytest.mark.parametrize(
    "headers", [{"A": "b\r\nC: d"}, {"A": "b\n"}, {"A\r": "b"}, {"A": "b", "C": "\r"}, {"A\n": "x", "B": "\r"}]
)
def test_no_header_ends_its_line(headers: dict[str, str]) -> None:
    with pytest.raises(InvariantBroken):
        answer_head(200, headers)


def test_fields_of_one_shape_are_told_alike_as_headers_and_as_lines() -> None:
    fields = Fields("ETag", "x-size")
    values = ('"ab%s"', "12")
    assert fields.headers(values) == {"ETag": '"ab%s"', "x-size": "12"}
    assert fields.lines(values) == lines(fields.headers(values)) == 'ETag: "ab%s"\r\nx-size: 12\r\n'
    assert status_line(404) == "HTTP/1.1 404 Not Found\r\n"
