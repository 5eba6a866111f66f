"""A real OpenBao that hangs, comes back, and loses its keys, under frontends that run (contract F35)."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ambry import AmbryClient, BlobId, RetryPolicy
from ambry.errors import AmbryError, KeysUnavailable
from deploy.local_cluster import LocalCluster
from tests.support.clusters import running_cluster
from tests.support.content import content
from tests.support.vault import VaultProcess, binary
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(binary() is None, reason="neither bao nor vault is installed: make services"),
]
CACHE_S = 10


@pytest.fixture
def vault() -> Iterator[VaultProcess]:
    process = VaultProcess()
    try:
        process.start()
        yield process
    finally:
        process.close()


@pytest.fixture
def cluster(vault: VaultProcess, tmp_path: Path) -> Iterator[LocalCluster]:
    frontend = [
        "encryption.provider=vault",
        f"encryption.url={vault.url}",
        "encryption.key=ambry",
        f"encryption.token_file={vault.token_file}",
        f"encryption.cache_s={CACHE_S}",
        "encryption.retry_s=0.2",
        "encryption.timeout_ms=300",
    ]
    with running_cluster(tmp_path, datacenters=1, nodes=1, partitions=1, overrides={"frontend": frontend}) as made:
        yield made


def refused(client: AmbryClient, blob: BlobId) -> str:
    """Why a read is refused; empty where it is not."""
    try:
        client.get_bytes(blob)
    except KeysUnavailable as error:
        return error.message
    return ""


def test_a_vault_that_hangs_and_one_that_lost_its_keys(vault: VaultProcess, cluster: LocalCluster) -> None:
    data = content(5, 100_000)
    [frontend] = cluster.frontends()
    client = AmbryClient([frontend.url], container="secret", retry=RetryPolicy(max_attempts=1))
    plain = AmbryClient([frontend.url], retry=RetryPolicy(max_attempts=1))
    with client, plain:
        client.create_container("default", "secret", encrypted=True)
        blob = client.put(data).id
        assert client.get_bytes(blob) == data
        # Used for longer than a key may be open: it is opened again meanwhile.
        vault.signal(signal.SIGSTOP)
        served = 0
        while not (why := refused(client, blob)):
            served += 1
        assert served and "no answer within 0.3 s" in why
        for work in (lambda: client.put(data), lambda: client.get_bytes(blob, range=(0, 10))):
            with pytest.raises(KeysUnavailable):
                work()
        assert plain.get_bytes(plain.put(b"plain").id) == b"plain"
        vault.signal(signal.SIGCONT)
        eventually(lambda: not refused(client, blob), "it is asked again", timeout_s=20)
        assert client.get_bytes(blob) == data
        # All in its memory is gone with it; the one that comes has a key of the same name, and another one.
        vault.kill()
        eventually(lambda: "cannot be reached" in refused(client, blob), "its time is over", timeout_s=60)
        vault.start()
        eventually(
            lambda: "it was not encrypted by this key" in refused(client, blob), "the wrong key is said", timeout_s=20
        )
        with pytest.raises(AmbryError):
            client.put(data)
        assert plain.get_bytes(plain.put(b"plain").id) == b"plain"
