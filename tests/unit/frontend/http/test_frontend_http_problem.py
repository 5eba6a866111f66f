from __future__ import annotations

import pytest

from ambry.errors import BlobNotFound, MethodNotAllowed, QuotaExceeded, RangeNotSatisfiable, Unavailable
from frontend.http.problem import headers_of


@pytest.mark.parametrize(
    ("wait", "expected"), [(None, "1"), (0.0, "1"), (0.2, "1"), (1.4, "1"), (2.6, "3"), (60.0, "60")]
)
def test_retry_after_is_whole_seconds_and_at_least_one(wait: float | None, expected: str) -> None:
    for kind in (Unavailable, QuotaExceeded):
        assert headers_of(kind("x", retry_after_s=wait))["Retry-After"] == expected
    assert "Retry-After" not in headers_of(BlobNotFound("x"))


def test_a_range_outside_the_blob_says_how_large_it_is() -> None:
    assert headers_of(RangeNotSatisfiable("x", size=17))["Content-Range"] == "bytes */17"
    assert "Content-Range" not in headers_of(Unavailable("x"))


def test_a_method_that_is_not_allowed_says_which_are() -> None:
    assert headers_of(MethodNotAllowed("x", allowed=("GET", "HEAD")))["Allow"] == "GET, HEAD"


def test_no_error_is_kept_by_a_cache() -> None:
    assert headers_of(BlobNotFound("x"))["Cache-Control"] == "no-store"
