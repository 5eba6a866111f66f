"""The document of the API held against the tables that requests are dispatched by, and against what is answered."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from ambry.durability import Durability
from ambry.errors import AmbryError
from ambry.ids import BlobId
from ambry.rest import names
from frontend.http.route import Route
from frontend.rest.openapi import ALWAYS, PROBLEM_TYPE, document, statuses_of
from frontend.rest.openapi_headers import BLOB_ID, HEADERS, PATH, QUERY
from tests.support.fake_cluster import some_id
from tests.support.http_frontend import http_frontend
from tests.unit.frontend.rest.test_frontend_rest_routes import GOOD, routes


def operations(told: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, methods in told["paths"].items()
        for method, operation in methods.items()
    }


def by_path() -> dict[tuple[str, str], Route]:
    """As OpenAPI wants it: paths that differ in the names of what varies alone are one."""
    alike = {"/{filename}": "/{id}"}
    return {
        (method, alike.get(route.target, route.target).replace("...}", "}")): route
        for route in routes()
        for method in route.methods
    }


async def test_every_route_is_told_with_its_methods_headers_query_and_statuses_and_nothing_else() -> None:
    told, table = operations(document(routes())), by_path()
    assert told.keys() == table.keys()
    for (method, path), operation in told.items():
        route = table[method, path]
        named = {(each["in"], each["name"]) for each in operation["parameters"]}
        headers = {name for place, name in named if place == "header"} - {
            "if-match",
            "if-none-match",
            "range",
            "if-range",
        }
        assert headers == route.headers
        assert {name for place, name in named if place == "query"} == route.query
        assert {name for place, name in named if place == "path"} == set(re.findall(r"\{(\w+)\}", path))
        assert len(named) == len(operation["parameters"])
        assert ("requestBody" in operation) == route.takes_body
        assert tuple(map(int, operation["responses"])) == statuses_of(route, method)
        assert set(ALWAYS) | set(route.statuses) <= set(map(int, operation["responses"]))
        assert operation["summary"]
    identifiers = [operation["operationId"] for operation in told.values()]
    assert len(set(identifiers)) == len(identifiers)


async def test_what_a_frontend_cannot_do_as_it_is_set_up_is_answered_as_it_is_told() -> None:
    """A frontend without keys answered 501 to who asked for a signed URL, which stood nowhere in the document."""
    assert 501 in statuses_of(by_path()["GET", "/signedUrl"], "GET")
    async with http_frontend() as frontend:
        answer = await frontend.call("GET", "/signedUrl?path=/")
    assert answer.status == 501


async def test_every_header_and_parameter_says_what_it_may_hold() -> None:
    table = routes()
    assert sorted({name for route in table for name in route.headers} - HEADERS.keys()) == []
    assert sorted({name for route in table for name in route.query} - QUERY.keys()) == []
    assert "id" in PATH


@pytest.mark.parametrize("name", sorted(GOOD))
async def test_what_is_good_fits_its_schema(name: str) -> None:
    schema = HEADERS[name][1]
    assert GOOD[name] in schema["enum"] if "enum" in schema else re.search(schema["pattern"], GOOD[name])


async def test_what_the_schemas_say_is_what_the_server_takes() -> None:
    assert set(HEADERS[names.DURABILITY][1]["enum"]) == {each.name.lower() for each in Durability}
    assert re.search(BLOB_ID["pattern"], str(some_id()))
    assert BlobId.parse(str(some_id())) is not None


async def test_the_document_is_served_and_is_whole() -> None:
    async with http_frontend() as frontend:
        answer = await frontend.call("GET", "/openapi.json")
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        told = answer.json()
        assert told["openapi"] == "3.1.0"
        assert {"/", "/{id}", "/batch/get", "/openapi.json", "/docs"} <= told["paths"].keys()
        text = json.dumps(told)
        for reference in re.findall(r'"\$ref": "#/([^"]+)"', text):
            place: Any = told
            for key in reference.split("/"):
                place = place[key]
        assert PROBLEM_TYPE in text
        same = {"If-None-Match": answer.headers["etag"]}
        for path in ("/openapi.json", "/OpenAPI.json"):
            assert (await frontend.call("GET", path, same)).status == 304
        assert (await frontend.call("PUT", "/openapi.json", body=b"x")).status == 400


async def test_the_page_needs_nothing_but_itself() -> None:
    async with http_frontend() as frontend:
        answer = await frontend.call("GET", "/docs")
        page = answer.body.decode()
        assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "/batch/get" in page and "x-ambry-durability" in page
        assert not re.search(r"<script|<link|<img|https?://|url\(|@import", page)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-") and "unsafe" not in policy
        head = await frontend.call("HEAD", "/docs")
        assert (head.headers["content-length"], head.body) == (answer.headers["content-length"], b"")
        assert (await frontend.call("GET", "/docs", {"If-None-Match": answer.headers["etag"]})).status == 304


async def test_an_error_has_the_form_that_is_told() -> None:
    async with http_frontend() as frontend:
        schema = document(routes())["components"]["schemas"]["Problem"]
        refused = await frontend.call("GET", f"/{some_id()}")
        assert set(refused.json()) == set(schema["required"]) == set(schema["properties"])
        assert refused.headers["content-type"] == PROBLEM_TYPE
    kinds = [kind for kind in AmbryError.__subclasses__() if kind.status < 500]
    told = {status for route in routes() for method in route.methods for status in statuses_of(route, method)}
    assert {kind.status for kind in kinds} - told - {401, 406, 429} == set()
