"""Encryption at rest over real processes: what is stored is unreadable, and is read with its keys, or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ambry import AmbryClient, BlobGone, BlobId, RetryPolicy, Unavailable
from ambry.checksum import digest
from ambry.errors import AmbryError, EncryptionKeyDeleted, KeysUnavailable
from ambry.rest import names
from deploy.local_cluster import LocalCluster
from tests.support.clusters import shared_cluster
from tests.support.content import content
from tests.support.files_below import files_below
from tests.support.rest import call
from tests.support.waiting import eventually

PLANTED = b"PLANTED IN PLAIN TEXT "
SIZES = (0, 1, 100, 65_535, 65_536, 65_537, (4 << 20) - 1, 4 << 20, (4 << 20) + 1, 9_000_000)
ONCE = RetryPolicy(max_attempts=1)
PATIENT = RetryPolicy(max_attempts=10)
"""A frontend that has just started does not reach the other datacenter yet, and says so of keys that may be known there."""


def planted(size: int, text: bytes = PLANTED) -> bytes:
    """Bytes of which every piece of a few dozen tells that it is plain."""
    return (text * (size // len(text) + 1))[:size]


def found_in(directory: Path, text: bytes) -> list[str]:
    """The files below a directory that hold it."""
    return [str(path) for path, held in files_below(directory) if text in held]


class Machine:
    """A cluster of two datacenters, with a container that is encrypted."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster
        self.master = cluster.directory / "master.keys"

    def client(
        self, datacenter: str = "dc1", container: str = "secret", *, retry: RetryPolicy = PATIENT
    ) -> AmbryClient:
        [frontend] = self.cluster.frontends(datacenter)
        return AmbryClient([frontend.url], container=container, retry=retry)

    def restart(self) -> None:
        for frontend in self.cluster.frontends():
            self.cluster.kill(frontend.name)
            self.cluster.start(frontend.name)


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with shared_cluster(
        request,
        tmp_path_factory,
        nodes=1,
        partitions=1,
        overrides={"frontend": ["encryption.retry_s=0.05", "frontend.lame_duck_s=0"]},
    ) as cluster:
        made = Machine(cluster)
        with made.client() as client:
            client.create_container("default", "secret", encrypted=True)
        yield made


def test_every_size_and_range_is_read_in_both_datacenters_and_nothing_plain_is_stored(machine: Machine) -> None:
    told = {"note": (PLANTED * 2).decode()}
    with machine.client() as client, machine.client("dc2") as far:
        blobs = {
            size: client.put(planted(size), metadata=told, filename="PLANTED IN PLAIN TEXT.bin", durability="geo").id
            for size in SIZES
        }
        client.put(planted(70_000), name="named")
        for size, blob in blobs.items():
            for reader in (client, far):
                assert reader.get_bytes(blob) == planted(size)
                for start in {0, size // 2, max(0, size - 70_000), min(size, 65_530), min(size, (4 << 20) - 5)}:
                    end = min(size, start + 66_000)
                    if start < end:
                        assert reader.get_bytes(blob, range=(start, end)) == planted(size)[start:end], (size, start)
                info = reader.head(blob)
                assert info.metadata == told and info.filename == "PLANTED IN PLAIN TEXT.bin"
        assert far.get_bytes("named") == planted(70_000)
    assert found_in(machine.cluster.directory, PLANTED) == []
    with machine.client(container="default") as client:
        client.put(planted(100))
    assert found_in(machine.cluster.directory, PLANTED) != []


def test_what_is_stored_is_read_after_a_rotation_of_each_level(machine: Machine) -> None:
    data = content(3, 5_000_000)
    with machine.client() as client:
        before = client.put(data, durability="geo").id
        client.encryption.rotate("default", "secret")
        after = client.put(data, durability="geo").id
        lines = machine.master.read_text()
        machine.master.write_text(f"{lines}2 {'5c' * 32}\n")
        step = client.encryption.rewrap()
        assert (step.master_version, step.failed, step.next) == ("2", (), None) and step.rewrapped == 2
    with machine.client("dc2") as far:
        eventually(
            lambda: {key.master_version for key in far.encryption.show("default", "secret").keys} == {"2"},
            "the other datacenter has what was wrapped anew",
        )
    machine.master.write_text(f"2 {'5c' * 32}\n")
    machine.restart()
    for datacenter in ("dc1", "dc2"):
        with machine.client(datacenter) as client:
            assert client.get_bytes(before) == client.get_bytes(after) == data


def test_without_the_provider_a_frontend_that_starts_serves_plain_containers_alone(machine: Machine) -> None:
    with machine.client() as patient:
        blob = patient.put(b"hello").id
    with machine.client(retry=ONCE) as client, machine.client(container="default") as plain:
        other = plain.put(b"plain").id
        away = machine.master.rename(machine.master.with_name("away"))
        machine.restart()
        for refused in (lambda: client.get_bytes(blob), lambda: client.put(b"more")):
            with pytest.raises(KeysUnavailable, match="cannot be read: No such file"):
                refused()
        with pytest.raises(KeysUnavailable):
            client.head(blob)
        assert plain.get_bytes(other) == b"plain"
        away.rename(machine.master)
        eventually(lambda: reads(client, blob) == b"hello", "the provider is asked again")


def reads(client: AmbryClient, blob: BlobId) -> bytes | None:
    try:
        return client.get_bytes(blob)
    except Unavailable:
        return None


def test_what_a_deleted_key_sealed_is_gone_for_ever_in_both_datacenters(machine: Machine) -> None:
    with machine.client(container="shredded") as client, machine.client("dc2", "shredded") as far:
        client.create_container("default", "shredded", encrypted=True)
        small, large = client.put(b"hello", durability="geo").id, client.put(content(4, 5_000_000), durability="geo").id
        assert far.get_bytes(small) == b"hello"
        client.update_container("default", "shredded", status="INACTIVE")
        client.encryption.delete("default", "shredded")
        client.update_container("default", "shredded", status="ACTIVE")
        for reader in (client, far):
            for blob in (small, large):
                eventually(lambda reader=reader, blob=blob: gone(reader, blob), "the key is gone")  # type: ignore[misc]
                with pytest.raises(EncryptionKeyDeleted, match="unreadable for ever"):
                    reader.get_bytes(blob)
        again = client.put(b"again").id
        assert client.get_bytes(again) == b"again"


def gone(client: AmbryClient, blob: BlobId) -> bool:
    try:
        client.get_bytes(blob)
    except BlobGone:
        return True
    except AmbryError:
        return False
    return False


def test_uploads_in_parts_and_stitched_ones_are_sealed_and_read_in_both_datacenters(machine: Machine) -> None:
    text = b"PLANTED AS PARTS "
    told = {"note": text.decode()}
    parts = [planted(size, text) for size in (9_000_000, 5_000_000, 1)]
    with machine.client(container="parted") as client, machine.client("dc2", "parted") as far:
        client.create_container("default", "parted", encrypted=True)
        upload = client.start_upload(durability="geo", metadata=told, filename="PLANTED AS PARTS .bin")
        for number, part in enumerate(parts, start=1):
            upload.write_part(number, part)
        left = client.start_upload()
        left.write_part(1, parts[1])
        client.encryption.rotate("default", "parted")
        made = upload.complete().id
        [frontend] = machine.cluster.frontends("dc1")
        stitched = stitch(frontend.url, parts[1:])
        for blob, data in ((made, b"".join(parts)), (stitched, b"".join(parts[1:]))):
            for reader in (client, far):
                assert reader.get_bytes(blob) == data
                assert reader.get_bytes(blob, range=(65_530, 5_000_001)) == data[65_530:5_000_001]
        assert far.head(made).metadata == told
    digests = {digest(part) for part in [*parts[:2], parts[0][: 4 << 20], b"".join(parts), b"".join(parts[1:])]}
    for each in (text, *digests, *(known.hex().encode() for known in digests)):
        assert found_in(machine.cluster.directory, each) == []


def stitch(url: str, chunks: list[bytes]) -> BlobId:
    """What is made of these chunks in the encrypted container by Ambry's older form of uploads."""
    said = {names.ACCOUNT_NAME: "default", names.CONTAINER_NAME: "parted"}
    of_chunk = said | {
        "x-ambry-chunk-upload": "true",
        "x-ambry-session": "planted",
        "x-ambry-max-upload-size": "10000000",
        "x-ambry-durability": "geo",
    }
    signed = [call(url, "POST", "/", chunk, of_chunk).headers["Location"] for chunk in chunks]
    answer = call(url, "POST", "/stitch", json.dumps({"signedChunkIds": signed}).encode(), said)
    assert answer.status == 201, answer.body
    return BlobId.parse(answer.blob_id)
