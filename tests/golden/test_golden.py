"""Files of every released format are read for ever; files of a later one are refused with a sentence."""

from __future__ import annotations

import json
import mmap
import shutil
import struct
from pathlib import Path

import pytest

from ambry.checksum import xxh64
from ambry.errors import FormatUnknown
from ambry.format import segment as segment_format
from ambry.format.segment import HEADER_SIZE
from datanode.store.files import OsFiles
from datanode.store.inspection import Inspection
from datanode.store.verification import find_problems
from tests.golden.make import SEGMENT_SIZE, SIZES, TOKENS, golden_id, listing
from tests.support.later_release import as_later
from tests.support.samples import append, content, open_replica, put_record, read_all, stop_cleanly

HERE = Path(__file__).parent
VERSIONS = sorted(path.name for path in HERE.glob("v*"))


@pytest.fixture(params=VERSIONS)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, list[dict[str, object]]]:
    source = HERE / request.param
    target = tmp_path / "replica"
    shutil.copytree(source / "replica", target)
    return target, json.loads((source / "expected.json").read_text())


def check(directory: Path, expected: list[dict[str, object]], *, rebuilt: bool) -> None:
    store = open_replica(OsFiles(), directory, segment_size_bytes=SEGMENT_SIZE)
    assert store.opened.rebuilt is rebuilt
    assert (store.opened.gaps, store.opened.cut_bytes, store.holes) == (0, 0, [])
    assert listing(store) == expected
    for number, size in SIZES.items():
        entry = store.lookup(golden_id(number))
        assert entry is not None
        assert entry.present
        assert read_all(store, golden_id(number)) == content(number, size)
    if not rebuilt:
        assert store.opened.replayed == 0
        assert store.checkpoint.tokens == TOKENS
    append(store, put_record(golden_id(30), b"and it takes more"))
    stop_cleanly(store)
    assert list(find_problems(Inspection(OsFiles(), directory))) == []


def test_there_are_golden_files() -> None:
    assert "v1" in VERSIONS


@pytest.mark.skipif(
    mmap.PAGESIZE != 4096, reason="the golden index was made with pages of 4096 bytes; it is disposable"
)
def test_a_replica_of_an_earlier_release_is_opened_as_it_is(golden: tuple[Path, list[dict[str, object]]]) -> None:
    check(*golden, rebuilt=False)


def test_its_log_alone_tells_everything(golden: tuple[Path, list[dict[str, object]]]) -> None:
    directory, expected = golden
    shutil.rmtree(directory / "index")
    check(directory, expected, rebuilt=True)


def test_every_bit_of_it_verifies(golden: tuple[Path, list[dict[str, object]]]) -> None:
    assert list(find_problems(Inspection(OsFiles(), golden[0]))) == []


def patch(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(data)


def test_a_segment_of_a_later_release_is_refused(golden: tuple[Path, list[dict[str, object]]]) -> None:
    directory, _ = golden
    path = directory / "00000003.segment"
    body = bytearray(path.read_bytes()[:120])
    body[8:10] = struct.pack(">H", 2)
    patch(path, 0, bytes(body) + xxh64(bytes(body)).to_bytes(8, "big"))
    with pytest.raises(
        FormatUnknown, match=r"00000003.segment: segment version 2, .*: written by a newer release; upgrade"
    ):
        open_replica(OsFiles(), directory)


def test_a_record_of_a_later_release_is_refused(golden: tuple[Path, list[dict[str, object]]]) -> None:
    directory, _ = golden
    shutil.rmtree(directory / "index")
    path = directory / "00000003.segment"
    image = path.read_bytes()
    salt = segment_format.decode(image[:HEADER_SIZE]).salt
    patch(path, HEADER_SIZE, as_later(image[HEADER_SIZE:], salt, version=2))
    said = r"00000003.segment at 128: record version 2, kind 1, .*: written by a newer release; upgrade"
    with pytest.raises(FormatUnknown, match=said):
        open_replica(OsFiles(), directory)


def test_an_identity_of_a_later_release_is_refused(golden: tuple[Path, list[dict[str, object]]]) -> None:
    directory, _ = golden
    path = directory / "identity.json"
    path.write_text(path.read_text().replace('"version":1', '"version":2'))
    with pytest.raises(FormatUnknown, match="version 2, written by a newer release"):
        open_replica(OsFiles(), directory)
