"""Answers that are errors, and the errors of a connection that gave none."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import Any, cast

from ambry.client.wire.message import ApiRequest, Headers, parse_time, request_id_of
from ambry.errors import (
    AccessDenied,
    AlreadyExists,
    AmbryError,
    BlobDeleted,
    BlobExpired,
    BlobGone,
    BlobNotFound,
    ExpectationFailed,
    HeadersTooLarge,
    HttpVersionNotSupported,
    InsufficientStorage,
    InternalError,
    InvalidRequest,
    MediaTypeUnsupported,
    MethodNotAllowed,
    MisdirectedRequest,
    NameDeleted,
    NameNotFound,
    NotSupported,
    PeerConnectionLost,
    PreconditionFailed,
    ProtocolViolation,
    QuotaExceeded,
    RangeNotSatisfiable,
    RequestTimeout,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UriTooLong,
    error_class,
)
from ambry.rest import names
from ambry.rest.text import sentence_of_header, without_controls

ERROR_BODY_MAX = 64 << 10

_BY_STATUS: dict[int, type[AmbryError]] = {
    401: Unauthenticated,
    403: AccessDenied,
    404: BlobNotFound,
    405: MethodNotAllowed,
    408: RequestTimeout,
    409: AlreadyExists,
    410: BlobGone,
    412: PreconditionFailed,
    413: TooLarge,
    414: UriTooLong,
    415: MediaTypeUnsupported,
    416: RangeNotSatisfiable,
    417: ExpectationFailed,
    421: MisdirectedRequest,
    429: QuotaExceeded,
    431: HeadersTooLarge,
    500: InternalError,
    501: NotSupported,
    505: HttpVersionNotSupported,
    507: InsufficientStorage,
}


class ConnectFailed(PeerConnectionLost):
    """No connection, so nothing was sent and any request may be repeated elsewhere."""


class StaleConnection(PeerConnectionLost):
    """A kept connection had been closed by the server before it saw the request."""


def connect_failed(
    endpoint: str, cause: OSError | None, proxy: object = None, *, is_over: bool = False
) -> ConnectFailed | RequestTimeout:
    """`cause` None, or a TimeoutError: nobody answered in time, which is the call's own where that `is_over`."""
    if cause is None or isinstance(cause, TimeoutError):
        if is_over:
            return RequestTimeout(f"there was no connection to {endpoint} within the call's total timeout")
        reason = "no answer in time"
    elif endpoint.startswith("https:") and is_hung_up(cause) and not isinstance(cause, ConnectionRefusedError):
        reason = "it ended the connection when it was spoken to in TLS (is it a port for https?)"
    else:
        # asyncio says "Connect call failed" and an address for whatever it was.
        number = cause.errno or 0
        if number in (errno.EMFILE, errno.ENFILE):
            return ConnectFailed(
                f"cannot connect to {endpoint}: no file descriptor is left here ({os.strerror(number)}); close files and "
                "connections, or raise the limit (ulimit -n)"
            )
        reason = os.strerror(number) if number > 0 else cause.strerror or str(cause)
    if proxy is not None:
        return ConnectFailed(
            f"cannot connect to {endpoint} through the proxy {proxy}: {reason}; http_proxy, https_proxy and no_proxy say which "
            "endpoints are asked through it"
        )
    return ConnectFailed(
        f"cannot connect to {endpoint}: {reason}; check that a frontend runs there, "
        "or name others: AmbryClient(endpoints), or AMBRY_ENDPOINTS with AmbryClient.from_env()"
    )


def proxy_refused(endpoint: str, proxy: object, reason: str) -> ConnectFailed:
    """For a proxy that makes no tunnel."""
    return ConnectFailed(
        f"the proxy {proxy} lets nobody through to {endpoint}: {reason.strip()}; no_proxy names hosts that are asked directly"
    )


def is_tls(cause: object) -> bool:
    """Whether it is an error of TLS, and not of the connection below it."""
    # The module is there if such an error is; without TLS nobody has to load it.
    ssl = sys.modules.get("ssl")
    return ssl is not None and isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError)


def is_hung_up(cause: object) -> bool:
    """Whether the other end closed the connection, with TLS or without."""
    ssl = sys.modules.get("ssl")
    return isinstance(cause, ConnectionError) or (ssl is not None and isinstance(cause, ssl.SSLEOFError))


_OTHER_NAME = (62, 64)
"""X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH (X509_STORE_CTX_get_error(3ssl))."""


def not_trusted(endpoint: str, cause: Exception) -> ProtocolViolation:
    """For an end with which no secure connection can be had; it may come back, but not by being asked again."""
    verdict = str(getattr(cause, "verify_message", "")).rstrip(".")
    if getattr(cause, "verify_code", 0) in _OTHER_NAME:
        return ProtocolViolation(
            f"the certificate of {endpoint} is refused: {verdict}; name the endpoint as that does, or have "
            "one that names it too: `ambry certs issue front NAME --host HOST`"
        )
    if verdict:
        return ProtocolViolation(
            f"the certificate of {endpoint} is refused: {verdict}; AmbryClient(tls=TLSConfig(ca=...)), or AMBRY_CA, names the "
            "authority to trust"
        )
    reason = (getattr(cause, "reason", None) or str(cause)).replace("_", " ").lower()
    if "certificate" in reason or "unknown ca" in reason:
        return ProtocolViolation(
            f"{endpoint} refuses this client's certificate ({reason}); TLSConfig(cert=..., key=...), or AMBRY_CERT and "
            "AMBRY_CERT_KEY, names another"
        )
    hint = f"if that port speaks http, name it http:{endpoint.partition(':')[2]}"
    return ProtocolViolation(f"{endpoint} does not speak TLS as expected ({reason}): is it a port for https? {hint}")


def closed_idle(endpoint: str) -> StaleConnection:
    return StaleConnection(f"{endpoint} had closed a kept connection")


def timed_out_idle(endpoint: str) -> StaleConnection:
    """For a 408 on a kept connection: it may speak of the idle time before our request (RFC 9110 section 15.5.9)."""
    return StaleConnection(f"{endpoint} gave a kept connection up, with status 408")


_UNKNOWN = "; a change may or may not have happened"


def not_in_time(endpoint: str) -> RequestTimeout:
    return RequestTimeout(f"{endpoint} did not answer in time{_UNKNOWN}")


def reword_read(error: AmbryError, request: ApiRequest) -> None:
    """Of a request that changes nothing, nothing is said of changes."""
    if request.method in ("GET", "HEAD") or request.path in ("/batch/get", "/batch/head"):
        error.message = error.message.removesuffix(_UNKNOWN)


def not_http(endpoint: str, cause: Exception) -> ProtocolViolation:
    """What came in place of HTTP is not shown: it may be the bytes of a blob."""
    told = type(cause).__name__
    if not hasattr(cause, "line"):  # http.client's BadStatusLine says nothing but what came.
        reason = str(getattr(cause, "message", None) or cause).partition("\n")[0].rstrip(":")
        told = f"{told}: {reason[:100]}"
    return ProtocolViolation(f"{endpoint} does not speak HTTP as expected ({told})")


def broken(endpoint: str, cause: Exception) -> PeerConnectionLost:
    return PeerConnectionLost(f"the connection to {endpoint} broke: {cause or type(cause).__name__}")


def no_answer(endpoint: str) -> PeerConnectionLost:
    return PeerConnectionLost(
        f"{endpoint} closed the connection without an answer; if it does so again, check that it is the API port of a frontend"
    )


def answered_early(endpoint: str, status: int, headers: Headers) -> ProtocolViolation:
    """For a success that came before the request was whole: it cannot speak of what we meant to send."""
    return ProtocolViolation(
        f"{endpoint} answered {status} before it had the whole body", request_id=request_id_of(headers)
    )


def is_ours(headers: Headers) -> bool:
    """Whether an answer is that of an ambry frontend: each of theirs names its request."""
    return bool(headers.get(names.REQUEST_ID))


def foreign(endpoint: str, request: ApiRequest, status: int, request_id: str = "") -> ProtocolViolation:
    """For the answer of a proxy, a captive portal or some other server: its 404 is no proof, its 200 no deed."""
    return ProtocolViolation(
        f"{request.method} {request.path} was answered {status}, but not by ambry; check that {endpoint} is the API port of a "
        "frontend",
        request_id=request_id,
    )


def note_request(error: BaseException | None, headers: Headers) -> None:
    """Give an error of ours the id of the request whose answer it is about, by which the server's logs tell more."""
    if isinstance(error, AmbryError):
        error.request_id = error.request_id or headers.get(names.REQUEST_ID, "")


def retry_after(headers: Headers, now_ms: int) -> float | None:
    """Seconds to wait, from either form of Retry-After (RFC 9110 section 10.2.3): a date is held against that of the answer.

    A frontend says seconds: a date is of somebody on the way, who wrote the `Date` as well. Where the answer has none,
    against `now_ms`, milliseconds since 1970 by the clock of this machine.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    when = parse_time(text) if "," in text else None
    if when is None:
        return None
    written = parse_time(headers.get("date", ""))
    return max(0.0, when.timestamp() - (now_ms / 1000 if written is None else written.timestamp()))


def error_of(
    endpoint: str, request: ApiRequest, status: int, headers: Headers, body: bytes, *, now_ms: int
) -> AmbryError:
    """The error that an answer stands for. `body` may be empty (HEAD: a header has the sentence) or cut off."""
    problem: dict[str, Any] = {}
    if body and "json" in headers.get("content-type", ""):
        import msgspec

        with suppress(msgspec.DecodeError):
            said_in_body: object = msgspec.json.decode(body)
            problem = cast(dict[str, Any], said_in_body) if isinstance(said_in_body, dict) else {}
    code = str(problem.get("code") or headers.get(names.ERROR_CODE) or "")
    request_id = without_controls(str(problem.get("request_id") or "")) or request_id_of(headers)
    cls = error_class(code)
    if cls is None and 300 <= status < 500 and not code and status not in (400, 408, 413, 414, 429, 431):
        return foreign(endpoint, request, status, request_id)
    if cls is None:
        cls = _BY_STATUS.get(status) or (Unavailable if status >= 500 else InvalidRequest)
    said = str(problem.get("detail") or "") or sentence_of_header(headers.get(names.ERROR_DETAIL, ""))
    detail = without_controls(said) or _describe(cls, request, status)
    error = cls(detail, request_id=request_id)
    error.retry_after_s = retry_after(headers, now_ms)
    if isinstance(error, RangeNotSatisfiable):
        size = headers.get("content-range", "").rpartition("/")[2]
        error.size = int(size) if size.isascii() and size.isdigit() else 0
    return error


def _describe(cls: type[AmbryError], request: ApiRequest, status: int) -> str:
    subject = request.subject or f"{request.method} {request.path}"
    if issubclass(cls, NameDeleted):
        return f"{subject} was deleted; its history is kept"
    if issubclass(cls, NameNotFound):
        return f"{subject} does not exist"
    if issubclass(cls, BlobDeleted):
        return f"{subject} was deleted; it may be undeleted until its space is given back"
    if issubclass(cls, BlobExpired):
        return f"{subject} has expired"
    if issubclass(cls, BlobGone):
        return f"{subject} was deleted or has expired"
    if issubclass(cls, Unauthenticated):
        return (
            f"{subject} takes a key that this cluster knows: AmbryClient(key=...), AMBRY_KEY_FILE or a profile says it, and a "
            "GET of the same tells what is wrong with one that was sent"
        )
    if issubclass(cls, BlobNotFound):
        return f"{subject} does not exist; check the id and the cluster it belongs to"
    reason = (cls.__doc__ or cls.__name__).split(".")[0].split(";")[0]
    return f"{subject} was refused with status {status} ({cls.__name__}): {reason[:1].lower()}{reason[1:]}"
