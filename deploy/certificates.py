"""A small authority of certificates, for people who have none: its key, what it issued, and what it took back.

    authority.crt   what nodes and clients trust; from a rotation to `retire` the new certificate, then the one before
    authority.key   its private key, mode 0600: whoever has it is any node; with the one before, until that is retired
    revoked.pem     the certificates that were taken back (RFC 5280 section 5): a list of each authority
    issued.pem      every certificate that was issued, in that order, until a year after it has ended
    NAME.crt/.key   what was issued last under a name

Keys are on P-256. A node's certificate says who it is (ambry/service/tls.py); one for the front names hosts alone.

Invariant: for each authority in authority.crt there is a key in authority.key, and a list in revoked.pem, whatever step of a
rotation was the last one that was done. A list that is missing makes nodes turn away all that its authority issued.
Invariant: what was issued stands in issued.pem before it stands anywhere else, so that it can be taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ambry.clustermap.layout import check_cluster_name, check_node_name
from ambry.service.tls import NodeIdentity
from deploy.issued_certificates import (
    IssuedCertificate,
    KnownCertificates,
    host_names,
    identity_and_hosts,
    issued_by,
    name_of,
    read_issued,
    serial_of,
    signed_by,
    subject_of,
)
from deploy.pem import blocks, pem_of, pem_of_key, pem_of_list
from deploy.whole_file import replace

AUTHORITY_DAYS = 3_650
DAYS = 397
"""Of what is issued: longer ones browsers do not take."""
BEFORE = timedelta(hours=1)
"""Clocks of others may be behind by so much."""


class CertificateError(RuntimeError):
    """The authority cannot do what was asked; the message says why."""


class CertificateAuthority:
    """The one in a directory. Whoever changes it has that locked (deploy/directory_lock.py)."""

    def __init__(self, directory: Path, *, now: datetime) -> None:
        self.directory = directory
        self.certificate_file = directory / "authority.crt"
        self.key_file = directory / "authority.key"
        self.revoked_file = directory / "revoked.pem"
        self.issued_file = directory / "issued.pem"
        self._now = now

    @staticmethod
    def check(cluster: str) -> None:
        """Raises CertificateError where no cluster may have this name."""
        try:
            check_cluster_name(cluster)
        except ValueError as cause:
            raise CertificateError(str(cause)) from cause

    def init(self, cluster: str) -> None:
        """Make it. Raises CertificateError where there is one."""
        self.check(cluster)
        if self.key_file.exists():
            raise CertificateError(
                f"{self.directory} holds an authority already; `ambry certs rotate --authority` renews it"
            )
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        key, made = self._new_authority(cluster)
        replace(self.key_file, pem_of_key(key), mode=0o600)
        replace(self.revoked_file, self._list(made, key, []), for_others=True)
        replace(self.certificate_file, pem_of(made), for_others=True)

    @property
    def cluster(self) -> str:
        """The cluster whose nodes it knows."""
        return str(self._own().subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value)

    def issue(self, name: str, *, identity: NodeIdentity | None, hosts: Sequence[str], days: int = DAYS) -> Path:
        """A certificate, and beside it its key; of a node where there is an `identity`, else for the front.

        What stands under this name is replaced, and is of the same identity. Returns its path. Raises CertificateError.
        """
        if name in ("authority", "revoked", "issued"):
            raise CertificateError(f"{name!r} is the name of a file of the authority itself")
        if identity is None and not hosts:
            raise CertificateError("a certificate for the front names its hosts: --host NAME, once for each")
        try:
            check_node_name(name if identity is None else identity.name)
            names = host_names(hosts)
        except ValueError as cause:
            raise CertificateError(str(cause)) from cause
        remembered = read_issued(self.issued_file)
        if remembered.unread:
            # It is written anew below, and what cannot be read now would be gone.
            raise CertificateError(
                f"{remembered.unread[0]}: put it back from a backup, or move it away, after which what stood there alone "
                "cannot be taken back"
            )
        known = self._known(remembered).certificates
        for each in known:
            other = identity_and_hosts(each)[0]
            if name_of(each) == name and other != identity and self.counts(each):
                who = "the front" if other is None else other.uri
                raise CertificateError(
                    f"{name} is the name of a certificate of {who}, which this one would replace: take another name, or "
                    f"`ambry certs revoke --serial {serial_of(each)}` first"
                )
        key = ec.generate_private_key(ec.SECP256R1())
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
        replace(self.issued_file, b"".join(pem_of(each) for each in [*known, made]), for_others=True)
        # The key first: a node that looks between the two keeps what it has, and looks again.
        replace(path.with_suffix(".key"), pem_of_key(key), mode=0o600)
        replace(path, pem_of(made), for_others=True)
        return path

    def rotate(self, name: str, *, days: int = DAYS) -> Path:
        """Issue what stands under a name anew, for the same identity and hosts. Raises CertificateError.

        The one before stays good until it ends, or is revoked.
        """
        before = self.read(name)
        identity, hosts = identity_and_hosts(before)
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
        replace(self.key_file, pem_of_key(key) + pem_of_key(self._key_of(own)), mode=0o600)
        replace(self.revoked_file, self._list(made, key, []) + pem_of_list(self._list_of(own)), for_others=True)
        replace(self.certificate_file, pem_of(made) + pem_of(own), for_others=True)

    def retire(self) -> None:
        """Trust the newest authority alone, from now on. Raises CertificateError while anything else counts on another."""
        own, *before = self._authorities()
        lists = self._lists()
        if not before and len(lists) == 1 and len(self._keys()) == 1:
            raise CertificateError(
                "there is one authority, and none to retire; `ambry certs rotate --authority` makes another"
            )
        left = [
            name for name in self.names() if not self._is_over(found := self.read(name)) and not issued_by(found, own)
        ]
        if left:
            raise CertificateError(
                f"what an authority before this one issued is in use: {', '.join(left)}; `ambry certs rotate` them, give them "
                "to their nodes, and retire it then. A certificate that is not used any more: revoke it, or delete its files"
            )
        replace(self.certificate_file, pem_of(own), for_others=True)
        replace(self.revoked_file, pem_of_list(self._list_of(own)), for_others=True)
        replace(self.key_file, pem_of_key(self._key_of(own)), mode=0o600)

    def revoke(self, name: str = "", *, serial: str = "", older: bool = False) -> list[str]:
        """Take back all of a name, or with `older` all but what stands there now; or the one with a `serial`.

        Returns the serial numbers of those that nobody takes any more. Raises CertificateError where there are none.
        """
        found = [each for each in self._all() if (serial_of(each) == serial if serial else name_of(each) == name)]
        if older:
            last = self.read(name)
            found = [each for each in found if each != last]
        if not found:
            what = (
                f"serial number {serial}"
                if serial
                else f"the name {name}" + (" before the one there is" if older else "")
            )
            raise CertificateError(f"nothing was issued with {what}; `ambry certs list` tells what was")
        revoked = [each for each in found if self.is_revoked(each)]
        for by in self._authorities():
            if new := [each for each in found if each not in revoked and issued_by(each, by)]:
                self._take_back(by, new)
            revoked += new
        if not revoked:
            raise CertificateError(
                f"{name or serial} was issued by an authority that is not trusted any more: nobody takes it"
            )
        return [serial_of(each) for each in revoked]

    def _take_back(self, by: x509.Certificate, certificates: Sequence[x509.Certificate]) -> None:
        kept = [(each.serial_number, each.revocation_date_utc) for each in self._list_of(by)]
        made = self._list(by, self._key_of(by), [*kept, *((each.serial_number, self._now) for each in certificates)])
        others = [pem_of_list(each) for each in self._lists() if not signed_by(each, by)]
        replace(self.revoked_file, made + b"".join(others), for_others=True)

    def issued(self) -> list[IssuedCertificate]:
        """What was issued, by name, the newest of a name first."""
        found = [self._described(each, current=self._read(name_of(each)) == each) for each in reversed(self._all())]
        return sorted(found, key=lambda one: one.name)

    def current(self, name: str) -> IssuedCertificate | None:
        """What stands under a name; None where nothing that can be read does."""
        found = self._read(name)
        return None if found is None else self._described(found, current=True)

    def _described(self, certificate: x509.Certificate, *, current: bool) -> IssuedCertificate:
        identity, hosts = identity_and_hosts(certificate)
        state = "expired" if self._is_over(certificate) else "good"
        if not self.counts(certificate):
            state = "revoked" if self.is_revoked(certificate) else "untrusted"
        return IssuedCertificate(
            name=name_of(certificate), serial=serial_of(certificate), identity=identity, hosts=hosts,
            since=certificate.not_valid_before_utc, until=certificate.not_valid_after_utc, state=state, current=current,
        )  # fmt: skip

    def unread(self) -> list[str]:
        """Why what stands here and cannot be read was passed over: what may have been issued, and is not told or taken back."""
        return self._known().unread

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

    def counts(self, certificate: x509.Certificate) -> bool:
        """Whether it was not taken back, and is of an authority that is trusted; until it ends, nodes take it then."""
        return not self.is_revoked(certificate) and any(issued_by(certificate, each) for each in self._authorities())

    def names(self) -> list[str]:
        """What was issued and is here."""
        return sorted(path.stem for path in self.directory.glob("*.crt") if path != self.certificate_file)

    def readable(self) -> dict[str, x509.Certificate]:
        """What stands under those of `names` that can be read; `unread` tells of the others."""
        return {name: found for name in self.names() if (found := self._read(name)) is not None}

    # --- its own ---

    def _all(self) -> list[x509.Certificate]:
        """What was issued, as far as it can be read: what stands here alone, by an earlier release, is at the end."""
        return self._known().certificates

    def _known(self, remembered: KnownCertificates | None = None) -> KnownCertificates:
        """`remembered` is what issued.pem holds, where it was read."""
        remembered = remembered or read_issued(self.issued_file)
        over = self._now - timedelta(days=DAYS)
        found, unread = (
            [each for each in remembered.certificates if each.not_valid_after_utc > over],
            list(remembered.unread),
        )
        for name in self.names():
            try:
                each = self.read(name)
            except CertificateError as error:
                unread.append(str(error))
                continue
            if each not in remembered.certificates:
                found.append(each)
        return KnownCertificates(found, unread)

    def _read(self, name: str) -> x509.Certificate | None:
        """What stands under a name; None where nothing that can be read does."""
        try:
            return self.read(name)
        except CertificateError:
            return None

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
            parts = blocks(self.key_file.read_bytes())
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
        name = subject_of(f"ambry authority of {cluster}", cluster)
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
        return builder if name == "authority" else builder.subject_name(subject_of(name, self.cluster))

    def _lists(self) -> list[x509.CertificateRevocationList]:
        try:
            return [x509.load_pem_x509_crl(part) for part in blocks(self.revoked_file.read_bytes())]
        except (OSError, ValueError) as cause:
            raise CertificateError(f"{self.revoked_file} cannot be read: {cause}") from cause

    def _list_of(self, authority: x509.Certificate) -> x509.CertificateRevocationList:
        """What it took back; a new and empty list where there is none of it."""
        for each in self._lists():
            if signed_by(each, authority):
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
        return pem_of_list(builder.sign(key, hashes.SHA256()))


def now_utc(wall_ms: int) -> datetime:
    """A wall time in milliseconds, as certificates want it."""
    return datetime.fromtimestamp(wall_ms / 1000, UTC)


def _authority_key(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    found = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found)
