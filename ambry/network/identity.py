"""What a node may ask of another, by the role in its certificate.

A certificate of a frontend does what frontends do and nothing that data nodes do among themselves, so whoever steals one cannot
pull logs; one of a data node puts and deletes nothing.
"""

from __future__ import annotations

import ssl
from asyncio import BaseTransport
from typing import NamedTuple

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


class Shown(NamedTuple):
    """What the certificate at the other end of a connection says: who that is, if it does, and until when it is good."""

    identity: NodeIdentity | None
    until_ms: int


def shown_on(transport: BaseTransport) -> Shown | None:
    """None in the clear."""
    found: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    if found is None:
        return None
    certificate = found.getpeercert() or {}
    until = certificate.get("notAfter")
    return Shown(identity_of(certificate), ssl.cert_time_to_seconds(until) * 1000 if isinstance(until, str) else 0)


def check_shown(on: Shown | None, *, cluster: str, name: str, role: NodeRole | None = None) -> None:
    """See that a certificate was shown for what its owner says to be. Raises StoreMismatch; nothing in the clear."""
    if on is None:
        return
    shown = on.identity
    if shown is None:
        raise StoreMismatch(
            f"{name} shows a certificate that says nothing of who it is (ambry://<cluster>/<role>/<name>)"
        )
    if (shown.cluster, shown.name) != (cluster, name) or (role is not None and shown.role is not role):
        wanted = f"{name} of cluster {cluster}" if role is None else f"the {role.value} {name} of cluster {cluster}"
        raise StoreMismatch(f"its certificate is for {shown.uri}, and not for {wanted}")


def check_sender(shown: Shown | None, name: str) -> None:
    """See that a request which names its sender comes from it. Raises AccessDenied; nothing in the clear."""
    if shown is None:
        return
    if shown.identity is None or name != shown.identity.name:
        who = shown.identity.uri if shown.identity is not None else "nobody"
        raise AccessDenied(f"the certificate of {who} does not let it ask in the name of {name or 'nobody'}")
