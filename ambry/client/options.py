"""What both clients are configured with, and what they derive from it."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Self, Unpack

from ambry import __version__
from ambry.client.credentials import Auth, SecretText, checked_key
from ambry.client.endpoints import normal_endpoints
from ambry.client.given_options import TIMEOUT, TRANSFER, options_of
from ambry.client.hooks import Hooks, Traceparent, Tracing
from ambry.client.model import (
    BlobSource,
    CacheConfig,
    CallTimeout,
    ClientOptions,
    Progress,
    RetryPolicy,
    Timeout,
    TLSConfig,
    TransferConfig,
    Verify,
    check_type,
)
from ambry.client.pace import Bandwidth
from ambry.client.proxies import Proxies
from ambry.client.refs import (
    NameRef,
    Place,
    Ref,
    VersionRef,
    dataset_place,
    name_place,
    place_of,
    prefix_place,
)
from ambry.client.retry import Attempts, Endpoints, OnRetry, RetryBudget
from ambry.client.sources import open_body
from ambry.client.transfer import BlobUpload
from ambry.client.wire import blobs as wire
from ambry.client.wire.message import ApiRequest
from ambry.client.wire.refusals import ConnectFailed
from ambry.clock import Clock, SystemClock, system_random
from ambry.durability import Durability
from ambry.errors import AmbryError, InvalidRequest, Offline, Unauthenticated
from ambry.rest import names
from ambry.rest.text import plain_text
from ambry.rest.values import DEFAULT_NAME

SERVICE_ID = "ambry-py"


class ClientBase:
    """Configuration, and the requests that follow from it; the twins add the I/O."""

    def __init__(
        self,
        endpoints: str | Sequence[str] | None = None,
        *,
        profile: str | None = None,
        account: str | None = None,
        container: str | None = None,
        service_id: str | None = None,
        key: str | None = None,
        auth: Auth | None = None,
        tls: TLSConfig | None = None,
        proxies: Proxies | None = None,
        timeout: Timeout = Timeout(),  # noqa: B008  # frozen
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008
        transfer: TransferConfig = TransferConfig(),  # noqa: B008
        cache: CacheConfig | None = None,
        verify: Verify | None = None,
        hooks: Hooks | None = None,
        traceparent: Traceparent | None = None,
        _clock: Clock | None = None,
        _random: random.Random | None = None,
        _sleep: Callable[[float], Any] | None = None,
    ) -> None:
        """`endpoints` are frontends in order of preference, as URLs; the others are used when the first cannot.

        What is not said, the `profile` of the user's configuration file says, if one is named; `from_env` looks at the
        environment too. `key` is the text of a key, ambry_..., and `auth` what it comes from where it changes, such as a
        KeyFile; every endpoint gets it. `service_id` is ambry-py by itself, and `verify` "always". `tls` is for endpoints with
        https. Without `proxies` all are asked directly. `hooks` hear of every request; `traceparent` says what trace it belongs
        to, in place of OpenTelemetry's current span.
        """
        given: ClientOptions = {
            "endpoints": endpoints,
            "account": account,
            "container": container,
            "service_id": service_id,
            "key": key,
            "auth": auth,
            "tls": tls,
            "proxies": proxies,
            "timeout": timeout,
            "retry": retry,
            "transfer": transfer,
            "cache": cache,
            "verify": verify,
            "hooks": hooks,
            "traceparent": traceparent,
        }
        found = options_of(os.environ, profile, given)
        said = self._options = found.options
        urls = said["endpoints"] = normal_endpoints(said.get("endpoints"))
        key = said.get("key")
        secret = None if key is None else checked_key(key)
        said["key"] = secret
        self._timeout = timeout
        self._retry = retry
        self._transfer = transfer
        self._cache = said.get("cache") or CacheConfig()
        self._clock: Clock = _clock or SystemClock()
        self._tracing = Tracing(hooks, traceparent, self._clock)
        self._sending = Bandwidth(transfer.max_bandwidth, self._clock)
        self._receiving = Bandwidth(transfer.max_bandwidth, self._clock)
        self._verify: Verify = said.get("verify") or "always"
        self._random = _random or system_random()
        self._endpoints = Endpoints(urls)
        self._auth = auth
        self._tls = said.get("tls")
        self._proxies = said.get("proxies") or Proxies()
        self._withheld, self._unchosen = found.withheld, found.unchosen
        self._start(_sleep)
        self._budget = RetryBudget(retry.budget)
        self.on_retry: OnRetry | None = None
        """Called before a call tries again: with the error, the seconds that it waits, and those since it began."""
        service_id = said.get("service_id")
        self._service_id = SERVICE_ID if service_id is None else service_id
        self._common = {
            "user-agent": f"ambry-py/{__version__}",
            "accept-encoding": "identity",
            names.SERVICE_ID: plain_text("service_id", self._service_id),
        }
        if secret is not None:
            self._common["authorization"] = SecretText(f"Bearer {secret}")
        self._target: dict[str, str] = {}
        if (account := said.get("account")) is not None:
            self._target[names.ACCOUNT_NAME] = plain_text("account", account)
        if (container := said.get("container")) is not None:
            self._target[names.CONTAINER_NAME] = plain_text("container", container)

    def _start(self, sleep: Callable[[float], Any] | None) -> None:
        """Set up the I/O of this twin; `sleep` replaces its way of waiting between attempts."""
        raise NotImplementedError

    @classmethod
    def from_env(cls, profile: str | None = None, **overrides: Unpack[ClientOptions]) -> Self:
        """Arguments, then AMBRY_ENDPOINTS (comma-separated), AMBRY_KEY, AMBRY_KEY_FILE, AMBRY_CA, AMBRY_ACCOUNT, ..., then a
        profile of ~/.config/ambry/config.toml, then http://127.0.0.1:17100. Raises ConfigInvalid.

        A profile's key goes to the profile's own endpoints alone.

        >>> client = type(client).from_env(endpoints="http://127.0.0.1:17100", account="team")
        >>> client.endpoints, client.default_account
        (('http://127.0.0.1:17100',), 'team')
        """
        from ambry.client.profiles import find_options

        found = find_options(os.environ, profile, overrides)
        made = cls(**found.options)
        made._withheld, made._unchosen = found.withheld, found.unchosen
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        # Configuration only, the key with it: connections and what was learnt about endpoints stay here.
        return _rebuild, (type(self), self._options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._endpoints.urls)})"

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The frontends, in order of preference."""
        return self._endpoints.urls

    @property
    def default_account(self) -> str:
        """The account of what names none."""
        return self._options.get("account") or DEFAULT_NAME

    @property
    def default_container(self) -> str:
        """The container of what names none."""
        return self._options.get("container") or DEFAULT_NAME

    @property
    def current_key(self) -> str:
        """The key of the next request, for a process that is to do the same: a secret. Empty where there is none.

        What `auth` raises, it raises.
        """
        return self._auth.key() if self._auth is not None else str(self._options.get("key") or "")

    @property
    def tls(self) -> TLSConfig | None:
        """Whom it trusts, and what it shows of itself. None where nobody said that."""
        return self._tls

    def _place(self, ref: Ref) -> Place:
        """What a caller means. Raises InvalidRequest, TypeError."""
        return place_of(ref, account=self.default_account, container=self.default_container)

    def _name(self, name: str | NameRef) -> NameRef:
        """The name that a caller means, also where it looks like an id. Raises InvalidRequest, TypeError."""
        return name_place(name, account=self.default_account, container=self.default_container)

    def _prefix(self, prefix: str) -> NameRef:
        """What names begin with that a caller means. Raises InvalidRequest, TypeError."""
        return prefix_place(prefix, account=self.default_account, container=self.default_container)

    def _dataset(self, name: str, version: str = "") -> VersionRef:
        """The dataset that a caller means, by its name or as an ambry://. Raises InvalidRequest, TypeError."""
        return dataset_place(name, version, account=self.default_account, container=self.default_container)

    def _attempts(self, timeout: Timeout | None) -> Attempts:
        if timeout is not None:
            check_type("timeout", timeout, Timeout, TIMEOUT)
        return Attempts(
            policy=self._retry,
            budget=self._budget,
            endpoints=self._endpoints,
            clock=self._clock,
            source=self._random,
            deadline=self._due(timeout),
            on_retry=self.on_retry,
        )

    def _due(self, timeout: Timeout | None) -> float | None:
        """When a call that begins now must have ended; None for never."""
        if timeout is not None:
            check_type("timeout", timeout, Timeout, TIMEOUT)
        if isinstance(timeout, CallTimeout):
            return timeout.due
        total_s = (timeout or self._timeout).total
        return None if total_s is None else self._clock.monotonic() + total_s

    def _whole(self, timeout: Timeout | None) -> Timeout | None:
        """The timeout of a call that begins now, for all requests that it takes: together they have the `total`."""
        due = self._due(timeout)
        if due is None or isinstance(timeout, CallTimeout):
            return timeout
        said = timeout or self._timeout
        return CallTimeout(said.connect, said.read, said.total, due)

    def _begin_put(
        self,
        data: BlobSource,
        place: NameRef | VersionRef | None,
        *,
        if_absent: bool,
        if_match: str | None,
        ttl: timedelta | int | None,
        content_type: str | None,
        metadata: Mapping[str, str] | None,
        size: int | None,
        filename: str | None,
        durability: Durability | str | None,
        checksum: str | None,
        idempotency_key: str | None,
        progress: Progress | None,
        transfer: TransferConfig | None,
        asynchronous: bool,
    ) -> BlobUpload:
        chunk_size = self._chunk_size(transfer)
        body = open_body(data, size=size, chunk_size=chunk_size, asynchronous=asynchronous)
        body.pace = self._pace_of(transfer)
        expected = wire.checksum_text(checksum) if checksum is not None else ""
        request = wire.upload_request(
            size=body.size,
            digest=expected or body.known_digest(),
            ttl=ttl,
            content_type=content_type,
            metadata=metadata,
            filename=body.filename if filename is None else filename,
            durability=durability,
        )
        if place is not None:
            request = wire.put_request(place, request, if_absent=if_absent, if_match=if_match)
            if idempotency_key is None and body.replayable:
                # Else the answer to a repetition would be that its own first try is in the way.
                idempotency_key = self._random.randbytes(16).hex()
        elif if_absent or if_match is not None:
            raise InvalidRequest("if_absent and if_match are about a name; a blob without one is always new")
        else:
            request.headers.update(self._target)
        request.headers[names.SERVICE_ID] = self._common[names.SERVICE_ID]
        if idempotency_key is not None:
            check_type("idempotency_key", idempotency_key, str, "text that no other upload has, such as a UUID")
            request.headers[names.IDEMPOTENCY_KEY] = plain_text("idempotency_key", idempotency_key)
        return BlobUpload(request, body, checksum=expected, verify=self._verify, progress=progress)

    def _of_blob(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Headers of an upload, with what this client says in each."""
        return {**headers, **self._target, names.SERVICE_ID: self._common[names.SERVICE_ID]}

    def _batch_headers(self, given: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """Those of a batch of puts, and those of each of its blobs, out of the headers of an upload."""
        of_all = {name: value for name, value in given.items() if name in (names.DURABILITY, names.TTL)}
        own = {name: value for name, value in given.items() if name not in (*of_all, "content-type")}
        return self._of_blob(of_all), own

    def _transfer_of(self, transfer: TransferConfig | None) -> TransferConfig:
        """How one call moves bytes."""
        if transfer is not None:
            check_type("transfer", transfer, TransferConfig, TRANSFER)
        return transfer or self._transfer

    def _pace_of(self, transfer: TransferConfig | None) -> Bandwidth | None:
        """How fast a call moves bytes that has a bound of its own."""
        return (
            None
            if transfer is None or transfer.max_bandwidth is None
            else Bandwidth(transfer.max_bandwidth, self._clock)
        )

    def _chunk_size(self, transfer: TransferConfig | None) -> int:
        """Bytes that one call hands on at a time."""
        return self._transfer_of(transfer).chunk_size

    def _refuse_offline(self, what: str) -> None:
        """Raises Offline."""
        if self._cache.offline:
            raise Offline(
                f"nobody is asked about {what}: this client is offline (AMBRY_OFFLINE, CacheConfig(offline=True)), where "
                "cached_path and tensors.safe_open give what the cache has"
            )

    def _headers(self, request: ApiRequest) -> dict[str, str]:
        own = self._tracing.headers()
        if self._auth is not None:
            own["authorization"] = SecretText(f"Bearer {checked_key(self._auth.key())}")
        return {**self._common, **own, **request.headers}

    def _advise(self, error: AmbryError) -> None:
        """Tell whoever is refused why this client sent no key, and whoever reaches nobody which profiles there are."""
        if self._withheld and isinstance(error, Unauthenticated):
            error.message = f"{error.message}; {self._withheld}"
        if self._unchosen and isinstance(error, ConnectFailed):
            error.message = f"{error.message}; {self._unchosen}"


def _rebuild(cls: type[ClientBase], options: ClientOptions) -> ClientBase:
    return cls(**options)
