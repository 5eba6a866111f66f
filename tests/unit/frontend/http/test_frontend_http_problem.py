from __future__ import annotations

import json

import pytest

from ambry import errors
from ambry.errors import AmbryError, QuotaExceeded, RangeNotSatisfiable, Unavailable
from frontend.http.problem import problem


def every_error(base: type[AmbryError] = AmbryError) -> list[type[AmbryError]]:
    own = [base] if base.__module__ == errors.__name__ else []
    return own + [found for child in base.__subclasses__() for found in every_error(child)]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_has_the_shape_of_rfc_9457(kind: type[AmbryError]) -> None:
    for message in ("what to do next é", ""):
        status, headers, body = problem(kind(message), "abc")
        told = json.loads(body)
        assert status == kind.status == told["status"]
        assert headers["Content-Type"] == "application/problem+json"
        assert headers["x-ambry-error-code"] == told["code"] == kind.__name__
        assert headers["Cache-Control"] == "no-store"
        assert told["request_id"] == "abc"
        assert told["detail"] == message or (not message and told["detail"] == told["title"])
        assert told["type"] == "about:blank" and told["title"]
        assert ("Retry-After" in headers) == (status in (429, 503))


@pytest.mark.parametrize(
    ("wait", "expected"), [(None, "1"), (0.0, "1"), (0.2, "1"), (1.4, "1"), (2.6, "3"), (60.0, "60")]
)
def test_retry_after_is_whole_seconds_and_at_least_one(wait: float | None, expected: str) -> None:
    for kind in (Unavailable, QuotaExceeded):
        assert problem(kind("x", retry_after_s=wait), "r")[1]["Retry-After"] == expected


def test_a_range_outside_the_blob_says_how_large_it_is() -> None:
    assert problem(RangeNotSatisfiable("x", size=17), "r")[1]["Content-Range"] == "bytes */17"
    assert "Content-Range" not in problem(Unavailable("x"), "r")[1]
