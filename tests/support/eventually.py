"""Waiting, on the event loop, for something that tells nobody when it happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

GIVE_UP_S = 60.0
LOOK_EVERY_S = 0.002


async def eventually(condition: Callable[[], object]) -> None:
    """Until `condition` holds. Raises TimeoutError long after it should have."""
    async with asyncio.timeout(GIVE_UP_S):
        while not condition():  # noqa: ASYNC110 - there is nothing to wait on
            await asyncio.sleep(LOOK_EVERY_S)
