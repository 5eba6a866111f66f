"""The certificates of a local cluster: an authority in `certs`, and what each process shows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from ambry.clock import SystemClock
from ambry.service.tls import NodeIdentity, NodeRole
from deploy.directory_lock import locked
from deploy.local_layout import LocalClusterError, Member

HOSTS = ("localhost", "127.0.0.1", "::1")


class LocalTls:
    """Those of the cluster in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "certs"
        self.authority_file = self.directory / "authority.crt"

    def prepare(self, cluster: str, members: Iterable[Member]) -> None:
        """Make what is missing. Raises OSError, LocalClusterError."""
        try:
            from deploy.certificates import CertificateAuthority, CertificateError, now_utc
        except ImportError as cause:
            raise LocalClusterError(f"TLS takes the extra `server`: pip install 'ambry[server]' ({cause})") from cause
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        authority = CertificateAuthority(self.directory, now=now_utc(SystemClock().wall_ms()))
        try:
            with locked(self.directory):
                if not authority.key_file.exists():
                    authority.init(cluster)
                there = set(authority.names())
                for member in members:
                    if _node(member) not in there:
                        identity = NodeIdentity(cluster, NodeRole(member.role), member.name)
                        authority.issue(_node(member), identity=identity, hosts=HOSTS)
                if "front" not in there:
                    authority.issue("front", identity=None, hosts=HOSTS)
        except CertificateError as cause:
            raise LocalClusterError(str(cause)) from cause

    def sections(self, member: Member) -> dict[str, list[str]]:
        """What stands in a process's configuration, by section."""
        node = self._lines(_node(member))
        node += [f"authority = {_text(self.authority_file)}", f"revoked = {_text(self.directory / 'revoked.pem')}"]
        return {"node_tls": node} if member.role == "datanode" else {"node_tls": node, "tls": self._lines("front")}

    def _lines(self, name: str) -> list[str]:
        path = self.directory / name
        return [f"certificate = {_text(path.with_suffix('.crt'))}", f"key = {_text(path.with_suffix('.key'))}"]


def _node(member: Member) -> str:
    return f"{member.role}-{member.name}"


def _text(path: Path) -> str:
    return json.dumps(str(path), ensure_ascii=False)
