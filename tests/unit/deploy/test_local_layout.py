"""The shape of a local cluster: ports, names, replicas, configuration files, and which options fit."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from ambry.clustermap.layout import build
from ambry.config import convert
from datanode.config import DataNodeConfig
from deploy import local_layout
from deploy.local_config import config_text
from deploy.local_layout import (
    FRONTENDS_MAX,
    NODES_MAX,
    LocalClusterError,
    Options,
    Shape,
    check,
    contradictions,
    describe,
    layout,
    members,
    new_shape,
    ports,
)
from deploy.local_members import TERM_TIMEOUT_S
from frontend.config import FrontendConfig

DIRECTORY = Path("/somewhere/a cluster")


def test_urls_of_ipv6_addresses_have_brackets() -> None:
    member = dataclasses.replace(members(Shape(cluster="c"), DIRECTORY)[0], host="::1")
    assert (member.url, member.admin_url) == ("http://[::1]:17100", "http://[::1]:17120")


def test_a_healthy_process_is_never_killed_in_its_drain() -> None:
    frontend = next(member for member in members(Shape(cluster="c"), DIRECTORY) if member.role == "frontend")
    written = tomllib.loads(config_text(frontend, DIRECTORY / "layout.json"))["frontend"]
    assert written["lame_duck_s"] + written["drain_timeout_s"] < TERM_TIMEOUT_S - 5
    assert DataNodeConfig().node.drain_timeout_s < TERM_TIMEOUT_S - 5


def test_the_default_cluster_has_the_clients_default_endpoint_first() -> None:
    everyone = members(Shape(cluster="c"), DIRECTORY)

    assert [(m.name, m.port, m.admin_port) for m in everyone] == [
        ("dc1-f1", 17100, 17120),
        ("dc1-n1", 17140, 17170),
        ("dc1-n2", 17141, 17171),
        ("dc1-n3", 17142, 17172),
        ("dc2-f1", 17200, 17220),
        ("dc2-n1", 17240, 17270),
        ("dc2-n2", 17241, 17271),
        ("dc2-n3", 17242, 17272),
    ]
    assert everyone[0].url == "http://127.0.0.1:17100"


def test_the_largest_cluster_gives_no_port_twice_and_follows_the_documented_table() -> None:
    shape = Shape(cluster="c", datacenters=3, nodes=NODES_MAX, frontends=FRONTENDS_MAX)
    everyone = members(shape, DIRECTORY)

    assert len(ports(everyone)) == 2 * len(everyone) + 3 * FRONTENDS_MAX
    rows = re.findall(r"^ +(\d+) +(\d+) +(.*)$", local_layout.__doc__ or "", re.MULTILINE)
    in_dc1 = [m for m in everyone if m.datacenter == "dc1"]
    real = {
        "REST API of frontend 1, 2, ...": [m.port for m in in_dc1 if m.role == "frontend"],
        "RPC of frontend 1, 2, ..., for those of other datacenters": [
            m.rpc_port for m in in_dc1 if m.role == "frontend"
        ],
        "admin port of frontend 1, 2, ...": [m.admin_port for m in in_dc1 if m.role == "frontend"],
        "RPC of data node 1, 2, ...": [m.port for m in in_dc1 if m.role == "datanode"],
        "admin port of data node 1, 2, ...": [m.admin_port for m in in_dc1 if m.role == "datanode"],
    }
    assert len(rows) == 5
    for offset, count, what in rows:
        first = 17_000 + 100 + int(offset)
        assert real[what] == list(range(first, first + int(count)))


@pytest.mark.parametrize("nodes", [1, 2, 3, 5])
def test_every_partition_has_up_to_three_replicas_in_every_datacenter_and_nodes_carry_alike(nodes: int) -> None:
    shape = Shape(cluster="c", datacenters=2, nodes=nodes, partitions=2 * nodes)
    cluster_map = build(layout(shape, members(shape, DIRECTORY)), source="test")

    assert cluster_map.datacenters == {"dc1": 1, "dc2": 2}
    assert [node.address for node in cluster_map.frontends.values()] == ["127.0.0.1:17110", "127.0.0.1:17210"]
    for partition in cluster_map.partitions.values():
        for datacenter_id in (1, 2):
            assert len(partition.in_datacenter(datacenter_id)) == min(3, nodes)
    carried = Counter(node.name for p in cluster_map.partitions.values() for node in p.replicas)
    assert len(set(carried.values())) == 1
    assert len(carried) == 2 * nodes


def test_the_configuration_files_are_what_the_services_read() -> None:
    shape = Shape(cluster="c")
    everyone = members(shape, DIRECTORY)

    node = convert(
        DataNodeConfig, tomllib.loads(config_text(everyone[1], DIRECTORY / "layout.json")), source="test"
    ).node
    assert (node.name, node.layout) == ("dc1-n1", "/somewhere/a cluster/layout.json")
    assert (node.data_dir, node.admin_port) == ("/somewhere/a cluster/dc1-n1/data", 17170)

    frontend = convert(
        FrontendConfig, tomllib.loads(config_text(everyone[0], DIRECTORY / "layout.json")), source="test"
    ).frontend
    assert (frontend.name, frontend.datacenter) == ("dc1-f1", "dc1")
    assert (frontend.host, frontend.port, frontend.admin_port) == ("127.0.0.1", 17100, 17120)


def test_a_path_with_quotes_and_backslashes_survives_the_configuration_file() -> None:
    directory = Path('/a "quoted"\\ and ünïcode 🦆 place')
    member = members(Shape(cluster="c"), directory)[1]

    assert tomllib.loads(config_text(member, directory / "layout.json"))["node"]["layout"] == f"{directory}/layout.json"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (Options(nodes=0), "--nodes 0"),
        (Options(nodes=NODES_MAX + 1), "--nodes 31"),
        (Options(datacenters=0), "--datacenters 0"),
        (Options(frontends=0), "--frontends 0"),
        (Options(partitions=0), "--partitions 0"),
        (Options(port_base=65_300), "--port-base 65300: 2 datacenters would use the ports 65400 to 65599"),
        (Options(port_base=80), "--port-base 80"),
        (Options(overrides={"gateway": ["a.b=1"]}), "not gateway"),
    ],
)
def test_a_shape_that_cannot_work_is_refused_by_the_name_of_its_option(options: Options, sentence: str) -> None:
    with pytest.raises(LocalClusterError) as refused:
        new_shape(options, cluster="c")
    assert sentence in str(refused.value)


def test_options_left_away_take_the_defaults_and_given_ones_win() -> None:
    shape = new_shape(Options(nodes=4, overrides={"datanode": ("store.io_threads=2",)}), cluster="c")

    assert (shape.datacenters, shape.nodes, shape.frontends, shape.partitions) == (2, 4, 1, 8)
    assert shape.overrides == {"datanode": ["store.io_threads=2"]}
    assert check(shape) is shape


def test_only_options_that_differ_from_the_stored_shape_contradict_it() -> None:
    stored = Shape(cluster="c", nodes=3, port_base=18_000, overrides={"frontend": ["router.read_ahead=2"]})

    assert contradictions(stored, Options()) == []
    assert contradictions(stored, Options(nodes=3, port_base=0)) == []
    assert contradictions(stored, Options(overrides={"frontend": ("router.read_ahead=2",), "datanode": ()})) == []
    assert contradictions(stored, Options(nodes=5, port_base=17_000)) == [
        "nodes 3, not 5",
        "port-base 18000, not 17000",
    ]
    assert len(contradictions(stored, Options(overrides={}))) == 1


def test_cluster_json_has_the_agreed_fields_and_null_for_a_process_that_was_stopped() -> None:
    shape = Shape(cluster="c-1", datacenters=1, nodes=1, overrides={"datanode": ["store.io_threads=2"]})
    everyone = members(shape, DIRECTORY)

    written = msgspec.to_builtins(describe(shape, DIRECTORY, everyone, {"dc1-f1": 42}, state="up"))
    assert written == {
        "cluster": "c-1",
        "dir": "/somewhere/a cluster",
        "state": "up",
        "datacenters": [
            {
                "name": "dc1",
                "id": 1,
                "frontends": [
                    {
                        "name": "dc1-f1",
                        "url": "http://127.0.0.1:17100",
                        "admin_url": "http://127.0.0.1:17120",
                        "pid": 42,
                        "log": "/somewhere/a cluster/dc1-f1/log.jsonl",
                    }
                ],
                "nodes": [
                    {
                        "name": "dc1-n1",
                        "host": "127.0.0.1",
                        "port": 17140,
                        "admin_url": "http://127.0.0.1:17170",
                        "data_dir": "/somewhere/a cluster/dc1-n1/data",
                        "pid": None,
                        "log": "/somewhere/a cluster/dc1-n1/log.jsonl",
                    }
                ],
            }
        ],
        "overrides": {"datanode": ["store.io_threads=2"]},
        "workers": 1,
    }
