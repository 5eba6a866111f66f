"""The API as OpenAPI 3.1 tells it: made from the routes themselves, so that it lists what there is, and nothing else."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from ambry import __version__
from ambry.rest import names
from frontend.http.route import Route
from frontend.rest.openapi_headers import CONDITIONS, HEADERS, PATH, QUERY, RANGES, Schema

Document = dict[str, Any]

PROBLEM_TYPE = "application/problem+json"
ALWAYS = (400, 403, 405, 408, 414, 417, 421, 431, 500, 503)
"""Errors that may come of every call."""
NAMING = frozenset({names.BLOB_ID, names.ACCOUNT_NAME, names.ACCOUNT_ID})
"""Headers that name what may not be there."""
_VARIES = re.compile(r"\{(\w+)(\.\.\.)?\}")
_PROBLEM: Schema = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status", "code", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "the class of the error"},
        "detail": {"type": "string", "description": "what is wrong, and what to do"},
        "request_id": {"type": "string"},
    },
}


def document(routes: Iterable[Route]) -> Document:
    """The whole of it."""
    table = tuple(routes)
    named = paths_of(table)
    paths: dict[str, dict[str, Any]] = {}
    for route in table:
        path = named[route.target]
        for method in route.methods:
            paths.setdefault(path, {})[method.lower()] = _operation(route, method, path)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ambry",
            "version": __version__,
            "summary": "An immutable blob store",
            "description": "Headers that a call does not know, and query keys, are refused and never ignored. Every error is "
            "application/problem+json; every answer carries x-ambry-request-id, and in "
            f"{names.ANSWERED} the time of the cluster, in milliseconds since 1970.",
        },
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": {"Problem": _PROBLEM},
            "responses": {
                "Problem": {
                    "description": "An error: what is wrong, and what to do",
                    "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
                },
                "Empty": {"description": "An error, told in headers alone"},
            },
        },
    }


def paths_of(routes: Iterable[Route]) -> dict[str, str]:
    """The path of each target. Those that differ in the names of what varies alone are one, with the names of the last."""
    last = {_VARIES.sub("{}", route.target): _VARIES.sub(r"{\1}", route.target) for route in routes}
    return {route.target: last[_VARIES.sub("{}", route.target)] for route in routes}


def statuses_of(route: Route, method: str) -> tuple[int, ...]:
    """All that it may answer with, in order."""
    found = {*route.statuses, *ALWAYS}
    about_one = "{" in route.target or not route.headers.isdisjoint(NAMING)
    if route.select is not None:
        found |= {412}
        if method in ("GET", "HEAD"):
            found |= {304}
    if about_one:
        found |= {404, 410}
    if 206 in route.statuses:
        found |= {416}
    if route.lacks:
        found |= {501}
    if route.changes:
        found |= {409, 507}
    if route.takes_body:
        found |= {413, 415}
    return tuple(sorted(found))


def _operation(route: Route, method: str, path: str) -> dict[str, Any]:
    summary, description = _words(route)
    found: dict[str, Any] = {
        "operationId": f"{method.lower()}_{route.op}_{re.sub(r'[^a-z]+', '_', route.target.lower()).strip('_') or 'root'}",
        "summary": summary,
        "tags": [route.target[1:].split("/")[0].strip("{}") or "blobs"],
        "parameters": [*_in_path(route, path), *_in_query(route), *_in_headers(route, method)],
        "responses": {str(status): _response(route, method, status) for status in statuses_of(route, method)},
    }
    if description:
        found["description"] = description
    if route.takes_body:
        found["requestBody"] = {
            "required": True,
            "content": {kind: {"schema": schema} for kind, schema in _body(route)},
        }
    return found


def _words(route: Route) -> tuple[str, str]:
    """What is said of it: the docstring of what answers it."""
    text = inspect.getdoc(route.handle) or route.op.replace("_", " ")
    first, _, rest = text.partition("\n\n")
    prefixes = "".join(f" Headers that begin with {prefix} are user metadata." for prefix in route.header_prefixes[:1])
    return " ".join(first.split()), (" ".join(rest.split()) + prefixes).strip()


def _body(route: Route) -> list[tuple[str, Schema]]:
    return [(kind, dict(route.body_schema or {})) for kind in route.takes]


def _response(route: Route, method: str, status: int) -> dict[str, Any]:
    if status >= 400:
        if method != "HEAD" and status == 503 and "text/plain" in route.gives:
            return {
                "description": HTTPStatus(status).phrase,
                "content": {kind: {} for kind in (*route.gives, PROBLEM_TYPE)},
            }
        return {"$ref": f"#/components/responses/{'Empty' if method == 'HEAD' else 'Problem'}"}
    found: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if method != "HEAD" and status not in (204, 304) and route.gives:
        found["content"] = {kind: {} for kind in route.gives}
        if status == 206:
            found["content"] |= {"multipart/byteranges": {}}
    return found


def _parameter(place: str, name: str, said: Mapping[str, tuple[str, Schema]], *, required: bool) -> dict[str, Any]:
    description, schema = said.get(name, ("", {"type": "string"}))
    found: dict[str, Any] = {"name": name, "in": place, "required": required, "schema": schema}
    if description:
        found["description"] = description
    return found


def _in_path(route: Route, path: str) -> list[dict[str, Any]]:
    """Under the names that the path has, what they are to this route."""
    pairs = zip(_VARIES.findall(route.target), _VARIES.findall(path), strict=True)
    return [_parameter("path", own, PATH, required=True) | {"name": shown} for (own, _), (shown, _) in pairs]


def _in_query(route: Route) -> list[dict[str, Any]]:
    return [_parameter("query", name, QUERY, required=name in route.required) for name in sorted(route.query)]


def _in_headers(route: Route, method: str) -> list[dict[str, Any]]:
    found = [_parameter("header", name, HEADERS, required=name in route.required) for name in sorted(route.headers)]
    if 206 in route.statuses:
        found += [_parameter("header", name, RANGES, required=False) for name in RANGES]
    if route.select is not None:
        found += [_parameter("header", name, CONDITIONS, required=False) for name in CONDITIONS]
    return found
