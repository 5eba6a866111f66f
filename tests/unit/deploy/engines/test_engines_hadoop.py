"""Hadoop as an engine: what is ready, by what its own pages say."""

from __future__ import annotations

import json

import pytest

from deploy.engines.hadoop import _has_room, _is_idle, _takes_files


@pytest.mark.parametrize(
    ("state", "live", "remaining", "ready"),
    [
        ("Operational", 1, 50_000_000_000, True),
        ("safeMode", 1, 50_000_000_000, False),
        ("Operational", 0, 0, False),
        ("Operational", 1, 0, False),
    ],
)
def test_hdfs_is_ready_when_a_node_has_told_what_room_it_has(
    state: str, live: int, remaining: int, ready: bool
) -> None:
    """A file that was created between the registration of the DataNode and its first report had no place to go to."""
    bean = {"FSState": state, "NumLiveDataNodes": live, "CapacityRemaining": remaining}
    assert _takes_files(json.dumps({"beans": [bean]})) is ready


@pytest.mark.parametrize(
    ("wanted", "nodes", "room", "ready"),
    [(1, 1, 6_144, True), (1, 1, 0, False), (1, 0, 0, False), (2, 1, 6_144, False), (2, 2, 6_144, False),
     (2, 2, 12_288, True)],
)  # fmt: skip
def test_yarn_is_ready_when_it_has_counted_the_room_of_a_node(wanted: int, nodes: int, room: int, ready: bool) -> None:
    """activeNodes was 1 with an availableMB of 0 in a run of test_yarn_counts_on_its_node."""
    assert _has_room(json.dumps({"clusterMetrics": {"activeNodes": nodes, "availableMB": room}}), wanted) is ready
    assert not _has_room("", 1)


def test_a_name_node_that_says_nothing_is_not_ready() -> None:
    assert not _takes_files("") and not _takes_files('{"beans": []}')


def test_a_node_with_containers_is_asked_to_end_and_not_killed() -> None:
    """Killed, it would leave them running."""
    assert _is_idle('{"containers":null}') and _is_idle(
        '{"containers":{"container":[{"id":"c_1","state":"COMPLETE"}]}}'
    )
    assert not _is_idle('{"containers":{"container":{"id":"c_1","state":"RUNNING"}}}')
    for state in ("NEW", "LOCALIZING", "SCHEDULED", "RUNNING"):
        told = {"containers": {"container": [{"id": "c_1", "state": "COMPLETE"}, {"id": "c_2", "state": state}]}}
        assert not _is_idle(json.dumps(told))
    assert not _is_idle("")


@pytest.mark.parametrize(
    "page",
    ["", '{"containers": {"conta', "[]", "1", "null", "{}", '{"containers": 1, "beans": 1, "clusterMetrics": 1}',
     '{"containers": {"container": [1]}, "beans": [1], "clusterMetrics": {"activeNodes": "x"}}'],
)  # fmt: skip
def test_half_a_page_says_nothing(page: str) -> None:
    """A daemon that was killed in an answer was a JSONDecodeError out of the start of an engine, and out of its end."""
    assert not _is_idle(page) and not _takes_files(page) and not _has_room(page, 1)
