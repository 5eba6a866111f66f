"""Blobs that came in parts are compared with the digests of their parts, by every read of all of one.

From 16 MiB on `put_file` sends parts, and what was read of such a blob was compared with nothing: one byte that changed on the
way was handed out, written into files, and kept in the cache as intact.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from ambry import ChecksumMismatch, TransferConfig
from ambry.checksum import digest
from ambry.client.whole_digest import MIB, PartSizes, WholeDigest, part_sizes
from ambry.fs import AmbryFileSystem
from ambry.rest.values import digest_text
from tests.support.content import content
from tests.support.named_frontend import named_frontend
from tests.support.stub_frontend import StubFrontend
from tests.support.twins import Twins

DATA = content(11, 5 * MIB + 77)
SEED = 20271127
READS = ["get_bytes", "get", "get_into", "get_file", "sections", "cached_path", "open", "pieces"]


def etag_of(data: bytes, sizes: list[int]) -> str:
    """Of a blob that came in parts of these sizes."""
    assert sum(sizes) == len(data)
    digests, start = [], 0
    for size in sizes:
        digests.append(digest(data[start : start + size]))
        start += size
    return digest_text(digest(b"".join(digests)), len(sizes))


def cut(data: bytes, part_size: int) -> list[int]:
    return [len(data[start : start + part_size]) for start in range(0, len(data), part_size)]


def seen(data: bytes, checksum: str, etag: str) -> WholeDigest:
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    found, start = WholeDigest(len(DATA), checksum, etag), 0
    while start < len(data):
        size = chance.randint(1, MIB)
        found.update(data[start : start + size])
        start += size
    return found


@pytest.mark.parametrize("part_size", [MIB, 2 * MIB, 3 * MIB, 5 * MIB])
def test_parts_of_one_size_are_told(part_size: int) -> None:
    etag = f'"{etag_of(DATA, cut(DATA, part_size))}"'
    assert seen(DATA, "", etag).is_right is True
    wrong = seen(DATA[:-1] + b"?", "", etag)
    assert wrong.is_right is None and wrong.unsettled == digest(DATA[:-1] + b"?").hex()


def test_a_digest_of_all_decides_by_itself() -> None:
    assert seen(DATA, digest(DATA).hex(), "").is_right is True
    wrong = seen(DATA[1:], digest(DATA).hex(), "")
    assert wrong.is_right is False and wrong.unsettled == ""
    with pytest.raises(ChecksumMismatch, match="blob x"):
        wrong.check("blob x")


@pytest.mark.parametrize("etag", ["", '"of somebody else"', f'"{digest(DATA).hex()}"'])
def test_without_a_digest_of_parts_nothing_can_be_told(etag: str) -> None:
    found = seen(DATA, "", etag)
    assert found.is_right is None and found.unsettled == "" and not found.can_tell


def test_the_likely_sizes_of_parts_are_tried_first() -> None:
    assert part_sizes(17_000_001, 3)[0] == PartSizes(8 * MIB)
    assert [each.first // MIB for each in part_sizes(40 * MIB, 2)] == [32, 20, 21, 22]
    assert part_sizes(100, 7) == part_sizes(100, 1) == part_sizes(0, 0) == part_sizes(5, 6) == []
    for size, count in ((17_000_001, 3), (40 * MIB, 2), (1 << 40, 9_000)):
        assert all(each.count(size) == count for each in part_sizes(size, count))


def test_a_writer_whose_parts_grew_is_told_too() -> None:
    sizes = PartSizes(8 * MIB, doubles=True)
    assert [sizes.of(index) // MIB for index in (0, 1_999, 2_000, 3_999, 4_000)] == [8, 8, 16, 16, 32]
    size = 2_000 * 8 * MIB + 3 * 16 * MIB + 5
    assert sizes.count(size) == 2_004 and sizes in part_sizes(size, 2_004)


def reading(twins: Twins, stub: StubFrontend, blob: str, folder: Path, how: str) -> Callable[[], bytes]:
    client = twins.connect(stub.url)
    whole = TransferConfig(threshold=100 * MIB)
    parallel = TransferConfig(threshold=MIB, part_size=MIB, chunk_size=MIB // 2)

    def into() -> bytes:
        memory = bytearray(len(DATA))
        client.get_into(blob, memory)
        return bytes(memory)

    def stream() -> bytes:
        with client.get(blob) as reader:
            return b"".join(reader.iter_chunks(300_000))

    def file(transfer: TransferConfig) -> bytes:
        client.get_file(blob, folder / "out", overwrite=True, transfer=transfer)
        return (folder / "out").read_bytes()

    def pieces() -> bytes:
        with client.open(blob, block_size=MIB) as opened:
            return b"".join(iter(lambda: opened.read(MIB // 3), b""))

    return {
        "get_bytes": lambda: client.get_bytes(blob),
        "get": stream,
        "get_into": into,
        "get_file": lambda: file(whole),
        "sections": lambda: file(parallel),
        "cached_path": lambda: client.cached_path(blob, cache_dir=folder / "cache").read_bytes(),
        "open": lambda: client.open(blob).read(),
        "pieces": pieces,
    }[how]


@pytest.mark.parametrize("how", READS)
@pytest.mark.parametrize("sizes", [cut(DATA, 2 * MIB), [MIB + 1, 3 * MIB, MIB + 76]], ids=["usual", "odd"])
def test_a_byte_that_changed_on_the_way_is_found_out(
    stub: StubFrontend, twins: Twins, tmp_path: Path, sizes: list[int], how: str
) -> None:
    etag = etag_of(DATA, sizes)
    blob = stub.add(DATA, x_ambry_digest=etag, etag=f'"{etag}"')
    read = reading(twins, stub, blob, tmp_path, how)
    stub.fail("GET", "corrupt")
    with pytest.raises(ChecksumMismatch):
        read()
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob("cache/blobs/*")) + list(tmp_path.glob("*.part"))
    assert read() == DATA


@pytest.mark.parametrize("how", READS)
def test_what_is_right_is_read_once_where_the_parts_were_of_one_size(
    stub: StubFrontend, twins: Twins, tmp_path: Path, how: str
) -> None:
    etag = etag_of(DATA, cut(DATA, MIB))
    blob = stub.add(DATA, x_ambry_digest=etag, etag=f'"{etag}"')
    sent = sum_sent(stub)
    assert reading(twins, stub, blob, tmp_path, how)() == DATA
    assert sent() == len(DATA)


@pytest.mark.parametrize("how", ["get_bytes", "get_file"])
def test_nobody_who_wants_no_digests_reads_twice(stub: StubFrontend, twins: Twins, tmp_path: Path, how: str) -> None:
    etag = etag_of(DATA, [MIB + 1, 3 * MIB, MIB + 76])
    blob = stub.add(DATA, x_ambry_digest=etag, etag=f'"{etag}"')
    sent = sum_sent(stub)
    client = twins.connect(stub.url, verify="never")
    if how == "get_bytes":
        assert client.get_bytes(blob) == DATA
    else:
        client.get_file(blob, tmp_path / "out")
    assert sent() == len(DATA)


def test_a_file_by_url_that_is_written_in_pieces_of_any_size_has_parts_of_one_size(tmp_path: Path) -> None:
    """Its parts were as long as its buffer was when that was full."""
    with named_frontend(tmp_path / "metadata") as url:
        fs = AmbryFileSystem(endpoints=url, skip_instance_cache=True)
        with fs.open("default/default/odd", "wb", block_size=MIB) as file:
            for start in range(0, len(DATA), MIB // 3 + 1000):
                file.write(DATA[start : start + MIB // 3 + 1000])
            file.flush()
            assert file.tell() == len(DATA)
        assert fs.info("default/default/odd")["ETag"].strip('"') == etag_of(DATA, cut(DATA, MIB))
        assert fs.cat_file("default/default/odd") == DATA
        with fs.open("default/default/large", "wb", block_size=MIB) as file:
            file.write(DATA)
        assert fs.info("default/default/large")["ETag"].strip('"') == etag_of(DATA, cut(DATA, MIB))
        fs.client.close()


def sum_sent(stub: StubFrontend) -> Callable[[], int]:
    """How many bytes of blobs were asked for since now."""
    stub.requests.clear()

    def asked(text: str) -> int:
        first, _, last = text.removeprefix("bytes=").partition("-")
        return len(DATA) if not text else min(len(DATA), int(last or len(DATA)) + 1) - int(first)

    return lambda: sum(asked(each.headers.get("range", "")) for each in stub.seen("GET"))
