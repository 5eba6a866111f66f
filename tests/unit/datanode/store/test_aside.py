"""What was set aside: nobody knew how much it was, how old, and why, and nothing but `rm` could drop it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ambry.errors import InvalidRequest
from datanode.store import aside
from datanode.store.aside import Aside
from datanode.store.files import OsFiles
from tests.support.samples import append, blob_id, content, open_replica, put_record, stop_cleanly

NOW_MS = 2_000_000_000_000
FILES = OsFiles()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A replica of partition 7 beside two that were set aside, with something of every kind in it."""
    directory = tmp_path / "partition-00000007"
    store = open_replica(FILES, directory)
    append(store, put_record(blob_id(1), content(1, 1000)))
    stop_cleanly(store)
    other = open_replica(FILES, tmp_path / "partition-00000009", partition=9)
    append(other, put_record(blob_id(2, partition=9), content(2, 1000)))
    stop_cleanly(other)
    for folder in ("quarantine", "set-aside"):
        (directory / folder).mkdir(exist_ok=True)
    (directory / "quarantine" / "00000001.segment.4711").write_bytes(b"torn")
    within = directory / "set-aside"
    (within / "00000002.segment.1").write_bytes((tmp_path / "partition-00000009" / "00000001.segment").read_bytes())
    (within / "00000003.segment.1").write_bytes((directory / "00000001.segment").read_bytes())
    (within / "00000004.segment.1").write_bytes(b"rot")
    (within / "index.1").write_bytes(b"12")
    (within / "00000005.segment.1").mkdir()
    (within / "00000005.segment.1" / "deep").write_bytes(b"123")
    (within / "00000006.segment.1").symlink_to(tmp_path / "partition-00000009")
    for name in ("set-aside-aa", "set-aside-fresh-bb"):
        old = tmp_path / f"partition-00000007.{name}"
        (old / "index").mkdir(parents=True)
        (old / "00000001.segment").write_bytes(bytes(50))
        (old / "index" / "data.mdb").write_bytes(bytes(7))
    return directory


def listed(directory: Path) -> dict[str, Aside]:
    return {item.name: item for item in aside.of_replica(FILES, directory, NOW_MS)}


def test_each_is_told_with_its_size_and_why(directory: Path) -> None:
    found = {name: (item.size_bytes, item.why) for name, item in listed(directory).items()}
    segment = (directory / "00000001.segment").stat().st_size
    assert found.pop("set-aside/00000002.segment.1")[1].startswith("a segment of partition 9, LSN 0 to ")
    own = found.pop("set-aside/00000003.segment.1")
    assert own[0] == segment
    assert own[1].startswith("a segment of this replica, LSN 0 to ") and own[1].endswith("which other segments cover")
    assert found == {
        "quarantine/00000001.segment.4711": (
            4,
            "bytes behind the last whole record of 00000001.segment, from 4711 on, cut off at a start",
        ),
        "set-aside/00000004.segment.1": (3, "a segment whose header this release cannot read"),
        "set-aside/index.1": (2, "a file called index, where a directory must be"),
        "set-aside/00000005.segment.1": (3, "a directory under a name of the replica that it cannot have"),
        "set-aside/00000006.segment.1": (
            0,
            "a link, a pipe or a device under a name of the replica that it cannot have",
        ),
        "partition-00000007.set-aside-aa": (57, "the replica as it was before a fresh one took its place"),
        "partition-00000007.set-aside-fresh-bb": (57, "a fresh replica that was made for none"),
    }


def test_a_segment_of_another_replica_of_the_same_partition_is_told_by_its_incarnation(
    directory: Path, tmp_path: Path
) -> None:
    other = open_replica(FILES, tmp_path / "other", seed=2)
    append(other, put_record(blob_id(1), content(1, 1000)))
    stop_cleanly(other)
    (directory / "set-aside" / "00000008.segment.1").write_bytes((tmp_path / "other" / "00000001.segment").read_bytes())
    why = listed(directory)["set-aside/00000008.segment.1"].why
    assert why.startswith(f"a segment of another replica, {other.incarnation.hex()}, ")


def test_the_age_is_that_of_the_newest_change_and_no_clock_makes_it_negative(directory: Path) -> None:
    old = directory.with_name("partition-00000007.set-aside-aa")
    for place in (old / "00000001.segment", old / "index" / "data.mdb"):
        os.utime(place, (NOW_MS // 1000 - 500, NOW_MS // 1000 - 500))
    os.utime(old / "index" / "data.mdb", (NOW_MS // 1000 - 60, NOW_MS // 1000 - 60))
    assert listed(directory)[old.name].age_s == 60
    os.utime(directory / "set-aside" / "index.1", (NOW_MS // 1000 + 99, NOW_MS // 1000 + 99))
    assert listed(directory)["set-aside/index.1"].age_s == 0


def test_all_of_a_node_is_found(directory: Path) -> None:
    names = [item.name for item in aside.of_node(FILES, directory.parent, NOW_MS)]
    inside = [f"{directory.name}/{name}" for name in listed(directory) if "/" in name]
    assert sorted(names) == sorted([*inside, f"{directory.name}.set-aside-aa", f"{directory.name}.set-aside-fresh-bb"])


def test_what_is_dropped_goes_whole_and_what_a_link_leads_to_stays(directory: Path, tmp_path: Path) -> None:
    before = sorted((tmp_path / "partition-00000009").iterdir())
    for item in listed(directory).values():
        aside.drop(FILES, directory, item)
    assert listed(directory) == {}
    assert sorted((tmp_path / "partition-00000009").iterdir()) == before
    assert sorted(place.name for place in tmp_path.iterdir()) == ["partition-00000007", "partition-00000009"]
    assert (directory / "00000001.segment").exists()
    with pytest.raises(InvalidRequest, match="is gone"):
        aside.drop(FILES, directory, Aside("set-aside/index.1", 0, 0, ""))
