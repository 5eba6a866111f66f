"""Keys of encryption at rest as JSON, and answers about them that are wrong. Against a frontend: test_cli_encryption.py."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from ambry import AsyncAmbryClient
from ambry.client.wire import encryption as wire
from ambry.errors import InvalidRequest, ProtocolViolation
from tests.support.http_frontend import http_frontend
from tests.support.masters import TroubledProvider
from tests.support.metadata_stores import opened, sqlite_store

HEADERS = {"x-ambry-request-id": "r"}


def test_what_stands_in_paths_is_encoded() -> None:
    assert wire.keys_request("ml", "a?b #1").path == "/encryption/containers/ml/a%3Fb%20%231"
    request = wire.delete_request("ml", "a&b", "1.1")
    assert (request.method, request.path) == (
        "DELETE", "/encryption/containers/ml/a%26b/1.1?confirm=ml%2Fa%26b"
    )  # fmt: skip
    for name in ("", "a/b", "a\r\nb"):
        with pytest.raises(InvalidRequest):
            wire.rotate_request("ml", name)


def test_keys_that_are_and_that_were() -> None:
    told = {
        "account": "ml",
        "container": "c",
        "encrypted": True,
        "keys": [
            {"version": "1.1", "deletedMs": 1_700_000_000_000, "deletedBy": "k"},
            {"version": "2.1", "current": True, "madeMs": 0, "provider": "vault", "masterVersion": "3", "later": 1},
        ],
    }
    gone, current = wire.parse_keys(HEADERS, msgspec.json.encode(told)).keys
    assert gone.deleted == datetime.fromtimestamp(1_700_000_000, UTC) and not gone.current
    assert current.current and current.deleted is None and current.master_version == "3"


async def test_the_awaiting_client_does_all_of_it(tmp_path: Path) -> None:
    provider = TroubledProvider()
    async with (
        opened(sqlite_store(tmp_path / "m")) as store,
        http_frontend(metadata=store, provider=provider) as frontend,
        AsyncAmbryClient(f"http://127.0.0.1:{frontend.port}") as client,
    ):
        await client.create_container("ml", "secret", encrypted=True)
        [key] = (await client.encryption.show("ml", "secret")).keys
        assert (key.version, key.current) == ("1.1", True)
        assert len((await client.encryption.rotate("ml", "secret")).keys) == 2
        assert (await client.encryption.rewrap()).already == 2
        assert (await client.encryption.provider()).name == "held"
        with pytest.raises(InvalidRequest, match="INACTIVE"):
            await client.encryption.delete("ml", "secret")
        await client.update_container("ml", "secret", status="INACTIVE")
        gone = await client.encryption.delete("ml", "secret")
        assert all(each.deleted is not None for each in gone.keys)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"keys": [{}]}', b'{"provider": 1, "next": "x"}'])
def test_an_answer_that_tells_nothing_is_no_answer(body: bytes) -> None:
    for parse in (wire.parse_keys, wire.parse_rewrap, wire.parse_provider):
        with pytest.raises(ProtocolViolation):
            parse(HEADERS, body)
