"""What a node may ask of another, by the role in its certificate.

A certificate of a frontend does what frontends do and nothing that data nodes do among themselves, so whoever steals one cannot
pull logs; one of a data node puts and deletes nothing.
"""

from __future__ import annotations

import ssl
from asyncio import BaseTransport

from ambry.errors import AccessDenied, StoreMismatch
from ambry.protocol.frame import MessageType
from ambry.service.tls import NodeIdentity, NodeRole, identity_of

_FRONTENDS = frozenset({NodeRole.FRONTEND})
_DATA_NODES = frozenset({NodeRole.DATANODE})
_NODES = _FRONTENDS | _DATA_NODES

ASKED_BY: dict[int, frozenset[NodeRole]] = {
    MessageType.HELLO: _NODES,
    MessageType.PING: _NODES,
    MessageType.CANCEL: _NODES,
    MessageType.PUT: _FRONTENDS,
    MessageType.PUTS: _FRONTENDS,
    MessageType.GET: _FRONTENDS,
    MessageType.GETS: _FRONTENDS,
    MessageType.UPDATE: _FRONTENDS,
    MessageType.PRESENCE: _FRONTENDS,
    MessageType.USAGE: _FRONTENDS,
    MessageType.FEED: _FRONTENDS,
    MessageType.WATCH: _FRONTENDS,
    MessageType.CHANGES: _DATA_NODES,
    MessageType.FETCH: _DATA_NODES,
    MessageType.FATES: _DATA_NODES,
    MessageType.DIGESTS: _DATA_NODES,
    MessageType.ENTRIES: _DATA_NODES,
    MessageType.SEGMENTS: _DATA_NODES,
    MessageType.SEGMENT_RECORDS: _DATA_NODES,
    MessageType.SEGMENT_BYTES: _DATA_NODES,
    MessageType.METADATA_LOG: _FRONTENDS,
    MessageType.METADATA_NEWEST: _FRONTENDS,
    MessageType.METADATA_HEAD: _FRONTENDS,
}


def shown_on(transport: BaseTransport | None) -> NodeIdentity | None:
    """Who is at the other end, as its certificate says; None in the clear, or where it says nothing."""
    shown: ssl.SSLObject | None = None if transport is None else transport.get_extra_info("ssl_object")
    return None if shown is None else identity_of(shown.getpeercert())


def in_tls(transport: BaseTransport | None) -> bool:
    """Whether what goes over it is encrypted."""
    return transport is not None and transport.get_extra_info("ssl_object") is not None


def check_shown(shown: NodeIdentity | None, *, cluster: str, name: str, role: NodeRole | None = None) -> None:
    """See that the certificate that was shown is for what its owner says to be. Raises StoreMismatch."""
    if shown is None:
        raise StoreMismatch(
            f"{name} shows a certificate that says nothing of who it is (ambry://<cluster>/<role>/<name>)"
        )
    if (shown.cluster, shown.name) != (cluster, name) or (role is not None and shown.role is not role):
        wanted = f"{name} of cluster {cluster}" if role is None else f"the {role.value} {name} of cluster {cluster}"
        raise StoreMismatch(f"its certificate is for {shown.uri}, and not for {wanted}")


def check_sender(shown: NodeIdentity | None, name: str) -> None:
    """See that a request which names its sender comes from it. Raises AccessDenied; nothing in the clear."""
    if shown is not None and name != shown.name:
        raise AccessDenied(f"the certificate of {shown.uri} does not let it ask in the name of {name or 'nobody'}")
