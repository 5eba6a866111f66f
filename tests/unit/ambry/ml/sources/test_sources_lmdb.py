from __future__ import annotations

import errno
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lmdb
import pyarrow as pa
import pytest

from ambry.errors import InvalidRequest
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.sources import LmdbSource, write_lmdb

METADATA = FeatureMetadata.of(
    [
        parse_definitions(
            "age: {valType: INT}\nname: {valType: STRING}\nwords: {valType: STRING, dims: [hashes-1-0]}\n"
            "hashes: {type: hashed : {buckets: 100}}",
            "members",
        )
    ]
)
URNS = [f"urn:li:(members,{name},1,0)" for name in ("age", "name", "words")]


def written(directory: Path, members: int = 2_000) -> Path:
    rows = {
        "member": list(range(members)),
        "age": [number % 90 for number in range(members)],
        "name": [f"name {number}" for number in range(members)],
        "words": [{("a",): "x", ("b",): "y"} for _ in range(members)],
    }
    write_lmdb(directory, rows, URNS, metadata=METADATA, entity="member")
    return directory


def cut(size: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:size]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (cut(0), "cannot be read: .*; write the features to a new directory"),
        (cut(10), "cannot be read: .*not an LMDB file"),
        (cut(4_096), "cannot be read: .*not an LMDB file"),
        (cut(8_192), "was cut short, it lacks [0-9,]+ bytes; copy the directory again"),
        (cut(3 * 4_096 + 7), "was cut short"),
        (lambda data: data[: max(len(data) - 1, 1)], "was cut short, it lacks 1 bytes"),
        (lambda data: bytes(len(data)), "cannot be read"),
        (lambda data: b"\xff" * 8_192 + data[8_192:], "cannot be read"),
    ],
)
def test_a_torn_file_is_told_of(tmp_path: Path, change: Callable[[bytes], bytes], words: str) -> None:
    """By readers and writers; in a process of its own, which a page that is not there would end."""
    file = written(tmp_path / "x") / "data.mdb"
    file.write_bytes(change(file.read_bytes()))
    code = """
import sys
from tests.unit.ambry.ml.sources.test_sources_lmdb import *
for call in (lambda: LmdbSource(sys.argv[1], METADATA), lambda: written(Path(sys.argv[1]))):
    try:
        call()
    except InvalidRequest as refused:
        print(refused)
"""
    said = subprocess.run([sys.executable, "-c", code, file.parent], capture_output=True, text=True, timeout=60)
    assert said.returncode == 0, said.stderr
    lines = said.stdout.splitlines()
    empty = change(b"some") == b""
    assert len(lines) == (1 if empty else 2), "an empty file is filled by who writes"
    for line in lines:
        assert re.search(words, line), line


def test_pages_that_were_let_go_at_the_end_are_no_cut(tmp_path: Path) -> None:
    directory = written(tmp_path / "x")
    for _ in range(3):
        rows = {"member": list(range(2_000)), "name": [None] * 2_000, "words": [None] * 2_000, "age": [1] * 2_000}
        write_lmdb(directory, rows, URNS, metadata=METADATA, entity="member")
        written(directory, 100)
    with LmdbSource(directory, METADATA) as source:
        assert source.read(URNS[:2], [7, 1_999]).column("name").to_pylist() == ["name 7", None]


def test_directories_of_others_are_told_of(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path / "theirs"), max_dbs=4) as theirs:
        about = theirs.open_db(b"ambry")
        with theirs.begin(write=True) as writing:
            writing.put(b"other", b"x", db=about)
    with pytest.raises(InvalidRequest, match=r"cannot be read: .*; write the features to a new directory"):
        LmdbSource(tmp_path / "theirs", METADATA)
    with lmdb.open(str(tmp_path / "theirs"), max_dbs=4) as theirs:
        about = theirs.open_db(b"ambry")
        with theirs.begin(write=True) as writing:
            writing.put(b"schema", b"no schema", db=about)
    with pytest.raises(InvalidRequest, match="cannot be read"):
        LmdbSource(tmp_path / "theirs", METADATA)
    missing = pa.schema([("member", pa.int64())])
    with lmdb.open(str(tmp_path / "bare"), max_dbs=4) as bare:
        about = bare.open_db(b"ambry")
        with bare.begin(write=True) as writing:
            writing.put(b"schema", missing.serialize().to_pybytes(), db=about)
    with LmdbSource(tmp_path / "bare", METADATA) as source, pytest.raises(InvalidRequest):
        source.read(URNS[:1], [1])


@pytest.mark.parametrize("value", [b"", b"\x01", b"\xff\xff\xff\xff", b"\x02\0\0\0" + b"\xff" * 40])
@pytest.mark.parametrize("urn", URNS)
def test_values_that_are_none_of_ours_are_told_of(tmp_path: Path, urn: str, value: bytes) -> None:
    directory = written(tmp_path / "x", 3)
    with lmdb.open(str(directory), max_dbs=8) as theirs:
        database = theirs.open_db(urn.encode())
        with theirs.begin(write=True) as writing:
            writing.put((1 ^ (1 << 63)).to_bytes(8, "big"), value, db=database)
    with LmdbSource(directory, METADATA) as source:
        if "name" in urn and value in (b"", b"\x01"):
            assert source.read([urn], [1]).column("name").to_pylist() == [value.decode()]
            return
        if "age" in urn and len(value) == 4:
            assert source.read([urn], [1]).column("age").to_pylist() == [-1]
            return
        with pytest.raises(InvalidRequest, match=r"cannot be read: .*; write the features to a new directory"):
            source.read([urn], [1])


def test_a_full_disk_is_an_error_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise lmdb.DiskError("mdb_txn_commit: No space left on device")

    monkeypatch.setattr("ambry.ml.sources.lmdb._put", full)
    with pytest.raises(OSError, match="there is no room for the features") as raised:
        written(tmp_path / "x", 3)
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(tmp_path / "x"))
