"""Two ends of TLS in memory."""

from __future__ import annotations

import ssl

from ambry.service.tls import NodeTlsSection, calling_context, serving_context


def shaken(server: NodeTlsSection, client: NodeTlsSection) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends of a connection between nodes. Raises ssl.SSLError where one turns the other away."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        serving_context(server).wrap_bio(to_server, to_client, server_side=True),
        calling_context(client).wrap_bio(to_client, to_server),
    )
    done: set[int] = set()
    while len(done) < len(ends):
        for index, end in enumerate(ends):
            try:
                end.do_handshake()
                done.add(index)
            except ssl.SSLWantReadError:
                pass
    return ends


def lets_in(server: NodeTlsSection, client: NodeTlsSection) -> str:
    """Why one of them turns the other away; empty where none does."""
    try:
        shaken(server, client)
    except ssl.SSLError as error:
        return getattr(error, "verify_message", "") or str(error)
    return ""
