"""What users of the client see: values, all frozen, all hashable, all picklable."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from numbers import Integral
from os import PathLike
from typing import TYPE_CHECKING, BinaryIO, Literal, TypedDict, cast, get_args

from ambry.errors import AmbryError, InvalidRequest
from ambry.ids import BlobId

if TYPE_CHECKING:
    from ambry.client.credentials import Auth
    from ambry.client.hooks import Hooks, Traceparent
    from ambry.client.proxies import Proxies
    from ambry.durability import Durability

SyncSource = bytes | bytearray | memoryview | PathLike[str] | BinaryIO | Iterable[bytes]
BlobSource = SyncSource | AsyncIterable[bytes]
"""What can be put. A `str` is never a body: it could mean a path as well as a text."""

StrPath = str | PathLike[str]
if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    WritableBuffer = WriteableBuffer
else:
    WritableBuffer = bytearray | memoryview  # or anything else that has the buffer protocol, as an array of numpy
Progress = Callable[[int, int | None], None]
"""Called with (bytes so far, total or None); never goes back, never from two threads at a time."""

Verify = Literal["always", "if-present", "never"]
Jitter = Literal["full", "equal", "none"]
CONCURRENCY_MAX = 32
NUMBER_MAX = 1_000_000


def check_type(name: str, value: object, kinds: type | tuple[type, ...], wanted: str) -> None:
    """Raises TypeError that names the argument, in place of one that comes from deep inside."""
    if type(value) is int and kinds is Integral:  # Nearly all are, and an abstract class is slow to ask.
        return
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise TypeError(f"{name} is {wanted}, not {repr(value)[:60]}")


def check_error_class(value: object) -> None:
    """Raises TypeError for what is no class of errors."""
    shown = repr(value)[:60]
    if not isinstance(value, type) or not issubclass(value, BaseException):
        raise TypeError(f"retry_on has classes of errors, such as Unavailable, and not {shown}")


def check_number(name: str, value: object, *, least: float = 0.0) -> None:
    """Raises TypeError, InvalidRequest for a number that no clock can count to; `least` may be had."""
    check_type(name, value, (int, float), "a number")
    if not (isinstance(value, int | float) and least <= value <= NUMBER_MAX):
        raise InvalidRequest(f"{name} is a number from {least:g} to {NUMBER_MAX:,}, not {repr(value)[:60]}")


class Metadata(Mapping[str, str]):
    """User metadata: an immutable, hashable mapping."""

    __slots__ = ("_items",)

    _items: dict[str, str]

    def __init__(self, items: Mapping[str, str] | None = None) -> None:
        self._items = dict(sorted((items or {}).items()))

    def __getitem__(self, key: str) -> str:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(tuple(self._items.items()))

    def __repr__(self) -> str:
        return f"Metadata({self._items!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobInfo:
    """What a blob is. `checksum` is the xxh3-128 of all its bytes in hexadecimal; `expires` is None for ever.

    `name`, or `dataset` and `version`, is what it was asked for or put under, and empty where that was its id. `durability`
    is what a put was acknowledged with, and empty on a read. `answered` is when the store told this, by its clock, if it did.
    """

    id: BlobId
    size: int
    created: datetime | None = None
    expires: datetime | None = None
    content_type: str = "application/octet-stream"
    metadata: Metadata = field(default_factory=Metadata)
    checksum: str = ""
    filename: str = ""
    account: str = ""
    container: str = ""
    name: str = ""
    dataset: str = ""
    version: str = ""
    service_id: str = ""
    etag: str = ""
    datacenter: str = ""
    durability: str = ""
    answered: datetime | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """What became of one item of a batch: an `error`, or what was asked for. `id` is None for a blob that was not stored."""

    id: BlobId | None
    info: BlobInfo | None = None
    data: bytes = b""
    error: AmbryError | None = None

    @property
    def ok(self) -> bool:
        return self.error is None


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `start` up to but not including `stop`, as in a Python slice.

    `stop` None is the end of the blob; a negative `start` with no `stop` is that many bytes from the end.
    """

    start: int
    stop: int | None = None

    def __post_init__(self) -> None:
        check_type("the start of a range", self.start, Integral, "a whole number")
        if self.stop is not None:
            check_type("the stop of a range", self.stop, Integral, "a whole number, or None for the end")
        if self.start < 0 and self.stop is not None:
            raise InvalidRequest(f"a range from the end takes no stop: ({self.start}, {self.stop})")
        if self.stop is not None and self.stop <= self.start:
            raise InvalidRequest(f"range ({self.start}, {self.stop}) is empty; stop is not included and must be larger")

    def header(self) -> str:
        """The value of a Range header (RFC 9110 section 14.1.2), whose end is inclusive."""
        if self.start < 0:
            return f"bytes={self.start}"
        return f"bytes={self.start}-{'' if self.stop is None else self.stop - 1}"


def as_range(given: ByteRange | tuple[int, int | None] | None) -> ByteRange | None:
    """A tuple (start, stop) as a ByteRange. Raises InvalidRequest, TypeError."""
    if given is None or isinstance(given, ByteRange):
        return given
    is_pair = isinstance(given, tuple | list)  # pyright: ignore[reportUnnecessaryIsInstance]
    if not (is_pair and len(cast(Sequence[object], given)) in (1, 2)):
        raise TypeError(f"range is (start, stop) as in a slice, stop not included, not {repr(given)[:60]}")
    return ByteRange(*given)


@dataclass(frozen=True, slots=True)
class Timeout:
    """Seconds. `read` bounds each silence of the server, not the whole answer; `total` a call with all its requests.

    What drips is silence, too: in the time of `read` the head of an answer must be whole, and waiting for its body must bring
    1 KiB per second on average.

    For `get`, `total` ends when the reader is returned: how long the caller takes to read is the caller's business.
    """

    connect: float = 3.0
    read: float = 30.0
    total: float | None = None

    def __post_init__(self) -> None:
        check_number("the connect of a Timeout", self.connect, least=0.001)
        check_number("the read of a Timeout", self.read, least=0.001)
        check_number("the total of a Timeout", 0 if self.total is None else self.total)


@dataclass(frozen=True, slots=True)
class CallTimeout(Timeout):
    """That of one call, which all its requests share."""

    due: float = 0.0
    """When it must have ended, by the client's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff: before attempt n up to min(cap, base * 2 ** (n - 1)) seconds, of which `jitter` draws all ("full"),
    one half ("equal") or nothing ("none"): that many clients do not come back at the same moment.

    What is tried again is what says of itself that it may help (`AmbryError.retryable`) and what is the fault of one frontend
    (`InternalError`); or with `retry_on` these classes of errors alone, such as `(Unavailable, TimeoutError, BlobNotFound)`.
    A put whose body cannot be had again is never repeated.

    `budget` is the largest share of extra requests that retries may cause over time, on top of a small reserve, so that
    a brown-out is not amplified. A server that asks for more than `retry_after_max` seconds of patience gets the error
    handed to the caller instead.
    """

    max_attempts: int = 5
    base: float = 0.05
    cap: float = 5.0
    jitter: Jitter = "full"
    budget: float = 0.1
    retry_on: tuple[type[BaseException], ...] | None = None
    retry_after_max: float = 30.0

    def __post_init__(self) -> None:
        check_type("max_attempts", self.max_attempts, Integral, "a whole number")
        if self.max_attempts < 1:
            raise InvalidRequest(f"max_attempts counts the first attempt too: it is 1 or more, not {self.max_attempts}")
        check_number("max_attempts", self.max_attempts)
        for name in ("base", "cap", "retry_after_max", "budget"):
            check_number(name, getattr(self, name))
        if self.jitter not in get_args(Jitter):
            raise InvalidRequest(f"jitter is one of {', '.join(get_args(Jitter))}, not {self.jitter!r}")
        if self.retry_on is not None:
            check_type("retry_on", self.retry_on, tuple, "a tuple of classes of errors, or None")
            for each in self.retry_on:
                check_error_class(each)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferConfig:
    """`chunk_size` bytes are read, hashed and handed on at a time; memory per transfer is a few of these.

    A file of at least `threshold` bytes goes in parts of `part_size` or more, and a blob comes into one so, `max_concurrency`
    of them at a time: a few chunks of memory for each, whatever its size. All transfers of a client together hold at most about
    `max_memory` bytes, where parts wait for others to end, and move `max_bandwidth` bytes in a second each way. The client's
    own `max_memory` counts; a call with a `max_bandwidth` of its own has that for itself.
    """

    chunk_size: int = 1 << 20
    part_size: int = 8 << 20
    threshold: int = 16 << 20
    max_concurrency: int = 8
    max_memory: int = 256 << 20
    max_bandwidth: int | None = None

    def __post_init__(self) -> None:
        for name in ("chunk_size", "part_size", "threshold", "max_memory", "max_bandwidth"):
            value = 1 if name == "max_bandwidth" and self.max_bandwidth is None else getattr(self, name)
            check_type(name, value, Integral, "a number of bytes")
            if value < 1:
                raise InvalidRequest(f"{name} must be positive, not {value}")
        check_type("max_concurrency", self.max_concurrency, Integral, "a whole number")
        if not 1 <= self.max_concurrency <= CONCURRENCY_MAX:
            raise InvalidRequest(f"max_concurrency is 1 to {CONCURRENCY_MAX}, not {self.max_concurrency}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheConfig:
    """Where `cached_path` keeps blobs, and how many bytes at most. No `directory` is $XDG_CACHE_HOME/ambry, ~/.cache/ambry.

    A client that is `offline` asks nothing of any server: `cached_path` gives what the cache has, and all else raises Offline.
    """

    directory: StrPath | None = None
    max_bytes: int = 50 << 30
    offline: bool = False

    def __post_init__(self) -> None:
        check_type("max_bytes", self.max_bytes, Integral, "a number of bytes")
        if self.max_bytes < 1:
            raise InvalidRequest(f"AMBRY_CACHE_MAX (CacheConfig(max_bytes=)) is at least 1 byte, not {self.max_bytes}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSConfig:
    """PEM files for endpoints with https. `ca` holds the authorities that are trusted in place of the system's; `cert` and
    `key` are this client's own certificate, where a proxy or a server asks for one. The server's is always verified."""

    ca: StrPath | None = None
    cert: StrPath | None = None
    key: StrPath | None = None

    def __post_init__(self) -> None:
        if self.key is not None and self.cert is None:
            raise InvalidRequest("a key of TLS belongs to a certificate: TLSConfig(cert=..., key=...)")


class SaidOfBlob(TypedDict, total=False):
    """What is said of a blob that is made, as `put` and `start_upload` take it."""

    ttl: timedelta | int | None
    content_type: str | None
    metadata: Mapping[str, str] | None
    filename: str | None
    durability: Durability | str | None


class ClientOptions(TypedDict, total=False):
    """The keyword arguments of both clients."""

    endpoints: str | Sequence[str] | None
    account: str | None
    container: str | None
    service_id: str | None
    key: str | None
    auth: Auth | None
    tls: TLSConfig | None
    proxies: Proxies | None
    timeout: Timeout
    retry: RetryPolicy
    transfer: TransferConfig
    cache: CacheConfig | None
    verify: Verify | None
    hooks: Hooks | None
    traceparent: Traceparent | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedPart:
    """A part of an upload that the server has; `checksum` is its xxh3-128 in hexadecimal."""

    part: int
    size: int
    checksum: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointHealth:
    """What one frontend said of itself; `detail` says why it is not `ok`."""

    endpoint: str
    ok: bool
    detail: str = ""
    datacenter: str = ""
    frontend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterHealth:
    """The answers of all endpoints, in the order in which the client prefers them."""

    endpoints: tuple[EndpointHealth, ...]

    @property
    def ok(self) -> bool:
        """Whether at least one endpoint takes requests."""
        return any(endpoint.ok for endpoint in self.endpoints)
