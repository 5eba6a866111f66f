"""Certificates for tests, made as `ambry certs` makes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from ambry.service.tls import NodeIdentity, NodeRole, NodeTlsSection, TlsSection
from deploy.certificates import CertificateAuthority

CLUSTER = "test"


def authority(directory: Path, *, cluster: str = CLUSTER, days_ago: float = 0) -> CertificateAuthority:
    """A new one, or the one that is there; `days_ago` its clock is behind."""
    made = CertificateAuthority(directory, now=datetime.now(UTC) - timedelta(days=days_ago))
    if not made.key_file.exists():
        made.init(cluster)
    return made


def node_section(
    made: CertificateAuthority, role: NodeRole, name: str, *, days: int = 30, as_name: str = ""
) -> NodeTlsSection:
    """The files of a node of this authority, issued now."""
    identity = NodeIdentity(made.cluster, role, as_name or name)
    path = made.issue(f"{role.value}-{name}", identity=identity, hosts=["127.0.0.1"], days=days)
    return NodeTlsSection(
        certificate=str(path),
        key=str(path.with_suffix(".key")),
        authority=str(made.certificate_file),
        revoked=str(made.revoked_file),
    )


def front_section(made: CertificateAuthority, *hosts: str, days: int = 30) -> TlsSection:
    """The files of a front."""
    path = made.issue("front", identity=None, hosts=hosts or ("localhost", "127.0.0.1"), days=days)
    return TlsSection(certificate=str(path), key=str(path.with_suffix(".key")))
