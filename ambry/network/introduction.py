"""Who this process is, as it tells every peer in its hello, and whom it takes for a peer.

A hello goes both ways as the first exchange of a connection. Both ends check it: a node of another cluster, another node than
the layout says, or a release whose range of versions does not meet ours is refused, in a sentence that names both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ambry import __version__
from ambry.clock import Clock
from ambry.errors import ReleaseMismatch, StoreMismatch
from ambry.protocol.messages.base import Hello

RPC_VERSION_MIN = 1
RPC_VERSION_MAX = 1
"""What of the RPC this release speaks. A connection uses the highest version that both ends speak."""
CANCEL = "cancel"
"""A caller may give a call up, by a message of its own."""
SEGMENTS = "segments"
"""Whole segments of its logs may be copied (ambry/protocol/messages/segments.py)."""
FEATURES = (CANCEL, SEGMENTS)
"""What this release understands beyond its versions, by name. Nothing of it is sent to a peer that lacks the name."""
REQUESTS_MAX = 1024
REQUEST_BYTES_MAX = 64 << 20
"""What this process takes on one connection at once: requests that are not answered, and bytes of their bodies."""
INSTANCE_SIZE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Introduction:
    """One process of a cluster. `instance` is random, of INSTANCE_SIZE bytes: a process that restarts is another one."""

    cluster: str
    name: str
    layout_version: int
    instance: bytes
    clock: Clock
    told_ms: Callable[[], int]
    """The wall time that peers are told: that of `clock`, or 0 while it is in doubt here."""

    def hello(self, expected: str = "") -> Hello:
        """What to say now, to the node `expected` or to whoever asked."""
        return Hello(
            cluster=self.cluster,
            name=self.name,
            expected=expected,
            version_min=RPC_VERSION_MIN,
            version_max=RPC_VERSION_MAX,
            features=FEATURES,
            layout_version=self.layout_version,
            now_ms=self.told_ms(),
            instance=self.instance,
            release=__version__,
            requests_max=REQUESTS_MAX,
            bytes_max=REQUEST_BYTES_MAX,
        )

    def check_caller(self, hello: Hello) -> None:
        """Raises StoreMismatch, ReleaseMismatch unless we are whom a caller asks for."""
        if hello.cluster != self.cluster or hello.expected not in ("", self.name):
            expected = hello.expected or "a node"
            raise StoreMismatch(f"this is {self.name} of cluster {self.cluster}, not {expected} of {hello.cluster}")
        self._check_versions(hello)

    def check_node(self, hello: Hello, *, name: str, address: str) -> None:
        """Raises StoreMismatch, ReleaseMismatch unless who answered at `address` is node `name`."""
        if (hello.cluster, hello.name) != (self.cluster, name):
            raise StoreMismatch(
                f"{address} is {hello.name} of cluster {hello.cluster}, not {name} of {self.cluster}; check the layout"
            )
        self._check_versions(hello)

    def _check_versions(self, hello: Hello) -> None:
        if hello.version_min > RPC_VERSION_MAX or hello.version_max < RPC_VERSION_MIN:
            raise ReleaseMismatch(
                f"{self.name} (release {__version__}) speaks versions {RPC_VERSION_MIN} to {RPC_VERSION_MAX} of the RPC, "
                f"{hello.name} (release {hello.release or 'unknown'}) speaks {hello.version_min} to {hello.version_max}; "
                "upgrade one release at a time"
            )
