"""Telling whoever is turned away in a handshake why: the alert of TLS (RFC 8446 section 6.2).

OpenSSL writes it, and asyncio and uvloop close the socket before they send what it wrote: the other end then sees a connection
that ended, and nobody there knows whether its certificate has expired or a cable was pulled.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from typing import Any

HEARD_WITHIN_S = 1.0
"""Time for the other end to take the alert: what it sends meanwhile is read and forgotten, or the kernel would reset it."""


class _Recording(ssl.SSLObject):
    """One whose alert can be had when its handshake has failed."""

    _outgoing: ssl.MemoryBIO

    @classmethod
    def _create(cls, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *rest: Any, **more: Any) -> _Recording:
        made: _Recording = super()._create(incoming, outgoing, *rest, **more)  # type: ignore[misc]
        made._outgoing = outgoing
        return made

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            error.last_words = self._outgoing.read()  # type: ignore[attr-defined]
            raise


async def adopt(
    connection: asyncio.BaseProtocol, sock: socket.socket, context: ssl.SSLContext, *, within_s: float, told: bool
) -> None:
    """Serve an accepted socket in TLS; it is closed where that fails. Raises OSError, after the other end was `told`, if so.

    To be told takes a second descriptor. Where there is none left it is not told, and nothing else changes.
    """
    context.sslobject_class = _Recording
    kept: socket.socket | None = None
    if told:
        with suppress(OSError):
            kept = sock.dup()
    try:
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: connection, sock, ssl=context, ssl_handshake_timeout=within_s
        )
    except OSError as error:
        sock.close()
        words = getattr(error, "last_words", b"")
        if words and kept is not None:
            await tell(kept, words)
        raise
    finally:
        if kept is not None:
            kept.close()


async def tell(sock: socket.socket, words: bytes) -> None:
    """Send the last that is said over a socket, and wait for the other end to take it, or to close."""
    loop = asyncio.get_running_loop()
    with suppress(OSError):  # the other end may be gone
        async with asyncio.timeout(HEARD_WITHIN_S):
            await loop.sock_sendall(sock, words)
            sock.shutdown(socket.SHUT_WR)
            while await loop.sock_recv(sock, 16 << 10):
                pass
