"""What is unsafe about a process, by its configuration and by what was seen of this machine. Pure; `ambry doctor` looks.

Each role says what is to be looked at (`ToSee`), and then judges what was seen (`Sight`): frontend/diagnosis.py and
datanode/diagnosis.py, by the rules here that both have. What could not be looked at is a finding of its own, and never a
reason to call something safe.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ambry.address import is_loopback
from ambry.service.credentials import is_of_systemd, of_others, secret_in
from ambry.service.logs import LogSection
from ambry.service.tls import DAY_MS, SOON_MS, NodeIdentity, NodeTlsSection, TlsSection

LIST_SOON_MS = 7 * DAY_MS
DESCRIPTORS_MIN = 4_096
GROUP_AND_OTHERS = 0o077
OTHERS = 0o007
OTHERS_WRITE = 0o002
OTHERS_PASS = 0o001
GROUP_WRITES = 0o020
STICKY = 0o1000


class Severity(enum.Enum):
    """How bad it is: by this decides the exit code."""

    DANGER = "danger"
    """Somebody who should not can read, change or act now; or nothing works from some moment on."""
    WARNING = "warning"
    """One more fault away from it."""
    NOTE = "note"
    """Good to know, or not looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing: a code that stays, what is wrong, where, why that matters, and what to do."""

    code: str
    severity: Severity
    what: str
    where: str
    why: str
    remedy: str


@dataclass(frozen=True, slots=True)
class FileSeen:
    mode: int
    """Permission bits."""
    uid: int
    device: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateSeen:
    """What stands in a certificate; `identities` are the names of nodes, as `NodeIdentity.uri` writes them."""

    identities: tuple[str, ...]
    not_before_ms: int
    not_after_ms: int
    fits_key: bool
    of_authority: bool
    """Signed by one that the section names; true where it names none."""
    revoked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSeen:
    """A running process, as /proc tells; None for what could not be read."""

    pid: int
    uid: int | None
    core_bytes_max: int | None
    descriptors_max: int | None
    arguments: tuple[str, ...]
    environment: Mapping[str, str] | None
    clock_doubt: str | None = None
    clock_offsets_ms: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToSee:
    """What is to be looked at."""

    files: tuple[Path, ...]
    """And the directories above them."""
    tls: tuple[TlsSection, ...]
    admin: str
    """Of the admin port, host:port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What was seen. `files` has those that are there and may be looked at, and the directories above them."""

    config: Path
    now_ms: int
    files: Mapping[Path, FileSeen]
    certificates: Mapping[str, CertificateSeen | str]
    """By path; a text says why it cannot be read."""
    lists_end_ms: Mapping[str, int | str]
    """Of lists of revoked certificates, by path: when the first of them ends."""
    process: ProcessSeen | None


def danger(code: str, what: str, where: object, why: str, remedy: str) -> Finding:
    return Finding(code=code, severity=Severity.DANGER, what=what, where=str(where), why=why, remedy=remedy)


def warning(code: str, what: str, where: object, why: str, remedy: str) -> Finding:
    return Finding(code=code, severity=Severity.WARNING, what=what, where=str(where), why=why, remedy=remedy)


def note(code: str, what: str, where: object, why: str, remedy: str) -> Finding:
    return Finding(code=code, severity=Severity.NOTE, what=what, where=str(where), why=why, remedy=remedy)


def secret_file(seen: Sight, key: str, path: str) -> Iterator[Finding]:
    """A file that holds a secret, named by this key of the configuration; nothing where none is."""
    if not path:
        return
    place = Path(path)
    found = seen.files.get(place)
    if found is None:
        yield made_at_start(seen, key, place) or danger(
            "secret-missing", f"{key} names a file that is not there", place, "the process cannot start, or cannot go on",
            "put it there, mode 0600, of the user that the process runs as",
        )  # fmt: skip
        return
    if found.mode & of_others(place):
        yield danger(
            "secret-readable", f"others may use {key} (mode {found.mode & 0o777:04o})", place,
            "whoever reads it has the secret", f"chmod 600 {place}; if it may have been read, make another one",
        )  # fmt: skip
    user = seen.process.uid if seen.process is not None else None
    if user is not None and found.uid not in (user, 0):
        yield warning(
            "secret-of-another", f"{key} belongs to the user {found.uid}, and the process runs as {user}", place,
            "its owner reads it and puts another in its place", f"chown {user} {place}",
        )  # fmt: skip
    yield from _directory(seen, key, place.parent)


def made_at_start(seen: Sight, key: str, place: Path) -> Finding | None:
    """Told of what is not there since no process runs yet, where the unit of one that starts has it made."""
    if seen.process is not None or place in seen.files or not is_of_systemd(place):
        return None
    what = f"what {key} names is not there yet: a unit of deploy/systemd that starts has it made"
    return note(
        "made-at-start", what, place, "it was not looked at", "start it, and ask again; without systemd make it"
    )


def _directory(seen: Sight, key: str, place: Path) -> Iterator[Finding]:
    found = seen.files.get(place)
    if found is not None and found.mode & (OTHERS_WRITE | GROUP_WRITES) and not found.mode & STICKY:
        yield danger(
            "directory-writable", f"others may write where {key} lies (mode {found.mode & 0o7777:04o})", place,
            "they put a file of their own in its place", f"chmod go-w {place}",
        )  # fmt: skip


def private_directory(seen: Sight, key: str, place: Path, why: str) -> Iterator[Finding]:
    """A directory, or a file, that others should not read."""
    yield from _directory(seen, key, place)
    found = seen.files.get(place)
    if found is not None and found.mode & OTHERS and _reached_by_others(seen, place):
        yield warning(
            "readable-by-others", f"everybody on this machine may look at {key} (mode {found.mode & 0o777:04o})", place, why,
            f"chmod o= {place}",
        )  # fmt: skip


def _reached_by_others(seen: Sight, place: Path) -> bool:
    """Whether all directories above it let everybody through."""
    return all(each not in seen.files or seen.files[each].mode & OTHERS_PASS for each in place.parents)


def configuration_file(seen: Sight, *, secret: bool) -> Iterator[Finding]:
    """The file of the configuration itself; `secret`: a password stands in it."""
    found = seen.files.get(seen.config)
    if found is None:
        return
    if found.mode & (OTHERS_WRITE | GROUP_WRITES):
        yield danger(
            "configuration-writable", f"others may change the configuration (mode {found.mode & 0o777:04o})", seen.config,
            "whoever writes it is the administrator", f"chmod go-w {seen.config}",
        )  # fmt: skip
    if secret and found.mode & GROUP_AND_OTHERS:
        yield danger(
            "secret-readable", f"a password stands in the configuration, which others may read (mode {found.mode & 0o777:04o})",
            seen.config, "whoever reads it has the password", f"chmod 600 {seen.config}, and change the password",
        )  # fmt: skip
    yield from _directory(seen, "the configuration", seen.config.parent)


def front_tls(seen: Sight, section: TlsSection, host: str, *, behind_proxy: bool) -> Iterator[Finding]:
    """What clients meet."""
    if not section.wanted:
        if not is_loopback(host) and not behind_proxy:
            yield danger(
                "front-in-the-clear", f"clients speak to {host} without TLS", "[tls]",
                "whoever is on the way reads keys and blobs, and acts with those keys",
                "set tls.certificate and tls.key, or frontend.behind_proxy = true where something in front of it speaks TLS",
            )  # fmt: skip
        return
    yield from _shown(seen, section, "tls", None)


def node_tls(
    seen: Sight, section: NodeTlsSection, host: str | None, identity: NodeIdentity | None
) -> Iterator[Finding]:
    """What nodes show each other. `host` is where this one is reached, None for nowhere; `identity` who it is."""
    if not section.wanted:
        if host is not None and not is_loopback(host):
            yield danger(
                "nodes-in-the-clear", f"nodes speak to {host} without TLS", "[node_tls]",
                "whoever reaches the port puts, reads and deletes; the process refuses to start like this",
                "`ambry certs init` and `issue` make what node_tls names",
            )  # fmt: skip
        return
    yield from _shown(seen, section, "node_tls", identity)
    if not section.revoked:
        yield warning(
            "no-revocation", "no certificate can be taken back: node_tls.revoked names no list", "[node_tls]",
            "a stolen certificate is good until it expires", "name revoked.pem of the authority",
        )  # fmt: skip
        return
    ends = seen.lists_end_ms.get(section.revoked, "it was not looked at")
    if isinstance(ends, str):
        yield danger(
            "revocation-unreadable", f"node_tls.revoked cannot be read: {ends}", section.revoked,
            "no connection between nodes is let in without it", "give out revoked.pem of the authority again",
        )  # fmt: skip
    elif ends <= seen.now_ms:
        yield danger(
            "revocation-stale", f"the list of revoked certificates ended {_days(seen.now_ms - ends)} ago", section.revoked,
            "nodes turn every certificate away by a list that has ended", "give out a newer revoked.pem of the authority",
        )  # fmt: skip
    elif ends - seen.now_ms < LIST_SOON_MS:
        yield warning(
            "revocation-ends-soon", f"the list of revoked certificates ends in {_days(ends - seen.now_ms)}", section.revoked,
            "nodes turn every certificate away by a list that has ended", "give out a newer revoked.pem before",
        )  # fmt: skip


def _shown(seen: Sight, section: TlsSection, key: str, identity: NodeIdentity | None) -> Iterator[Finding]:
    yield from secret_file(seen, f"{key}.key", section.key)
    yield from _directory(seen, f"{key}.certificate", Path(section.certificate).parent)
    found = seen.certificates.get(section.certificate, "it was not looked at")
    if isinstance(found, str):
        yield danger(
            "certificate-unreadable", f"{key}.certificate cannot be read: {found}", section.certificate,
            "the process cannot start", "`ambry certs issue` makes one",
        )  # fmt: skip
        return
    left_ms = found.not_after_ms - seen.now_ms
    if left_ms <= 0:
        yield danger(
            "certificate-expired", f"{key}.certificate expired {_days(-left_ms)} ago", section.certificate,
            "nobody who looks at it connects", "`ambry certs rotate`; it is read without a restart",
        )  # fmt: skip
    elif left_ms < SOON_MS:
        yield warning(
            "certificate-ends-soon", f"{key}.certificate expires in {_days(left_ms)}", section.certificate,
            "nobody who looks at it connects then", "`ambry certs rotate`; it is read without a restart",
        )  # fmt: skip
    if found.not_before_ms > seen.now_ms:
        yield danger(
            "certificate-not-yet", f"{key}.certificate is good only in {_days(found.not_before_ms - seen.now_ms)}",
            section.certificate, "nobody who looks at it connects", "set the clock of this machine, or of the authority's",
        )  # fmt: skip
    if not found.fits_key:
        yield danger(
            "certificate-of-another-key", f"{key}.certificate and {key}.key do not belong together", section.certificate,
            "the process cannot start with them", "give out both of one `ambry certs issue`",
        )  # fmt: skip
    if not found.of_authority:
        yield danger(
            "certificate-of-another-authority", f"{key}.certificate is of no authority in {key}.authority",
            section.certificate, "no other node lets this one in", "issue it with the cluster's own authority",
        )  # fmt: skip
    if found.revoked:
        yield danger(
            "certificate-revoked", f"{key}.certificate was taken back", section.certificate,
            "no other node lets this one in", "`ambry certs issue` makes another one",
        )  # fmt: skip
    if identity is not None and found.identities != (identity.uri,):
        told = ", ".join(found.identities) or "nobody"
        yield danger(
            "certificate-of-another-node", f"{key}.certificate is for {told}, and this is {identity.uri}",
            section.certificate, "no other node lets this one in", f"`ambry certs issue {identity.role.value} {identity.name}`",
        )  # fmt: skip


def admin_port(host: str, key: str, section: NodeTlsSection) -> Iterator[Finding]:
    """Off loopback it shows its pages to whoever has an operator's certificate, and there must be such."""
    if not is_loopback(host) and not section.wanted:
        yield danger(
            "admin-port-open", f"the admin port listens on {host}", key,
            "it asks nobody for a key: whoever reaches it reads metrics and sets off repairs",
            f'{key} = "127.0.0.1", or set node_tls',
        )  # fmt: skip


def host_names(hosts: tuple[str, ...], key: str) -> Iterator[Finding]:
    if "*" in hosts:
        yield warning(
            "any-host-name", f"{key} takes every name", key,
            "a page of a stranger makes its own name resolve to this process (DNS rebinding)", "list the names that are ours",
        )  # fmt: skip


def log_file(seen: Sight, section: LogSection) -> Iterator[Finding]:
    if section.file:
        place = Path(section.file)
        why = "logs tell who does what: addresses, ids, names"
        yield from private_directory(seen, "log.file", place, why)
        yield from _directory(seen, "log.file", place.parent)


def process(
    seen: Sight, *, secret_variables: tuple[str, ...] = (), descriptors: int = DESCRIPTORS_MIN
) -> Iterator[Finding]:
    """The process that runs with this configuration. `secret_variables` are those of its environment that hold secrets."""
    found = seen.process
    if found is None:
        yield note(
            "not-running", "no process runs with this configuration", seen.config,
            "its user, limits, arguments, environment and clock were not looked at", "start it, and ask again",
        )  # fmt: skip
        return
    where = f"process {found.pid}"
    if found.uid == 0:
        yield warning(
            "root", "it runs as root", where, "a fault in it is one of the whole machine",
            "run it as a user of its own: deploy/systemd and deploy/container do",
        )  # fmt: skip
    if found.core_bytes_max is None or found.core_bytes_max > 0:
        yield warning(
            "core-dumps", "it may leave a core dump", where, "its memory holds keys and plain bytes",
            "LimitCORE=0 (systemd), `ulimit -Hc 0`",
        )  # fmt: skip
    if found.descriptors_max is not None and found.descriptors_max < descriptors:
        yield warning(
            "few-descriptors", f"it may have {found.descriptors_max} descriptors, and may need {descriptors}", where,
            "new connections and files are refused when they run out", "LimitNOFILE=65536 (systemd), `ulimit -n`",
        )  # fmt: skip
    for kind in filter(None, map(secret_in, found.arguments)):
        yield danger(
            "secret-in-arguments", f"{kind} stands in its arguments", where,
            "everybody on this machine sees them (ps)", "put it in a file, mode 0600, and make another one",
        )  # fmt: skip
    for name, value in sorted((found.environment or {}).items()):
        kind = "a master key" if name in secret_variables else secret_in(value)
        if kind:
            yield warning(
                "secret-in-environment", f"{kind} stands in its environment ({name})", where,
                "whoever is this user, or root, reads it in /proc, and so does every process that it starts",
                "put it in a file, mode 0600",
            )  # fmt: skip
    if found.environment is None:
        yield note(
            "environment-unread", "its environment may not be read by this user", where,
            "a secret in it was not looked for", "run this as the user of the process, or as root",
        )  # fmt: skip
    if found.clock_doubt:
        yield danger(
            "clock-wrong", f"its clock is in doubt: {found.clock_doubt}", where,
            "times to live, keys and certificates end too early or too late", "keep the clocks of all nodes by NTP",
        )  # fmt: skip
    for peer, offset_ms in sorted(found.clock_offsets_ms.items()):
        if not found.clock_doubt and abs(offset_ms) > 1_000:
            yield warning(
                "clock-apart", f"the clock of {peer} is {offset_ms / 1000:+.1f} s from its own", where,
                "they should agree within a second", "keep the clocks of all nodes by NTP",
            )  # fmt: skip


def _days(ms: int) -> str:
    return f"{max(ms, 0) // 3_600_000} h" if ms < DAY_MS else f"{ms // DAY_MS} days"
