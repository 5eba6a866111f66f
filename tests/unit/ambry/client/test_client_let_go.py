"""A call that failed keeps nothing of what it was given, once its error is let go of: no cycle holds it until a collection.

Each refused put kept its body of megabytes so, as its error kept the frames that it came through and one of those the error;
a program that tried again and again grew by all of them.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any
from weakref import ref

import pytest

from ambry import AmbryClient, AmbryError, AsyncAmbryClient, RetryPolicy
from tests.support.stub_frontend import StubFrontend

pytestmark = pytest.mark.parametrize("kind", ["sync", "async"])


class Body(bytearray):
    """Bytes of which it can be known whether somebody has them."""


@pytest.fixture(autouse=True)
def no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def lets_go(kind: str, url: str, attempts: int, blob: str | None = None) -> bool:
    """Whether a body is gone when a put of it, or a get of `blob` into it, has failed."""
    retry = RetryPolicy(max_attempts=attempts, base=0.0)
    watched: list[Any] = []

    def made() -> Body:
        body = Body(1 << 20)
        watched.append(ref(body))
        return body

    def blocking(body: Body) -> bool:
        try:
            if blob is None:
                client.put(body)
            else:
                with client.get(blob) as reader:
                    reader.readinto(body)
        except AmbryError:
            return True
        return False

    async def awaiting(body: Body) -> bool:
        async with AsyncAmbryClient(url, retry=retry) as client:
            try:
                if blob is None:
                    await client.put(body)
                else:
                    async with await client.get(blob) as reader:
                        await reader.readinto(body)
            except AmbryError:
                return True
        return False

    if kind == "sync":
        with AmbryClient(url, retry=retry) as client:
            assert blocking(made()), "it did not fail"
    else:
        assert asyncio.run(awaiting(made())), "it did not fail"
    return watched[0]() is None


@pytest.mark.parametrize(
    "how",
    [
        {"kind": "status", "status": 412, "code": "PreconditionFailed"},
        {"kind": "status", "status": 507, "code": "InsufficientStorage"},
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 503, "early": True},
        {"kind": "status", "status": 503, "retry_after": "100000"},
        {"kind": "status", "status": 500, "plain": True},
        {"kind": "reset-before"},
        {"kind": "reset-after"},
        {"kind": "foreign"},
        {"kind": "wrong-digest"},
    ],
    ids=lambda how: "-".join(map(str, how.values())),
)
@pytest.mark.parametrize("attempts", [1, 3])
def test_a_put_that_failed(kind: str, stub: StubFrontend, how: dict[str, Any], attempts: int) -> None:
    for _ in range(attempts):
        stub.fail("POST", **how)
    assert lets_go(kind, stub.url, attempts)


@pytest.mark.parametrize("attempts", [1, 3])
def test_a_put_to_nobody(kind: str, attempts: int) -> None:
    assert lets_go(kind, "http://127.0.0.1:1", attempts)


@pytest.mark.parametrize("fault", ["corrupt", "cut", "reset", "reset-before", "foreign"])
def test_a_read_that_failed(kind: str, stub: StubFrontend, fault: str) -> None:
    blob = stub.add(bytes(1 << 20))
    for _ in range(40):
        stub.fail("GET", fault, after=1000)
    assert lets_go(kind, stub.url, 2, blob)
