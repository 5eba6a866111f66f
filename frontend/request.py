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
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from frontend.container import Container
from frontend.limits.meters import Meter
from frontend.who import NOBODY, Who


class RequestContext(msgspec.Struct, eq=False, kw_only=True):
    """One request; lives as long as it."""

    id: str
    """In every answer and every log line about this request, also those of the data nodes."""
    timeout_s: float
    deadline: float
    """On the event loop's clock; the client has its answer by then."""
    client: str = ""
    """The address that it comes from; empty where the connection ended."""
    proxy: str = ""
    """That of the trusted proxy which told so; empty where nobody stands between."""
    scheme: str = ""
    """In which its client asked, as a trusted proxy told; empty where none did."""
    container: Container | None = None
    """What it is about: where an upload goes, or where the blob is that it names. None until that is known, or for a page."""
    who: Who = NOBODY
    """Who asks."""
    standing: Callable[[RequestContext], None] | None = None
    """Raises where it would be refused now, or answered otherwise; None where nothing can change that."""
    as_everybody: bool = False
    """Whether it may be because the container is everybody's to read, and nothing that was granted lets it."""
    meter: Meter | None = None
    """Theirs; None until the request has its place in their rate."""
    changes: bool = False
    """Whether its operation changes something."""
    path: str = ""
    """What it is sent to, without a query; empty where the operation says it."""
    trace: str = ""
    """The trace that its client says it belongs to: 32 hexadecimal digits, for the log alone; empty for none."""
    asked: Any = None
    """Its body, where that is a short one in JSON."""
    items: Sequence[Mapping[str, Any]] = ()
    """Of a batch, what became of those items that an audit tells of, as they are answered."""
    paced: int = 0
    """Bytes of it that waited for their turn in that rate, and are counted in it."""

    @staticmethod
    def of_ours(
        random_source: random.Random, *, timeout_s: float, container: Container | None = None
    ) -> RequestContext:
        """Of what runs beside requests. Nobody waits for it; the time begins now."""
        request = RequestContext(
            id=random_source.randbytes(16).hex(), timeout_s=timeout_s, deadline=0.0, container=container
        )
        request.renew()
        return request

    def left_s(self) -> float:
        """Seconds until the deadline, 0 when it has passed."""
        return max(0.0, self.deadline - asyncio.get_running_loop().time())

    def check_standing(self) -> None:
        """Whether it would still be let in: it may go on for long.

        Raises Unauthenticated where the key of who asks was revoked, changed or expired since; that or AccessDenied where the
        container is not everybody's any more; AccessDenied where it is inactive since; UpdateConflict where it is encrypted
        since, and written to.
        """
        if self.standing is not None:
            self.standing(self)

    def renew(self) -> None:
        """The stream made progress: the whole time is left again. Raises as check_standing."""
        self.check_standing()
        self.deadline = asyncio.get_running_loop().time() + self.timeout_s
