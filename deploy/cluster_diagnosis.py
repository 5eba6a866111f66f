"""A whole local cluster, looked at: its own secrets, every process of it, and its containers where it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ambry.service import diagnosis as rules
from ambry.service.diagnosis import Finding, Sight
from deploy import container_settings
from deploy.inspection import examine, with_those_above
from deploy.local_directory import LocalDirectory


def examine_cluster(directory: Path) -> Iterator[tuple[Path, tuple[Finding, ...]]]:
    """What was found, by configuration; that of the directory itself first. Raises LocalClusterError, OSError."""
    local = LocalDirectory(directory.absolute())
    members = local.members
    yield local.path, tuple(_own(local))
    for one in examine([member.config for member in members]):
        yield one.config, one.findings


def _own(local: LocalDirectory) -> Iterator[Finding]:
    secrets = [local.master.file]
    if local.shape.auth:
        secrets += [local.access.key_file, local.access.header_file, local.access.secret_file]
    if local.shape.tls:
        secrets.append(local.tls.directory / "authority.key")
    files = with_those_above(local.path, *secrets)
    seen = Sight(config=local.path, now_ms=0, files=files, certificates={}, lists_end_ms={}, process=None)
    for path in secrets:
        if path in files:
            yield from rules.secret_file(seen, path.name, str(path))
    yield from rules.private_directory(seen, "the cluster", local.path, "data, logs and configurations lie there")
    profile = local.profile()
    yield from container_settings.ask(
        [member.url for member in local.members if member.role == "frontend"],
        key=local.access.key() if local.shape.auth else None,
        ca=profile.ca,
    )
