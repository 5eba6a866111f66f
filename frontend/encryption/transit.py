"""Master keys in the transit engine of HashiCorp Vault, or of OpenBao, which has the same API: they never leave it.

One call is one connection: a request in HTTP/1.0, so that the answer ends with it and is in one piece. The token is read from
its file each time, so whoever renews it (vault agent, bao agent) only writes it there.

    POST /v1/MOUNT/encrypt/KEY   {"plaintext", "associated_data"}    {"data": {"ciphertext": "vault:v3:..."}}
    POST /v1/MOUNT/decrypt/KEY   {"ciphertext", "associated_data"}   {"data": {"plaintext"}}
    GET  /v1/MOUNT/keys/KEY                                          {"data": {"latest_version": 3}}
"""

from __future__ import annotations

import asyncio
import binascii
import re
import ssl
from base64 import b64decode, b64encode
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from ambry.address import authority, is_loopback
from ambry.errors import ConfigInvalid
from frontend.encryption.provider import ProviderFailed, Wrapped
from frontend.encryption.secret_files import SecretFile

ANSWER_BYTES_MAX = 64 << 10
_CIPHERTEXT = re.compile(r"[a-z]+:v([0-9]{1,18}):[A-Za-z0-9+/=]+")
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")
_SEALED = 503
_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")


class TransitKeys:
    """One key of one transit engine."""

    name = "vault"

    def __init__(
        self, url: str, *, mount: str, key: str, token_file: str, authority_file: str = "", namespace: str = ""
    ) -> None:
        """`authority_file`: certificates (PEM) of whoever vouches for it; empty: those of this machine.

        Raises ConfigInvalid.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            parts, host, port = urlsplit(""), None, None
        if parts.scheme not in ("http", "https") or not host or parts.path.strip("/") or parts.query or parts.username:
            raise ConfigInvalid("encryption.url is that of a Vault server: https://vault.example.org:8200")
        if parts.scheme == "http" and not is_loopback(host):
            raise ConfigInvalid("encryption.url must be https: keys would cross the network for everybody to read")
        self._tls: ssl.SSLContext | None = None
        if parts.scheme == "https":
            try:
                self._tls = ssl.create_default_context(cafile=authority_file or None)
            except OSError as cause:
                raise ConfigInvalid(f"encryption.authority: {authority_file}: {cause}") from None
            self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._host, self._port = host, port or 8200
        self._mount = quote(mount.strip("/"))
        self._key = quote(key, safe="")
        self._namespace = namespace
        self._token = SecretFile(token_file)

    async def newest(self) -> str:
        version = (await self._call("GET", "keys", None)).get("latest_version")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise ProviderFailed("it does not say which version of its key is the latest", away=True)
        return str(version)

    async def wrap(self, key: bytes, about: bytes) -> Wrapped:
        answer = await self._call("POST", "encrypt", {"plaintext": _text(key), "associated_data": _text(about)})
        text = answer.get("ciphertext")
        match = _CIPHERTEXT.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise ProviderFailed("its answer has no ciphertext", away=True)
        return Wrapped(match[1], match[0].encode())

    async def unwrap(self, wrapped: Wrapped, about: bytes) -> bytes:
        asked = {"ciphertext": wrapped.text.decode("ascii", "replace"), "associated_data": _text(about)}
        try:
            return b64decode((await self._call("POST", "decrypt", asked))["plaintext"], validate=True)
        except (KeyError, TypeError, ValueError, binascii.Error):
            raise ProviderFailed("its answer has no plaintext", away=True) from None

    async def _call(self, method: str, what: str, body: dict[str, str] | None) -> dict[str, Any]:
        """What an answer has under `data`."""
        token = (await asyncio.to_thread(self._token.read)).strip()
        if _TOKEN.fullmatch(token) is None:
            raise ProviderFailed("encryption.token_file holds no token", away=False)
        status, said = await self._exchange(method, f"/v1/{self._mount}/{what}/{self._key}", token, body)
        try:
            answer = msgspec.json.decode(said) if said else {}
        except (msgspec.DecodeError, UnicodeDecodeError):
            answer = None
        if not isinstance(answer, dict):
            raise ProviderFailed(f"it answered {what} with {len(said)} bytes that are no JSON object", away=True)
        if status != HTTPStatus.OK:
            # 4xx is an answer. What it says may quote what was sent, so it is not passed on.
            why = _WHY.get(status, f"status {status}")
            raise ProviderFailed(f"it refused {what}: {why}", away=status >= 500 or status == 429)
        data = answer.get("data")
        if not isinstance(data, dict):
            raise ProviderFailed(f"its answer to {what} has no data", away=True)
        return data

    async def _exchange(self, method: str, path: str, token: str, body: dict[str, str] | None) -> tuple[int, bytes]:
        """The status and the body of its answer."""
        content = b"" if body is None else msgspec.json.encode(body)
        head = [
            f"{method} {path} HTTP/1.0",
            f"Host: {authority(self._host, self._port)}",
            f"X-Vault-Token: {token}",
            "X-Vault-Request: true",
            "Content-Type: application/json",
            f"Content-Length: {len(content)}",
            "Connection: close",
            *([f"X-Vault-Namespace: {self._namespace}"] if self._namespace else []),
            "\r\n",
        ]
        writer = None
        try:
            name = self._host if self._tls is not None else None
            reader, writer = await asyncio.open_connection(
                self._host, self._port, ssl=self._tls, server_hostname=name, limit=ANSWER_BYTES_MAX
            )
            writer.write("\r\n".join(head).encode() + content)
            await writer.drain()
            said = bytearray()
            while piece := await reader.read(ANSWER_BYTES_MAX):
                said += piece
                if len(said) > ANSWER_BYTES_MAX:
                    raise ProviderFailed(f"it answers more than {ANSWER_BYTES_MAX} bytes", away=True)
        except ssl.SSLCertVerificationError as cause:
            raise ProviderFailed(f"its certificate is not accepted: {cause.verify_message}", away=True) from None
        except OSError as cause:
            why = cause.strerror or type(cause).__name__
            raise ProviderFailed(f"{authority(self._host, self._port)} cannot be reached: {why}", away=True) from None
        finally:
            if writer is not None:
                # Not waited for: whoever does not answer may not say goodbye either.
                with suppress(OSError, RuntimeError):
                    writer.transport.abort()
        return _parsed(bytes(said))


_WHY = {
    400: "status 400: it was not encrypted by this key, or its version is not allowed any more",
    403: "status 403: the token does not let us, or is over",
    404: "status 404: there is no such key, or no transit engine at encryption.mount",
    429: "status 429: too many requests",
    _SEALED: "status 503: the vault is sealed, or down for maintenance",
}


def _parsed(said: bytes) -> tuple[int, bytes]:
    """An answer of HTTP that its end ends. Raises ProviderFailed for half of one."""
    head, separator, body = said.partition(b"\r\n\r\n")
    match = _STATUS.match(head)
    if match is None or not separator:
        raise ProviderFailed(f"it answered {len(said)} bytes that are no answer", away=True)
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip() != str(len(body)).encode():
            raise ProviderFailed("its answer ended before it was whole", away=True)
        if name.strip().lower() == b"transfer-encoding":
            raise ProviderFailed("it does not speak HTTP/1.0", away=True)
    return int(match[1]), body


def _text(data: bytes) -> str:
    return b64encode(data).decode()
