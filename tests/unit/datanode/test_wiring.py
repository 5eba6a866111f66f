"""How a data node is put together."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ambry.errors import ConfigInvalid
from datanode.wiring import build
from tests.support.direct_node import cluster_map
from tests.support.fake_clock import SettableClock
from tests.support.fake_files import FakeFiles
from tests.support.node_parts import lone_node, node_config


def test_a_node_that_the_map_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="has no node a9"):
        build(
            node_config("a9", tmp_path),
            cluster_map(1),
            clock=SettableClock(),
            random_source=random.Random(1),
            files=FakeFiles(tmp_path),
        )


async def test_building_touches_no_file(tmp_path: Path) -> None:
    files = FakeFiles(tmp_path)
    parts = lone_node(files, tmp_path / "data", clock=SettableClock())
    assert files.calls == []
    assert parts.replicas.all() == []
    parts.disk.close()
