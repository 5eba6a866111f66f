"""How this client waits: the few things that its blocking twin does otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import ParamSpec, TypeVar

ASYNCHRONOUS = True

Sleep = Callable[[float], Awaitable[None]]

pause: Sleep = asyncio.sleep

P = ParamSpec("P")
T = TypeVar("T")


async def blocking(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call what waits for a disk, in a thread so that the loop goes on."""
    return await asyncio.to_thread(function, *args, **kwargs)


async def together(calls: Iterable[Awaitable[T]]) -> tuple[T, ...]:
    """The results of calls that are made at the same time."""
    return tuple(await asyncio.gather(*calls))
