"""Asking an admin port (ambry/service/admin.py), for the commands that do."""

from __future__ import annotations

import http.client
import ssl
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ambry.shown_urls import shown_address


class AdminUnanswered(Exception):
    """An admin port refused, or did not answer as one; the message says which and why."""


def ask_admin(
    url: str, method: str, path: str, *, timeout_s: float, body: object = None, operator: Path | None = None
) -> Any:
    """The decoded answer of the admin port at `url` (http://host:port, or host:port) for `path`. Raises AdminUnanswered.

    `body` is sent as JSON, None as nothing. `timeout_s` bounds each wait for the other end, seconds. `operator` is the
    certificate to show where it is https; its key, authority.crt, and revoked.pem if there is one, stand beside it.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    url = shown_address(url)
    if not host or not port or parts.scheme not in ("http", "https"):
        raise AdminUnanswered(f"{url!r} is not the address of an admin port; give it as http://host:port")
    connection: http.client.HTTPConnection
    if parts.scheme == "http":
        connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    else:
        context = _context_of(url, operator)
        connection = http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)
    try:
        connection.connect()
        if isinstance(connection.sock, ssl.SSLSocket):
            _check_node(url, connection.sock)
        connection.request(method, path, None if body is None else msgspec.json.encode(body))
        answer = connection.getresponse()
        said = msgspec.json.decode(answer.read())
    except ConnectionRefusedError as cause:
        raise AdminUnanswered(f"{url}: nobody listens there; does the process run?") from cause
    except ssl.SSLCertVerificationError as cause:
        raise AdminUnanswered(
            f"{url}: its certificate is refused: {cause.verify_message}; the authority.crt beside the operator's must hold its "
            "authority"
        ) from cause
    except ssl.SSLError as cause:
        reason = (cause.reason or str(cause)).replace("_", " ").lower()
        hint = "it refuses this operator's certificate" if "alert" in reason else "it does not speak TLS as expected"
        raise AdminUnanswered(f"{url}: {hint} ({reason}); its log has the reason") from cause
    except http.client.RemoteDisconnected as cause:
        hint = "; is it one for https?"
        if parts.scheme == "https":
            hint = "; does it refuse this operator's certificate? Its log has the reason"
        raise AdminUnanswered(f"{url}: it ended the connection without an answer{hint}") from cause
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


def _context_of(url: str, operator: Path | None) -> ssl.SSLContext:
    if operator is None:
        raise AdminUnanswered(
            f"{url}: an admin port in TLS asks for an operator's certificate: --operator FILE.crt, or AMBRY_OPERATOR; "
            "`ambry certs issue --dir D operator NAME` makes one"
        )
    from ambry.errors import ConfigInvalid
    from ambry.service.tls import operator_context

    try:
        return operator_context(operator)
    except ConfigInvalid as cause:
        raise AdminUnanswered(f"the operator's certificate cannot be used: {cause.message}") from cause


def _check_node(url: str, sock: ssl.SSLSocket) -> None:
    """Whoever answers must be a node: an operator could be made to tell another one what it asks."""
    from ambry.service.tls import NodeRole, identity_of

    found = identity_of(sock.getpeercert())
    if found is None or found.role is NodeRole.OPERATOR:
        raise AdminUnanswered(f"{url}: its certificate is for {found.uri if found else 'no node'}, and not for a node")
