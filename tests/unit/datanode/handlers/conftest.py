"""A node to ask."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from tests.support.direct_node import DirectCluster, DirectNode, cluster_map


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[DirectNode]:
    """A node with one replica and no peers, so that it serves at once."""
    cluster = DirectCluster(tmp_path, cluster_map(1))
    cluster.store_config = msgspec.structs.replace(cluster.store_config, segment_size_bytes=4 << 20)
    await cluster.start()
    yield cluster["a1"]
    await cluster.stop()
