"""Run one test against both clients: the async one behind a blocking face."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any

from ambry import AmbryClient, AsyncAmbryClient, RetryPolicy

WRAPPED = (
    "AsyncBlobReader",
    "AsyncBlobFile",
    "AsyncBlobWriter",
    "AsyncPager",
    "AsyncChangesFeed",
    "AsyncKeys",
    "AsyncEncryption",
    "AsyncUpload",
)
QUICK = RetryPolicy(base=0.0)


class FakeClock:
    """Time that passes only in `sleep`, and what was slept."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def wall_ms(self) -> int:
        return int(self.now * 1000)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    async def pause(self, seconds: float) -> None:
        self.sleep(seconds)


class Blocking:
    """An object of the async client whose awaitables are awaited at once."""

    def __init__(self, target: Any, runner: asyncio.Runner) -> None:
        self._target = target
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        return self._call(value) if callable(value) else self._wrap(value)

    def __enter__(self) -> Blocking:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Any]:
        return self._iterate(self._target.__aiter__())

    def _call(self, method: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            if isinstance(result, AsyncIterator) and type(result).__name__ not in WRAPPED:
                return self._iterate(result)
            return self._wrap(self._runner.run(result) if isinstance(result, Coroutine) else result)

        return call

    def _iterate(self, source: Any) -> Iterator[Any]:
        async def following() -> Any:
            return await anext(source, None)

        while (item := self._runner.run(following())) is not None:
            yield item

    def _wrap(self, value: Any) -> Any:
        return Blocking(value, self._runner) if type(value).__name__ in WRAPPED else value


class Twins:
    """Makes clients of one kind, and closes them."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.clock = FakeClock()
        self._runner = asyncio.Runner()
        self._made: list[Any] = []

    def connect(self, *endpoints: str, fake_time: bool = False, **options: Any) -> Any:
        options.setdefault("retry", QUICK)
        if fake_time:
            options |= {"_clock": self.clock, "_sleep": self.clock.sleep if self.kind == "sync" else self.clock.pause}
        if self.kind == "sync":
            client: Any = AmbryClient(endpoints, **options)
        else:
            client = Blocking(AsyncAmbryClient(endpoints, **options), self._runner)
        self._made.append(client)
        return client

    def close(self) -> None:
        for client in self._made:
            client.close()
        self._runner.close()
