"""Signed URLs against real processes that ask for keys: used by curl, at any frontend of any datacenter."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import pytest

from tests.support import rest
from tests.support.clusters import shared_cluster
from tests.support.files_below import files_below
from tests.support.waiting import eventually


class Keyed(NamedTuple):
    """The frontends of a cluster that asks for keys, one in each datacenter, and the administrator's key."""

    dc1: str
    dc2: str
    key: dict[str, str]
    directory: Path

    def sign(self, path: str, **said: object) -> str:
        """The target of a URL."""
        query = urlencode({"path": path, **{name.replace("_", "-"): value for name, value in said.items()}})
        answer = rest.call(self.dc1, "GET", f"/signedUrl?{query}", headers=self.key)
        assert answer.status == 200, answer.body
        return str(answer.json()["target"])


@pytest.fixture(scope="module")
def keyed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    with shared_cluster(request, tmp_path_factory, nodes=1, partitions=1, auth=True) as cluster:
        text = (cluster.directory / "admin.key").read_text().strip()
        dc1, dc2 = (each.url for each in cluster.frontends())
        yield Keyed(dc1, dc2, {"Authorization": f"Bearer {text}"}, cluster.directory)


def test_a_url_is_good_at_every_datacenter_and_one_for_one_upload_at_its_own(keyed: Keyed) -> None:
    put = keyed.sign("/", verb="PUT", once="true")
    assert rest.call(keyed.dc2, "PUT", put, b"hello").status == 421
    stored = rest.call(keyed.dc1, "PUT", put, b"hello")
    assert rest.call(keyed.dc1, "PUT", put, b"hello").blob_id == stored.blob_id
    assert rest.call(keyed.dc1, "PUT", put, b"other").status == 409
    read = keyed.sign(f"/{stored.blob_id}")
    assert rest.call(keyed.dc1, "GET", read).body == b"hello"
    eventually(lambda: rest.call(keyed.dc2, "GET", read).status == 200, "the blob and the URL are good there too")
    assert rest.call(keyed.dc2, "GET", f"/{stored.blob_id}").status == 401
    assert rest.call(keyed.dc2, "GET", f"{read}0").status == 401


def test_a_url_dies_everywhere_with_the_key_that_signed_it(keyed: Keyed) -> None:
    blob = rest.put(keyed.dc1, b"hello", keyed.key)
    grants = b'{"name":"app","grants":[{"roles":["read"]}]}'
    made = rest.call(keyed.dc1, "POST", "/keys", grants, {**keyed.key, "Content-Type": "application/json"})
    assert made.status == 201, made.body
    app = keyed._replace(key={"Authorization": f"Bearer {made.json()['key']}"})
    read = app.sign(f"/{blob}")
    eventually(lambda: rest.call(keyed.dc2, "GET", read).status == 200, "the other datacenter knows the key")
    assert rest.call(keyed.dc1, "DELETE", f"/keys/{made.json()['id']}", headers=keyed.key).status == 204
    assert rest.call(keyed.dc1, "GET", read).status == 401
    eventually(lambda: rest.call(keyed.dc2, "GET", read).status == 401, "the other datacenter knows that it is gone")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_reads_and_uploads_with_nothing_but_a_url(keyed: Keyed, tmp_path: Path) -> None:
    source, small = tmp_path / "big.bin", tmp_path / "small.bin"
    source.write_bytes(bytes(range(256)) * 8_192)
    small.write_bytes(b"hello")

    def curl(*arguments: str, status: int) -> bytes:
        told = ["curl", "-sS", "-w", "%{stderr}%{http_code}", *arguments]
        done = subprocess.run(told, capture_output=True, timeout=60, check=True)
        assert done.stderr.decode() == str(status), (arguments, done.stderr, done.stdout)
        return done.stdout

    put = keyed.dc1 + keyed.sign("/", verb="PUT", max_size=source.stat().st_size, content_type="image/png")
    for upload in (["-T", str(small)], ["-T", str(source)], ["-T", str(source), "-H", "Transfer-Encoding: chunked"]):
        curl(*upload, put, status=201)
    with source.open("ab") as file:
        file.write(b"one more")
    for upload in (["-T", str(source)], ["-T", str(source), "-H", "Transfer-Encoding: chunked"]):
        assert b"TooLarge" in curl(*upload, put, status=413)
    post = keyed.dc1 + keyed.sign("/", verb="POST")
    stored = curl("--data-binary", f"@{small}", post, status=201)
    blob = stored.decode().split('"')[3]
    read = keyed.dc1 + keyed.sign(f"/{blob}")
    assert curl(read, status=200) == b"hello"
    assert curl("-r", "1-2", read, status=206) == b"el"
    curl("-I", read, status=200)
    curl("-X", "DELETE", read, status=401)
    assert curl(read, status=200) == b"hello"


def test_no_log_of_any_process_shows_a_signature_or_a_key(keyed: Keyed) -> None:
    blob = rest.put(keyed.dc1, b"hello", keyed.key)
    read = keyed.sign(f"/{blob}")
    answers = [
        rest.call(keyed.dc1, method, read, headers=more) for method in ("GET", "PUT") for more in (None, keyed.key)
    ]
    answers.append(rest.call(keyed.dc1, "GET", f"{read}0"))
    assert [each.status for each in answers] == [200, 400, 401, 401, 401]
    secrets = [read.rpartition("=")[2], keyed.key["Authorization"].split("_", 2)[2]]
    secrets.append((keyed.directory / "access.secret").read_text().strip())
    audit = keyed.directory / "dc1-f1" / "audit.jsonl"
    refused = [each.headers["x-ambry-request-id"] for each in answers if each.status == 401]
    eventually(lambda: all(id in audit.read_text("utf-8") for id in refused), "the audit tells of who was refused")
    assert blob in audit.read_text("utf-8"), "and of the upload"
    log = keyed.directory / "dc1-f1" / "log.jsonl"
    eventually(lambda: blob in log.read_text("utf-8"), "a line tells of the reads")
    for path, held in files_below(keyed.directory, "*.jsonl"):
        assert not [secret for secret in secrets if secret.encode() in held], path
