"""How this client waits: the few things that its blocking twin does otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Sequence
from functools import wraps
from types import TracebackType
from typing import Any, ParamSpec, Protocol, TypeVar

ASYNCHRONOUS = True

Sleep = Callable[[float], Awaitable[None]]

pause: Sleep = asyncio.sleep

P = ParamSpec("P")
T = TypeVar("T")
Item = TypeVar("Item")


class Closable(Protocol):
    async def close(self) -> None: ...


R = TypeVar("R", bound=Closable)


class Opening(Coroutine[Any, Any, R]):
    """What a call that opens something gives: await it, or use it in an `async with`, as its blocking twin in a `with`."""

    def __init__(self, opened: Coroutine[Any, Any, R]) -> None:
        self._opened = opened
        self._result: R | None = None

    def __await__(self) -> Generator[Any, Any, R]:
        return self._opened.__await__()

    async def __aenter__(self) -> R:
        self._result = await self._opened
        return self._result

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._result is not None:
            await self._result.close()

    def send(self, value: Any) -> Any:
        return self._opened.send(value)

    def throw(self, *raised: Any) -> Any:
        return self._opened.throw(*raised)

    def close(self) -> None:
        self._opened.close()


def opening(method: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Opening[R]]:
    """A method whose result may be awaited, or used in an `async with` at once."""

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> Opening[R]:
        return Opening(method(*args, **kwargs))

    return call


async def blocking(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call what waits for a disk, in a thread so that the loop goes on."""
    return await asyncio.to_thread(function, *args, **kwargs)


async def at_once(
    call: Callable[[Item], Awaitable[T]], items: Sequence[Item], limit: int, stop: Callable[[], None]
) -> list[T]:
    """The results of `call` for all items, in their order, at most `limit` at a time.

    The first failure is raised when none goes on any more; `stop` is called before they are waited for.
    """
    results: dict[int, T] = {}
    left = iter(enumerate(items))

    async def work() -> None:
        for number, item in left:
            results[number] = await call(item)

    tasks = [asyncio.ensure_future(work()) for _ in range(min(limit, len(items)))]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    return [results[number] for number in range(len(items))]


async def together(calls: Iterable[Awaitable[T]]) -> tuple[T, ...]:
    """The results of calls that are made at the same time."""
    return tuple(await asyncio.gather(*calls))
