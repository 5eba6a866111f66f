"""What every part of a frontend knows of the request that it works for.

One object per request. It is made where the request arrives, is filled in as the request is understood, and goes first into
every call from there down to the router.

The deadline bounds how long a client waits for us while nothing moves. It is not the length of an upload or a download:
whoever moves a stream on renews it.

There is no priority among requests: what must not wait behind the large and the slow (small bodies, small reads) is told by the
size of what it needs, where memory is taken (`Need` in frontend/router/budget.py).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ContainerId:
    """A container by the numbers that stand in blob ids, 32 bits each."""

    account: int
    container: int


class RequestContext:
    """One request; lives as long as it."""

    __slots__ = ("_timeout_s", "container", "deadline", "id")

    def __init__(self, id: str, *, timeout_s: float, container: ContainerId | None = None) -> None:
        """`timeout_s` from now on the running event loop's clock."""
        self.id = id
        """In every answer and every log line about this request, also those of the data nodes."""
        self.container = container
        """Where an upload goes, None until that is known. Other requests name a blob, whose id says where it is."""
        self._timeout_s = timeout_s
        self.deadline = asyncio.get_running_loop().time() + timeout_s
        """On the event loop's clock; the client has its answer by then."""

    def left_s(self) -> float:
        """Seconds until the deadline, 0 when it has passed."""
        return max(0.0, self.deadline - asyncio.get_running_loop().time())

    def renew(self) -> None:
        """The stream made progress: the whole time is left again."""
        self.deadline = asyncio.get_running_loop().time() + self._timeout_s
