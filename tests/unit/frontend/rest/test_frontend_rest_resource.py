"""How requests find the routes that resources give: by name, by shape, and by the rest of a path exactly as it was sent."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote, unquote

import pytest
from aiohttp import web
from hypothesis import example, given
from hypothesis import strategies as st

from ambry.errors import InvalidRequest, InvariantBroken, MethodNotAllowed
from frontend.http.exchange import Exchange
from frontend.http.route import Route
from frontend.http.target import parse_target
from frontend.rest.routes import RouteFinder
from frontend.who import OPEN


async def handle(exchange: Exchange) -> web.Response:
    return web.Response()


def route(target: str, *methods: str) -> Route:
    return Route(op="test", methods=methods or ("GET",), target=target, handle=handle, needs=OPEN)


def no_pages(exchange: Exchange, allowed: Sequence[str]) -> dict[str, str]:
    return {}


FINDER = RouteFinder(
    [
        route("/"),
        route("/{filename}", "PUT"),
        route("/{id}", "GET", "HEAD"),
        route("/{id}/BlobInfo"),
        route("/{id}/Segment/{n}"),
        route("/named/{account}/{container}"),
        route("/named/{account}/{container}/{name...}", "GET", "PUT"),
        route("/uploads", "POST"),
        route("/uploads/{u}/complete", "POST"),
        route("/uploads/{u}/{n}", "PUT"),
        route("/accounts/containers/datasets"),
    ],
    no_pages,
)


def found(method: str, path: str) -> str:
    return FINDER.find(method, parse_target(method, path)).target


@pytest.mark.parametrize(
    ("method", "path", "target"),
    [
        ("GET", "/", "/"),
        ("PUT", "/x", "/{filename}"),
        ("GET", "/x", "/{id}"),
        ("GET", "/x/blobINFO", "/{id}/BlobInfo"),
        ("GET", "/x/segment/0", "/{id}/Segment/{n}"),
        ("GET", "/NAMED/a/c", "/named/{account}/{container}"),
        ("GET", "/named/a/c/n", "/named/{account}/{container}/{name...}"),
        ("GET", "/named/a/c/", "/named/{account}/{container}/{name...}"),
        ("PUT", "/named/a/c/n/complete", "/named/{account}/{container}/{name...}"),
        ("POST", "/uploads/u/complete", "/uploads/{u}/complete"),
        ("PUT", "/uploads/u/7", "/uploads/{u}/{n}"),
        ("GET", "/accounts/containers/datasets", "/accounts/containers/datasets"),
        # A name that only leads on is a file's or an id's where it stands alone; their handlers say what is wrong with it.
        ("GET", "/named", "/{id}"),
        ("PUT", "/accounts", "/{filename}"),
        ("OPTIONS", "*", "*"),
        ("OPTIONS", "/uploads/u/7", "/uploads/{u}/{n}"),
    ],
)
def test_a_request_finds_its_route(method: str, path: str, target: str) -> None:
    assert found(method, path) == target


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/x/y", "what there is: /{id}/BlobInfo, /{id}/Segment/{n}"),
        ("/x/BlobInfo/y", "nothing is below"),
        ("/uploads/u/complete/now", "nothing is below"),
        ("/named/a", "what there is: /named/{account}/{container}, /named/{account}/{container}/{name...}"),
        ("/named/a/", "no empty segments"),
        ("/named//c/n", "no empty segments"),
        ("/named/../c/n", "no segments . or .."),
        ("/x/", "no empty segments"),
        ("//", "no empty segments"),
    ],
)
def test_what_is_not_there_says_what_is(path: str, said: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        found("GET", path)
    assert said in refused.value.message


def test_a_file_cannot_take_a_name_of_the_api_whatever_stands_there() -> None:
    with pytest.raises(InvalidRequest, match="a name of the API's own"):
        found("PUT", "/uploads")
    with pytest.raises(MethodNotAllowed) as refused:
        found("GET", "/uploads")
    assert refused.value.allowed == ("OPTIONS", "POST")


def test_two_routes_that_answer_the_same_are_a_bug_that_shows_at_the_start() -> None:
    with pytest.raises(InvariantBroken, match="two routes answer GET"):
        RouteFinder([route("/{id}/BlobInfo"), route("/{other}/blobinfo")], no_pages)


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=60))
@example("a//b")
@example("../../.")
@example("/")
@example("a/./b/..")
@example("%2F+ ?#\x00\U0001f600")
def test_a_name_comes_out_as_it_went_in_however_it_was_encoded(name: str) -> None:
    """Every byte may be percent-encoded or, where it is unreserved or a slash, not: the name is the same."""
    for text in (quote(name, safe="/"), quote(name, safe=""), "".join(f"%{byte:02x}" for byte in name.encode())):
        target = parse_target("GET", f"/named/a/c/{text}")
        assert FINDER.find("GET", target).target == "/named/{account}/{container}/{name...}"
        assert unquote(target.rest(3), errors="strict") == name
