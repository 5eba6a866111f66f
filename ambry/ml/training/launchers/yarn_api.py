"""The REST API of a ResourceManager, as far as a launcher asks it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from http.client import HTTPMessage
from typing import IO

from ambry.errors import MALFORMED
from ambry.home import login_name
from ambry.shown_urls import shown_place

ENDED = ("FINISHED", "FAILED", "KILLED")
"""States of applications that do not run any more."""
ANSWER_BYTES_MAX = 16 << 20
_TIMEOUT_S = 5.0


def place_of(web: str, application: str) -> str:
    """The address of an application."""
    return f"{web}/ws/v1/cluster/apps/{application}"


class _ToActive(urllib.request.HTTPRedirectHandler):
    """A ResourceManager that stands by says where the active one is, with 307; of itself urllib follows with GET alone."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if code in (307, 308) and req.get_method() == "PUT":
            return urllib.request.Request(newurl, data=req.data, method="PUT", headers=dict(req.headers))
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_ToActive)


def answering(webs: Sequence[str]) -> str:
    """Of several addresses the first one that answers; where none does, the first one; empty of none."""
    for web in webs if len(webs) > 1 else ():
        with contextlib.suppress(OSError):
            ask(f"{web}/ws/v1/cluster/info")
            return web
    return webs[0] if webs else ""


def ask(url: str, body: bytes | None = None) -> bytes:
    """GET, or PUT of a body. Raises OSError, also for an answer that is no whole HTTP, empty or too long."""
    shown = shown_place(url)
    if not url.startswith(("http://", "https://")):
        raise OSError(f"{shown!r} is no address of a web server")
    headers = {"Accept": "*/*", "Content-Type": "application/json"}
    request = urllib.request.Request(url, data=body, method="PUT" if body else "GET", headers=headers)
    try:
        with _OPENER.open(request, timeout=_TIMEOUT_S) as answer:  # nosec B310 # http(s), looked at
            found = bytes(answer.read(ANSWER_BYTES_MAX + 1))
            cut_short = len(found) <= ANSWER_BYTES_MAX and answer.length
    except (http.client.HTTPException, ValueError) as error:
        raise ConnectionError(f"{shown} did not answer as a web server does: {error!r}") from error
    if not found:  # Of a head that was cut short, too.
        raise ConnectionError(f"{shown} answered with nothing")
    if cut_short:
        raise ConnectionError(f"the answer of {shown} ended {cut_short} bytes too early")
    if len(found) > ANSWER_BYTES_MAX:
        raise ConnectionError(f"{shown} answers with more than {ANSWER_BYTES_MAX} bytes")
    return found


def kill(web: str, application: str, environ: Mapping[str, str]) -> str:
    """Have an application ended; why YARN does not, empty where it does."""
    # Whom Hadoop's own clients are for a cluster without Kerberos, $USER or not.
    user = environ.get("HADOOP_USER_NAME") or login_name()
    if not user:
        return f"this machine has no name for the user {os.geteuid()}, and YARN asks for one: set HADOOP_USER_NAME"
    try:
        ask(f"{place_of(web, application)}/state?user.name={urllib.parse.quote(user)}", b'{"state": "KILLED"}')
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.reason}{_message_of(error)}"
    except OSError as error:
        return str(error)
    return ""


def _message_of(error: urllib.error.HTTPError) -> str:
    try:
        return f": {json.loads(error.read(1 << 16))['RemoteException']['message']}"
    except (OSError, http.client.HTTPException, *MALFORMED):  # Cut in a chunk, it is no error of the system.
        return ""
