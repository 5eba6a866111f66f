"""Configuration of a frontend. Every key stands with its default, unit and reason in `configs/frontend.toml`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from ambry.address import is_loopback, networks_of
from ambry.clustermap.model import ClusterMap
from ambry.config import Amount, Interval, Millis, Port, Rate, Seconds, Some
from ambry.errors import ConfigInvalid
from ambry.rest.text import is_plain
from ambry.service.logs import LogSection
from ambry.service.tls import NodeTlsSection, TlsSection

NAME_SIZE_MAX = 64
"""Characters of a name that answers carry."""


WORKERS_MAX = 64
CONTAINER_ID_MAX = 65_535
"""Of accounts and containers in the configuration; ids have 32 bits, and those above are for what is made while it runs."""
METADATA_CONNECTIONS_MAX = 100
METADATA_TIMEOUT_MIN_MS = 3_000
"""Longer than a process waits for the others to have written (frontend/metadata/sqlite_file.py:BUSY_S)."""


MASTER_CACHE_MIN_S, MASTER_CACHE_MAX_S = 10, 30 * 86_400
Provider = Literal["file", "environment", "command", "vault"]
"""Who keeps master keys (frontend/encryption/provider.py)."""
SESSION_MAX_S = 366 * 86_400
KEYS_MAX_S = SESSION_MAX_S
"""Data nodes keep the chunks of an upload session for so long, at most."""
SESSIONS_MAX = 1_000_000
SESSIONS_BYTES_MAX = 64 << 30


class FrontendSection(msgspec.Struct, frozen=True):
    name: str = ""
    datacenter: str = ""
    layout: str = ""
    host: str = "127.0.0.1"
    port: Port = 0
    hosts: tuple[str, ...] = ()
    behind_proxy: bool = False
    trusted_proxies: tuple[str, ...] = ()
    admin_host: str = "127.0.0.1"
    admin_port: Port = 0
    rpc_host: str = ""
    rpc_port: Port = 0
    lame_duck_s: Seconds = 5.0
    drain_timeout_s: Seconds = 20.0
    blob_size_max: Some = 1 << 40
    header_timeout_s: Seconds = 15.0
    body_stall_timeout_s: Seconds = 30.0
    rate_min_bytes: Amount = 1024
    connections_max: Amount = 4096
    connections_per_client_max: int = 4096
    head_bytes_max: int = 64 << 10
    heads_bytes_max: int = 32 << 20
    access_log: bool = True
    access_log_reads_one_in: int = 1
    workers: int = 1


class RouterSection(msgspec.Struct, frozen=True):
    chunk_size_bytes: int = 4 << 20
    read_unit_bytes: int = 1 << 20
    read_ahead: int = 4
    write_parallelism: int = 4
    success_target: int = 2
    memory_budget_bytes: int = 160 << 20
    memory_wait_ms: Millis = 5_000
    request_timeout_ms: Millis = 20_000
    hedge_after_ms: Millis = 250
    put_attempts: int = 3
    upload_max_s: int = 86_400
    sticky_ms: Millis = 20


class MetadataSection(msgspec.Struct, frozen=True):
    engine: Literal["sqlite", "postgresql"] = "sqlite"
    path: str = ""
    url: str = ""
    connections: int = 4
    timeout_ms: Millis = 5_000


class UploadsSection(msgspec.Struct, frozen=True):
    session_idle_s: int = 3 * 86_400
    session_max_s: int = 14 * 86_400
    sessions_max: int = 10_000
    """Open at a time, in each container."""
    sessions_bytes_max: int = 64 << 20
    """That their rows take."""
    idempotency_s: int = 7 * 86_400


class AccessSection(msgspec.Struct, frozen=True):
    enabled: bool = True
    root_keys: tuple[str, ...] = ()
    secret_file: str = ""


class LimitsSection(msgspec.Struct, frozen=True):
    anonymous_requests_per_s: Rate = 1_000.0
    anonymous_bytes_per_s: Rate = 0.0


class EncryptionSection(msgspec.Struct, frozen=True):
    provider: Provider | Literal[""] = ""
    also: tuple[Provider, ...] = ()
    path: str = ""
    variable: str = "AMBRY_MASTER_KEYS"
    command: tuple[str, ...] = ()
    url: str = ""
    mount: str = "transit"
    key: str = ""
    token_file: str = ""
    authority: str = ""
    namespace: str = ""
    cache_s: Seconds = 3600.0
    retry_s: Interval = 5.0
    timeout_ms: Millis = 5_000

    @property
    def providers(self) -> tuple[Provider, ...]:
        """All that are asked; the first wraps what comes."""
        return tuple(dict.fromkeys((self.provider, *self.also))) if self.provider else ()


class AuditSection(msgspec.Struct, frozen=True):
    file: str = ""
    rotate_bytes: Some = 64 << 20
    keep: Some = 16
    required: bool = False


class AccountEntry(msgspec.Struct, frozen=True):
    id: int
    containers: dict[str, int]


class FrontendConfig(msgspec.Struct, frozen=True):
    frontend: FrontendSection = msgspec.field(default_factory=FrontendSection)
    router: RouterSection = msgspec.field(default_factory=RouterSection)
    metadata: MetadataSection = msgspec.field(default_factory=MetadataSection)
    uploads: UploadsSection = msgspec.field(default_factory=UploadsSection)
    tls: TlsSection = msgspec.field(default_factory=TlsSection)
    node_tls: NodeTlsSection = msgspec.field(default_factory=NodeTlsSection)
    access: AccessSection = msgspec.field(default_factory=AccessSection)
    limits: LimitsSection = msgspec.field(default_factory=LimitsSection)
    encryption: EncryptionSection = msgspec.field(default_factory=EncryptionSection)
    audit: AuditSection = msgspec.field(default_factory=AuditSection)
    accounts: dict[str, AccountEntry] = msgspec.field(
        default_factory=lambda: {"default": AccountEntry(id=1, containers={"default": 1})}
    )
    log: LogSection = msgspec.field(default_factory=LogSection)


class RpcAddress(NamedTuple):
    """Where a frontend answers those of other datacenters."""

    host: str
    port: int


def rpc_address(section: FrontendSection, map: ClusterMap) -> RpcAddress | None:
    """Where the layout tells others to find this frontend, or where the configuration says; None: nowhere."""
    told = map.frontends.get(section.name)
    if told is not None and told.datacenter == section.datacenter:
        return RpcAddress(section.rpc_host or told.host, section.rpc_port or told.port)
    return RpcAddress(section.rpc_host or section.host, section.rpc_port) if section.rpc_port else None


def names_of(accounts: Mapping[str, AccountEntry]) -> Iterator[str]:
    """The names of all accounts and of their containers."""
    for name, account in accounts.items():
        yield name
        yield from account.containers


def _refuse_ids(key: str, ids: Mapping[str, int]) -> None:
    """They stand in blob ids: of two names with one number, one would answer for the blobs of the other."""
    known: dict[int, str] = {}
    for name, number in ids.items():
        if not 1 <= number <= CONTAINER_ID_MAX:
            raise ConfigInvalid(f"{key}.{name} has the id {number}: it must lie between 1 and {CONTAINER_ID_MAX}")
        if known.setdefault(number, name) != name:
            raise ConfigInvalid(
                f"{key}: {known[number]} and {name} both have the id {number}; each needs one of its own"
            )


def _check_encryption(section: EncryptionSection) -> None:
    needed: dict[str, tuple[str, ...]] = {
        "file": ("path",),
        "environment": ("variable",),
        "command": ("command",),
        "vault": ("url", "mount", "key", "token_file"),
    }
    if section.also and not section.provider:
        raise ConfigInvalid(
            "encryption.also names what else opens keys, and encryption.provider what wraps them: name it"
        )
    for provider in section.providers:
        for key in needed[provider]:
            if not getattr(section, key):
                raise ConfigInvalid(f"encryption.{key} must be set for the provider {provider}")
    if not MASTER_CACHE_MIN_S <= section.cache_s <= MASTER_CACHE_MAX_S:
        raise ConfigInvalid(
            f"encryption.cache_s must lie between {MASTER_CACHE_MIN_S} and {MASTER_CACHE_MAX_S} seconds"
        )
    if not 100 <= section.timeout_ms <= 60_000:
        raise ConfigInvalid("encryption.timeout_ms must lie between 100 and 60,000 ms")
    if not (section.namespace.isascii() and section.namespace.isprintable()):
        raise ConfigInvalid("encryption.namespace stands in a header: printable ASCII")


def _check_proxies(frontend: FrontendSection, *, keys: bool) -> None:
    try:
        networks = networks_of(frontend.trusted_proxies)
    except ValueError as cause:
        raise ConfigInvalid(
            f"frontend.trusted_proxies: {cause}; each is an address or a network, as 10.1.2.3 or 10.1.2.0/24"
        ) from cause
    if any(not network.prefixlen for network in networks):
        raise ConfigInvalid(
            "frontend.trusted_proxies holds every address, so whoever asks would say who they are: name those of the proxies"
        )
    if not keys and (networks or frontend.behind_proxy):
        raise ConfigInvalid(
            "frontend.trusted_proxies or behind_proxy is set, and access.enabled is false: without keys a frontend serves its "
            "own machine alone, and what a proxy sends on may come from anywhere; leave access.enabled out"
        )


def check_places(config: FrontendConfig) -> None:
    """What must be there when it starts, and may be made just before. Raises ConfigInvalid."""
    if config.audit.file and not Path(config.audit.file).parent.is_dir():
        raise ConfigInvalid(f"audit.file: there is no directory {Path(config.audit.file).parent}")


def check(config: FrontendConfig) -> FrontendConfig:
    """Refuse what cannot work. Raises ConfigInvalid naming the key."""
    for key in ("name", "datacenter", "layout"):
        if not getattr(config.frontend, key):
            raise ConfigInvalid(f"frontend.{key} must be set")
    frontend = config.frontend
    for key in (
        "rate_min_bytes",
        "connections_max",
        "connections_per_client_max",
        "access_log_reads_one_in",
        "workers",
    ):
        if getattr(frontend, key) < 1:
            raise ConfigInvalid(f"frontend.{key} must be at least 1")
    if frontend.workers > WORKERS_MAX:
        raise ConfigInvalid(f"frontend.workers must be at most {WORKERS_MAX}: one for each core is plenty")
    for key in ("header_timeout_s", "body_stall_timeout_s"):
        if not getattr(frontend, key) > 0:
            raise ConfigInvalid(f"frontend.{key} must be more than 0 s")
    for key in ("lame_duck_s", "drain_timeout_s"):
        if not getattr(frontend, key) >= 0:
            raise ConfigInvalid(f"frontend.{key} must be at least 0 s")
    if not 4 << 10 <= frontend.head_bytes_max <= frontend.heads_bytes_max // 4:
        raise ConfigInvalid("frontend.head_bytes_max must be at least 4 KiB, and heads_bytes_max hold four such heads")
    uploads = config.uploads
    if not 60 <= uploads.session_idle_s <= uploads.session_max_s <= SESSION_MAX_S:
        raise ConfigInvalid(
            f"uploads: 60 <= session_idle_s <= session_max_s <= {SESSION_MAX_S} must hold; both are seconds"
        )
    if not 1 <= uploads.sessions_max <= SESSIONS_MAX:
        raise ConfigInvalid(f"uploads.sessions_max must lie between 1 and {SESSIONS_MAX}")
    if not 256 << 10 <= uploads.sessions_bytes_max <= SESSIONS_BYTES_MAX:
        raise ConfigInvalid(f"uploads.sessions_bytes_max must lie between 256 KiB and {SESSIONS_BYTES_MAX}")
    if not 60 <= uploads.idempotency_s <= KEYS_MAX_S:
        raise ConfigInvalid(f"uploads.idempotency_s must lie between 60 and {KEYS_MAX_S} seconds")
    router = config.router
    for key in ("read_ahead", "write_parallelism", "success_target", "put_attempts", "upload_max_s"):
        if getattr(router, key) < 1:
            raise ConfigInvalid(f"router.{key} must be at least 1")
    for key in ("request_timeout_ms", "hedge_after_ms", "memory_wait_ms"):
        if getattr(router, key) < 1:
            raise ConfigInvalid(f"router.{key} must be at least 1 ms")
    if not 64 << 10 <= router.chunk_size_bytes <= 16 << 20 or router.chunk_size_bytes % (64 << 10):
        raise ConfigInvalid("router.chunk_size_bytes must be a multiple of 64 KiB between 64 KiB and 16 MiB")
    if not 64 << 10 <= router.read_unit_bytes <= 16 << 20 or router.read_unit_bytes % (64 << 10):
        raise ConfigInvalid("router.read_unit_bytes must be a multiple of 64 KiB between 64 KiB and 16 MiB")
    if router.memory_budget_bytes < max(8 * router.chunk_size_bytes, 4 * router.read_unit_bytes, 16 << 20):
        raise ConfigInvalid("router.memory_budget_bytes must hold at least 8 chunks, 4 read units, and 16 MiB")
    if (config.metadata.engine == "postgresql") != bool(config.metadata.url):
        raise ConfigInvalid("metadata.url names the database of the engine postgresql, and is for that engine alone")
    if not 1 <= config.metadata.connections <= METADATA_CONNECTIONS_MAX:
        raise ConfigInvalid(f"metadata.connections must be 1 to {METADATA_CONNECTIONS_MAX}")
    if config.metadata.timeout_ms < METADATA_TIMEOUT_MIN_MS:
        raise ConfigInvalid(f"metadata.timeout_ms must be at least {METADATA_TIMEOUT_MIN_MS} ms")
    if "default" not in config.accounts or "default" not in config.accounts["default"].containers:
        raise ConfigInvalid("accounts must hold an account default with a container default")
    _refuse_ids("accounts", {name: account.id for name, account in config.accounts.items()})
    for name, account in config.accounts.items():
        _refuse_ids(f"accounts.{name}.containers", account.containers)
    for name in (config.frontend.name, config.frontend.datacenter, *names_of(config.accounts)):
        if not name or len(name) > NAME_SIZE_MAX or not is_plain(name):
            raise ConfigInvalid(
                f"the name {name!r} stands in headers: 1 to {NAME_SIZE_MAX} characters of printable ASCII"
            )
    _check_encryption(config.encryption)
    if config.audit.rotate_bytes < 64 << 10:
        raise ConfigInvalid("audit.rotate_bytes must be at least 65536")
    if config.audit.required and not config.audit.file:
        raise ConfigInvalid("audit.required: say in audit.file where the audit is written")
    if not is_loopback(frontend.admin_host) and not config.node_tls.wanted:
        raise ConfigInvalid(
            f"frontend.admin_host is {frontend.admin_host!r}, and node_tls is not set: off loopback the admin port answers "
            "operators alone, by their certificates; `ambry certs` makes some, or listen on 127.0.0.1"
        )
    if not config.access.enabled and not is_loopback(frontend.host):
        raise ConfigInvalid(
            f"frontend.host is {frontend.host!r}, and access.enabled is false: without keys a frontend serves loopback alone, "
            "or whoever reaches it reads and deletes everything; leave access.enabled out, or listen on 127.0.0.1"
        )
    _check_proxies(frontend, keys=config.access.enabled)
    if not Path(config.frontend.layout).is_file():
        raise ConfigInvalid(f"frontend.layout: there is no file {config.frontend.layout}")
    return config
