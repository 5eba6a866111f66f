from __future__ import annotations

import random
from pathlib import Path

import pytest

from ambry.errors import DataCorrupt, FormatUnknown, StoreMismatch
from datanode.store.opening import identity
from datanode.store.opening.identity import FILE_NAME, Identity
from datanode.store.writing import write_atomically
from tests.support.fake_files import FakeFiles

GOLDEN = (
    b'{"version":1,"cluster":"c","partition":7,'
    b'"incarnation":"000102030405060708090a0b0c0d0e0f","check":"56c892aa21ff990b"}'
)


@pytest.fixture
def disk(tmp_path: Path) -> FakeFiles:
    return FakeFiles(tmp_path)


def load(disk: FakeFiles, tmp_path: Path, *, cluster: str = "c", partition: int = 7) -> tuple[Identity, bool]:
    own = identity.load_or_create(disk, tmp_path, cluster=cluster, partition=partition, random_source=random.Random(1))
    return own.identity, own.is_new


def test_the_bytes_of_an_identity_stay_readable(disk: FakeFiles, tmp_path: Path) -> None:
    write_atomically(disk, tmp_path / FILE_NAME, GOLDEN)
    made, new = load(disk, tmp_path)
    assert not new
    assert made.incarnation_bytes == bytes(range(16))


def test_a_new_identity_is_durable_and_found_again(disk: FakeFiles, tmp_path: Path) -> None:
    first, new = load(disk, tmp_path)
    assert new
    for seed in range(10):
        disk.crash(random.Random(seed))
    assert load(disk, tmp_path) == (first, False)


def test_a_directory_of_another_cluster_or_partition_is_refused(disk: FakeFiles, tmp_path: Path) -> None:
    load(disk, tmp_path)
    with pytest.raises(StoreMismatch, match="partition 7 of cluster c"):
        load(disk, tmp_path, cluster="d")
    with pytest.raises(StoreMismatch, match="not to partition 8"):
        load(disk, tmp_path, partition=8)


@pytest.mark.parametrize("place", range(len(GOLDEN)))
def test_a_damaged_identity_is_never_believed(tmp_path: Path, place: int) -> None:
    disk = FakeFiles(tmp_path)
    write_atomically(disk, tmp_path / FILE_NAME, GOLDEN)
    disk.flip(tmp_path / FILE_NAME, place)
    with pytest.raises((DataCorrupt, FormatUnknown)):
        load(disk, tmp_path)


def test_a_newer_identity_is_refused_clearly(disk: FakeFiles, tmp_path: Path) -> None:
    write_atomically(disk, tmp_path / FILE_NAME, GOLDEN.replace(b'"version":1', b'"version":2'))
    with pytest.raises(FormatUnknown, match="upgrade"):
        load(disk, tmp_path)
