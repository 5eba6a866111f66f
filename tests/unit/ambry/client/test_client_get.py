"""Reading, with both clients: whole or not at all."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from ambry import (
    AlreadyExists,
    BlobDeleted,
    BlobId,
    BlobNotFound,
    ByteRange,
    ChecksumMismatch,
    InvalidBlobId,
    InvalidRequest,
    NotDeleted,
    ProtocolViolation,
    RangeNotSatisfiable,
    RequestTimeout,
    RetryPolicy,
    Timeout,
    TooLarge,
    TransferConfig,
    Unavailable,
)
from ambry.client.part_file import PartFile
from tests.support.content import content
from tests.support.ports import free_ports
from tests.support.stub_frontend import StubFrontend, hexdigest
from tests.support.twins import QUICK, Twins

DATA = content(1, 3_000_001)


def test_a_reader_gives_exactly_what_is_asked_for(stub: StubFrontend, twins: Twins) -> None:
    blob = stub.add(DATA)
    with twins.connect(stub.url).get(blob) as reader:
        assert reader.info.size == len(DATA)
        assert reader.read(10) == DATA[:10]
        buffer = bytearray(1_500_000)
        assert reader.readinto(buffer) == len(buffer)
        assert buffer == DATA[10:1_500_010]
        chunks = list(reader.iter_chunks(700_000))
        assert [len(chunk) for chunk in chunks] == [700_000, 700_000, 99_991]
        assert b"".join(chunks) == DATA[1_500_010:]
        assert reader.read() == b"" and reader.read(5) == b""


@pytest.mark.parametrize("size", [0, 1, 1 << 20])
def test_blobs_of_all_sizes_are_read_and_the_connection_is_kept(stub: StubFrontend, twins: Twins, size: int) -> None:
    blob = stub.add(DATA[:size])
    client = twins.connect(stub.url)
    for _ in range(3):
        assert client.get_bytes(blob) == DATA[:size]
    assert stub.connections == 1


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ((0, 10), slice(10)),
        ((5, None), slice(5, None)),
        (ByteRange(-7), slice(-7, None)),
        ((len(DATA) - 3, len(DATA) + 100), slice(-3, None)),
        ((0, None), slice(None)),
    ],
)
def test_ranges_are_half_open_like_slices(
    stub: StubFrontend, twins: Twins, asked: tuple[int, int | None], part: slice
) -> None:
    assert twins.connect(stub.url).get_bytes(stub.add(DATA), range=asked) == DATA[part]


def test_a_range_outside_the_blob_tells_its_size(stub: StubFrontend, twins: Twins) -> None:
    client = twins.connect(stub.url)
    with pytest.raises(RangeNotSatisfiable) as caught:
        client.get(stub.add(b"abc"), range=(3, None))
    assert caught.value.size == 3
    with pytest.raises(InvalidRequest, match="empty"):
        client.get(stub.add(b"abc"), range=(2, 2))


@pytest.mark.parametrize("kind", ["reset", "cut"])
@pytest.mark.parametrize("after", [0, 1, 1_234_567])
def test_a_read_goes_on_where_the_connection_broke(stub: StubFrontend, twins: Twins, kind: str, after: int) -> None:
    blob = stub.add(DATA)
    for _ in range(3):
        stub.fail("GET", kind, after=after)
    assert twins.connect(stub.url).get_bytes(blob) == DATA
    assert len(stub.seen("GET")) >= 3
    if kind == "cut" and twins.kind == "sync" and after:
        assert stub.seen("GET")[1].headers["range"] == f"bytes={after}-{len(DATA) - 1}"


def test_a_read_goes_on_at_another_endpoint(stub: StubFrontend, other: StubFrontend, twins: Twins) -> None:
    blob = stub.add(DATA)
    other.blobs, other.meta = stub.blobs, stub.meta
    stub.fail("GET", "cut", after=2_000_000)
    with twins.connect(stub.url, other.url).get(blob) as reader:
        assert reader.read() == DATA
    assert "range" in other.seen("GET")[0].headers


def test_a_body_that_stays_short_is_an_error_never_a_result(stub: StubFrontend, twins: Twins, tmp_path: Path) -> None:
    blob = stub.add(DATA)
    client = twins.connect(stub.url)
    for call in (
        lambda: client.get_bytes(blob),
        lambda: client.get_file(blob, tmp_path / "out"),
        lambda: client.get_into(blob, bytearray(len(DATA))),
        lambda: list(client.get(blob).iter_chunks()),
    ):
        stub.faults.clear()
        for _ in range(30):
            stub.fail("GET", "cut", after=0)
        with pytest.raises(Unavailable, match="incomplete"):
            call()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fault", ["corrupt", "wrong-digest"])
def test_bytes_that_do_not_have_the_digest_are_not_handed_out(stub: StubFrontend, twins: Twins, fault: str) -> None:
    blob = stub.add(DATA)
    client = twins.connect(stub.url)
    stub.fail("GET", fault)
    with pytest.raises(ChecksumMismatch, match=blob):
        client.get_bytes(blob)
    stub.fail("GET", fault)
    reader = client.get(blob)
    with pytest.raises(ChecksumMismatch):
        for _ in reader.iter_chunks():
            pass
    with pytest.raises(ChecksumMismatch):
        reader.read()  # Not an end: a loop that goes on must not take the blob for complete.


class _Interrupt(BaseException):
    """As a Ctrl-C, or the cancelling of a task."""


@pytest.mark.parametrize("way", ["read", "readinto", "chunks"])
@pytest.mark.parametrize("asked", [None, (1, None)])
def test_a_read_that_was_given_up_is_not_followed_by_the_rest_of_the_blob(
    stub: StubFrontend, twins: Twins, way: str, asked: tuple[int, int | None] | None
) -> None:
    # What it had was gone, the next read began behind it, and even the digest was right.
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        twins.clock.now += seconds
        slept.append(seconds)
        if len(slept) == 3:
            raise _Interrupt

    async def pause(seconds: float) -> None:
        sleep(seconds)

    client = twins.connect(
        stub.url,
        transfer=TransferConfig(max_bandwidth=1 << 20),
        _clock=twins.clock,
        _sleep=sleep if twins.kind == "sync" else pause,
    )
    reader = client.get(stub.add(DATA), range=asked)
    chunks = reader.iter_chunks(len(DATA))
    buffer = bytearray(len(DATA))
    read = {"read": reader.read, "readinto": lambda: reader.readinto(buffer), "chunks": lambda: next(chunks)}[way]
    with pytest.raises(_Interrupt):
        read()
    for again in (read if twins.kind == "sync" or way != "chunks" else reader.read, reader.read, reader.read):
        with pytest.raises(Unavailable, match="get the blob anew"):
            again()


def test_a_read_that_failed_stays_failed(stub: StubFrontend, twins: Twins) -> None:
    # Its bytes were lost, and the next read went on behind them as soon as there was a retry to be had again.
    client = twins.connect(stub.url, retry=RetryPolicy(base=0.0, max_attempts=1))
    stub.fail("GET", "cut", after=1_000_000)
    stub.fail("GET", "status", status=503)
    reader = client.get(stub.add(DATA))
    with pytest.raises(Unavailable) as first:
        reader.read()
    for again in (reader.read, lambda: next(reader.iter_chunks(10)), lambda: reader.readinto(bytearray(10))):
        with pytest.raises(Unavailable) as later:
            again()
        assert later.value is first.value


def test_verification_can_be_relaxed(stub: StubFrontend, twins: Twins) -> None:
    blob = stub.add(DATA)
    stub.fail("GET", "no-digest")
    with pytest.raises(ProtocolViolation, match="x-ambry-digest"):
        twins.connect(stub.url).get_bytes(blob)
    stub.fail("GET", "no-digest")
    assert twins.connect(stub.url, verify="if-present").get_bytes(blob) == DATA
    stub.fail("GET", "wrong-digest")
    assert twins.connect(stub.url, verify="never").get_bytes(blob) == DATA


def test_get_bytes_refuses_more_than_max_size_before_reading(stub: StubFrontend, twins: Twins) -> None:
    client = twins.connect(stub.url)
    with pytest.raises(TooLarge, match="max_size=10"):
        client.get_bytes(stub.add(DATA), max_size=10)
    assert client.get_bytes(stub.add(DATA), max_size=10, range=(0, 10)) == DATA[:10]


def test_get_into_fills_the_callers_memory(stub: StubFrontend, twins: Twins) -> None:
    client = twins.connect(stub.url)
    blob = stub.add(DATA)
    whole = bytearray(len(DATA) + 5)
    assert client.get_into(blob, whole) == len(DATA)
    assert whole[: len(DATA)] == DATA and whole[len(DATA) :] == bytes(5)
    part = bytearray(100)
    assert client.get_into(blob, memoryview(part)[10:], offset=1000) == 90
    assert part == bytes(10) + DATA[1000:1090]
    assert client.get_into(blob, part, offset=len(DATA)) == 0
    assert client.get_into(stub.add(b""), part) == 0
    with pytest.raises(TypeError, match="writable"):
        client.get_into(blob, b"fixed")
    stub.fail("GET", "corrupt")
    with pytest.raises(ChecksumMismatch):
        client.get_into(blob, bytearray(len(DATA)))


def test_get_file_appears_whole_and_leaves_nothing_else(stub: StubFrontend, twins: Twins, tmp_path: Path) -> None:
    client = twins.connect(stub.url)
    blob = stub.add(DATA)
    seen: list[tuple[int, int | None]] = []
    info = client.get_file(blob, tmp_path / "out", progress=lambda done, total: seen.append((done, total)))
    assert (tmp_path / "out").read_bytes() == DATA and info.checksum == hexdigest(DATA)
    assert seen[0] == (0, len(DATA)) and seen[-1] == (len(DATA), len(DATA))
    with pytest.raises(AlreadyExists, match="overwrite"):
        client.get_file(stub.add(b"new"), tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == DATA
    client.get_file(stub.add(b"new"), tmp_path / "out", overwrite=True)
    assert (tmp_path / "out").read_bytes() == b"new"
    client.get_file(stub.add(b""), tmp_path / "empty")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["empty", "out"]


def test_get_file_keeps_the_part_of_a_failed_download_and_goes_on(
    stub: StubFrontend, twins: Twins, tmp_path: Path
) -> None:
    blob = stub.add(DATA)
    client = twins.connect(stub.url, retry=RetryPolicy(max_attempts=1))
    stub.fail("GET", "cut", after=2_000_000)
    stub.fail("GET", "status")
    with pytest.raises(Unavailable):
        client.get_file(blob, tmp_path / "out")
    assert (tmp_path / f"out.{blob}.part").exists() and not (tmp_path / "out").exists()
    stub.requests.clear()
    seen: list[int] = []
    client.get_file(blob, tmp_path / "out", progress=lambda done, _: seen.append(done))
    assert (tmp_path / "out").read_bytes() == DATA
    assert stub.seen("GET")[0].headers["range"] == f"bytes={1 << 20}-{len(DATA) - 1}"
    assert seen[0] == 1 << 20 and seen == sorted(set(seen))
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


@pytest.mark.parametrize("found", [b"other bytes", DATA + b"longer", DATA])
def test_get_file_never_builds_on_a_wrong_part(stub: StubFrontend, twins: Twins, tmp_path: Path, found: bytes) -> None:
    blob = stub.add(DATA)
    (tmp_path / f"out.{blob}.part").write_bytes(found)
    client = twins.connect(stub.url)
    try:
        client.get_file(blob, tmp_path / "out")
    except ChecksumMismatch:
        # Found at the end only; the part is gone, so the next time is a fresh start.
        assert list(tmp_path.iterdir()) == []
        client.get_file(blob, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == DATA


def test_head_exists_delete_undelete_and_ttl(stub: StubFrontend, twins: Twins) -> None:
    client = twins.connect(stub.url)
    blob = stub.add(DATA, x_ambry_ttl="3600")
    info = client.head(blob)
    assert info.created == datetime(2026, 11, 21, 23, 7, tzinfo=UTC)
    assert info.expires == datetime(2026, 11, 22, 0, 7, tzinfo=UTC)
    assert hash(info) == hash(client.head(BlobId.parse(blob)))
    assert client.exists(blob)
    assert client.update_ttl(blob, None).expires is None
    with pytest.raises(NotDeleted):
        client.undelete(blob)
    client.delete(blob)
    client.delete(blob)
    assert not client.exists(blob)
    with pytest.raises(BlobDeleted):
        client.head(blob)
    client.undelete(blob)
    assert client.exists(blob)


def test_an_absent_blob_is_a_file_not_found(stub: StubFrontend, twins: Twins) -> None:
    blob = stub.add(b"x")
    del stub.blobs[blob]
    client = twins.connect(stub.url)
    with pytest.raises(FileNotFoundError) as caught:
        client.get(blob)
    assert isinstance(caught.value, BlobNotFound)
    assert (caught.value.status, caught.value.request_id, caught.value.attempts) == (404, "stub-request", 1)
    assert "stub-request" in str(caught.value)
    assert not client.exists(blob)
    client.delete(blob)
    with pytest.raises(BlobNotFound):
        client.delete(blob, missing_ok=False)


def test_a_404_of_some_other_server_is_no_proof_of_absence(stub: StubFrontend, twins: Twins) -> None:
    blob = stub.add(b"x")
    client = twins.connect(stub.url)
    stub.faults.clear()
    fault = stub.fail("HEAD", "status", status=404)
    fault.plain = True
    with pytest.raises(ProtocolViolation, match=f"not by ambry; check that {stub.url} is the API port of a frontend"):
        client.exists(blob)


@pytest.mark.parametrize(
    "ref", ["", "A" * 48, "A" * 47, "/" + "A" * 48, "ambry://a/b", "ambry://a/b/", "ambry://a/b/c?", "\ud800"]
)
def test_what_is_neither_an_id_nor_a_name_is_refused_without_asking(stub: StubFrontend, twins: Twins, ref: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        twins.connect(stub.url).get(ref)
    assert len(ref) != 48 or isinstance(caught.value, InvalidBlobId)
    assert stub.requests == []


def test_reads_are_repeated_and_fail_over(stub: StubFrontend, other: StubFrontend, twins: Twins) -> None:
    blob = stub.add(DATA)
    other.blobs, other.meta = stub.blobs, stub.meta
    stub.fail("GET", "status", retry_after="20")
    client = twins.connect(stub.url, other.url, fake_time=True)
    assert client.get_bytes(blob) == DATA
    assert twins.clock.slept == [0.0], "another endpoint needs no waiting"
    assert client.get_bytes(blob) == DATA
    assert (len(stub.seen("GET")), len(other.seen("GET"))) == (1, 2), "the failed one is avoided for a while"
    twins.clock.now += 60
    assert client.get_bytes(blob) == DATA
    assert len(stub.seen("GET")) == 2, "and preferred again later"


def test_a_brown_out_is_not_amplified(stub: StubFrontend, twins: Twins) -> None:
    blob = stub.add(DATA)
    client = twins.connect(stub.url, retry=QUICK)
    for _ in range(1000):
        stub.fail("HEAD", "status")
    for _ in range(200):
        with pytest.raises(Unavailable):
            client.head(blob)
    assert len(stub.seen("HEAD")) <= 200 + 10 + 20 + 1


def test_a_refused_request_is_not_repeated(stub: StubFrontend, twins: Twins) -> None:
    stub.fail("GET", "status", status=403, code="AccessDenied")
    with pytest.raises(PermissionError):
        twins.connect(stub.url).get(stub.add(b"x"))
    assert len(stub.seen("GET")) == 1


def test_a_server_that_says_nothing_is_a_timeout(stub: StubFrontend, twins: Twins) -> None:
    blob = stub.add(b"x")
    stub.fail("GET", "hold")
    client = twins.connect(stub.url, timeout=Timeout(read=0.05), retry=RetryPolicy(max_attempts=1))
    with pytest.raises(RequestTimeout) as caught:
        client.get(blob)
    assert isinstance(caught.value, TimeoutError)


def test_health_tells_of_every_endpoint(stub: StubFrontend, other: StubFrontend, twins: Twins) -> None:
    dead = f"http://127.0.0.1:{free_ports(1)[0]}"
    other.fail("GET", "status", detail="draining")
    health = twins.connect(stub.url, other.url, dead).health()
    assert [each.ok for each in health.endpoints] == [True, False, False]
    assert health.ok and health.endpoints[0].datacenter == "dc1"
    assert "draining" in health.endpoints[1].detail and "cannot connect" in health.endpoints[2].detail


def test_get_file_never_replaces_a_device_or_a_pipe(stub: StubFrontend, twins: Twins, tmp_path: Path) -> None:
    """`ambry get -o /dev/null --overwrite`, run as root, once made a file of /dev/null."""
    client = twins.connect(stub.url)
    blob = stub.add(DATA)
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for target in (pipe, link):
        with pytest.raises(InvalidRequest, match="device or a pipe"):
            client.get_file(blob, target, overwrite=True)
    assert pipe.is_fifo() and link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [link, pipe]


@pytest.mark.parametrize("kind", ["link", "hard link", "dangling link", "pipe", "directory"])
def test_get_file_writes_through_nothing_that_lies_where_its_part_would(
    stub: StubFrontend, twins: Twins, tmp_path: Path, kind: str
) -> None:
    """The name of a part can be guessed. A link that was laid there led the download into `precious`."""
    blob = stub.add(DATA)
    precious, part = tmp_path / "precious", tmp_path / "down" / f"out.{blob}.part"
    precious.write_bytes(b"precious")
    part.parent.mkdir()
    {
        "link": lambda: part.symlink_to(precious),
        "hard link": lambda: os.link(precious, part),
        "dangling link": lambda: part.symlink_to(tmp_path / "made"),
        "pipe": lambda: os.mkfifo(part),
        "directory": lambda: part.mkdir(),
    }[kind]()
    twins.connect(stub.url).get_file(blob, part.parent / "out")
    assert (part.parent / "out").read_bytes() == DATA
    assert precious.read_bytes() == b"precious" and not (tmp_path / "made").exists()
    assert sorted(each.name for each in part.parent.iterdir()) == ["out", part.name]


def test_a_part_that_is_another_file_each_time_gathers_under_a_name_of_its_own(
    stub: StubFrontend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was opened again and again without end."""
    monkeypatch.setattr(os.path, "samestat", lambda one, two: False)
    part = PartFile(tmp_path / "out", BlobId.parse(stub.add(b"")), overwrite=False, unique="u")
    part.write(b"12345")
    part.commit()
    assert part.path.name.endswith(".u.part") and (tmp_path / "out").read_bytes() == b"12345"


def test_a_file_that_is_new_is_not_cut_to_nothing(stub: StubFrontend, tmp_path: Path) -> None:
    """It was, and ext4 wrote all of a download to the disk before `get_file` returned. A cut leaves its time on a file."""
    part = PartFile(tmp_path / "out", BlobId.parse(stub.add(b"")), overwrite=False, unique="u")
    os.utime(part.path, ns=(0, 0))
    part.restart()
    assert part.path.stat().st_mtime_ns == 0
    part.write(b"12345")
    part.restart()
    assert part.path.stat().st_size == 0 and part.size == 0
    part.abandon(keep=False)


def test_a_part_that_fills_the_disk_is_removed_and_the_error_says_where_and_how_much(
    stub: StubFrontend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stayed, so that the disk remained full, and the message named no size."""
    part = PartFile(tmp_path / "out", BlobId.parse(stub.add(b"")), overwrite=False, unique="u")
    part.write(b"12345")
    full = MagicMock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr(part._handle, "write", full)
    with pytest.raises(OSError, match=r"No space left on device after 5 bytes; they are removed: '.*out\..*\.part'"):
        part.write(b"678")
    part.abandon(keep=True)
    assert list(tmp_path.iterdir()) == []
