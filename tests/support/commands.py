"""What an operator types, against a local cluster."""

from __future__ import annotations

import msgspec
from click.testing import CliRunner, Result

from ambry.cli.main import cli
from deploy.local_cluster import LocalCluster


def replication(cluster: LocalCluster, command: str) -> tuple[int, list[dict[str, int]]]:
    """`ambry replication verify` or `repair`: its exit code, and what was missing."""
    result = CliRunner().invoke(cli, ["replication", command, "--output", "json", "--dir", str(cluster.directory)])
    told = msgspec.json.decode(result.stdout)
    assert told["failed"] == []
    return result.exit_code, told["lacking"]


def ambry_replica(cluster: LocalCluster, name: str, command: str, *arguments: str) -> Result:
    """`ambry replica accept-loss` or `vouch`, of the node with this name."""
    return CliRunner().invoke(cli, ["replica", command, "--admin", cluster.member(name).admin_url, *arguments])
