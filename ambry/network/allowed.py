"""The handlers of a connection whose other end has shown a certificate: those of what its role asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ambry.errors import AccessDenied
from ambry.network.identity import ASKED_BY
from ambry.protocol.frame import MessageType
from ambry.service.tls import NodeIdentity

Handler = Callable[[Any, Any], None]


def allowed_to(shown: NodeIdentity | None, handlers: Mapping[int, Handler]) -> dict[int, Handler]:
    """The same handlers, and in place of those of other roles than `shown` has one that refuses."""
    return {
        type: handler if shown is not None and shown.role in ASKED_BY.get(type, ()) else _refuses(type, shown)
        for type, handler in handlers.items()
    }


def before_hello(handlers: Mapping[int, Handler]) -> dict[int, Handler]:
    """The same, and in place of all but the hello one that refuses: a certificate may be of another cluster."""
    refuse = _refusing("say first who you are and of which cluster; nothing is answered before that")
    return {type: handler if type == MessageType.HELLO else refuse for type, handler in handlers.items()}


def to_nobody(handlers: Mapping[int, Handler], why: str) -> dict[int, Handler]:
    """In place of all one that refuses, as its certificate is not good any more."""
    return dict.fromkeys(handlers, _refusing(f"the certificate of this connection is not good any more: {why}"))


def _refuses(type: int, shown: NodeIdentity | None) -> Handler:
    who = "a certificate that says nothing of who it is" if shown is None else f"the certificate of {shown.uri}"
    return _refusing(f"{who} does not let it ask for {MessageType(type).name}")


def _refusing(why: str) -> Handler:
    def refuse(_frame: Any, _responder: Any) -> None:
        raise AccessDenied(why)

    return refuse
