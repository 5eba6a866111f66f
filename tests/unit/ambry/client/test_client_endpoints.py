"""Which frontends a client is told to talk to."""

from __future__ import annotations

import pytest

from ambry.client.endpoints import is_secure, normal_endpoints
from ambry.errors import InvalidRequest


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, ("http://127.0.0.1:17100",)),
        ("a:1, http://b:2/ ", ("http://a:1", "http://b:2")),
        (["http://[::1]:5/base/"], ("http://[::1]:5/base",)),
        (["http://a:1", "http://a:1"], ("http://a:1",)),
        ("https://a,https://b:8443/x/", ("https://a", "https://b:8443/x")),
    ],
)
def test_endpoints(given: str | list[str] | None, expected: tuple[str, ...]) -> None:
    assert normal_endpoints(given) == expected


@pytest.mark.parametrize(
    "given",
    [
        f"http://a{'b' * 70}",
        "http://a..b",
        "http://.",
        "http://[::1",
        "http://127.0.0.1:1/é",
        "http://é:1",
        "http://a:x",
    ],
)
def test_what_nobody_can_be_connected_to_by_is_no_endpoint(given: str) -> None:
    # A traceback of whoever was asked to connect to it.
    with pytest.raises(InvalidRequest, match="http://"):
        normal_endpoints(given)


@pytest.mark.parametrize(
    "given",
    ["", [], "ftp://a", "http://", "http://a:99999", "http://u:p@a", "http://a?b", "http://a\r\nb", "http://a b"],
)
def test_what_is_no_endpoint_is_refused(given: str | list[str]) -> None:
    with pytest.raises(InvalidRequest, match="http://"):
        normal_endpoints(given)


def test_what_is_secret_in_a_wrong_endpoint_is_not_shown() -> None:
    for given in (
        "http://user:hunter2@a",
        "user:hunter2@a:1",
        "http://a?k=hunter2",
        "http://a/#hunter2",
        "u:hunter2@a b",
    ):
        with pytest.raises(InvalidRequest, match=r"endpoint '(http://)?a.*: it has no user, no password") as told:
            normal_endpoints(given)
        assert "hunter2" not in str(told.value)


def test_tls_is_told_by_the_scheme() -> None:
    assert [is_secure(each) for each in normal_endpoints("https://a,b,http://c")] == [True, False, False]
