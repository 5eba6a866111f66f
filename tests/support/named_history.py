"""Clients of names over HTTP that record what they asked for and what came of it (tests/support/linear.py).

A version is known by its blob, of which there is one for each put. Frontends may be killed at any time: of what was not
answered, or was answered by a 5xx, nobody knows whether it was done.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import msgspec

from tests.support.linear import Kind, Operation, Written

HERE = "/named/default/default"
KEYS = ("a", "b", "c/d", "e")
ANSWER_S = 30.0
"""Longer than any request may take."""


class Told(msgspec.Struct, frozen=True):
    """An answer: its status, its headers by name in lower case, its body."""

    status: int
    headers: dict[str, str]
    body: bytes


async def ask(url: str, method: str, path: str, headers: str = "", body: bytes = b"") -> Told:
    """One request on a connection of its own. Raises OSError, EOFError, TimeoutError where there is no whole answer."""
    parts = urlsplit(url)
    async with asyncio.timeout(ANSWER_S):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=8 << 20)
        try:
            length = f"Content-Length: {len(body)}\r\n" if method == "PUT" else ""
            head = f"{method} {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{length}{headers}\r\n"
            writer.write(head.encode() + body)
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
            status = int(first.split()[1])
            size = int(fields.get("content-length", "0"))
            return Told(status, fields, await reader.readexactly(size))
        finally:
            writer.close()


class Numbers:
    """A number for each blob, so that versions can be told by numbers."""

    def __init__(self) -> None:
        self._of: dict[str, int] = {}

    def of(self, blob_id: str) -> int:
        return self._of.setdefault(blob_id.removeprefix("/"), len(self._of) + 1)


class NameClient:
    """Does one thing after the other, on names that all share, at whichever frontend it likes."""

    def __init__(self, name: str, urls: Sequence[str], numbers: Numbers, note: Callable[[Operation], None]) -> None:
        self._name = name
        self._urls = urls
        self._numbers = numbers
        self._note = note
        self._random = random.Random(name)
        self._seen: dict[str, Told] = {}
        """By name: the last living version that it wrote or read."""
        self.unknown = 0
        """Operations of which nobody knows whether they were done."""

    async def run(self, operations: int) -> None:
        number = 0
        while number < operations:
            key = self._random.choice(KEYS)
            begun_ns = time.monotonic_ns()
            try:
                done = await self._do(key, number, begun_ns)
            except ConnectionRefusedError:
                await asyncio.sleep(0.005)
                continue  # nothing was done
            except (OSError, EOFError, TimeoutError):
                done = None
                self.unknown += 1
            number += 1
            if done is not None:
                self._note(done)

    async def _do(self, key: str, number: int, begun_ns: int) -> Operation | None:
        """What it was; None where nothing can be said of it."""
        url, path, draw = self._random.choice(self._urls), f"{HERE}/{key}", self._random.random()

        def done(kind: Kind, version: int, expected: int = 0) -> Operation:
            return Operation(key, kind, begun_ns, time.monotonic_ns(), version, expected)

        if draw < 0.45:
            told = await ask(url, "GET", path)
            if told.status == 200:
                self._seen[key] = told
                return done(Kind.READ, self._numbers.of(told.headers["content-location"]))
            if told.status == 410:
                return done(Kind.GONE, 0)
            return done(Kind.READ, 0) if told.status == 404 else self._other(told)
        if draw < 0.52:
            told = await ask(url, "DELETE", path)
            if told.status == 404:
                return done(Kind.READ, 0)
            return done(Kind.GONE, 0) if told.status == 202 else self._other(told)
        kind, headers, expected = Kind.WRITE, "x-ambry-named-upsert: true\r\n", 0
        seen = self._seen.get(key)
        if draw < 0.70 and seen is not None:
            kind, headers = Kind.SWAP, f"If-Match: {seen.headers['etag']}\r\n"
            expected = self._numbers.of(seen.headers.get("content-location") or seen.headers["location"])
        elif draw < 0.85:
            kind, headers = Kind.MAKE, self._random.choice(("", "If-None-Match: *\r\n"))
        told = await ask(url, "PUT", path, headers, f"{self._name} {number} {begun_ns}".encode())
        if told.status != 201:
            return self._other(told)
        self._seen[key] = told
        return done(kind, self._numbers.of(told.headers["location"]), expected)

    def _other(self, told: Told) -> Operation | None:
        """A refusal, which changed nothing, or a failure, of which nobody knows."""
        if told.status >= 500:
            self.unknown += 1
        else:
            assert told.status in (409, 412), (told.status, told.body)
        return None


async def history_of(url: str, key: str, numbers: Numbers) -> list[Written]:
    """All versions of a name, the oldest first. When their writes began is not told."""
    found: list[Written] = []
    page = ""
    while True:
        told = await ask(url, "GET", f"{HERE}/{key}?history{page}")
        if told.status == 404:
            return []
        assert told.status == 200, (told.status, told.body)
        said = json.loads(told.body)
        for version in said["versions"]:
            living = not version.get("deleted", False)
            number = numbers.of(version["blobId"]) if living else -2 - len(found)
            found.append(Written(number, living, 0))
        token = said.get("nextPageToken")
        if not token:
            break
        page = f"&page={token}"
    found.reverse()
    return found
