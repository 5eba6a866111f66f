"""The processes themselves: health, metrics, workers, logs; refusing a directory that is not theirs; draining on SIGTERM."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ambry import __version__
from deploy.local_cluster import LocalCluster
from tests.support.clusters import frontend_urls, seed_of, wait_until_whole
from tests.support.content import content
from tests.support.load import Load
from tests.support.log_file import lines_of
from tests.support.ports import free_ports
from tests.support.rest import call, everywhere, page, put
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]

DATANODE_FAMILIES = (
    "ambry_datanode_requests",
    "ambry_datanode_request_seconds",
    "ambry_datanode_payload_bytes_received",
    "ambry_datanode_payload_bytes_sent",
    "ambry_datanode_commit_batch_records",
    "ambry_datanode_replicas_fenced",
    "ambry_datanode_corrupt_reads",
    "ambry_datanode_replication_lag_bytes",
    "ambry_datanode_replicated_blobs",
    "ambry_datanode_replicated_bytes",
    "ambry_datanode_wanted_blobs",
)
FRONTEND_FAMILIES = (
    "ambry_frontend_requests",
    "ambry_frontend_request_seconds",
    "ambry_frontend_requests_in_flight",
    "ambry_frontend_bytes_received",
    "ambry_frontend_bytes_sent",
    "ambry_frontend_memory_budget_free_bytes",
    "ambry_frontend_peers_usable",
)


def test_health_pages(cluster: LocalCluster, dc1: str) -> None:
    good = call(dc1, "GET", "/healthCheck")
    assert (good.status, good.body) == (200, b"GOOD")
    assert call(dc1, "GET", "/healthz").status == 200
    assert call(dc1, "GET", "/readyz").json() == {"ready": True, "reasons": []}
    version = call(dc1, "GET", "/version").json()["version"]
    for member in cluster.members:
        assert call(member.admin_url, "GET", "/healthz").status == 200
        assert page(member.admin_url, "/readyz")["ready"] is True
        assert page(member.admin_url, "/version") == {"version": version}
    for name in ("x-ambry-request-id", "x-ambry-answered-ms", "x-ambry-datacenter", "x-ambry-frontend"):
        assert good.headers[name], name


def test_metrics_of_every_process(cluster: LocalCluster, dc1: str) -> None:
    blob_id = put(dc1, content(1, 300_000))
    eventually(lambda: everywhere(dc1, blob_id), "replicated")
    for member in cluster.members:
        text = call(member.admin_url, "GET", "/metrics").body.decode()
        families = DATANODE_FAMILIES if member.role == "datanode" else FRONTEND_FAMILIES
        types = {line.split(" ")[2].removesuffix("_total") for line in text.splitlines() if line.startswith("# TYPE")}
        missing = [name for name in (*families, "process_open_fds", "python_info") if name not in types]
        assert not missing, (member.name, missing)
        helps = {
            line.split(" ", 3)[2]: line.split(" ", 3)[3] for line in text.splitlines() if line.startswith("# HELP")
        }
        assert all(helps.values()), member.name


def clocks_are_told(admin_url: str) -> bool:
    return all(peer["clock_offset_ms"] is not None for peer in page(admin_url, "/peers"))


def test_background_loops_are_shown(cluster: LocalCluster) -> None:
    for node in cluster.nodes():
        workers = {worker["name"]: worker for worker in page(node.admin_url, "/workers")}
        peers = [other.name for other in cluster.nodes() if other.name != node.name]
        assert {"checkpoint", "heal", "compaction", "scrub", "sweep"} <= workers.keys()
        for peer in peers:
            assert any(name.startswith(f"pull:{peer}") for name in workers), (node.name, peer)
        for worker in workers.values():
            assert worker["state"] in ("running", "idle", "backing off", "waiting to begin"), worker
            assert worker["ticks"] >= 0
        partitions = page(node.admin_url, "/partitions")
        assert [partition["partition"] for partition in partitions] == [0, 1, 2, 3]
        assert all(partition["state"] == "open" for partition in partitions)
    for frontend in cluster.frontends():
        # A node that just started tells nobody its clock before it has heard of others.
        eventually(partial(clocks_are_told, frontend.admin_url), "clocks told")
        peers = page(frontend.admin_url, "/peers")
        assert len(peers) == 6
        assert all(peer["connected"] for peer in peers)
        assert {(peer["release"], peer["layout_version"]) for peer in peers} == {(__version__, 1)}
        assert all(abs(peer["clock_offset_ms"]) < 60_000 for peer in peers)  # they share this machine's clock


def test_a_replica_that_is_open_needs_no_reopening(cluster: LocalCluster) -> None:
    node = cluster.nodes()[0]
    answer = call(node.admin_url, "POST", "/partitions/0/reopen")
    assert answer.status == 409
    assert "is open; there is nothing to mend" in answer.body.decode()
    assert call(node.admin_url, "POST", "/partitions/99/reopen").status == 503
    assert page(node.admin_url, "/readyz")["ready"] is True


def test_a_request_id_is_in_the_frontends_log_and_the_data_nodes(cluster: LocalCluster, dc1: str) -> None:
    answer = call(dc1, "POST", "/", b"traced")
    request_id = str(answer.headers["x-ambry-request-id"])

    def said(names: list[str]) -> list[str]:
        return [name for name in names if request_id in cluster.member(name).log.read_text("utf-8")]

    nodes = [node.name for node in cluster.nodes("dc1")]
    eventually(lambda: said(["dc1-f1"]) and len(said(nodes)) >= 2, "the request id in the logs")


def test_every_log_line_is_one_json_event(cluster: LocalCluster) -> None:
    for member in cluster.members:
        for line in lines_of(member.log):
            event = json.loads(line)
            assert event["event"] and event["level"] and event["timestamp"], (member.name, line)
            assert event["level"] not in ("error", "critical"), (member.name, line)


def run_datanode(config: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Start a data node that must refuse to run."""
    command = [sys.executable, "-m", "datanode", "--config", str(config)]
    for item in overrides:
        command += ["--set", item]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=ROOT, check=False)


def layout_elsewhere(of: LocalCluster, tmp_path: Path, **changes: Any) -> Path:
    """The cluster's layout with another port for dc1-n1, whose own is taken: it runs."""
    layout = json.loads((of.directory / "layout.json").read_text()) | changes
    (layout["datacenters"][0]["nodes"][0]["port"],) = free_ports(1)
    path = tmp_path / f"layout-{layout['cluster']}.json"
    path.write_text(json.dumps(layout))
    return path


def test_a_second_process_on_a_data_directory_is_refused(cluster: LocalCluster, tmp_path: Path) -> None:
    node = cluster.member("dc1-n1")
    done = run_datanode(node.config, "node.admin_port=0", f"node.layout={layout_elsewhere(cluster, tmp_path)}")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "in use by another process" in last and str(node.data_dir) in last, last
    assert page(node.admin_url, "/readyz")["ready"] is True


def test_a_directory_of_another_cluster_or_partition_is_refused(cluster: LocalCluster, tmp_path: Path) -> None:
    node = cluster.member("dc1-n1")
    elsewhere = tmp_path / "data"
    for partition in range(4):
        directory = elsewhere / f"partition-{partition:08d}"
        directory.mkdir(parents=True)
        # Swapped directories of the same cluster for the second case.
        source = node.data_dir / f"partition-{partition ^ 1:08d}" / "identity.json"
        (directory / "identity.json").write_bytes(source.read_bytes())
    layout = layout_elsewhere(cluster, tmp_path)
    done = run_datanode(node.config, f"node.data_dir={elsewhere}", f"node.layout={layout}", "node.admin_port=0")
    assert done.returncode == 1
    assert "belongs to partition" in done.stderr.strip().splitlines()[-1]
    other = layout_elsewhere(cluster, tmp_path, cluster="another")
    done = run_datanode(node.config, f"node.data_dir={elsewhere}", f"node.layout={other}", "node.admin_port=0")
    assert done.returncode == 1
    assert "of cluster" in done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("node.name=nobody", "nobody"),
        ("node.layout=/nowhere.json", "node.layout"),
        ("store.segment_size_bytes=1", "store.segment_size_bytes"),
        ("store.nonsense=1", "nonsense"),
    ],
)
def test_a_wrong_configuration_is_one_line_and_exit_code_2(cluster: LocalCluster, override: str, word: str) -> None:
    done = run_datanode(cluster.member("dc1-n1").config, override)
    assert done.returncode == 2, done.stderr
    assert word in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr


# Last in this file: they stop processes of the shared cluster, and start them again.


@pytest.mark.parametrize("name", ["dc1-f1", "dc1-n2", "dc2-n1"])
def test_sigterm_under_load_drains(cluster: LocalCluster, tmp_path: Path, name: str) -> None:
    seed = seed_of(f"SIGTERM to {name}")
    with Load(frontend_urls(cluster), seed=seed, history=tmp_path / "history.jsonl", clients=6) as load:
        load.wait_stored(30)
        pid = cluster.pid(name)
        code = cluster.kill(name, signal.SIGTERM)  # raises where it does not end
        children = Path(f"/proc/{pid}").exists()
        cluster.start(name)
        load.wait_stored(20)
    print(f"exit code {code}; {load.summary()}")
    assert code == 0
    assert not children
    # Every call was answered or its connection closed; nothing hung, nothing was a 500.
    assert all(one.status in (0, 503) for one in load.failures), load.failures[:3]
    assert not any("timed out" in one.detail for one in load.failures), load.failures[:3]
    if name != "dc1-f1":
        assert len(load.failures) <= 6, load.failures
    log = cluster.member(name).log.read_text("utf-8")
    assert '"frontend stopped"' in log or '"data node stopped"' in log
    wait_until_whole(cluster)  # whatever comes next counts on it
