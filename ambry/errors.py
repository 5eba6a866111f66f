"""One tree of errors, shared by the data nodes, the frontends and the clients.

Every class has a wire code (`code`, on the RPC and never renumbered), an HTTP status, the name that stands in
`x-ambry-error-code`, and whether the same request may succeed when it is repeated (`retriable`). Classes that users catch
also inherit the fitting builtin, so that `except FileNotFoundError` works around a `get`.

A message says what happened, to what, and what to do next; the edges add the request id.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypeVar

T = TypeVar("T")

MALFORMED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What comes of taking a document apart that somebody else wrote: it is no JSON, a field lacks, is of another type, is a number
beyond all, or is nested deeper than Python's stack. Of ours, InvalidRequest and ConfigInvalid are among them."""


class AmbryError(Exception):
    """Base of everything this project raises on purpose.

    `request_id` names the request in every log it passed through; `endpoint`, `attempts` and `retry_after_s` are filled by
    the client, and so is `repeated`: an earlier attempt of the call may have done what this one was refused.
    """

    code: ClassVar[int] = 1
    status: ClassVar[int] = 500
    retriable: ClassVar[bool] = False

    def __init__(
        self,
        message: str = "",
        *,
        request_id: str = "",
        endpoint: str = "",
        attempts: int = 0,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.request_id = request_id
        self.endpoint = endpoint
        self.attempts = attempts
        self.retry_after_s = retry_after_s
        self.repeated = False

    @property
    def retryable(self) -> bool:
        """Whether repeating the same request may help (the client's spelling of `retriable`)."""
        return self.retriable

    def __str__(self) -> str:
        # OSError's own __str__ would hide the message, hence this one.
        suffix = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.message}{suffix}"


class InternalError(AmbryError):
    """A bug of ours, and only that."""

    code = 2


class InvariantBroken(InternalError):
    """Something that must always hold did not; the operation stopped before it could do harm."""

    code = 3


def must_have(value: T | None, what: str) -> T:
    """`value`, which is never None here, whatever its type says. Raises InvariantBroken."""
    if value is None:
        raise InvariantBroken(f"{what} is not there")
    return value


class InvalidRequest(AmbryError, ValueError):
    """The request can never succeed as it is."""

    code = 10
    status = 400


class InvalidBlobId(InvalidRequest):
    """The text is not a blob id: mistyped, cut off, or of a version that this release does not know."""

    code = 11


class ChecksumMismatch(AmbryError, OSError):
    """The bytes are not the ones that their digest names."""

    code = 12
    status = 400


class AccessDenied(AmbryError, PermissionError):
    """Not allowed with these credentials."""

    code = 13
    status = 403


class Unauthenticated(AmbryError, PermissionError):
    """No credentials, or such as are not known, not any more, or not yet."""

    code = 15
    status = 401


class RetentionLocked(AccessDenied):
    """What is to be deleted or overwritten lies in a container that is locked until a date."""

    code = 14


class BlobNotFound(AmbryError, FileNotFoundError):
    """Proven absent: enough replicas that have the authority to say so do not hold it."""

    code = 20
    status = 404


class BlobGone(BlobNotFound):
    """The blob existed and is no longer served."""

    code = 21
    status = 410


class BlobDeleted(BlobGone):
    """The blob was deleted."""

    code = 22


class BlobExpired(BlobGone):
    """The blob's time to live has passed."""

    code = 23


class EncryptionKeyDeleted(BlobGone):
    """The key of the container was deleted: what was encrypted with it is unreadable for ever."""

    code = 28


class NameNotFound(BlobNotFound):
    """No datacenter has such a name in this container."""

    code = 24


class NameDeleted(BlobGone):
    """The name was deleted."""

    code = 25


class AccountNotFound(AmbryError, FileNotFoundError):
    """There is no such account."""

    code = 26
    status = 404


class ContainerNotFound(AmbryError, FileNotFoundError):
    """The account has no such container."""

    code = 27
    status = 404


class KeyNotFound(AmbryError, FileNotFoundError):
    """There is no such key of the API."""

    code = 29
    status = 404


class MethodNotAllowed(InvalidRequest):
    """This path does not take this method; `allowed` are those that it takes."""

    code = 30
    status = 405

    def __init__(self, message: str = "", *, allowed: Sequence[str] = (), request_id: str = "") -> None:
        super().__init__(message, request_id=request_id)
        self.allowed = tuple(allowed)


class RequestTimeout(AmbryError, TimeoutError):
    """The request took longer than its deadline; a change may or may not have happened."""

    code = 31
    status = 408
    retriable = True


class AlreadyExists(AmbryError, FileExistsError):
    """Something else already stands under this id or name."""

    code = 32
    status = 409


class UploadNotFound(AmbryError, FileNotFoundError):
    """There is no upload session with this id here."""

    code = 47
    status = 404


class UploadGone(UploadNotFound):
    """The upload session was aborted, or is over because nobody went on with it."""

    code = 48
    status = 410


class NotDeleted(InvalidRequest):
    """Undelete of a blob that is not deleted."""

    code = 33
    status = 409


class PreconditionFailed(AmbryError):
    """A condition of the request does not hold."""

    code = 34
    status = 412


class TooLarge(InvalidRequest):
    """The body is larger than allowed."""

    code = 35
    status = 413


class UriTooLong(InvalidRequest):
    """The request's path is longer than allowed."""

    code = 36
    status = 414


class RangeNotSatisfiable(InvalidRequest):
    """The range lies outside the blob; `size` is the blob's size in bytes."""

    code = 37
    status = 416

    def __init__(self, message: str = "", *, size: int = 0, request_id: str = "") -> None:
        super().__init__(message, request_id=request_id)
        self.size = size


class HeadersTooLarge(InvalidRequest):
    """The headers, or the user metadata in them, are larger than allowed."""

    code = 38
    status = 431


class QuotaExceeded(AmbryError):
    """Over a quota or a rate; Retry-After says when to come back."""

    code = 39
    status = 429
    retriable = True


class RateLimited(QuotaExceeded):
    """More requests or bytes in a second than the key may; Retry-After says when to come back."""

    code = 46


class NotSupported(InvalidRequest):
    """A part of HTTP that this server refuses, such as an encoded transfer."""

    code = 40
    status = 501


class MisdirectedRequest(InvalidRequest):
    """The request names a host that this server does not answer for."""

    code = 41
    status = 421


class ExpectationFailed(InvalidRequest):
    """The request expects of this server what it does not do."""

    code = 42
    status = 417


class HttpVersionNotSupported(InvalidRequest):
    """The request is of a version of HTTP that this server does not speak."""

    code = 43
    status = 505


class MediaTypeUnsupported(InvalidRequest):
    """The body is of a media type that would not be stored as it is meant."""

    code = 44
    status = 415


class UpdateConflict(AmbryError):
    """Something was changed since the caller looked; nothing was done."""

    code = 45
    status = 409


class Unavailable(AmbryError, ConnectionError):
    """It cannot be done, or not be known, right now; the same request may succeed later."""

    code = 50
    status = 503
    retriable = True


class Offline(AmbryError, ConnectionError):
    """The client is told to use no network, and what is asked for is not on this machine."""

    code = 49
    status = 503


class QuorumNotReached(Unavailable):
    """Too few replicas confirmed a write in time; it may or may not have happened."""

    code = 51


class ReplicaUnavailable(AmbryError):
    """This replica cannot answer: closed, fenced, rebuilding, or not yet caught up.

    Between nodes only, and no builtin with it: `except OSError` around work on a disk means the disk.
    """

    code = 52
    status = 503
    retriable = True


class ReplicaFenced(ReplicaUnavailable):
    """A write or sync of this replica failed; it acknowledges nothing until it is reopened."""

    code = 53


class DeadlineExceeded(Unavailable):
    """No answer within the deadline."""

    code = 54


class PeerConnectionLost(Unavailable):
    """The connection to a peer could not be made, or broke before the answer."""

    code = 55


class Overloaded(Unavailable):
    """A bounded queue is full."""

    code = 56


class PartitionUnknown(AmbryError):
    """This node does not hold a replica of the partition. Between nodes only."""

    code = 57
    status = 503
    retriable = True


class MetadataUnavailable(Unavailable):
    """The store of names, accounts and sessions does not answer; a change of it may or may not have happened."""

    code = 58


class KeysUnavailable(Unavailable):
    """Whoever keeps the keys of what is encrypted cannot be asked now, and those that are known are too old."""

    code = 59


class InsufficientStorage(AmbryError, OSError):
    """No room to store this; nothing was acknowledged."""

    code = 60
    status = 507
    retriable = True


class DataCorrupt(AmbryError, OSError):
    """Stored or transferred bytes failed their checksum; they were not used."""

    code = 61
    retriable = True


class AnswerDamaged(DataCorrupt):
    """An answer came with bytes that fail their checksum: they were stored so, or became so on the way."""

    code = 68


class KeyMismatch(DataCorrupt):
    """A data key does not open with the key that it says it was wrapped by: that is another one, or it is no key of this blob.

    The bytes of the blob may be well.
    """

    code = 69
    retriable = False


class IndexCorrupt(ReplicaUnavailable):
    """The index of this replica cannot be trusted; it is being rebuilt from the log, which is well."""

    code = 62


class FormatUnknown(AmbryError):
    """The file or message is of a version that this release does not know."""

    code = 63


class ProtocolViolation(AmbryError):
    """A peer sent bytes that are not our protocol; the connection is closed."""

    code = 64


class ReleaseMismatch(AmbryError):
    """A peer is of a release that has no version of the RPC in common with this one. Between nodes only."""

    code = 65


class NotUnderstood(AmbryError):
    """A peer does not know this type of message, or a flag of it; nothing was done. Between nodes only.

    The caller does it another way, or says what it needs.
    """

    code = 66


class CallAbandoned(AmbryError):
    """The caller gave this call up before it was answered; it may have been carried out. Between nodes only."""

    code = 67


class ConfigInvalid(AmbryError, ValueError):
    """The configuration or the layout cannot be used; the message names the key."""

    code = 70
    status = 400


class StoreMismatch(AmbryError):
    """A directory belongs to another cluster, partition or process."""

    code = 71


def _tree(base: type[AmbryError]) -> list[type[AmbryError]]:
    found = [base]
    for child in base.__subclasses__():
        found.extend(_tree(child))
    return found


_BY_CODE: dict[int, type[AmbryError]] = {cls.code: cls for cls in _tree(AmbryError)}
_BY_NAME: dict[str, type[AmbryError]] = {cls.__name__: cls for cls in _tree(AmbryError)}


def error_from_code(code: int, message: str, *, request_id: str = "") -> AmbryError:
    """Rebuild an error that came over the wire; an unknown code becomes an InternalError that names it."""
    cls = _BY_CODE.get(code)
    if cls is None:
        return InternalError(f"error code {code} of a newer peer: {message}", request_id=request_id)
    return cls(message, request_id=request_id)


def error_class(name: str) -> type[AmbryError] | None:
    """The class that `x-ambry-error-code` names, or None for a name of a newer server."""
    return _BY_NAME.get(name)
