"""The next release, played: its messages have fields more, its hello a higher version and a feature that nobody here knows.

And it tries a type of message that came with it. `be_the_next_release` makes a whole process one
(tests/support/planted_process.py).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from ambry.errors import NotUnderstood
from ambry.network.introduction import RPC_VERSION_MAX, Introduction
from ambry.network.line import Line
from ambry.network.pool import Peer
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Empty, Hello, Message
from ambry.service.logs import get_logger

log = get_logger()

LATER_TYPE = 77
LATER_FLAG = 0x40
RELEASE = "99.0.0"
REFUSED = "what only the next release knows was refused"
"""It logs that, once per connection to a process that told it so."""
TIMEOUT_S = 30.0


def longer(encoded: bytes) -> bytes:
    """A message as the next release sends it: two fields more at its end, one of them a table."""
    return msgspec.msgpack.encode([*msgspec.msgpack.decode(encoded), "later", {"more": [1, 2, 3]}])


def of_next_release(message: Message, **changes: object) -> bytes:
    return longer(messages.encode(msgspec.structs.replace(message, **changes)))


def later_hello(hello: Hello) -> Hello:
    return msgspec.structs.replace(
        hello,
        version_max=RPC_VERSION_MAX + 1,
        features=(*hello.features, "teleport"),
        release=RELEASE,
        layout_version=7,
    )


def be_the_next_release(patch: pytest.MonkeyPatch) -> None:
    encode: Callable[[Message], bytes] = messages.encode
    hello = Introduction.hello
    ping = Peer._ping_until_lost

    async def try_something_new(self: Peer, line: Line) -> None:
        try:
            await line.connection.request(LATER_TYPE, Empty(), timeout_s=TIMEOUT_S)
        except NotUnderstood as error:
            log.info(REFUSED, peer=self.node.name, error=error.message)
        await ping(self, line)

    patch.setattr(messages, "encode", lambda message: longer(encode(message)))
    patch.setattr(Introduction, "hello", lambda self, expected="": later_hello(hello(self, expected)))
    patch.setattr(Peer, "_ping_until_lost", try_something_new)
