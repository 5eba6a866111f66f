"""Sends drawn cases to a running frontend and has the referee look at what comes back.

    python -m tests.support.http_fuzz --requests 100000 --seed 7

starts a datacenter of its own, prints what was found with the shortest bytes that show it, and exits with 1 if anything was.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import socket
import struct
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h11

from deploy.local_cluster import LocalCluster
from tests.support.clusters import running_cluster
from tests.support.http_grammar import Case, Ending, Grammar, Places
from tests.support.http_referee import Answer, End, Outcome, Referee, Stored, Verdict, judge
from tests.support.rest import call, page
from tests.support.waiting import eventually

PATIENCE_S = 20.0
CONNECTIONS = 24
ABORTED = Outcome(answers=(), ended=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    what: str
    case: Case

    def __str__(self) -> str:
        shown = self.case.raw if len(self.case.raw) <= 1500 else self.case.raw[:1500] + b"..."
        return f"{self.what}\n    the client {self.case.ending.value} after\n    {shown!r}"


@dataclass(slots=True, kw_only=True)
class Tally:
    """What a run saw. `after` is what the frontend logged that it should not have, and whether it is well."""

    requests: int = 0
    accepted: int = 0
    stored: int = 0
    findings: list[Finding] = field(default_factory=list)
    after: list[str] = field(default_factory=list)

    def kinds(self) -> dict[str, list[Finding]]:
        kinds: dict[str, list[Finding]] = {}
        for finding in self.findings:
            kinds.setdefault(finding.what, []).append(finding)
        return kinds

    def report(self, examples: int = 2) -> str:
        """One paragraph per kind of finding, most frequent first; then what was seen afterwards."""
        ordered = sorted(self.kinds().items(), key=lambda item: -len(item[1]))
        kinds = (
            f"{len(found)} x {kind}\n"
            + "\n".join(f"  {each}" for each in sorted(found, key=lambda f: len(f.case.raw))[:examples])
            for kind, found in ordered
        )
        return "\n".join([*kinds, *self.after])


@dataclass(frozen=True, slots=True, kw_only=True)
class Fuzz:
    """`run` plays cases until they held `requests` requests."""

    address: tuple[str, int]
    grammar: Grammar
    referee: Referee

    async def run(self, requests: int) -> Tally:
        tally = Tally()

        def cases() -> Iterator[Case]:
            while tally.requests < requests:
                yield self.grammar.case()

        shared = cases()
        await asyncio.gather(*(self._work(shared, tally) for _ in range(CONNECTIONS)))
        return tally

    async def _work(self, cases: Iterator[Case], tally: Tally) -> None:
        for case in cases:
            verdict = judge(case.raw)
            tally.requests += max(len(verdict.methods), 1)
            tally.accepted += len(verdict.requests)
            outcome = await play(self.address, case, verdict)
            if case.ending is Ending.ABORT:
                continue
            found = self.referee.findings(verdict, outcome, case.ending)
            for stored in self.referee.stored(verdict, outcome):
                tally.stored += 1
                found += await self._differs(stored)
            tally.findings += [Finding(what=what, case=case) for what in found]

    async def _differs(self, stored: Stored) -> list[str]:
        """Whether an upload reads back as other bytes."""
        raw = b"GET %b HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % (stored.path, self.referee.host)
        case = Case(pieces=(raw,), ending=Ending.KEEP)
        outcome = await play(self.address, case, judge(raw))
        if [answer.status for answer in outcome.answers] != [200]:
            return [
                f"an acknowledged upload cannot be read: {[answer.status for answer in outcome.answers]} {outcome.trouble}"
            ]
        return [] if outcome.answers[0].body == stored.body else ["an upload reads back as other bytes than h11 read"]


async def play(address: tuple[str, int], case: Case, verdict: Verdict) -> Outcome:
    """Send a case and read what comes back, until it is all that can come."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        # A reset leaves no socket behind in TIME_WAIT; a hundred thousand of them would use up the ports.
        connected: socket.socket = writer.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        try:
            for number, piece in enumerate(case.pieces):
                if number:
                    await asyncio.sleep(0.001)
                writer.write(piece)
                await writer.drain()
            if case.ending is Ending.ABORT:
                return ABORTED
            if case.ending is Ending.HALF_CLOSE or verdict.end is End.INCOMPLETE:
                writer.write_eof()
        except OSError:
            # It answered and closed before it had all: what it said is still there to be read, or was lost with the reset.
            pass
        return await _read(reader, verdict, to_the_end=case.ending is Ending.HALF_CLOSE or verdict.end is not End.CLEAN)
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _read(reader: asyncio.StreamReader, verdict: Verdict, *, to_the_end: bool) -> Outcome:
    """The answers as h11 reads them as a client."""
    answers: list[Answer] = []
    connection = _client(verdict.methods[0] if verdict.methods else b"GET")
    head: h11.Response | None = None
    body = b""
    ended = False

    def outcome(trouble: str = "") -> Outcome:
        return Outcome(answers=tuple(answers), ended=ended, trouble=trouble)

    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            if ended and head is None and not connection.trailing_data[0]:
                return outcome()
            return outcome(f"no client understands the answer: {error}")
        if isinstance(event, h11.Response):
            head, body = event, b""
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            headers = tuple((bytes(name), bytes(value)) for name, value in head.headers)
            version = bytes(head.http_version)
            answers.append(Answer(version=version, status=head.status_code, headers=headers, body=body))
            head = None
            left = connection.trailing_data[0]
            if left and answers[-1].last:
                return outcome(f"{len(left)} bytes after the answer that was said to be the last")
            if len(answers) >= len(verdict.methods) and not left and not answers[-1].last and not to_the_end:
                return outcome()
            method = verdict.methods[len(answers)] if len(answers) < len(verdict.methods) else b"GET"
            connection = _client(method)
            if left:
                connection.receive_data(left)
            if ended:
                connection.receive_data(b"")
        elif event is h11.NEED_DATA:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    data = await reader.read(1 << 16)
            except TimeoutError:
                return outcome(
                    f"nothing came for {PATIENCE_S:g} s after {len(answers)} of {len(verdict.methods)} answers"
                )
            except ConnectionError:
                ended = True
                return outcome("a reset in the middle of an answer" if head else "")
            ended = not data
            connection.receive_data(data)
        elif event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            return outcome()


def _client(method: bytes) -> h11.Connection:
    """A client that sent a request of this method, as far as the reading of its answer goes."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(
        h11.Request(method=b"HEAD" if method == b"HEAD" else b"GET", target=b"/", headers=[(b"host", b"x")])
    )
    connection.send(h11.EndOfMessage())
    return connection


BLOB_SIZES = (0, 1, 10, 300, 5000, 70_000)
SPENDABLE = 30


def fuzz(cluster: LocalCluster, *, requests: int, seed: int) -> Tally:
    """Play cases against the first frontend, and look at what it says of itself afterwards."""
    source = random.Random(seed)
    frontend = cluster.frontends()[0]
    # Before that an id that nobody holds is answered with 503, and rightly so.
    eventually(
        lambda: all(each["serving"] for node in cluster.nodes() for each in page(node.admin_url, "/partitions")),
        "every replica may say that a blob is absent",
    )
    logged = len(frontend.log.read_text("utf-8"))
    blobs = {}
    for size in BLOB_SIZES:
        body = source.randbytes(size)
        blobs[b"/" + call(frontend.url, "POST", "/", body).blob_id.encode()] = body
    spendable = [call(frontend.url, "POST", "/", b"%d" % number).blob_id.encode() for number in range(SPENDABLE)]
    host = f"{frontend.host}:{frontend.port}".encode()
    places = Places(host=host, readable=[path[1:] for path in blobs], spendable=spendable)
    game = Fuzz(
        address=(frontend.host, frontend.port),
        grammar=Grammar(source, places),
        referee=Referee(host=host, blobs=blobs),
    )
    tally = asyncio.run(game.run(requests))
    tally.after += [line for line in frontend.log.read_text("utf-8")[logged:].splitlines() if _alarming(line)]
    try:
        eventually(lambda: call(frontend.admin_url, "GET", "/readyz").status == 200, "the frontend is well afterwards")
    except AssertionError as never:
        tally.after.append(str(never))
    return tally


def _alarming(line: str) -> bool:
    return '"level":"error"' in line or '"exception"' in line or "Traceback" in line


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.support.http_fuzz")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--examples", type=int, default=2, help="shown of each kind of finding")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as directory, running_cluster(Path(directory), datacenters=1) as cluster:
        tally = fuzz(cluster, requests=arguments.requests, seed=arguments.seed)
    print(tally.report(arguments.examples))
    print(f"{tally.requests} requests, {tally.accepted} whole, {tally.stored} stored; {len(tally.findings)} findings")
    return 1 if tally.findings or tally.after else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
