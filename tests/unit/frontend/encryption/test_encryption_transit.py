"""Master keys in a real OpenBao or Vault, and in servers that answer as none does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ambry.errors import ConfigInvalid
from frontend.encryption.provider import ProviderFailed, Wrapped
from frontend.encryption.transit import TransitKeys
from tests.support.vault import VaultProcess, binary

KEY, ABOUT = b"k" * 32, b"about \xff"


@pytest.fixture(scope="module")
def vault() -> Iterator[VaultProcess]:
    if binary() is None:
        pytest.skip("neither bao nor vault is installed: make services")
    process = VaultProcess()
    try:
        process.start()
        yield process
    finally:
        process.close()


def transit(vault: VaultProcess, key: str = "ambry", mount: str = "transit") -> TransitKeys:
    return TransitKeys(vault.url, mount=mount, key=key, token_file=str(vault.token_file))


async def test_a_real_vault_wraps_and_opens_and_rotates(vault: VaultProcess) -> None:
    keys = transit(vault)
    before = await keys.wrap(KEY, ABOUT)
    first = int(before.version)
    vault.ask("POST", "/v1/transit/keys/ambry/rotate")
    after = await keys.wrap(KEY, ABOUT)
    assert (int(after.version), await keys.newest()) == (first + 1, str(first + 1))
    assert await keys.unwrap(before, ABOUT) == await keys.unwrap(after, ABOUT) == KEY
    assert before.text.startswith(b"vault:v")


async def test_a_real_vault_opens_in_its_place_alone(vault: VaultProcess) -> None:
    keys = transit(vault)
    wrapped = await keys.wrap(KEY, ABOUT)
    with pytest.raises(ProviderFailed, match="refused decrypt: status 400") as raised:
        await keys.unwrap(wrapped, b"somewhere else")
    assert not raised.value.away


async def test_a_real_vault_refuses_what_its_token_has_not(vault: VaultProcess, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("wrong")
    (tmp_path / "token").chmod(0o600)
    keys = TransitKeys(vault.url, mount="transit", key="ambry", token_file=str(tmp_path / "token"))
    with pytest.raises(ProviderFailed, match="status 403: the token"):
        await keys.newest()
    with pytest.raises(ProviderFailed, match="status 404: there is no such key"):
        await transit(vault, key="none").newest()
    with pytest.raises(ProviderFailed, match="refused keys: status 40"):
        await transit(vault, mount="elsewhere").newest()


async def test_versions_that_a_real_vault_no_longer_opens(vault: VaultProcess) -> None:
    vault.ask("POST", "/v1/transit/keys/trimmed", {})
    keys = transit(vault, key="trimmed")
    wrapped = await keys.wrap(KEY, ABOUT)
    vault.ask("POST", "/v1/transit/keys/trimmed/rotate")
    vault.ask("POST", "/v1/transit/keys/trimmed/config", {"min_decryption_version": 2})
    with pytest.raises(ProviderFailed, match="its version is not allowed any more"):
        await keys.unwrap(wrapped, ABOUT)


async def test_a_real_vault_is_known_by_its_certificate(tmp_path: Path) -> None:
    if binary() is None:
        pytest.skip("neither bao nor vault is installed: make services")
    vault = VaultProcess(tls=True)
    try:
        vault.start()
        known = TransitKeys(
            vault.url,
            mount="transit",
            key="ambry",
            token_file=str(vault.token_file),
            authority_file=str(vault.authority),
        )
        assert await known.unwrap(await known.wrap(KEY, ABOUT), ABOUT) == KEY
        with pytest.raises(ProviderFailed, match="its certificate is not accepted"):
            await TransitKeys(vault.url, mount="transit", key="ambry", token_file=str(vault.token_file)).newest()
    finally:
        vault.close()


@contextlib.asynccontextmanager
async def answering(answer: bytes, token_file: Path) -> AsyncIterator[TransitKeys]:
    """A server that answers everybody the same."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    token_file.write_text("token")
    token_file.chmod(0o600)
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield TransitKeys(f"http://127.0.0.1:{port}", mount="transit", key="k", token_file=str(token_file))
    finally:
        server.close()


GOOD = b'{"data": {"latest_version": 3}}'


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "answered 0 bytes that are no answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 31\r\n", "no answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 31\r\n\r\n" + GOOD[:20], "ended before it was whole"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + GOOD[:20], "no JSON object"),
        (b"HTTP/1.1 200 OK\r\n\r\n[]", "no JSON object"),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", "has no data"),
        (b'HTTP/1.1 200 OK\r\n\r\n{"data": {"latest_version": true}}', "which version"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "does not speak HTTP/1.0"),
        (b"HTTP/1.1 503 Sealed\r\n\r\n{}", "status 503: the vault is sealed"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere\r\n\r\n", "status 302"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000, "more than"),
    ],
)
async def test_half_an_answer_is_none(answer: bytes, why: str, tmp_path: Path) -> None:
    async with answering(answer, tmp_path / "token") as keys:
        with pytest.raises(ProviderFailed, match=why):
            await keys.newest()


async def test_an_answer_of_another_kind_gives_no_key(tmp_path: Path) -> None:
    async with answering(b"HTTP/1.1 200 OK\r\n\r\n" + GOOD, tmp_path / "token") as keys:
        assert await keys.newest() == "3"
        with pytest.raises(ProviderFailed, match="no plaintext"):
            await keys.unwrap(Wrapped("3", b"vault:v3:eA=="), ABOUT)
        with pytest.raises(ProviderFailed, match="no ciphertext"):
            await keys.wrap(KEY, ABOUT)


async def test_nobody_who_listens_is_said(tmp_path: Path) -> None:
    async with answering(b"", tmp_path / "token") as keys:
        pass
    with pytest.raises(ProviderFailed, match="cannot be reached") as raised:
        await keys.newest()
    assert raised.value.away


@pytest.mark.parametrize(
    "url",
    ["vault.example.org:8200", "http://vault.example.org", "https://h/path", "ftp://h", "https://u@h", "https://["],
)
def test_an_address_that_cannot_work_is_refused(url: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"encryption\.url"):
        TransitKeys(url, mount="transit", key="k", token_file="t")
