"""What a job reads while a frontend says nothing, stops in the middle or drips; ActionsJob.java goes by the same rule."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Iterator

import pytest

from ambry import AmbryClient
from ambry.errors import AmbryError
from ambry.ids import BlobId
from ambry.streams import reads
from ambry.streams.reads import FileReads, ReadFailed
from ambry.streams.restarts import SOUND_AFTER_S
from tests.support.dripping_bodies import DrippingBodies
from tests.support.named_frontend import named_frontend

DATA = bytes(range(256)) * 256


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AmbryClient]:
    path = tmp_path_factory.mktemp("meta") / "meta.sqlite"
    with named_frontend(path) as url, AmbryClient(url) as made:
        yield made


@pytest.fixture(scope="module")
def blob(client: AmbryClient) -> BlobId:
    return client.put(DATA).id


def read(client: AmbryClient, blob: BlobId, *before: str, left_s: float = math.inf) -> tuple[bytes | None, list[str]]:
    """What is read where others are asked before, and what is told."""
    told: list[str] = []
    with AmbryClient([*before, *client.endpoints]) as asking, FileReads(asking, told.append, lambda: left_s) as files:
        return files.read(str(blob)), told


def test_a_file_that_is_gone_or_too_large_is_left_out(client: AmbryClient, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = client.put(b"gone").id
    client.delete(gone)
    assert read(client, gone) == (None, [])
    put = client.put(b"no action\n").id
    monkeypatch.setattr(reads, "READ_MAX", 10)
    assert read(client, put) == (b"no action\n", [])
    monkeypatch.setattr(reads, "READ_MAX", 9)
    assert read(client, put) == (None, [f"file {put} has more than 9 bytes, and is left out"])


def test_a_store_that_says_nothing_is_waited_for_no_longer_than_is_left(blob: BlobId) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        with AmbryClient(url) as waiting, pytest.raises(AmbryError) as ended:
            FileReads(waiting, left_s=lambda: 1.5).read(str(blob))
    assert ended.value.retriable
    assert 1.5 <= time.monotonic() - began < 10
    # Else an attempt that waits for the store would count as sound, and the job would never be given up.
    assert reads.STORE_WAIT_S <= SOUND_AFTER_S / 3


def test_a_body_that_stops_in_the_middle_is_waited_for_no_longer(
    client: AmbryClient, blob: BlobId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "STORE_WAIT_S", 2.0)
    with DrippingBodies(client.endpoints[0], stop_after=20_000) as stopping:
        began = time.monotonic()
        with AmbryClient(stopping.url) as waiting, pytest.raises(ReadFailed) as ended:
            FileReads(waiting).read(str(blob))
        took_s = time.monotonic() - began
        assert 2 <= ended.value.waited_s <= took_s
        assert took_s < 4.5, "each time the same bytes came, which is no progress"


def test_another_frontend_is_asked_where_a_body_stops(
    client: AmbryClient, blob: BlobId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "STORE_SILENCE_S", 1.0)
    monkeypatch.setattr(reads, "STORE_WAIT_S", 2.0)
    with DrippingBodies(client.endpoints[0], rate=12_000, stop_after=30_000) as stopping:
        found, told = read(client, blob, stopping.url)
    assert found == DATA
    assert len(told) == 1 and told[0].endswith("; it is tried again")


def test_any_bytes_are_progress(client: AmbryClient, blob: BlobId, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "STORE_WAIT_S", 1.0)
    with DrippingBodies(client.endpoints[0], rate=30_000) as slow:
        began = time.monotonic()
        with AmbryClient(slow.url) as waiting, FileReads(waiting) as files:
            assert files.read(str(blob)) == DATA
        assert time.monotonic() - began > 2 * reads.STORE_WAIT_S


def test_a_file_has_no_longer_than_the_job_until_it_is_given_up(client: AmbryClient, blob: BlobId) -> None:
    with DrippingBodies(client.endpoints[0], rate=10_000) as slow:
        began = time.monotonic()
        with (
            AmbryClient(slow.url) as waiting,
            pytest.raises(ReadFailed, match=r"of 65,536 bytes of .* came in the time that was left") as ended,
        ):
            FileReads(waiting, left_s=lambda: 1.5).read(str(blob))
        assert 1.5 <= ended.value.waited_s <= time.monotonic() - began < 4
