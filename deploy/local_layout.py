"""The shape of a local cluster and all that follows from it: names, ports, replicas, files. Pure.

Every datacenter i, counted from 1, owns the hundred ports from `port_base + 100 * i`:

    offset  count  what listens there
    0       10     REST API of frontend 1, 2, ...
    10      10     RPC of frontend 1, 2, ..., for those of other datacenters
    20      10     admin port of frontend 1, 2, ...
    40      30     RPC of data node 1, 2, ...
    70      30     admin port of data node 1, 2, ...

So with the default base the first frontend of dc1 is http://127.0.0.1:17100, the client's default endpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from ambry.address import authority
from ambry.clustermap.layout import DatacenterEntry, Layout, NodeEntry, PartitionEntry

HOST = "127.0.0.1"
PORT_BASE_DEFAULT = 17_000
PORTS_PER_DATACENTER = 100
FRONTENDS_MAX = 10
NODES_MAX = 30
FRONTEND_RPC = 10
FRONTEND_ADMIN = 20
NODE_RPC = 40
NODE_ADMIN = 70
"""Offsets of the ports as above."""
WORKERS_MAX = 64
"""As a frontend's configuration allows."""
REPLICAS_PER_DATACENTER = 3

Role = Literal["datanode", "frontend"]
ROLES: tuple[Role, ...] = ("datanode", "frontend")


class LocalClusterError(RuntimeError):
    """The local cluster cannot do what was asked; the message says what is wrong, where to look and what to do.

    Not an AmbryError: it is a failure of this tool on this machine, and goes over no wire.
    """


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for. None is no opinion: the stored value, or the default for a new cluster."""

    datacenters: int | None = None
    nodes: int | None = None
    frontends: int | None = None
    partitions: int | None = None
    port_base: int | None = None
    workers: int | None = None
    auth: bool | None = None
    tls: bool | None = None
    overrides: Mapping[str, Sequence[str]] | None = None


class Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a cluster is for its whole life, but for `workers`, which `up` may change; `shape.json`.

    `workers` counts the processes of each frontend. `auth`: requests need a key. `tls`: nobody
    speaks in the clear. `overrides` holds --set values by role.
    """

    cluster: str
    datacenters: int = 2
    nodes: int = 3
    frontends: int = 1
    partitions: int = 8
    port_base: int = PORT_BASE_DEFAULT
    workers: int = 1
    auth: bool = False
    tls: bool = False
    overrides: dict[str, list[str]] = msgspec.field(default_factory=dict)

    def settings(self, role: Role) -> list[str]:
        """What `--set` says to the processes of a role."""
        own = [f"frontend.workers={self.workers}"] if role == "frontend" and self.workers > 1 else []
        return own + self.overrides.get(role, [])


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One process of the cluster; `directory` is its own, inside the cluster's."""

    name: str
    role: Role
    datacenter: str
    datacenter_id: int
    port: int
    admin_port: int
    directory: Path
    host: str = HOST
    rpc_port: int | None = None
    """Of a frontend, where `port` is that of its REST API."""
    tls: bool = False

    @property
    def config(self) -> Path:
        return self.directory / "config.toml"

    @property
    def log(self) -> Path:
        return self.directory / "log.jsonl"

    @property
    def data_dir(self) -> Path:
        return self.directory / "data"

    @property
    def url(self) -> str:
        """Where clients connect; of use for a frontend only, as a data node speaks RPC."""
        return f"{'https' if self.tls else 'http'}://{authority(self.host, self.port)}"

    @property
    def admin_url(self) -> str:
        return f"http://{authority(self.host, self.admin_port)}"

    @property
    def readiness_urls(self) -> tuple[str, ...]:
        """All of these answer 200 when the process is ready."""
        admin = f"{self.admin_url}/readyz"
        # What is asked in TLS is asked by clients that trust its authority.
        return (admin, f"{self.url}/readyz") if self.role == "frontend" and not self.tls else (admin,)


class FrontendFile(msgspec.Struct, frozen=True):
    name: str
    url: str
    admin_url: str
    pid: int | None
    log: str


class NodeFile(msgspec.Struct, frozen=True):
    name: str
    host: str
    port: int
    admin_url: str
    data_dir: str
    pid: int | None
    log: str


class DatacenterFile(msgspec.Struct, frozen=True):
    name: str
    id: int
    frontends: list[FrontendFile]
    nodes: list[NodeFile]


class ClusterFile(msgspec.Struct, frozen=True):
    """`cluster.json`: the cluster as it runs. The pid of a stopped process is null; others may have died since."""

    cluster: str
    dir: str
    state: Literal["up", "down"]
    datacenters: list[DatacenterFile]
    overrides: dict[str, list[str]]
    workers: int = 1
    """These two as in the shape, which is made anew from here and from the layout when its file is damaged."""

    def pids(self) -> dict[str, int]:
        """The recorded pids by process name."""
        processes: list[FrontendFile | NodeFile] = []
        for datacenter in self.datacenters:
            processes += [*datacenter.frontends, *datacenter.nodes]
        return {process.name: process.pid for process in processes if process.pid is not None}


def new_shape(options: Options, *, cluster: str) -> Shape:
    """The shape of a new cluster. Raises LocalClusterError naming the option that cannot work."""
    asked = {name: value for name, value in msgspec.structs.asdict(options).items() if value is not None}
    if options.overrides is not None:
        asked["overrides"] = _plain(options.overrides)
    return check(Shape(cluster=cluster, **asked))


def check(shape: Shape) -> Shape:
    """Refuse a shape that cannot work. Raises LocalClusterError naming the option."""
    port_last = shape.port_base + PORTS_PER_DATACENTER * (shape.datacenters + 1) - 1
    for option, value, least, most in (
        ("datacenters", shape.datacenters, 1, 100),
        ("nodes", shape.nodes, 1, NODES_MAX),
        ("frontends", shape.frontends, 1, FRONTENDS_MAX),
        ("partitions", shape.partitions, 1, 10_000),
        ("workers", shape.workers, 1, WORKERS_MAX),
    ):
        if not least <= value <= most:
            raise LocalClusterError(f"--{option} {value}: it must lie between {least} and {most}")
    if shape.port_base < 1024 - PORTS_PER_DATACENTER or port_last > 65_535:
        raise LocalClusterError(
            f"--port-base {shape.port_base}: {shape.datacenters} datacenters would use the ports "
            f"{shape.port_base + PORTS_PER_DATACENTER} to {port_last}; they must lie between 1024 and 65535"
        )
    unknown = sorted(set(shape.overrides) - set(ROLES))
    if unknown:
        raise LocalClusterError(f"overrides are for the roles {' and '.join(ROLES)}, not {', '.join(unknown)}")
    return shape


def contradictions(shape: Shape, options: Options) -> list[str]:
    """One clause per option that asks for something else than the stored shape, and may not; empty when they agree."""
    found = []
    for name, wanted in msgspec.structs.asdict(options).items():
        stored = getattr(shape, name)
        if name == "overrides" and wanted is not None:
            wanted = _plain(wanted)
        # Port base 0 asks for any free ports, and the stored ones are such.
        if wanted is None or wanted == stored or (name == "port_base" and wanted == 0) or name == "workers":
            continue
        if name == "auth":
            found.append("keys, not --no-auth" if stored else "no keys (--no-auth), not with keys")
            continue
        found.append(f"{name.replace('_', '-')} {stored}, not {wanted}")
    return found


@dataclass(frozen=True, slots=True)
class _Group:
    """The processes of one role in one datacenter, on ports that follow one another."""

    role: Role
    letter: str
    count: int
    port: int
    admin_port: int
    rpc_port: int | None = None


def members(shape: Shape, directory: Path) -> tuple[Member, ...]:
    """Every process, by datacenter, frontends before data nodes."""
    found = []
    for datacenter_id in range(1, shape.datacenters + 1):
        datacenter = f"dc{datacenter_id}"
        first = shape.port_base + PORTS_PER_DATACENTER * datacenter_id
        admin, rpc = first + FRONTEND_ADMIN, first + FRONTEND_RPC
        for group in (
            _Group("frontend", "f", count=shape.frontends, port=first, admin_port=admin, rpc_port=rpc),
            _Group("datanode", "n", count=shape.nodes, port=first + NODE_RPC, admin_port=first + NODE_ADMIN),
        ):
            for number in range(group.count):
                name = f"{datacenter}-{group.letter}{number + 1}"
                found.append(
                    Member(
                        name=name,
                        role=group.role,
                        datacenter=datacenter,
                        datacenter_id=datacenter_id,
                        port=group.port + number,
                        admin_port=group.admin_port + number,
                        directory=directory / name,
                        rpc_port=None if group.rpc_port is None else group.rpc_port + number,
                        tls=shape.tls,
                    )
                )
    return tuple(found)


def ports(everyone: Sequence[Member]) -> dict[int, str]:
    """Every port of these processes, with who listens there, for messages."""
    used = {}
    for member in everyone:
        used[member.port] = member.name
        used[member.admin_port] = f"{member.name} (admin)"
        if member.rpc_port is not None:
            used[member.rpc_port] = f"{member.name} (RPC)"
    return used


def layout(shape: Shape, everyone: Sequence[Member]) -> Layout:
    """The cluster map: every partition on min(3, nodes) nodes of every datacenter, rotated so that all carry alike."""
    by_datacenter: dict[str, list[Member]] = {}
    frontends: dict[str, list[NodeEntry]] = {}
    for member in everyone:
        if member.role == "datanode":
            by_datacenter.setdefault(member.datacenter, []).append(member)
        elif member.rpc_port is not None:
            entry = NodeEntry(name=member.name, host=member.host, port=member.rpc_port)
            frontends.setdefault(member.datacenter, []).append(entry)
    return Layout(
        cluster=shape.cluster,
        version=1,
        datacenters=[
            DatacenterEntry(
                name=name,
                id=nodes[0].datacenter_id,
                nodes=[NodeEntry(name=node.name, host=node.host, port=node.port) for node in nodes],
                frontends=frontends.get(name, []),
            )
            for name, nodes in by_datacenter.items()
        ],
        partitions=[
            PartitionEntry(
                id=partition,
                replicas=[
                    nodes[(partition + replica) % len(nodes)].name
                    for nodes in by_datacenter.values()
                    for replica in range(min(REPLICAS_PER_DATACENTER, len(nodes)))
                ],
            )
            for partition in range(shape.partitions)
        ],
    )


def shape_of(
    known: Layout, *, frontends: int, workers: int, auth: bool, tls: bool, overrides: dict[str, list[str]]
) -> Shape:
    """The shape that a layout was made from, with what it does not tell. Raises LocalClusterError."""
    nodes = known.datacenters[0].nodes if known.datacenters else []
    if not nodes:
        raise LocalClusterError("the layout has no data node")
    shape = check(
        Shape(
            cluster=known.cluster,
            datacenters=len(known.datacenters),
            nodes=len(nodes),
            frontends=max(1, frontends),
            partitions=len(known.partitions),
            port_base=nodes[0].port - NODE_RPC - PORTS_PER_DATACENTER,
            workers=workers,
            auth=auth,
            tls=tls,
            overrides=overrides,
        )
    )
    if layout(shape, members(shape, Path())) != known:
        raise LocalClusterError("the layout was changed by hand")
    return shape


def describe(
    shape: Shape, directory: Path, everyone: Sequence[Member], pids: Mapping[str, int], *, state: Literal["up", "down"]
) -> ClusterFile:
    """What stands in cluster.json."""
    datacenters = []
    for datacenter_id in range(1, shape.datacenters + 1):
        here = [member for member in everyone if member.datacenter_id == datacenter_id]
        datacenters.append(
            DatacenterFile(
                name=here[0].datacenter,
                id=datacenter_id,
                frontends=[
                    FrontendFile(
                        name=member.name,
                        url=member.url,
                        admin_url=member.admin_url,
                        pid=pids.get(member.name),
                        log=str(member.log),
                    )
                    for member in here
                    if member.role == "frontend"
                ],
                nodes=[
                    NodeFile(
                        name=member.name,
                        host=member.host,
                        port=member.port,
                        admin_url=member.admin_url,
                        data_dir=str(member.data_dir),
                        pid=pids.get(member.name),
                        log=str(member.log),
                    )
                    for member in here
                    if member.role == "datanode"
                ],
            )
        )
    return ClusterFile(
        cluster=shape.cluster,
        dir=str(directory),
        state=state,
        datacenters=datacenters,
        overrides=shape.overrides,
        workers=shape.workers,
    )


def _plain(overrides: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    return {role: list(values) for role, values in overrides.items() if values}
