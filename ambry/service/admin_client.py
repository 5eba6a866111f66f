"""Asking an admin port (ambry/service/admin.py), for the commands that do."""

from __future__ import annotations

import http.client
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import msgspec


class AdminUnanswered(Exception):
    """An admin port refused, or did not answer as one; the message says which and why."""


def ask_admin(url: str, method: str, path: str, *, timeout_s: float, body: object = None) -> Any:
    """The decoded answer of the admin port at `url` (http://host:port, or host:port) for `path`. Raises AdminUnanswered.

    `body` is sent as JSON, None as nothing. `timeout_s` bounds each wait for the other end, seconds.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port or parts.scheme != "http":
        raise AdminUnanswered(f"{url!r} is not the address of an admin port; give it as http://host:port")
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request(method, path, None if body is None else msgspec.json.encode(body))
        answer = connection.getresponse()
        said = msgspec.json.decode(answer.read())
    except ConnectionRefusedError as cause:
        raise AdminUnanswered(f"{url}: nobody listens there; does the process run?") from cause
    except (OSError, http.client.HTTPException) as cause:
        raise AdminUnanswered(f"{url}: {cause or type(cause).__name__}") from cause
    except msgspec.DecodeError as cause:
        raise AdminUnanswered(f"{url}: what answers there is no admin port of ambry") from cause
    finally:
        connection.close()
    if answer.status != HTTPStatus.OK:
        if not isinstance(said, dict):
            raise AdminUnanswered(f"{url}: {path}: status {answer.status}")
        if said.get("error") == "PageUnknown":
            raise AdminUnanswered(f"{url}: this is not the admin port of a data node: {said.get('detail')}")
        raise AdminUnanswered(f"{url}: {path}: {said.get('error')}: {said.get('detail')}")
    return said
