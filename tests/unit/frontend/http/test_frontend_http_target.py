"""Every form of a request target (RFC 9112 section 3.2), and the normal form of a path (RFC 3986 section 6.2.2)."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.errors import InvalidRequest, UriTooLong
from frontend.http.target import PATH_SIZE_MAX, Target, parse_target


@pytest.mark.parametrize(
    ("method", "raw", "expected"),
    [
        # 3.2.1 origin-form
        ("GET", "/", Target("/", ("",))),
        ("GET", "/a", Target("/a", ("a",))),
        ("GET", "/a/b/c?x=1", Target("/a/b/c", ("a", "b", "c"), "x=1")),
        ("GET", "/a?", Target("/a", ("a",))),
        ("GET", "/a?/../b", Target("/a", ("a",), "/../b")),
        ("GET", "/http://x", Target("/http://x", ("http:", "", "x"))),
        # 3.2.2 absolute-form
        ("GET", "http://h:1/a?x=1", Target("/a", ("a",), "x=1", "h:1")),
        ("GET", "HTTPS://h/a", Target("/a", ("a",), "", "h")),
        ("GET", "http://h", Target("/", ("",), "", "h")),
        ("GET", "http://h?x=1", Target("/", ("",), "x=1", "h")),
        ("GET", "http://[::1]:80/a", Target("/a", ("a",), "", "[::1]:80")),
        ("GET", "http://u:p@h/", None),
        ("GET", "ftp://h/", None),
        ("GET", "mailto:x", None),
        ("GET", "a", None),
        ("GET", "?x", None),
        ("GET", "", None),
        # 3.2.3 authority-form
        ("CONNECT", "h:80", None),
        ("CONNECT", "/", None),
        ("GET", "h:80", None),
        # 3.2.4 asterisk-form
        ("OPTIONS", "*", Target("*", ("*",))),
        ("OPTIONS", "http://h", Target("*", ("*",), "", "h")),
        ("GET", "*", None),
        # RFC 3986 3.5: a fragment is never sent
        ("GET", "/a#b", None),
        ("GET", "/a?x#b", None),
        # RFC 3986 6.2.2.2: unreserved characters are equal to their percent-encoded form, which has upper-case digits
        ("GET", "/%41%2d%7E%5f", Target("/A-~_", ("A-~_",))),
        ("GET", "/%c3%a9", Target("/%C3%A9", ("%C3%A9",))),
        ("GET", "/a%2fb", Target("/a%2Fb", ("a%2Fb",))),
        ("GET", "/%25%34%31", Target("/%2541", ("%2541",))),
        ("GET", "/%", None),
        ("GET", "/%4", None),
        ("GET", "/%zz", None),
        # 6.2.2.3: dot segments, plain or encoded, and empty ones stay: what stands there says whether it takes them
        ("GET", "/.", Target("/.", (".",))),
        ("GET", "/a/../b", Target("/a/../b", ("a", "..", "b"))),
        ("GET", "/%2e%2E/a", Target("/../a", ("..", "a"))),
        ("GET", "/...", Target("/...", ("...",))),
        ("GET", "/a/", Target("/a/", ("a", ""))),
        ("GET", "//a", Target("//a", ("", "a"))),
        ("GET", "http://h//a", Target("//a", ("", "a"), "", "h")),
    ],
)
def test_every_form_of_a_target(method: str, raw: str, expected: Target | None) -> None:
    if expected is None:
        with pytest.raises(InvalidRequest):
            parse_target(method, raw)
    else:
        assert parse_target(method, raw) == expected


@pytest.mark.parametrize("path", ["/.", "/a/../b", "/%2e%2E/a", "/.%2e", "/a/", "//a", "/a//b", "//"])
def test_segments_that_name_nothing_are_refused_where_they_are_not_meant(path: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_target("GET", path).check_segments()


def test_segments_behind_those_that_are_checked_may_be_anything() -> None:
    target = parse_target("GET", "/a/b/../c//%2F+%20")
    target.check_segments(2)
    assert target.rest(2) == "../c//%2F+%20"
    for path in ("/", "/...", "/a/.b/c."):
        parse_target("GET", path).check_segments()


def test_a_path_has_a_bound_and_the_query_does_not_count() -> None:
    assert len(parse_target("GET", "/" + "a" * (PATH_SIZE_MAX - 1) + "?" + "b" * 5000).path) == PATH_SIZE_MAX
    with pytest.raises(UriTooLong):
        parse_target("GET", "/" + "a" * PATH_SIZE_MAX)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {}),
        ("&&", {}),
        ("a=1&b=&c", {"a": "1", "b": "", "c": ""}),
        ("a%20b=c+d%3D", {"a b": "c d="}),
        ("=1", {"": "1"}),
        ("a=1&a=2", None),
        ("a=1&%61=2", None),
        ("a=%", None),
        ("a=%ff", None),
        ("é", {"é": ""}),
        ("\udcff", None),
    ],
)
def test_query_keys_stand_there_once_and_are_text(query: str, expected: dict[str, str] | None) -> None:
    target = Target("/", ("",), query)
    if expected is None:
        with pytest.raises(InvalidRequest):
            target.query_pairs()
    else:
        assert target.query_pairs() == expected


@given(st.text(max_size=30) | st.text("/.%2e41?#ah:@[]*", max_size=30), st.sampled_from(["GET", "OPTIONS", "CONNECT"]))
def test_no_text_breaks_the_parser_and_the_normal_form_is_normal(raw: str, method: str) -> None:
    for text in (raw, "/" + raw, "http://" + raw):
        with contextlib.suppress(InvalidRequest):
            target = parse_target(method, text)
            if target.path != "*":
                assert parse_target(method, target.path).path == target.path
            target.query_pairs()
