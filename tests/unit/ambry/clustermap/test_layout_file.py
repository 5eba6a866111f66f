from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ambry.clustermap.layout import load_layout
from ambry.errors import ConfigInvalid


def sample() -> dict[str, Any]:
    return {
        "cluster": "c",
        "version": 3,
        "datacenters": [
            {"name": "dc1", "id": 1, "nodes": [{"name": f"a{n}", "host": "h", "port": n} for n in (1, 2, 3)]},
            {"name": "dc2", "id": 2, "nodes": [{"name": "b1", "host": "h", "port": 11}]},
        ],
        "partitions": [{"id": 4, "replicas": ["b1", "a3", "a1"]}, {"id": 0, "replicas": ["a2", "a1"]}],
    }


def load(tmp_path: Path, tree: object) -> Any:
    path = tmp_path / "layout.json"
    path.write_text(json.dumps(tree))
    return load_layout(path)


def test_a_layout_becomes_a_map(tmp_path: Path) -> None:
    made = load(tmp_path, sample())
    assert (made.cluster, made.version, made.datacenters) == ("c", 3, {"dc1": 1, "dc2": 2})
    assert sorted(made.partitions) == [0, 4]
    assert [node.name for node in made.partitions[4].replicas] == ["a1", "a3", "b1"]
    assert made.nodes["b1"].address == "h:11"
    assert made.nodes["b1"].datacenter_id == 2


def test_a_layout_may_tell_where_frontends_are_asked_and_need_not(tmp_path: Path) -> None:
    assert load(tmp_path, sample()).frontends == {}
    tree = change(["datacenters", 1, "frontends"], [{"name": "dc2-f1", "host": "h", "port": 12}])
    (frontend,) = load(tmp_path, tree).frontends.values()
    assert (frontend.name, frontend.address, frontend.datacenter_id) == ("dc2-f1", "h:12", 2)


def change(path: list[Any], value: object) -> dict[str, Any]:
    tree = sample()
    at: Any = tree
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return tree


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (change(["datacenters", 1, "id"], 1), "dc2"),
        (change(["datacenters", 1, "id"], 0), "dc2"),
        (change(["datacenters", 1, "id"], 65_536), "dc2"),
        (change(["datacenters", 1, "name"], "dc1"), "dc1"),
        (change(["datacenters", 1, "nodes", 0, "name"], "a1"), "node a1"),
        (change(["datacenters", 1, "nodes", 0, "port"], 1), "h:1"),
        (change(["datacenters", 1, "frontends"], [{"name": "a1", "host": "h", "port": 12}]), "node a1"),
        (change(["datacenters", 1, "frontends"], [{"name": "f", "host": "h", "port": 11}]), "h:11"),
        (change(["partitions", 0, "replicas"], ["a1", "zz"]), "zz"),
        (change(["partitions", 0, "replicas"], ["a1", "a1"]), "partition 4"),
        (change(["partitions", 0, "replicas"], []), "partition 4"),
        (change(["partitions", 0, "id"], 1 << 32), "4294967296"),
        (change(["partitions", 0, "id"], -1), "-1"),
        (change(["partitions", 0, "id"], 0), "id of its own"),
        (change(["partitions"], []), "at least one partition"),
        (change(["color"], "blue"), "color"),
        (change(["version"], "x"), "version"),
    ],
)
def test_a_mistake_in_a_layout_is_named(tmp_path: Path, tree: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load(tmp_path, tree)
    assert words in str(caught.value)
    assert "layout.json" in str(caught.value)


def test_a_layout_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="cannot read the layout"):
        load_layout(tmp_path / "none.json")


def test_a_layout_that_is_not_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "layout.json"
    path.write_bytes(b"{")
    with pytest.raises(ConfigInvalid, match="is not a layout"):
        load_layout(path)
