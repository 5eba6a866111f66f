"""Clusters to break: every test has its own, with small segments, four partitions, all on every node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from deploy.local_cluster import LocalCluster
from tests.support.clusters import running_cluster

MakeCluster = Callable[..., LocalCluster]


@pytest.fixture
def make_cluster(tmp_path: Path) -> Iterator[MakeCluster]:
    """A ready cluster with the options of running_cluster, down after the test."""
    with ExitStack() as stack:

        def make(**options: Any) -> LocalCluster:
            return stack.enter_context(running_cluster(tmp_path, **options))

        yield make
