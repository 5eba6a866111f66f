"""How this client waits: the few things that its blocking twin does otherwise."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import copy_context
from functools import wraps
from types import TracebackType
from typing import Any, ParamSpec, Protocol, TypeVar

ASYNCHRONOUS = True

Sleep = Callable[[float], Awaitable[None]]

pause: Sleep = asyncio.sleep

FileBase = object
"""What a file is made of here."""

P = ParamSpec("P")
T = TypeVar("T")
Item = TypeVar("Item")


class Closable(Protocol):
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


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
            await self._result.__aexit__(kind, error, trace)

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
    """Call what waits for a disk, in a thread so that the loop goes on.

    Whoever is cancelled here goes on when the call is over: what it uses, such as a file, may be closed then.
    """
    context = copy_context()

    def within() -> T:
        return context.run(function, *args, **kwargs)

    call = asyncio.get_running_loop().run_in_executor(None, within)
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        while not call.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([call])
        if not call.cancelled():
            call.exception()  # It is known, and nobody is left to tell.
        raise


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


class AsyncMemoryGate:
    """Lets transfers hold so many bytes at a time, and others wait. In a forked child, and in another loop, nothing is held."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free = limit
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._of: object = None

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncGenerator[None]:
        """Bytes that are held until the end of the block: not more than there are at all, so that everybody's turn comes."""
        loop = asyncio.get_running_loop()
        if self._of != (os.getpid(), loop):
            self._of, self._free, self._waiting = (os.getpid(), loop), self._limit, deque()
        size = min(size, self._limit)
        if self._waiting or self._free < size:
            turn = loop.create_future()
            self._waiting.append((size, turn))
            try:
                await turn
            except BaseException:
                held = turn.done() and not turn.cancelled()
                self._waiting = deque(each for each in self._waiting if each[1] is not turn)
                self._give_back(size if held else 0)
                raise
        else:
            self._free -= size
        try:
            yield
        finally:
            self._give_back(size)

    def _give_back(self, size: int) -> None:
        self._free += size
        while self._waiting and self._waiting[0][0] <= self._free:
            wanted, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= wanted
                turn.set_result(None)


async def together(calls: Iterable[Awaitable[T]]) -> tuple[T, ...]:
    """The results of calls that are made at the same time."""
    return tuple(await asyncio.gather(*calls))
