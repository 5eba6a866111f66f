"""Pages about the cluster, as Ambry names them."""

from __future__ import annotations

from ambry.blob import BlobState
from ambry.ids import BlobId
from ambry.rest import names
from tests.support.fake_cluster import make_cluster
from tests.support.http_frontend import http_frontend


async def test_peers_are_those_that_hold_what_a_node_holds() -> None:
    cluster = make_cluster(((2, 1), (1,)))
    async with http_frontend(cluster) as frontend:
        node = cluster.context.map.nodes["dc1-n2"]
        for name in (node.name, node.host):
            answer = await frontend.call("GET", f"/peers?name={name}&port={node.port}")
            assert answer.status == 200
            held = answer.json()["peers"]
        # All nodes of this map have one host and, within a datacenter, one port: by its host it is all of them that are asked.
        assert {peer["node"] for peer in held} == {"dc1-n1", "dc1-n2", "dc2-n1"}
        answer = await frontend.call("GET", f"/PEERS?name={node.name}&port={node.port}")
        assert [peer["node"] for peer in answer.json()["peers"]] == ["dc1-n1", "dc2-n1"]
        assert answer.json()["peers"][0] == {"name": "127.0.0.1", "port": node.port, "node": "dc1-n1"}
        for query in ("", "?name=dc1-n2", "?name=dc1-n2&port=1", f"?name=other&port={node.port}", "?port=7", "?x=1"):
            for method in ("GET", "HEAD"):
                refused = await frontend.call(method, f"/peers{query}")
                assert refused.status == 400, query
        assert (await frontend.call("PUT", "/peers")).status == 405
        for name in ("x-ambry-ttl", names.STATS_TYPE):
            assert (await frontend.call("GET", f"/peers?name={node.name}&port={node.port}", {name: "1"})).status == 400


async def test_the_map_is_told_as_the_layout_has_it() -> None:
    async with http_frontend(make_cluster(((2, 1), (1,)))) as frontend:
        answer = await frontend.call("GET", "/getClusterMapSnapshot")
        assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
        told = answer.json()
        assert (told["cluster"], told["version"]) == ("test", 1)
        assert [(each["name"], [node["name"] for node in each["nodes"]]) for each in told["datacenters"]] == [
            ("dc1", ["dc1-n1", "dc1-n2"]),
            ("dc2", ["dc2-n1"]),
        ]
        assert told["partitions"] == [
            {"id": 0, "replicas": ["dc1-n1", "dc1-n2", "dc2-n1"]},
            {"id": 1, "replicas": ["dc1-n1"]},
        ]


async def test_a_report_tells_what_containers_have_live_and_reclaimable() -> None:
    async with http_frontend() as frontend:
        await frontend.put(b"12345")
        await frontend.put(b"1", {names.ACCOUNT_NAME: "ml", names.CONTAINER_NAME: "models"})
        deleted = BlobId.parse(await frontend.put(b"123", {names.CONTAINER_NAME: "other"}))
        for peer in frontend.cluster.pool:
            peer.learn(deleted.raw, BlobState(0, True, 0))

        def container(name: str, number: int, *counts: int) -> dict[str, object]:
            kinds = ("live_blobs", "live_bytes", "reclaimable_blobs", "reclaimable_bytes")
            return {"container": name, "container_id": number, "usage": dict(zip(kinds, counts, strict=True))}

        answer = (await frontend.call("GET", "/statsReport", {names.CLUSTER_NAME: "test"})).json()
        assert (answer["cluster"], answer["partitions"], answer["missing"]) == ("test", 4, [])
        assert answer["accounts"] == [
            {
                "account": "default",
                "account_id": 1,
                "containers": [container("default", 1, 1, 5, 0, 0), container("other", 2, 0, 0, 1, 3)],
            },
            {"account": "ml", "account_id": 7, "containers": [container("models", 70, 1, 1, 0, 0)]},
        ]
        by_partition = (await frontend.call("GET", "/statsReport", {names.STATS_TYPE: "PARTITION_CLASS_REPORT"})).json()
        told = by_partition["partition_classes"]["default"]
        assert [each["partition"] for each in told] == [0, 1, 2, 3]
        assert sum(len(each["accounts"]) for each in told) >= 2
        for headers in ({names.CLUSTER_NAME: "other"}, {names.STATS_TYPE: "NONE"}):
            assert (await frontend.call("GET", "/statsReport", headers)).status == 400


async def test_a_report_of_which_nobody_tells_anything_is_503() -> None:
    async with http_frontend() as frontend:
        for peer in frontend.cluster.pool:
            peer.serving = False
        assert (await frontend.call("GET", "/statsReport")).status == 503
