"""The load generator, a process of its own: one job per line of JSON on stdin, one result per line on stdout.

`python -m tests.bench.load`; it ends when stdin does.

Closed loop: every connection sends a request, waits for the whole answer, and sends the next at once. The status of every
answer is checked, and the body of one in `sample_every` by its xxh3-128 (for POST: the digest that the server reports).

Blob number n of a size is n in 8 bytes, big-endian, followed by bytes that all blobs of that size share: so every blob
differs, none is generated twice, and the expected digest follows from the number.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import ssl
import sys
from collections.abc import Callable
from typing import Literal, NamedTuple, cast

import msgspec
import uvloop
import xxhash

from ambry.clock import SystemClock
from tests.bench import proc
from tests.bench.response import BadResponse, ResponseReader, header

NUMBER_SIZE = 8
# Digests of blobs of at least this size are computed before the clock runs.
DIGEST_AHEAD_SIZE = 1 << 20
GET_TARGETS_MAX = 20_000
MESSAGES_MAX = 5
DRAIN_TIMEOUT_S = 20.0
PARTS_OF_A_BLOB = 16
"""So many ranges of each blob are asked for by turns."""
HOST = "127.0.0.1"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement.

    Normally, after `warmup_s`, count what is answered within `window_s`. With `whole`, which is for operations that are not
    short against the window: no warm-up, send for `window_s` but at most `requests`, and count all until the last
    answer. `blobs` names the list that POST fills and GET draws
    from; when empty, POST keeps nothing and GET asks for /<size>, which holds blob number 0. With `part_size` a GET asks for so
    many bytes of a blob, from a multiple of `part_step` on. `tls` takes whatever certificate is shown. `watch` are the
    processes (pid by name) whose CPU time is taken along.
    """

    verb: Literal["POST", "GET"]
    port: int
    size: int
    connections: int
    window_s: float
    warmup_s: float = 0.0
    whole: bool = False
    requests: int | None = None
    blobs: str = ""
    headers: dict[str, str] = {}
    part_size: int = 0
    part_step: int = 1
    tls: bool = False
    sample_every: int = 1
    watch: dict[str, int] = {}


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """`cpu_s` is by name of `watch`, and "load" is this process; `machine_busy_s` is everybody's on this machine."""

    operations: int
    elapsed_s: float
    latencies_us: list[int]
    cpu_s: dict[str, float]
    machine_busy_s: float
    verified: int
    failures: int = 0
    messages: list[str] = []


class Payload:
    """All blobs of one size."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.tail = random.Random(size).randbytes(size - NUMBER_SIZE)
        self._digests: dict[int, bytes] = {}

    def digest(self, number: int) -> bytes:
        """xxh3-128 of a blob."""
        known = self._digests.get(number)
        if known is not None:
            return known
        hasher = xxhash.xxh3_128(number.to_bytes(NUMBER_SIZE, "big"))
        hasher.update(self.tail)
        found: bytes = hasher.digest()
        if self.size >= DIGEST_AHEAD_SIZE:
            self._digests[number] = found
        return found

    def part(self, number: int, start: int, size: int) -> bytes:
        """Some bytes of a blob."""
        head = number.to_bytes(NUMBER_SIZE, "big")[start : start + size]
        behind = max(0, start - NUMBER_SIZE)
        return head + self.tail[behind : behind + size - len(head)]


class Target(NamedTuple):
    """What a GET asks for: bytes of blob `number`, from `start` on."""

    number: int
    start: int
    request: bytes


class Connection(asyncio.BufferedProtocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._reader = ResponseReader()
        self._transport: asyncio.Transport | None = None
        self._sent_at = 0.0
        self._number = 0
        self._start = 0
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, pieces: list[bytes], number: int, start: int = 0, *, digest: bool) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            self._run.lost("the server closed the connection")
            return
        self._reader.begin(digest=digest)
        self._number = number
        self._start = start
        self.busy = True
        self._sent_at = self._run.now()
        if len(pieces) == 1:
            transport.write(pieces[0])
        else:
            transport.writelines(pieces)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._reader.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        try:
            if not self._reader.received(nbytes):
                return
        except BadResponse as cause:
            self.close()
            self._run.lost(str(cause))
            return
        self.busy = False
        self._run.answered(self, self._reader, self._number, self._start, self._run.now() - self._sent_at)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.busy:
            self.busy = False
            self._run.lost(f"connection lost in a request: {exc or 'closed by the server'}")

    def close(self) -> None:
        self.busy = False
        if self._transport is not None:
            self._transport.abort()


class Run:
    """One job being carried out."""

    def __init__(self, job: Job, payload: Payload, blobs: list[tuple[int, bytes]], first_number: int) -> None:
        self.now: Callable[[], float] = SystemClock().monotonic
        self._job = job
        self._payload = payload
        self._blobs = blobs
        self.next_number = first_number
        self._random = random.Random(first_number)
        self._issued = 0
        self._measuring = False
        self._stopping = False
        self._running = 0
        self._done = asyncio.Event()
        self._latencies: list[float] = []
        self._verified = 0
        self._failures = 0
        self._messages: list[str] = []
        lines = "".join(f"{name}: {value}\r\n" for name, value in job.headers.items())
        self._head_end = f" HTTP/1.1\r\nHost: {HOST}:{job.port}\r\n{lines}".encode()
        self._post_head = (
            b"POST /" + self._head_end + b"Content-Type: application/octet-stream\r\n"
            b"Content-Length: " + str(job.size).encode() + b"\r\n\r\n"
        )
        self._targets = self._get_targets() if job.verb == "GET" else []
        if job.size >= DIGEST_AHEAD_SIZE and not job.part_size:
            ahead = range(first_number, first_number + (job.requests or 0))
            for number in ahead if job.verb == "POST" else [target.number for target in self._targets]:
                payload.digest(number)

    def _get_targets(self) -> list[Target]:
        known = self._blobs if self._job.blobs else [(0, b"/%d" % self._job.size)]
        if not known:
            raise LookupError(f"no blob of {self._job.size} bytes was put before this GET")
        if len(known) > GET_TARGETS_MAX:
            known = self._random.sample(known, GET_TARGETS_MAX)
        return [self._target(number, path) for number, path in known for _ in range(self._parts)]

    @property
    def _parts(self) -> int:
        return PARTS_OF_A_BLOB if self._job.part_size else 1

    def _target(self, number: int, path: bytes) -> Target:
        job = self._job
        start, asked = 0, b"\r\n"
        if job.part_size:
            start = self._random.randrange((job.size - job.part_size) // job.part_step + 1) * job.part_step
            asked = b"Range: bytes=%d-%d\r\n\r\n" % (start, start + job.part_size - 1)
        return Target(number, start, b"GET " + path + self._head_end + asked)

    async def carry_out(self) -> Result:
        job = self._job
        loop = asyncio.get_running_loop()
        tls = anybody() if job.tls else None
        connections = [
            (await loop.create_connection(lambda: Connection(self), HOST, job.port, ssl=tls))[1]
            for _ in range(job.connections)
        ]
        self._running = len(connections)
        marks: list[tuple[float, dict[str, float]]] = []

        def begin() -> None:
            self._measuring = True
            marks.append((self.now(), self._usage()))

        def end() -> None:
            self._stopping = True
            if not job.whole:
                self._measuring = False
                marks.append((self.now(), self._usage()))

        timers: list[asyncio.TimerHandle] = []
        gc.collect()
        gc.disable()
        try:
            if job.whole:
                begin()
            else:
                timers.append(loop.call_later(job.warmup_s, begin))
            timers.append(loop.call_later(job.warmup_s + job.window_s, end))
            for connection in connections:
                self._next(connection)
            limit = job.warmup_s + job.window_s + DRAIN_TIMEOUT_S
            try:
                async with asyncio.timeout(limit):
                    await self._done.wait()
            except TimeoutError:
                self._note(f"{self._running} requests without an answer after {limit:.0f} s")
            # Every connection may be lost before the window ends.
            if job.whole or len(marks) < 2:
                marks.extend([(self.now(), self._usage())] * (2 - len(marks)))
        finally:
            gc.enable()
            for timer in timers:
                timer.cancel()
            self._stopping = True
            self._measuring = False
            for connection in connections:
                connection.close()
        await asyncio.sleep(0.02)
        (began, usage_before), (ended, usage_after) = marks[:2]
        used = {name: round(usage_after[name] - before, 4) for name, before in usage_before.items()}
        return Result(
            operations=len(self._latencies),
            elapsed_s=max(ended - began, 1e-9),
            latencies_us=[int(latency * 1e6) for latency in self._latencies],
            machine_busy_s=used.pop(""),
            cpu_s=used,
            verified=self._verified,
            failures=self._failures,
            messages=self._messages,
        )

    def _usage(self) -> dict[str, float]:
        own = sum(os.times()[:2])
        watched = {name: proc.cpu_s(pid) for name, pid in self._job.watch.items()}
        return {**watched, "load": own, "": proc.machine_busy_s()}

    def _next(self, connection: Connection) -> None:
        job = self._job
        if self._stopping or self._issued == job.requests:
            self._rest()
            return
        self._issued += 1
        digest = self._issued % job.sample_every == 0
        if job.verb == "GET":
            target = self._targets[int(self._random.random() * len(self._targets))]
            connection.send([target.request], target.number, target.start, digest=digest)
            return
        number = self.next_number
        self.next_number = number + 1
        start = self._post_head + number.to_bytes(NUMBER_SIZE, "big")
        tail = self._payload.tail
        connection.send([start + tail] if job.size < DIGEST_AHEAD_SIZE else [start, tail], number, digest=digest)

    def _rest(self) -> None:
        self._running -= 1
        if self._running == 0:
            self._done.set()

    def answered(
        self, connection: Connection, reader: ResponseReader, number: int, start: int, latency_s: float
    ) -> None:
        """A whole answer is there."""
        wrong = self._wrong(reader, number, start)
        if wrong:
            self._note(wrong)
        elif self._measuring:
            self._latencies.append(latency_s)
        self._next(connection)

    def lost(self, message: str) -> None:
        """A connection is of no more use, and its request has no answer."""
        self._note(message)
        self._rest()

    def _note(self, message: str) -> None:
        self._failures += 1
        if len(self._messages) < MESSAGES_MAX:
            self._messages.append(f"{self._job.verb} of {self._job.size} bytes at port {self._job.port}: {message}")

    def _wrong(self, reader: ResponseReader, number: int, start: int) -> str:
        """What is wrong with an answer; empty when nothing is."""
        if not 200 <= reader.status <= 299:
            return f"status {reader.status}: {reader.error_body.decode('utf-8', 'replace')}"
        if self._job.verb == "GET":
            part = self._job.part_size
            if reader.body_size != (part or self._job.size):
                return f"blob {number} came with {reader.body_size} bytes"
            if reader.digest is not None:
                self._verified += 1
                payload = self._payload
                wanted = xxhash.xxh3_128_digest(payload.part(number, start, part)) if part else payload.digest(number)
                if reader.digest != wanted:
                    return f"blob {number} came with wrong bytes: digest {reader.digest.hex()}"
            return ""
        if not self._job.blobs:
            return ""
        path = header(reader.head, b"location")
        if not path.startswith(b"/"):
            return f"no path in Location: {path!r}"
        if reader.digest is not None:
            self._verified += 1
            reported = header(reader.head, b"x-ambry-digest").decode("ascii", "replace")
            if reported != self._payload.digest(number).hex():
                return f"blob {number} was stored as digest {reported!r}"
        self._blobs.append((number, path))
        return ""


def anybody() -> ssl.SSLContext:
    """A client's context that takes any certificate: the servers are ours, on this machine."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def serve() -> None:
    """Take jobs until stdin ends."""
    loop = asyncio.get_running_loop()
    jobs = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(jobs), sys.stdin.buffer)
    payloads: dict[int, Payload] = {}
    stored: dict[tuple[str, int], list[tuple[int, bytes]]] = {}
    # Blob number 0 is what the bare server answers.
    number = 1
    while line := await jobs.readline():
        job = msgspec.json.decode(line, type=Job)
        payload = payloads.get(job.size) or payloads.setdefault(job.size, Payload(job.size))
        run = Run(job, payload, stored.setdefault((job.blobs, job.size), []), number)
        result = await run.carry_out()
        number = run.next_number
        sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
        sys.stdout.buffer.flush()


def main() -> None:
    uvloop.run(serve())


if __name__ == "__main__":
    main()
