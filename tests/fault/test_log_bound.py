"""A log file grew without bound: that of a real process takes no more than it may."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from deploy.local_cluster import LocalCluster
from tests.support.content import content
from tests.support.rest import put
from tests.support.waiting import eventually

MakeCluster = Callable[..., LocalCluster]
BYTES_MAX = 65_536
LINE_MAX = 4_096
KEPT = 2


@pytest.mark.fault
def test_the_log_of_a_process_stays_within_its_bound(
    make_cluster: MakeCluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("log")
    settings = (f"log.file={directory / 'log'}", f"log.file_bytes_max={BYTES_MAX}", f"log.files_kept={KEPT}")
    cluster = make_cluster(datacenters=1, partitions=1, overrides={"frontend": settings})
    url = cluster.frontends("dc1")[0].url
    seen: set[int] = set()
    stored: list[str] = []

    def turned_over() -> bool:
        stored.extend(put(url, content(number, 10)) for number in range(50))
        seen.update(path.stat().st_ino for path in directory.iterdir())
        return len(seen) > KEPT + 2

    eventually(turned_over, "more files were begun than are kept")
    sizes = {path.name: path.stat().st_size for path in directory.iterdir()}
    assert sorted(sizes) == ["log", "log.1", "log.2"]
    assert max(sizes.values()) <= BYTES_MAX + LINE_MAX
    latest = (directory / "log.1").read_text() + (directory / "log").read_text()
    assert stored[-1] in latest
