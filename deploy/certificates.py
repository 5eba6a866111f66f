"""A small authority of certificates, for people who have none: its key, what it issued, and what it took back.

    authority.crt   what nodes and clients trust; from a rotation to `retire` the new certificate, then the one before
    authority.key   its private key, mode 0600: whoever has it is any node; with the one before, until that is retired
    revoked.pem     the certificates that were taken back (RFC 5280 section 5): a list of each authority
    NAME.crt/.key   what was issued

Keys are on P-256. A node's certificate says who it is (ambry/service/tls.py); one for the front names hosts alone.

Invariant: for each authority in authority.crt there is a key in authority.key, and a list in revoked.pem, whatever step of a
rotation was the last one that was done. A list that is missing makes nodes turn away all that its authority issued.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ambry.service.tls import NodeIdentity, identity_of_uri

AUTHORITY_DAYS = 3_650
DAYS = 397
"""Of what is issued: longer ones browsers do not take."""
BEFORE = timedelta(hours=1)
"""Clocks of others may be behind by so much."""
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----\n?", re.DOTALL)


class CertificateError(RuntimeError):
    """The authority cannot do what was asked; the message says why."""


class CertificateAuthority:
    """The one in a directory."""

    def __init__(self, directory: Path, *, now: datetime) -> None:
        self.directory = directory
        self.certificate_file = directory / "authority.crt"
        self.key_file = directory / "authority.key"
        self.revoked_file = directory / "revoked.pem"
        self._now = now

    def init(self, cluster: str) -> None:
        """Make it. Raises CertificateError where there is one."""
        if self.key_file.exists():
            raise CertificateError(
                f"{self.directory} holds an authority already; `ambry certs rotate --authority` renews it"
            )
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        key, made = self._new_authority(cluster)
        _write(self.key_file, _pem_key(key), 0o600)
        _write(self.revoked_file, self._list(made, key, []), 0o644)
        _write(self.certificate_file, _pem(made), 0o644)

    @property
    def cluster(self) -> str:
        """The cluster whose nodes it knows."""
        return str(self._own().subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value)

    def issue(self, name: str, *, identity: NodeIdentity | None, hosts: Sequence[str], days: int = DAYS) -> Path:
        """A certificate, and beside it its key; of a node where there is an `identity`, else for the front.

        What stands under this name is replaced. Returns its path. Raises CertificateError.
        """
        if not name or "/" in name or name.startswith(".") or name in ("authority", "revoked"):
            raise CertificateError(f"{name!r} cannot be the name of a file here")
        if identity is None and not hosts:
            raise CertificateError("a certificate for the front names its hosts: --host NAME, once for each")
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [_host(host) for host in hosts]
        uses = [ExtendedKeyUsageOID.SERVER_AUTH]
        if identity is not None:
            names.append(x509.UniformResourceIdentifier(identity.uri))
            uses.append(ExtendedKeyUsageOID.CLIENT_AUTH)
        made = (
            self._builder(name, days)
            .issuer_name(self._own().subject)
            .public_key(key.public_key())
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(_authority_key(self._own()), critical=False)
            .sign(self._key_of(self._own()), hashes.SHA256())
        )
        path = self.directory / f"{name}.crt"
        # The key first: a node that looks between the two keeps what it has, and looks again.
        _write(path.with_suffix(".key"), _pem_key(key), 0o600)
        _write(path, _pem(made), 0o644)
        return path

    def rotate(self, name: str, *, days: int = DAYS) -> Path:
        """Issue what stands under a name anew, for the same identity and hosts. Raises CertificateError."""
        before = self.read(name)
        found = before.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = found.get_values_for_type(x509.UniformResourceIdentifier)
        hosts = [*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))]
        identity = next((each for uri in uris if (each := identity_of_uri(uri)) is not None), None)
        return self.issue(name, identity=identity, hosts=hosts, days=days)

    def rotate_authority(self) -> None:
        """Another key and certificate; what the one before issued is trusted until that is retired.

        Everybody must trust the new one before anything is issued by it: nodes look at the file, others must be given it.
        Raises CertificateError where one is to be retired already.
        """
        before = self._authorities()
        if len(before) > 1:
            raise CertificateError(
                "the authority before this one is trusted still: rotate what it issued, then `ambry certs retire`"
            )
        key, made = self._new_authority(self.cluster)
        own = before[0]
        # The certificate last: until it is there, this is the authority that it was.
        _write(self.key_file, _pem_key(key) + _pem_key(self._key_of(own)), 0o600)
        _write(self.revoked_file, self._list(made, key, []) + _pem_list(self._list_of(own)), 0o644)
        _write(self.certificate_file, _pem(made) + _pem(own), 0o644)

    def retire(self) -> None:
        """Trust the newest authority alone, from now on. Raises CertificateError while anything else counts on another."""
        own, *before = self._authorities()
        lists = self._lists()
        if not before and len(lists) == 1 and len(self._keys()) == 1:
            raise CertificateError(
                "there is one authority, and none to retire; `ambry certs rotate --authority` makes another"
            )
        left = [
            name for name in self.names() if not self._is_over(found := self.read(name)) and not _issued(found, own)
        ]
        if left:
            raise CertificateError(
                f"what an authority before this one issued is in use: {', '.join(left)}; `ambry certs rotate` them, give them "
                "to their nodes, and retire it then. A certificate that is not used any more: revoke it, or delete its files"
            )
        _write(self.certificate_file, _pem(own), 0o644)
        _write(self.revoked_file, _pem_list(self._list_of(own)), 0o644)
        _write(self.key_file, _pem_key(self._key_of(own)), 0o600)

    def revoke(self, name: str) -> None:
        """Take back what stands under a name. Raises CertificateError."""
        found = self.read(name)
        if self.is_revoked(found):
            return
        by = next((each for each in self._authorities() if _issued(found, each)), None)
        if by is None:
            raise CertificateError(f"{name} was issued by an authority that is not trusted any more: nobody takes it")
        kept = [(each.serial_number, each.revocation_date_utc) for each in self._list_of(by)]
        made = self._list(by, self._key_of(by), [*kept, (found.serial_number, self._now)])
        others = [_pem_list(each) for each in self._lists() if not _signed(each, by)]
        _write(self.revoked_file, made + b"".join(others), 0o644)

    def read(self, name: str) -> x509.Certificate:
        """What stands under a name. Raises CertificateError."""
        path = self.directory / f"{name}.crt"
        try:
            return x509.load_pem_x509_certificate(path.read_bytes())
        except (OSError, ValueError) as cause:
            raise CertificateError(f"there is no certificate {path}: {cause}") from cause

    def is_revoked(self, certificate: x509.Certificate) -> bool:
        serial = certificate.serial_number
        return any(each.get_revoked_certificate_by_serial_number(serial) is not None for each in self._lists())

    def names(self) -> list[str]:
        """What was issued and is here."""
        return sorted(path.stem for path in self.directory.glob("*.crt") if path != self.certificate_file)

    # --- its own ---

    def _own(self) -> x509.Certificate:
        """The one that issues."""
        return self._authorities()[0]

    def _authorities(self) -> list[x509.Certificate]:
        """Those that are trusted, the newest first."""
        try:
            return x509.load_pem_x509_certificates(self.certificate_file.read_bytes())
        except (OSError, ValueError) as cause:
            raise CertificateError(
                f"{self.directory} holds no authority: {cause}; `ambry certs init` makes one"
            ) from cause

    def _is_over(self, certificate: x509.Certificate) -> bool:
        return certificate.not_valid_after_utc <= self._now or self.is_revoked(certificate)

    def _keys(self) -> list[ec.EllipticCurvePrivateKey]:
        try:
            parts = _parts(self.key_file.read_bytes())
            found = [serialization.load_pem_private_key(part, password=None) for part in parts]
        except (OSError, ValueError) as cause:
            raise CertificateError(f"the authority's key {self.key_file} cannot be read: {cause}") from cause
        return [key for key in found if isinstance(key, ec.EllipticCurvePrivateKey)]

    def _key_of(self, authority: x509.Certificate) -> ec.EllipticCurvePrivateKey:
        for key in self._keys():
            if key.public_key() == authority.public_key():
                return key
        raise CertificateError(
            f"{self.key_file} has no key of the authority of {authority.not_valid_before_utc:%Y-%m-%d}: put it there, or "
            "rotate what that authority issued, and `ambry certs retire` it"
        )

    def _new_authority(self, cluster: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"ambry authority of {cluster}", cluster)
        only = {"digital_signature": False, "content_commitment": False, "key_encipherment": False}
        only |= {"data_encipherment": False, "key_agreement": False, "encipher_only": False, "decipher_only": False}
        made = (
            self._builder("authority", AUTHORITY_DAYS)
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **only), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return key, made

    def _builder(self, name: str, days: int) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(self._now - BEFORE).not_valid_after(self._now + timedelta(days=days))
        return builder if name == "authority" else builder.subject_name(_name(name, self.cluster))

    def _lists(self) -> list[x509.CertificateRevocationList]:
        try:
            return [x509.load_pem_x509_crl(part) for part in _parts(self.revoked_file.read_bytes())]
        except (OSError, ValueError) as cause:
            raise CertificateError(f"{self.revoked_file} cannot be read: {cause}") from cause

    def _list_of(self, authority: x509.Certificate) -> x509.CertificateRevocationList:
        """What it took back; a new and empty list where there is none of it."""
        for each in self._lists():
            if _signed(each, authority):
                return each
        return x509.load_pem_x509_crl(self._list(authority, self._key_of(authority), []))

    def _list(
        self, authority: x509.Certificate, key: ec.EllipticCurvePrivateKey, serials: Sequence[tuple[int, datetime]]
    ) -> bytes:
        builder = x509.CertificateRevocationListBuilder().issuer_name(authority.subject)
        builder = builder.last_update(self._now - BEFORE).next_update(self._now + timedelta(days=AUTHORITY_DAYS))
        for serial, when in serials:
            one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when)
            builder = builder.add_revoked_certificate(one.build())
        builder = builder.add_extension(_authority_key(authority), critical=False)
        return _pem_list(builder.sign(key, hashes.SHA256()))


def now_utc(wall_ms: int) -> datetime:
    """A wall time in milliseconds, as certificates want it."""
    return datetime.fromtimestamp(wall_ms / 1000, UTC)


def _name(name: str, cluster: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, cluster[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, name[:64]),
        ]
    )


def _authority_key(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    found = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_list(revoked: x509.CertificateRevocationList) -> bytes:
    return revoked.public_bytes(serialization.Encoding.PEM)


def _parts(pem: bytes) -> list[bytes]:
    """The blocks of a file in PEM. Raises ValueError where there is none."""
    found = [match.group() for match in _BLOCK.finditer(pem)]
    if not found:
        raise ValueError("nothing in PEM stands there")
    return found


def _signed(revoked: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    key = authority.public_key()
    return isinstance(key, ec.EllipticCurvePublicKey) and revoked.is_signature_valid(key)


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    """Put a file in place of another, whole, and never readable by more than `mode` says."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
