"""Looks at what a configuration points to, and has it judged by its role: files, certificates, the running process, its peers.

Nothing is changed, no secret is read, and of keys only whether they belong to their certificate. What cannot be looked at is
told. The judges stand with the roles (frontend/diagnosis.py, datanode/diagnosis.py), and are found by name, as processes are.
"""

from __future__ import annotations

import importlib
import itertools
import os
import re
import ssl
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from ambry.clock import SystemClock
from ambry.config import load
from ambry.errors import ConfigInvalid
from ambry.service import diagnosis as rules
from ambry.service.admin_client import AdminUnanswered, ask_admin
from ambry.service.diagnosis import CertificateSeen, FileSeen, Finding, ProcessSeen, Sight, ToSee
from ambry.service.tls import NodeTlsSection, TlsSection, identity_of_uri
from deploy.local_processes import PROC, running

ROLES = {"frontend": "frontend.diagnosis", "node": "datanode.diagnosis"}
"""By the section that a configuration of the role has: who judges it."""
ADMIN_TIMEOUT_S = 5.0
_SECRETS_OF_OURS = re.compile(r"AMBRY_|VAULT_|PG|.*(KEY|TOKEN|SECRET|PASSWORD)")


class Judge(Protocol):
    """What such a module has."""

    SHAPE: type[msgspec.Struct]
    wanted: Callable[[Any], ToSee]
    judge: Callable[[Any, Sight], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that was found about one configuration."""

    config: Path
    findings: tuple[Finding, ...]


def examine(paths: Iterable[Path]) -> Iterator[Diagnosis]:
    """Look at each of these configurations, and at the processes that run with them."""
    places = [path.absolute() for path in paths]
    pids = running(places)
    for place in places:
        yield Diagnosis(place, tuple(_examined(place, pids.get(place))))


def _examined(place: Path, pid: int | None) -> Iterator[Finding]:
    found = None if pid is None else _process(pid)
    environment = os.environ if found is None or found.environment is None else found.environment
    try:
        judge = _judge_of(place)
        config = load(
            judge.SHAPE, place, env=environment, overrides=() if found is None else _overrides(found.arguments)
        )
    except ConfigInvalid as cause:
        yield rules.danger("unusable", cause.message, place, "no process starts with it", "mend it")
        return
    wanted = judge.wanted(config)
    files = with_those_above(place, *wanted.files)
    mutual = [section for section in wanted.tls if isinstance(section, NodeTlsSection)]
    yield from judge.judge(
        config,
        Sight(
            config=place,
            now_ms=SystemClock().wall_ms(),
            files=files,
            certificates={section.certificate: _certificate(section) for section in wanted.tls},
            lists_end_ms={section.revoked: _list_ends_ms(section.revoked) for section in mutual if section.revoked},
            process=None if found is None else _with_clock(found, wanted.admin),
        ),
    )


def _judge_of(place: Path) -> Judge:
    try:
        tree = tomllib.loads(place.read_text("utf-8"))
    except OSError as cause:
        raise ConfigInvalid(f"cannot read the configuration {place}: {cause.strerror}") from cause
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise ConfigInvalid(f"{place} is not valid TOML: {cause}") from cause
    roles = [module for section, module in ROLES.items() if section in tree]
    if len(roles) != 1:
        raise ConfigInvalid(f"{place} is of no role: it has a section [frontend] or a section [node], and not both")
    return cast("Judge", importlib.import_module(roles[0]))


def _overrides(arguments: tuple[str, ...]) -> list[str]:
    return [value for option, value in itertools.pairwise(arguments) if option == "--set"]


def with_those_above(*paths: Path) -> dict[Path, FileSeen]:
    """These files, and all directories above them; those that can be looked at."""
    places = {each for path in paths for each in (path, *path.parents)}
    return {place: found for place in places if (found := _file(place)) is not None}


def _file(path: Path) -> FileSeen | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return FileSeen(found.st_mode & 0o7777, found.st_uid, found.st_dev)


def _certificate(section: TlsSection) -> CertificateSeen | str:
    try:
        found = x509.load_pem_x509_certificate(Path(section.certificate).read_bytes())
        authorities: list[x509.Certificate] = []
        revoked = False
        if isinstance(section, NodeTlsSection):
            authorities = x509.load_pem_x509_certificates(Path(section.authority).read_bytes())
            lists = _lists(section.revoked) if section.revoked else []
            revoked = any(each.get_revoked_certificate_by_serial_number(found.serial_number) for each in lists)
    except (OSError, ValueError) as cause:
        return str(cause)
    return CertificateSeen(
        identities=tuple(uri for uri in _uris(found) if identity_of_uri(uri) is not None),
        not_before_ms=_ms(found.not_valid_before_utc),
        not_after_ms=_ms(found.not_valid_after_utc),
        fits_key=_fits(section),
        of_authority=not isinstance(section, NodeTlsSection) or any(_issued(found, each) for each in authorities),
        revoked=revoked,
    )


def _fits(section: TlsSection) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(section.certificate, section.key, password=lambda: b"")
    except (OSError, ssl.SSLError):
        return False
    return True


def _uris(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _issued(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _lists(path: str) -> list[x509.CertificateRevocationList]:
    text = Path(path).read_bytes()
    blocks = re.findall(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", text, re.DOTALL)
    if not blocks:
        raise ValueError("no list stands in it")
    return [x509.load_pem_x509_crl(each) for each in blocks]


def _list_ends_ms(path: str) -> int | str:
    try:
        ends = [each.next_update_utc for each in _lists(path)]
    except (OSError, ValueError) as cause:
        return str(cause)
    return min((_ms(each) for each in ends if each is not None), default=1 << 62)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _process(pid: int) -> ProcessSeen | None:
    """None where it is gone."""
    place = PROC / str(pid)
    try:
        arguments = (place / "cmdline").read_bytes().split(b"\0")
        status = (place / "status").read_text()
    except OSError:
        return None
    uid = re.search(r"^Uid:\s+\d+\s+(\d+)", status, re.MULTILINE)
    limits = _text(place / "limits") or ""
    return ProcessSeen(
        pid=pid,
        uid=None if uid is None else int(uid[1]),
        core_bytes_max=_limit(limits, "Max core file size"),
        descriptors_max=_limit(limits, "Max open files"),
        arguments=tuple(os.fsdecode(each) for each in arguments if each),
        environment=_environment(place / "environ"),
    )


def _text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", "surrogateescape")
    except OSError:
        return None


def _limit(limits: str, name: str) -> int | None:
    """The soft one."""
    found = re.search(rf"^{name}\s+(\S+)", limits, re.MULTILINE)
    if found is None:
        return None
    return 1 << 62 if found[1] == "unlimited" else int(found[1])


def _environment(path: Path) -> Mapping[str, str] | None:
    """The variables that may hold something of ours."""
    text = _text(path)
    if text is None:
        return None
    pairs = (each.partition("=") for each in text.split("\0") if each)
    return {name: value for name, _, value in pairs if _SECRETS_OF_OURS.match(name)}


def _with_clock(found: ProcessSeen, admin: str) -> ProcessSeen:
    """What it makes of the clocks of others, as its admin port tells; a frontend tells nothing of them."""
    try:
        told = ask_admin(admin, "GET", "/peers", timeout_s=ADMIN_TIMEOUT_S)
    except AdminUnanswered:
        return found
    clock = told.get("clock", {}) if isinstance(told, dict) else {}
    return replace(found, clock_doubt=clock.get("doubt", ""), clock_offsets_ms=clock.get("offsets_ms", {}))
