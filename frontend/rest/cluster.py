"""What an administrator asks of a cluster: `/peers`, `/getClusterMapSnapshot`, `/statsReport`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from ambry.clock import Clock
from ambry.clustermap.model import Node
from ambry.errors import InvalidRequest, Unavailable
from ambry.rest import names
from ambry.rest.access import Role
from ambry.rest.text import one_of
from frontend.container import unknown_container
from frontend.containers.resolver import Containers
from frontend.http.exchange import Exchange, json_response
from frontend.http.route import Handle, Route
from frontend.rest.resource import EVERYWHERE, READS, of_this_moment
from frontend.router.context import RouterContext
from frontend.router.usage import ContainerKey, PartitionUsage, UsedSpace, total, usage
from frontend.who import in_cluster

ACCOUNT_REPORT = "account_report"
PARTITION_CLASS_REPORT = "partition_class_report"
PARTITION_CLASS = "default"
"""All partitions are of one class."""


class ClusterPages:
    """They are of this moment, and never kept."""

    def __init__(self, router: RouterContext, containers: Containers, *, clock: Clock) -> None:
        self._router = router
        self._containers = containers
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        def page(target: str, handle: Handle, *headers: str, query: frozenset[str] = frozenset()) -> Route:
            return Route(
                op="cluster",
                methods=READS,
                target=target,
                handle=handle,
                needs=in_cluster(Role.ADMIN),
                headers=EVERYWHERE | set(headers),
                query=query,
                required=query,
                select=of_this_moment,
            )

        return (
            page("/peers", self.peers, query=frozenset({"name", "port"})),
            page("/getClusterMapSnapshot", self.snapshot),
            page("/statsReport", self.stats, names.CLUSTER_NAME, names.STATS_TYPE),
        )

    async def peers(self, exchange: Exchange) -> web.Response:
        """The data nodes that hold the other replicas of what one holds."""
        query = exchange.target.query_pairs()
        name, port = query.get("name"), query.get("port")
        if name is None or port is None:
            raise InvalidRequest("say which data node: /peers?name=<its host or name>&port=<its port>")
        nodes = self._router.map.nodes.values()
        asked = [node for node in nodes if name in (node.name, node.host) and str(node.port) == port]
        if not asked:
            raise InvalidRequest(f"there is no data node {name[:80]!r} with port {port[:10]!r} in the cluster's layout")
        held = {
            peer.name: peer
            for node in asked
            for partition in self._router.map.partitions_of(node.name)
            for peer in partition.others(node.name)
        }
        return _now(
            {"peers": [{"name": peer.host, "port": peer.port, "node": peer.name} for _, peer in sorted(held.items())]}
        )

    async def snapshot(self, exchange: Exchange) -> web.Response:
        """The layout as this frontend knows it."""
        known = self._router.map
        nodes = sorted(known.nodes.values(), key=lambda node: node.name)
        return _now(
            {
                "cluster": known.cluster,
                "version": known.version,
                "datacenters": [
                    {"name": name, "id": number, "nodes": [_node(each) for each in nodes if each.datacenter == name]}
                    for name, number in sorted(known.datacenters.items())
                ],
                "partitions": [
                    {"id": number, "replicas": [replica.name for replica in partition.replicas]}
                    for number, partition in sorted(known.partitions.items())
                ],
            }
        )

    async def stats(self, exchange: Exchange) -> web.Response:
        """Blobs and bytes by account and container, live and reclaimable; each counted once, whatever its replicas."""
        headers = exchange.headers
        cluster = self._router.map.cluster
        asked = headers.get(names.CLUSTER_NAME, cluster)
        if asked != cluster:
            raise InvalidRequest(f"{names.CLUSTER_NAME}: this is cluster {cluster!r}, not {asked[:80]!r}")
        kind = one_of(
            names.STATS_TYPE, headers.get(names.STATS_TYPE, ACCOUNT_REPORT), (ACCOUNT_REPORT, PARTITION_CLASS_REPORT)
        )
        found = await usage(exchange.context, self._router)
        silent = [partition for partition in found if partition.error]
        if len(silent) == len(found):
            raise Unavailable(f"no data node tells what it holds now; retry ({silent[0].error})")
        report: dict[str, Any] = {
            "cluster": cluster,
            "at_ms": self._clock.wall_ms(),
            "partitions": len(found),
            "missing": [{"partition": partition.id, "error": partition.error} for partition in silent],
        }
        if kind == ACCOUNT_REPORT:
            report["accounts"] = self._accounts_of(total(found))
        else:
            report["partition_classes"] = {PARTITION_CLASS: [self._partition(each) for each in found if not each.error]}
        return _now(report)

    def _partition(self, partition: PartitionUsage) -> dict[str, Any]:
        return {"partition": partition.id, "accounts": self._accounts_of(partition.containers)}

    def _accounts_of(self, found: Mapping[ContainerKey, UsedSpace]) -> list[dict[str, Any]]:
        accounts: dict[int, dict[str, Any]] = {}
        for container in sorted(found):
            known = self._containers.known_id(container.account, container.container) or unknown_container(
                container.account, container.container
            )
            account = accounts.setdefault(
                container.account, {"account": known.account_name, "account_id": container.account, "containers": []}
            )
            account["containers"].append(
                {"container": known.container_name, "container_id": container.container, "usage": found[container]}
            )
        return list(accounts.values())


def _node(node: Node) -> dict[str, Any]:
    return {"name": node.name, "host": node.host, "port": node.port}


def _now(value: object) -> web.Response:
    response = json_response(value)
    response.headers["Cache-Control"] = "no-store"
    return response
