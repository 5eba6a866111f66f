"""Blobs into files with both clients: in sections, on from where a download stopped, and never anything but the blob."""

from __future__ import annotations

import random
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from ambry import (
    AlreadyExists,
    AmbryClient,
    BlobId,
    ChecksumMismatch,
    RequestTimeout,
    Timeout,
    TransferConfig,
    Unavailable,
    UpdateConflict,
)
from ambry.client.locked_file import try_lock
from ambry.client.part_file import PartFile
from tests.support.clusters import seed_of
from tests.support.content import content
from tests.support.part_files import bytes_left
from tests.support.stub_frontend import StubFrontend, hexdigest
from tests.support.twins import Twins

PIECE = 64 << 10
DATA = content(11, 20 * PIECE + 17)
CUT = TransferConfig(chunk_size=PIECE, part_size=2 * PIECE, threshold=4 * PIECE, max_concurrency=3)
ALONE = TransferConfig(chunk_size=PIECE, threshold=4 * PIECE, max_concurrency=1)


def part_of(target: Path, blob: str) -> Path:
    return target.with_name(f"{target.name}.{blob}.part")


class Killed(Exception):
    pass


def break_off(
    client: Any, blob: str, target: Path, after: int, error: Exception | None = None, *, resume: bool = True
) -> Exception:
    """Download a part of it; what was raised."""
    error = error or Killed()

    def progress(done: int, total: int | None) -> None:
        if done >= after:
            raise error

    with pytest.raises(type(error)) as caught:
        client.get_file(blob, target, progress=progress, resume=resume)
    return caught.value


def broken_off(stub: StubFrontend, twins: Twins, target: Path, transfer: TransferConfig) -> str:
    """The id of a blob of which a part is there."""
    blob = stub.add(DATA)
    break_off(twins.connect(stub.url, transfer=transfer), blob, target, 3 * PIECE)
    stub.requests.clear()
    return blob


def test_a_large_blob_comes_in_sections(stub: StubFrontend, twins: Twins, tmp_path: Path) -> None:
    blob = stub.add(DATA)
    seen: list[tuple[int, int | None]] = []
    info = twins.connect(stub.url, transfer=CUT).get_file(
        blob, tmp_path / "out", progress=lambda done, total: seen.append((done, total))
    )
    assert (tmp_path / "out").read_bytes() == DATA and info.checksum == hexdigest(DATA)
    assert len(stub.seen("GET")) == 1 + 9  # the first brings the threshold, the others two pieces each
    assert {each.headers["range"] for each in stub.seen("GET")} == {
        "bytes=0-262143",
        *(f"bytes={start}-{min(start + 2 * PIECE, len(DATA)) - 1}" for start in range(4 * PIECE, len(DATA), 2 * PIECE)),
    }
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[0] == (0, len(DATA)) and seen[-1] == (len(DATA), len(DATA))
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


@pytest.mark.parametrize(
    "size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 4 * PIECE - 1, 4 * PIECE, 4 * PIECE + 1, 6 * PIECE]
)
@pytest.mark.parametrize("transfer", [CUT, ALONE])
def test_blobs_of_all_sizes(
    stub: StubFrontend, twins: Twins, tmp_path: Path, size: int, transfer: TransferConfig
) -> None:
    blob = stub.add(DATA[:size])
    twins.connect(stub.url, transfer=transfer).get_file(blob, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == DATA[:size]
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]
    if 0 < size <= 4 * PIECE:
        assert len(stub.requests) == 1


@pytest.mark.parametrize("transfer", [CUT, ALONE])
def test_a_download_goes_on_with_what_is_there(
    stub: StubFrontend, other: StubFrontend, twins: Twins, tmp_path: Path, transfer: TransferConfig
) -> None:
    target = tmp_path / "out"
    blob = broken_off(stub, twins, target, transfer)
    there = bytes_left(target, blob)
    assert there >= 2 * PIECE
    seen: list[int] = []
    other.blobs, other.meta = stub.blobs, stub.meta
    twins.connect(other.url, transfer=transfer).get_file(blob, target, progress=lambda done, _: seen.append(done))
    assert target.read_bytes() == DATA and seen[0] == there
    assert sum(_asked(each.headers["range"]) for each in other.seen("GET")) == len(DATA) - there


def _asked(text: str) -> int:
    first, _, last = text.removeprefix("bytes=").partition("-")
    return int(last) + 1 - int(first)


@pytest.mark.parametrize("place", [0, 2 * PIECE - 1, len(DATA), len(DATA) + 40, -1, -20])
def test_a_part_of_which_a_byte_changed_never_becomes_the_file(
    stub: StubFrontend, twins: Twins, tmp_path: Path, place: int
) -> None:
    """Neither what is there nor what is said of it is believed."""
    target = tmp_path / "out"
    blob = broken_off(stub, twins, target, CUT)
    part = part_of(target, blob)
    raw = bytearray(part.read_bytes())
    raw[place] ^= 1
    part.write_bytes(raw)
    twins.connect(stub.url, transfer=CUT).get_file(blob, target)
    assert target.read_bytes() == DATA and list(tmp_path.iterdir()) == [target]


def test_a_part_that_says_its_wrong_bytes_are_right_is_found_out_by_the_digest_of_all(
    stub: StubFrontend, twins: Twins, tmp_path: Path
) -> None:
    target, other = tmp_path / "out", tmp_path / "other"
    real = DATA
    blob = broken_off(stub, twins, target, CUT)
    stub.blobs[blob] = bytes(len(DATA))
    break_off(twins.connect(stub.url, transfer=CUT), blob, other, 3 * PIECE)
    part_of(other, blob).replace(part_of(target, blob))
    stub.blobs[blob] = real
    seen: list[int] = []
    twins.connect(stub.url, transfer=CUT).get_file(blob, target, progress=lambda done, _: seen.append(done))
    assert target.read_bytes() == DATA and seen == sorted(seen)


def test_wrong_bytes_from_the_server_are_an_error_and_nothing_is_left(
    stub: StubFrontend, twins: Twins, tmp_path: Path
) -> None:
    blob = stub.add(DATA)
    stub.fail("GET", "corrupt")
    with pytest.raises(ChecksumMismatch, match=blob):
        twins.connect(stub.url, transfer=CUT).get_file(blob, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o600, 0o755, 0o400, 0o664])
def test_a_file_that_is_written_over_keeps_its_mode(
    stub: StubFrontend, twins: Twins, tmp_path: Path, mode: int
) -> None:
    """It was 0644 from then on, whoever was not to read it before; and so was what gathered."""
    target = tmp_path / "out"
    target.touch()
    target.chmod(mode)
    blob = stub.add(DATA)
    gathers: set[int] = set()

    def progress(done: int, total: int | None) -> None:
        gathers.update(stat.S_IMODE(each.stat().st_mode) for each in tmp_path.glob("*.part"))

    twins.connect(stub.url, transfer=CUT).get_file(blob, target, overwrite=True, progress=progress)
    assert target.read_bytes() == DATA and stat.S_IMODE(target.stat().st_mode) == mode
    assert gathers == {mode | 0o600}


def test_a_link_that_is_written_over_is_replaced_and_not_followed(
    stub: StubFrontend, twins: Twins, tmp_path: Path
) -> None:
    precious, target = tmp_path / "precious", tmp_path / "out"
    precious.write_bytes(b"precious")
    target.symlink_to(precious)
    twins.connect(stub.url).get_file(stub.add(DATA), target, overwrite=True)
    assert precious.read_bytes() == b"precious" and not target.is_symlink() and target.read_bytes() == DATA


def test_what_comes_when_a_download_goes_on_is_written_also_where_it_is_zero(
    stub: StubFrontend, twins: Twins, tmp_path: Path
) -> None:
    data = b"x" * PIECE + bytes(30 * PIECE)
    blob, target = stub.add(data), tmp_path / "out"
    break_off(twins.connect(stub.url, transfer=ALONE), blob, target, PIECE)
    with part_of(target, blob).open("r+b") as file:
        file.seek(20 * PIECE)
        file.write(b"other bytes")
    twins.connect(stub.url, transfer=CUT).get_file(blob, target)
    assert target.read_bytes() == data


def test_zeros_become_holes(stub: StubFrontend, twins: Twins, tmp_path: Path) -> None:
    data = bytes(8 * PIECE) + b"x" * PIECE + bytes(30 * PIECE)
    blob = stub.add(data)
    twins.connect(stub.url, transfer=CUT).get_file(blob, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == data
    assert (tmp_path / "out").stat().st_blocks * 512 <= 8 * PIECE


def test_what_breaks_in_the_middle_goes_on_at_another_endpoint(
    stub: StubFrontend, other: StubFrontend, twins: Twins, tmp_path: Path
) -> None:
    blob = stub.add(DATA)
    other.blobs, other.meta = stub.blobs, stub.meta
    source = random.Random(seed_of("downloads"))
    for _ in range(6):
        stub.fail("GET", source.choice(["cut", "reset"]), after=source.randrange(2 * PIECE))
    twins.connect(stub.url, other.url, transfer=CUT).get_file(blob, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == DATA
    assert other.seen("GET") != []


def test_a_datacenter_that_dies_in_the_middle_costs_nothing_but_time(
    stub: StubFrontend, other: StubFrontend, twins: Twins, tmp_path: Path
) -> None:
    data = content(3, 200 * PIECE)
    blob = stub.add(data)
    other.blobs, other.meta = stub.blobs, stub.meta
    died = threading.Event()

    def progress(done: int, total: int | None) -> None:
        if done > len(data) // 3 and not died.is_set():
            died.set()
            threading.Thread(target=stub.close).start()
            stub.hang_up()

    twins.connect(stub.url, other.url, transfer=CUT).get_file(blob, tmp_path / "out", progress=progress)
    assert died.is_set() and (tmp_path / "out").read_bytes() == data
    assert len(other.seen("GET")) > 10


def test_the_total_timeout_bounds_the_whole_call(stub: StubFrontend, twins: Twins, tmp_path: Path) -> None:
    blob = stub.add(DATA)
    client = twins.connect(stub.url, transfer=CUT, fake_time=True)

    def progress(done: int, total: int | None) -> None:
        twins.clock.now += 1.0

    with pytest.raises(RequestTimeout):
        client.get_file(blob, tmp_path / "out", progress=progress, timeout=Timeout(total=8.0))
    assert bytes_left(tmp_path / "out", blob) > 0


@pytest.mark.parametrize("transfer", [CUT, ALONE])
def test_an_error_of_a_download_names_what_it_left_and_what_becomes_of_that(
    stub: StubFrontend, twins: Twins, tmp_path: Path, transfer: TransferConfig
) -> None:
    """The file stayed beside the target, and only `ambry get` said so."""
    blob = stub.add(DATA)
    client = twins.connect(stub.url, transfer=transfer)
    break_off(client, blob, tmp_path / "out", 3 * PIECE, Unavailable("no time", request_id="r"))
    (part,) = tmp_path.iterdir()
    left = bytes_left(tmp_path / "out", blob)
    told = break_off(client, blob, tmp_path / "out", left, Unavailable("no time", request_id="r"))
    what = f"{left} bytes are kept in {part}; the same call goes on from there, or remove it"
    assert left and str(told) == f"no time; {what} (request r)"
    assert break_off(client, blob, tmp_path / "out", left, Killed()).__notes__ == [what], "an error that is not ours"
    part.unlink()
    told = break_off(client, blob, tmp_path / "out", 3 * PIECE, Unavailable("no time"), resume=False)
    assert str(told) == "no time" and list(tmp_path.iterdir()) == []


def test_a_download_beside_another_to_one_target_leaves_nothing_that_nobody_would_find(
    stub: StubFrontend, twins: Twins, tmp_path: Path
) -> None:
    """It gathers in a file that nobody can guess, which stayed when it broke off."""
    blob = stub.add(DATA)
    first = PartFile(tmp_path / "out", BlobId.parse(blob), overwrite=False, unique="u")
    client = twins.connect(stub.url, transfer=ALONE)
    told = break_off(client, blob, tmp_path / "out", 3 * PIECE, Unavailable("no time"))
    assert str(told) == "no time" and list(tmp_path.iterdir()) == [first.path]
    first.abandon(keep=False)


def test_a_whole_download_that_may_not_have_its_name_is_not_kept(
    stub: StubFrontend, twins: Twins, tmp_path: Path
) -> None:
    """What says which pieces are there was cut off by then, so that nobody could go on from it."""
    blob = stub.add(DATA)

    def appears(done: int, total: int | None) -> None:
        (tmp_path / "out").write_bytes(b"mine")

    with pytest.raises(AlreadyExists) as told:
        twins.connect(stub.url, transfer=CUT).get_file(blob, tmp_path / "out", progress=appears)
    assert "kept" not in str(told.value) and (tmp_path / "out").read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


@pytest.mark.parametrize("there", [True, False])
def test_what_takes_the_place_of_a_part_is_never_taken_for_the_blob(
    stub: StubFrontend, twins: Twins, tmp_path: Path, there: bool
) -> None:
    """A blob that was called `out.<id>.part` came down beside `out`, and had its name in the end, past every digest."""
    blob = stub.add(DATA)
    (tmp_path / "out").write_bytes(b"before")

    def progress(done: int, total: int | None) -> None:
        if done == len(DATA):
            part_of(tmp_path / "out", blob).unlink(missing_ok=True)
            if there:
                part_of(tmp_path / "out", blob).write_bytes(b"of another blob")

    with pytest.raises(UpdateConflict, match="read it again"):
        twins.connect(stub.url, transfer=CUT).get_file(blob, tmp_path / "out", overwrite=True, progress=progress)
    assert (tmp_path / "out").read_bytes() == b"before"
    left = {each.name: each.read_bytes() for each in tmp_path.iterdir() if each.name != "out"}
    assert left == ({part_of(tmp_path / "out", blob).name: b"of another blob"} if there else {})


def test_a_failing_section_stops_the_others(stub: StubFrontend, twins: Twins, tmp_path: Path) -> None:
    blob = stub.add(content(3, 400 * PIECE))
    client = twins.connect(stub.url, transfer=CUT)
    client.head(blob)

    def progress(done: int, total: int | None) -> None:
        if done > 20 * PIECE:
            stub.blobs.pop(blob, None)

    with pytest.raises(FileNotFoundError):
        client.get_file(blob, tmp_path / "out", progress=progress)
    assert not (tmp_path / "out").exists()
    assert len(stub.seen("GET")) < 100


def test_all_transfers_of_a_client_share_its_memory(stub: StubFrontend, tmp_path: Path) -> None:
    """No more sections than the bound allows are asked for at once."""
    blob = stub.add(DATA)
    holding = [stub.fail("GET", "hold") for _ in range(2)]
    tight = TransferConfig(
        chunk_size=PIECE, part_size=PIECE, threshold=PIECE, max_concurrency=8, max_memory=2 * PIECE + 1
    )
    client = AmbryClient(stub.url, transfer=tight)
    threads = [threading.Thread(target=client.get_file, args=(blob, tmp_path / f"out{number}")) for number in range(2)]
    for thread in threads:
        thread.start()
    for fault in holding:
        fault.release.set()
    for thread in threads:
        thread.join()
    assert all((tmp_path / f"out{number}").read_bytes() == DATA for number in range(2))
    client.close()


def test_what_was_left_of_another_blob_goes_when_the_target_is_whole(
    stub: StubFrontend, twins: Twins, tmp_path: Path
) -> None:
    """Each broken download of a name that moved on afterwards left a part for ever."""
    target = tmp_path / "model"
    old = broken_off(stub, twins, target, CUT)
    assert part_of(target, old).exists()
    others = [tmp_path / f"model-2.{old}.part", tmp_path / f"model.{old}.part.txt", tmp_path / "model.part"]
    for each in others:
        each.write_bytes(b"")
    held = old[:-1] + ("A" if old[-1] != "A" else "B")
    path = part_of(target, held)
    lock = try_lock(path)
    assert lock is not None
    # One that has no part to go on from gathers under a name of its own: who was killed left it, and who lives holds it.
    left, living = "0" * 32, PartFile(target, BlobId.parse(old), overwrite=False, unique="1" * 32, resume=False)
    part_of(target, f"{old}.{left}").write_bytes(b"half")
    data = content(12, 6 * PIECE)
    new = stub.add(data, x_ambry_digest=hexdigest(data))
    client = twins.connect(stub.url, transfer=CUT)
    client.get_file(new, target)
    lock.close()
    assert sorted(tmp_path.iterdir()) == sorted([target, path, living.path, *others])
    assert target.read_bytes() == data
    living.abandon(keep=False)
