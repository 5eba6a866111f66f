"""The REST API without the SDK: plain http.client, raw sockets, and what the admin ports say."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One response, read to its end."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def blob_id(self) -> str:
        """The id that an upload was answered with."""
        assert self.status == 201, (self.status, self.body[:500])
        return str(self.headers["Location"]).removeprefix("/")


def connect(url: str, timeout_s: float = TIMEOUT_S, tls: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
    """With `tls` for a URL of https."""
    parts = urlsplit(url)
    host = parts.hostname or "127.0.0.1"
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, parts.port, timeout=timeout_s, context=tls)
    return http.client.HTTPConnection(host, parts.port, timeout=timeout_s)


def call(
    url: str,
    method: str,
    path: str = "/",
    body: bytes | Iterable[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    timeout_s: float = TIMEOUT_S,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """One request on a connection of its own. An iterable body goes out chunked."""
    connection = connect(url, timeout_s, tls)
    try:
        chunked = body is not None and not isinstance(body, bytes)
        wanted = dict(headers or {})
        if chunked and "Content-Length" not in wanted:
            wanted["Transfer-Encoding"] = "chunked"
        encode = chunked and "Transfer-Encoding" in wanted
        connection.request(method, path, body=body, headers=wanted, encode_chunked=encode)
        response = connection.getresponse()
        return Answer(status=response.status, headers=response.headers, body=response.read())
    finally:
        connection.close()


def put(url: str, body: bytes, headers: Mapping[str, str] | None = None) -> str:
    """Store bytes and return the id."""
    return call(url, "POST", "/", body, headers).blob_id


def get(url: str, blob_id: str, headers: Mapping[str, str] | None = None) -> Answer:
    return call(url, "GET", f"/{blob_id}", headers=headers)


def page(admin_url: str, path: str) -> Any:
    """A JSON page of an admin port."""
    answer = call(admin_url, "GET", path, timeout_s=10.0)
    assert answer.status == 200, (path, answer.status, answer.body[:300])
    return answer.json()


def metric(admin_url: str, name: str) -> float:
    """The sum of a metric's samples on /metrics."""
    text = call(admin_url, "GET", "/metrics", timeout_s=10.0).body.decode()
    samples = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
    assert samples, f"{admin_url}/metrics has no {name}"
    return sum(float(value) for _, value in samples)


def replicas(url: str, blob_id: str) -> list[dict[str, Any]]:
    """What GET /<id>/Replicas says, one entry per data node."""
    answer = call(url, "GET", f"/{blob_id}/Replicas")
    assert answer.status == 200, (answer.status, answer.body[:300])
    found: list[dict[str, Any]] = answer.json()["replicas"]
    return found


def everywhere(url: str, blob_id: str) -> bool:
    """Whether every data node holds every record of the blob."""
    return all(entry["present"] == entry["total"] for entry in replicas(url, blob_id))


def raw_exchange(url: str, request: bytes, *, timeout_s: float = TIMEOUT_S) -> tuple[int, bytes]:
    """Send bytes as they are and read until the server closes or answers once; (status, everything received).

    Status 0 where the server closed without an answer.
    """
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 80), timeout=timeout_s) as raw:
        raw.sendall(request)
        response = http.client.HTTPResponse(raw)
        try:
            response.begin()
        except (http.client.BadStatusLine, ConnectionError):
            return 0, b""
        try:
            return response.status, response.read()
        finally:
            response.close()
