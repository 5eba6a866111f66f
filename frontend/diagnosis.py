"""What is unsafe about a frontend, by its configuration and by what was seen. Pure; deploy/inspection.py looks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from ambry.address import authority, is_loopback
from ambry.clustermap.layout import load_layout
from ambry.errors import ConfigInvalid
from ambry.service import diagnosis as rules
from ambry.service.credentials import secret_in
from ambry.service.diagnosis import Finding, Sight, ToSee
from ambry.service.tls import NodeIdentity, NodeRole
from frontend.config import FrontendConfig, check, check_places, rpc_address
from frontend.metadata.opening import sqlite_path

SHAPE = FrontendConfig
_UNVERIFIED = ("require", "verify-ca")
_VERIFIED = "verify-full"


def wanted(config: FrontendConfig) -> ToSee:
    """What is to be looked at."""
    encryption = config.encryption
    named = [
        config.access.secret_file, encryption.path, encryption.token_file, config.tls.key, config.tls.certificate,
        config.node_tls.key, config.node_tls.certificate, config.audit.file, config.log.file,
    ]  # fmt: skip
    paths = [Path(each) for each in named if each]
    if config.metadata.engine == "sqlite" and config.frontend.layout:
        paths.append(sqlite_path(config))
    section = config.frontend
    return ToSee(
        files=tuple(paths),
        tls=tuple(each for each in (config.tls, config.node_tls) if each.wanted),
        admin=authority(section.admin_host, section.admin_port),
    )


def judge(config: FrontendConfig, seen: Sight) -> Iterator[Finding]:
    """All that is found, the most general first."""
    section = config.frontend
    yield from _startable(config, seen)
    yield from rules.configuration_file(seen, secret=bool(_password(config.metadata.url)))
    yield from _keys(config, seen)
    yield from rules.admin_port(section.admin_host, "frontend.admin_host", config.node_tls)
    yield from rules.host_names(section.hosts, "frontend.hosts")
    yield from rules.front_tls(seen, config.tls, section.host, behind_proxy=section.behind_proxy)
    if section.behind_proxy and not section.trusted_proxies:
        yield rules.note(
            "clients-unseen", "no proxy is trusted to tell who asks", "frontend.trusted_proxies",
            "audit, log and the rates of clients without a key have the proxy's address in place of theirs",
            "name the proxy's addresses, and let it send X-Forwarded-For",
        )  # fmt: skip
    yield from _node_tls(config, seen)
    yield from _metadata(config, seen)
    yield from _encryption(config, seen)
    yield from _audit(config, seen)
    if config.limits.anonymous_requests_per_s == 0 and not is_loopback(section.host):
        yield rules.warning(
            "no-rate", "clients without a key may ask as often as they like", "limits.anonymous_requests_per_s",
            "one of them takes the processor from everybody", "leave it out: 1,000 in a second for each address",
        )  # fmt: skip
    yield from rules.log_file(seen, config.log)
    variables = (config.encryption.variable,) if "environment" in config.encryption.providers else ()
    yield from rules.process(seen, secret_variables=variables, descriptors=section.connections_max + 512)


def _startable(config: FrontendConfig, seen: Sight) -> Iterator[Finding]:
    try:
        check(config)
        if rules.made_at_start(seen, "audit.file", Path(config.audit.file).parent) is None:
            check_places(config)
    except ConfigInvalid as cause:
        yield rules.danger(
            "refused", f"a frontend does not start with it: {cause.message}", "", "it serves nobody", "mend it"
        )


def _keys(config: FrontendConfig, seen: Sight) -> Iterator[Finding]:
    if config.access.enabled:
        yield from rules.secret_file(seen, "access.secret_file", config.access.secret_file)
        return
    where, remedy = "access.enabled", "leave access.enabled out, and make an administrator with `ambry key new`"
    host = config.frontend.host
    if is_loopback(host):
        yield rules.warning(
            "no-keys", "requests need no key", where, "whoever is on this machine reads and deletes everything", remedy
        )
    else:
        yield rules.danger(
            "no-keys",
            f"requests to {host} need no key",
            where,
            "whoever reaches it reads and deletes everything",
            remedy,
        )


def _node_tls(config: FrontendConfig, seen: Sight) -> Iterator[Finding]:
    try:
        map = load_layout(Path(config.frontend.layout))
    except ConfigInvalid:
        return  # told as what it cannot start with
    address = rpc_address(config.frontend, map)
    far = next((node.host for node in map.nodes.values() if not is_loopback(node.host)), None)
    host = address.host if address is not None and not is_loopback(address.host) else far
    yield from rules.node_tls(
        seen, config.node_tls, host, NodeIdentity(map.cluster, NodeRole.FRONTEND, config.frontend.name)
    )


def _metadata(config: FrontendConfig, seen: Sight) -> Iterator[Finding]:
    if config.metadata.engine == "sqlite":
        if config.frontend.layout:
            yield from rules.private_directory(
                seen,
                "the metadata store",
                sqlite_path(config),
                "it holds names, settings, hashes of keys, wrapped keys",
            )
        return
    url = config.metadata.url
    if _password(url):
        yield rules.warning(
            "password-in-configuration", "the password of the metadata database stands in metadata.url", "metadata.url",
            "whoever reads the configuration, or a backup of it, has the password",
            "leave it out of the URL: a file ~/.pgpass (mode 0600) or a client certificate",
        )  # fmt: skip
    if not _is_remote(url):
        return
    mode = (parse_qs(urlsplit(url).query).get("sslmode") or [""])[0]
    if mode in _UNVERIFIED:
        yield rules.warning(
            "metadata-unverified", f"nobody looks whose database it is (sslmode={mode})", "metadata.url",
            "whoever is on the way can be the database", "sslmode=verify-full, and sslrootcert",
        )  # fmt: skip
    elif mode != _VERIFIED:
        yield rules.danger(
            "metadata-in-the-clear", "the metadata database is asked without TLS, or may be", "metadata.url",
            "whoever is on the way reads and changes names, keys and settings", "sslmode=verify-full, and sslrootcert",
        )  # fmt: skip


def _encryption(config: FrontendConfig, seen: Sight) -> Iterator[Finding]:
    section = config.encryption
    if not section.providers:
        yield rules.note(
            "no-encryption", "no container can be encrypted", "encryption.provider", "whoever reads a disk reads its blobs",
            "name who keeps master keys, and say `encrypted` of the containers that need it",
        )  # fmt: skip
        return
    if "file" in section.providers:
        yield from rules.secret_file(seen, "encryption.path", section.path)
        yield from _beside_the_data(config, seen)
    if "environment" in section.providers:
        yield rules.warning(
            "master-key-in-environment", f"master keys come in the environment ({section.variable})", "encryption.provider",
            "it stays readable in /proc for the user of the process, for as long as that runs", "file, command or vault",
        )  # fmt: skip
    if "vault" in section.providers:
        yield from rules.secret_file(seen, "encryption.token_file", section.token_file)
        parts = urlsplit(section.url)
        if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            yield rules.danger(
                "vault-in-the-clear", "the vault is asked without TLS", "encryption.url",
                "whoever is on the way has the token, and with it every key", "https",
            )  # fmt: skip
    for word in section.command:
        if kind := secret_in(word):
            yield rules.danger(
                "secret-in-arguments", f"{kind} stands in encryption.command", "encryption.command",
                "everybody on this machine sees it while it runs (ps)", "let the command read it from a file, mode 0600",
            )  # fmt: skip


def _beside_the_data(config: FrontendConfig, seen: Sight) -> Iterator[Finding]:
    keys = seen.files.get(Path(config.encryption.path))
    if config.metadata.engine != "sqlite" or not config.frontend.layout or keys is None:
        return
    data = sqlite_path(config)
    there = seen.files.get(data) or seen.files.get(data.parent)
    if there is not None and there.device == keys.device:
        yield rules.warning(
            "master-keys-beside-data", "master keys lie on the file system of the metadata store", config.encryption.path,
            f"whoever steals that disk, or a backup of it, has them and the keys that they wrap ({data})",
            "keep them on another one that is in no backup, or use command or vault",
        )  # fmt: skip


def _audit(config: FrontendConfig, seen: Sight) -> Iterator[Finding]:
    if not config.audit.file:
        yield rules.warning(
            "no-audit", "nobody writes down who did what", "audit.file", "afterwards nobody can tell who deleted a blob",
            "audit.file = a file on a disk with room",
        )  # fmt: skip
        return
    if found := rules.made_at_start(seen, "audit.file", Path(config.audit.file).parent):
        yield found
    yield from rules.private_directory(
        seen, "audit.file", Path(config.audit.file), "it tells who does what, from where, with which names"
    )
    if not config.audit.required:
        yield rules.note(
            "audit-not-required", "changes go on while the audit cannot be written", "audit.required",
            "a full disk lets them go unseen", "audit.required = true, where every change must be told",
        )  # fmt: skip


def _password(url: str) -> bool:
    parts = urlsplit(url)
    return bool(parts.password) or "password" in parse_qs(parts.query)


def _is_remote(url: str) -> bool:
    """Whether a database is asked over a network: not by a socket, not on this machine."""
    parts = urlsplit(url)
    host = unquote(parts.hostname or "") or (parse_qs(parts.query).get("host") or [""])[0]
    return bool(host) and not host.startswith("/") and not is_loopback(host)
