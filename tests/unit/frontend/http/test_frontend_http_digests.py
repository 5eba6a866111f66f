"""Digests that come with a body (RFC 9530, RFC 1864)."""

from __future__ import annotations

import base64
import hashlib

import pytest

from ambry.checksum import digest
from ambry.errors import ChecksumMismatch, InvalidRequest
from frontend.http.digests import ExpectedDigests
from tests.support.content import content


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def headers_of(body: bytes) -> dict[str, str]:
    sha256, sha512 = base64_of(hashlib.sha256(body).digest()), base64_of(hashlib.sha512(body).digest())
    return {
        "content-md5": base64_of(hashlib.md5(body).digest()),
        "content-digest": f"sha-512=:{sha512}: , sha-256=:{sha256}:;x=1",
        "repr-digest": f"sha-512=:{sha512}:",
    }


async def through(headers: dict[str, str], body: bytes, xxh: bytes | None = None) -> None:
    digests = ExpectedDigests(headers, xxh=xxh)
    for start in range(0, len(body), 50_000):
        await digests.update(body[start : start + 50_000])
    await digests.verify(digest(body))


@pytest.mark.parametrize("size", [0, 1, 200_000])
async def test_right_digests_pass_alone_and_together_and_wrong_ones_do_not(size: int) -> None:
    body = content(1, size)
    right, wrong = headers_of(body), headers_of(body + b"x")
    await through(right, body, digest(body))
    with pytest.raises(ChecksumMismatch):
        await through(right, body, digest(body + b"x"))
    for name in right:
        await through({name: right[name]}, body)
        with pytest.raises(ChecksumMismatch, match=name if name != "content-md5" else "Content-MD5"):
            await through({**right, name: wrong[name]}, body)


def test_only_what_was_asked_for_is_computed() -> None:
    assert not ExpectedDigests({}).hashing
    assert not ExpectedDigests({}, xxh=bytes(16)).hashing
    for name, value in headers_of(b"abc").items():
        assert ExpectedDigests({name: value}).hashing


SHA256 = base64_of(bytes(32))


@pytest.mark.parametrize(
    "headers",
    [
        {"content-md5": ""},
        {"content-md5": "!!!!"},
        {"content-md5": base64_of(bytes(15))},
        {"content-md5": "\udcff"},
        {"content-digest": ""},
        {"content-digest": f"sha-256=:{base64_of(bytes(31))}:"},
        {"content-digest": "sha-256=:====:"},
        {"content-digest": f"sha-256={SHA256}"},
        {"content-digest": f"sha-256=:{SHA256}:, sha-256=:{SHA256}:"},
        # Of other kinds: once they were passed over, as if they had been compared.
        {"content-digest": f"md5=:{base64_of(bytes(16))}:"},
        {"content-digest": f"sha-256=:{SHA256}:, crc32c=:AAAAAA==:"},
        {"repr-digest": "unixsum=:AAAA:"},
        {"repr-digest": f"SHA-256=:{SHA256}:"},
    ],
)
def test_what_cannot_be_compared_is_refused_before_the_body_is_read(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        ExpectedDigests(headers)
