"""A path of a client leads nowhere but down, in whatever form the two dots come."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from ambry.ml.tracking.paths import DECODINGS_MAX, is_beneath


def encoded(path: str, times: int) -> str:
    for _ in range(times):
        path = quote(path, safe="")
    return path


@pytest.mark.parametrize(
    "path", ["/a/b", "a b/c", "/a%20b", "/100%", "/a/..b/c..", "/a/.../b", "", "/a%2Fb", "/größer"]
)
def test_what_lies_beneath(path: str) -> None:
    assert is_beneath(path)


@pytest.mark.parametrize(
    "path",
    [
        "/..", "../a", "/a/../b", "/a/..", "/%2e%2e/secret", "/a/%2E%2e/%2e%2E/secret", "/.%2e/a", "/%252e%252e/a",
        "/a%2f..%2fb", "/a\\..\\b", "/a%5c..%5cb", "/a%00b", encoded("/../a", 3), encoded("/a", DECODINGS_MAX + 1),
    ],
)  # fmt: skip
def test_what_may_not(path: str) -> None:
    assert not is_beneath(path)
