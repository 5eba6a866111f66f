"""TLS as the clients speak it: 1.2 or newer, HTTP/1.1, and the server's certificate always verified."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path
from typing import Any

from ambry.client.credentials import file_stamp, refuse_shared
from ambry.client.model import TLSConfig
from ambry.clock import Clock
from ambry.errors import ConfigInvalid


class PeekedSocket(ssl.SSLSocket):
    """One that can tell whether an answer is there. That there is something to read says little: it may be a session
    ticket, which the server sends when it likes (RFC 8446 section 4.6.1)."""

    _peeked = b""

    def has_answer(self) -> bool:
        """Whether bytes of the answer, or the end of the connection, are there."""
        if self._peeked or self.pending():
            return True
        before = self.gettimeout()
        self.settimeout(0)
        try:
            self._peeked = self.recv(1)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError:
            return True
        finally:
            self.settimeout(before)
        return True

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        if not self._peeked:
            return super().recv(buflen, flags)
        first, self._peeked = self._peeked, b""
        return first

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        if not self._peeked:
            return super().recv_into(buffer, nbytes, flags)
        view = memoryview(buffer)
        if not len(view):
            return 0
        view[:1], self._peeked = self._peeked, b""
        return 1


LOOK_EVERY_S = 1.0


class ClientTls:
    """What connections are made with: what the files hold, which may be others while the client lives."""

    def __init__(self, tls: TLSConfig | None, clock: Clock) -> None:
        """Raises ConfigInvalid for files that cannot be used."""
        self._tls = tls
        self._clock = clock
        self._seen = self._stamps()
        self._look_at = clock.monotonic() + LOOK_EVERY_S
        self._context = client_context(tls)

    def context(self) -> ssl.SSLContext:
        """Of now. Files that have changed and cannot be used change nothing: somebody may be writing them."""
        now = self._clock.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY_S
            stamps = self._stamps()
            if stamps != self._seen:
                with contextlib.suppress(ConfigInvalid):
                    self._context = client_context(self._tls)
                    self._seen = stamps
        return self._context

    def _stamps(self) -> list[tuple[int, int, int] | None]:
        tls = self._tls or TLSConfig()
        return [file_stamp(Path(each)) for each in (tls.ca, tls.cert, tls.key) if each is not None]


def client_context(tls: TLSConfig | None) -> ssl.SSLContext:
    """What connections are made with. Raises ConfigInvalid for files that cannot be used."""
    tls = tls or TLSConfig()
    try:
        context = ssl.create_default_context(cafile=tls.ca)
    except OSError as cause:
        raise ConfigInvalid(f"cannot use the authorities of {tls.ca}: {_reason(cause)}") from cause
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if tls.cert is not None:
        private = Path(tls.key or tls.cert)
        try:
            refuse_shared(private, private.stat())
            # Asked at a terminal otherwise, by whoever uses this library.
            context.load_cert_chain(tls.cert, tls.key, password=lambda: "")
        except OSError as cause:
            raise ConfigInvalid(
                f"cannot use the certificate {tls.cert} with the key {tls.key or tls.cert}: {_reason(cause)}"
            ) from cause
    context.sslsocket_class = PeekedSocket
    return context


def _reason(cause: OSError) -> str:
    if isinstance(cause, ssl.SSLError):
        return (cause.reason or "it is not PEM").replace("_", " ").lower()
    return cause.strerror or str(cause)
