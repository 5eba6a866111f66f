"""What one certificate that was issued says, who issued it, and how it stands with it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ambry.service.tls import NodeIdentity, identity_of_uri
from deploy.pem import begun_blocks

HOST = re.compile(
    r"(\*\.)?([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*"
)
"""A name of DNS, which may begin with a wildcard."""
HOST_SIZE_MAX = 253
NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
"""No name ends so (RFC 3696 section 2): clients take what does for an address, as 127.1 or 0x7f.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCertificate:
    """`state` is "good", "revoked", "untrusted" where its authority was retired, or "expired"."""

    name: str
    serial: str
    """In hexadecimal."""
    identity: NodeIdentity | None
    """Of a node; None for one of the front."""
    hosts: tuple[str, ...]
    since: datetime
    until: datetime
    state: str
    current: bool
    """Whether it is what stands under its name; else one before it."""

    def plain(self) -> dict[str, object]:
        """As JSON says it."""
        return {
            "name": self.name,
            "serial": self.serial,
            "identity": None if self.identity is None else self.identity.uri,
            "hosts": list(self.hosts),
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "state": self.state,
            "current": self.current,
        }


@dataclass(frozen=True, slots=True)
class KnownCertificates:
    """What was issued, and why the rest of it cannot be read, a sentence for each."""

    certificates: list[x509.Certificate]
    unread: list[str]


def read_issued(path: Path) -> KnownCertificates:
    """What stands in an issued.pem, each by itself: what somebody else damaged hides nothing of the others."""
    try:
        pem = path.read_bytes()
    except FileNotFoundError:
        return KnownCertificates([], [])
    except OSError as cause:
        return KnownCertificates([], [f"{path} cannot be read: {cause.strerror or cause}"])
    found, unread = [], []
    for number, part in enumerate(begun_blocks(pem), start=1):
        try:
            found.append(x509.load_pem_x509_certificate(part))
        except ValueError as cause:
            unread.append(f"number {number} in {path} cannot be read: {cause}")
    return KnownCertificates(found, unread)


def subject_of(name: str, cluster: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, cluster[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, name[:64]),
        ]
    )


def name_of(certificate: x509.Certificate) -> str:
    """Empty for one that somebody else made, without one."""
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def signed_by(revoked: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    key = authority.public_key()
    return isinstance(key, ec.EllipticCurvePublicKey) and revoked.is_signature_valid(key)


def serial_of(certificate: x509.Certificate) -> str:
    return f"{certificate.serial_number:x}"


def identity_and_hosts(certificate: x509.Certificate) -> tuple[NodeIdentity | None, tuple[str, ...]]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None, ()
    uris = found.get_values_for_type(x509.UniformResourceIdentifier)
    hosts = (*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress)))
    return next((each for uri in uris if (each := identity_of_uri(uri)) is not None), None), hosts


def host_names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    """As they stand in a certificate. Raises ValueError for what is neither an address nor a name of DNS."""
    found: list[x509.GeneralName] = []
    for host in hosts:
        try:
            found.append(x509.IPAddress(ip_address(host)))
            continue
        except ValueError:
            pass
        if len(host) > HOST_SIZE_MAX or HOST.fullmatch(host) is None or NUMBER.fullmatch(host.rpartition(".")[2]):
            raise ValueError(
                f"{host!r} is no host: it is an address, or a name of DNS (letters, digits, dots and hyphens; in other "
                "alphabets as punycode), without a scheme and a port"
            )
        found.append(x509.DNSName(host))
    return found
