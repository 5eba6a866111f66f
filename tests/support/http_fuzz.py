"""Sends drawn cases to a running frontend and has the referee look at what comes back.

    python -m tests.support.http_fuzz --requests 100000 --seed 7 [--tls | --no-auth] [--processes 2]

starts a datacenter of its own, prints what was found with the shortest bytes that show it, and exits with 1 if anything was.
With keys, the default, three kinds of sender ask for what is hidden (tests/support/strangers.py), each such case is played once
more about ghosts, and somebody who may looks all the while whether what is hidden is as it was.

The same seed draws the same cases, but for the keys and ids of the cluster; each process has a seed of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import multiprocessing
import random
import socket
import ssl
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import h11

from deploy.local_cluster import LocalCluster
from tests.support.clusters import running_cluster
from tests.support.crowd import anonymous_mib
from tests.support.http_grammar import Case, Ending, Grammar, Places
from tests.support.http_hostile import hostile_grammar
from tests.support.http_referee import Answer, Claim, End, Outcome, Referee, Stored, Verdict, judge
from tests.support.kept_reader import KeptReader, connect
from tests.support.rest import call, metric, page
from tests.support.strangers import Keeper, Sender, Strangers, prepare, trusted
from tests.support.waiting import eventually

PATIENCE_S = 20.0
CONNECTIONS = 24
ABORTED = Outcome(answers=(), ended=True)
WATCH_EVERY_S = 1.0
GROWTH_MAX_MIB = 48.0
"""What a frontend may have more at the end of a run than after the first fifth of it."""
DESCRIPTORS_MAX = 64
"""Of a frontend, beyond those it had before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    what: str
    case: Case

    def __str__(self) -> str:
        shown = self.case.raw if len(self.case.raw) <= 1500 else self.case.raw[:1500] + b"..."
        return f"{self.what}\n    the client {self.case.ending.value} after\n    {shown!r}"


@dataclass(slots=True, kw_only=True)
class Tally:
    """What a run saw. `after` is what is wrong beyond single answers: logs, memory, what is hidden, how the frontend is."""

    requests: int = 0
    accepted: int = 0
    stored: int = 0
    haunted: int = 0
    """Cases that were played again about ghosts."""
    statuses: dict[int, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    seconds: float = 0.0
    memory_mib: list[float] = field(default_factory=list)
    """Of the frontend, once a second."""

    def add(self, other: Tally) -> None:
        self.requests += other.requests
        self.accepted += other.accepted
        self.stored += other.stored
        self.haunted += other.haunted
        for status, count in other.statuses.items():
            self.statuses[status] = self.statuses.get(status, 0) + count
        self.findings += other.findings

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

    def summary(self) -> str:
        """What was done, in a line or two."""
        told = ", ".join(f"{count} x {status}" for status, count in sorted(self.statuses.items()))
        memory = f"{self.memory_mib[0]:.0f} -> {max(self.memory_mib):.0f} MiB" if self.memory_mib else "not looked at"
        return (
            f"{self.requests} requests in {self.seconds:.0f} s, {self.accepted} whole, {self.stored} stored, "
            f"{self.haunted} cases again about ghosts; memory {memory}; {len(self.findings)} findings\n{told}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Game:
    """What one process plays: all that it takes can be sent to it."""

    address: tuple[str, int]
    requests: int
    seed: int
    number: int
    """Of the process."""
    places: Places
    blobs: Mapping[bytes, bytes]
    authority: str = ""
    """A file with what is trusted, where TLS is spoken."""

    def played(self) -> Tally:
        """Play it."""
        return asyncio.run(Fuzz(self).run())


def _ways(number: int) -> Iterator[tuple[str, int]]:
    """Addresses of this machine to come from: rates are kept by address, and so are the ports of connections."""
    for count in itertools.count():
        yield f"127.{number + 1}.{count // 200 % 200 + 1}.{count % 200 + 1}", 0


class Fuzz:
    """`run` plays cases until they held as many requests as the game has."""

    def __init__(self, game: Game) -> None:
        self._game = game
        strangers = game.places.strangers
        source = random.Random(f"{game.seed} {game.number}")
        self._grammar = Grammar(source, game.places) if strangers is None else hostile_grammar(source, game.places)
        self._referee = Referee(host=game.places.host, blobs=game.blobs, strangers=strangers)
        self._tls = ssl.create_default_context(cafile=game.authority) if game.authority else None
        self._ways = _ways(game.number)
        self.tally = Tally()

    async def run(self) -> Tally:
        def cases() -> Iterator[tuple[Case, list[Case]]]:
            while self.tally.requests < self._game.requests:
                case = self._grammar.case()
                strangers = self._game.places.strangers
                if strangers is None or not case.hidden or case.ending is Ending.ABORT:
                    yield case, []
                else:
                    yield case, [self._grammar.again(ghosts) for ghosts in (strangers.near, strangers.far)]

        shared = cases()
        await asyncio.gather(*(self._work(shared) for _ in range(CONNECTIONS)))
        return self.tally

    async def _work(self, cases: Iterator[tuple[Case, list[Case]]]) -> None:
        tally, referee = self.tally, self._referee
        for case, ghostly in cases:
            verdict = judge(case.raw)
            tally.requests += max(len(verdict.methods), 1)
            tally.accepted += len(verdict.requests)
            outcome = await self._play(case, verdict)
            if case.ending is Ending.ABORT:
                continue
            found = referee.findings(verdict, outcome, case.ending)
            for answer in outcome.answers:
                tally.statuses[answer.status] = tally.statuses.get(answer.status, 0) + 1
            for stored in referee.stored(verdict, outcome):
                tally.stored += 1
                found += await self._differs(stored)
            if ghostly:
                found += await self._told_apart(case, verdict, outcome, ghostly)
            tally.findings += [Finding(what=what, case=case) for what in found]

    async def _play(self, case: Case, verdict: Verdict) -> Outcome:
        return await play(self._game.address, case, verdict, tls=self._tls, way=next(self._ways))

    async def _told_apart(self, case: Case, verdict: Verdict, outcome: Outcome, ghostly: Sequence[Case]) -> list[str]:
        """Play it about ghosts. Without a key nobody learns even which containers there are."""
        strangers = self._game.places.strangers
        assert strangers is not None
        if b" /usage" in case.raw.partition(b"\r\n")[0]:
            return []  # it counts what was asked
        claim = self._referee.least(verdict)
        if claim not in (Claim.SOME, Claim.NOTHING):
            return []
        far = claim is Claim.NOTHING
        ghosts, again = (strangers.far, ghostly[1]) if far else (strangers.near, ghostly[0])
        whole = strangers.haunted(case.raw, ghosts) == again.raw
        if case.damaged and not whole:
            return []  # what was broken of one is broken otherwise in the other
        verdict_again = judge(again.raw)
        self.tally.haunted += 1
        self.tally.requests += max(len(verdict_again.methods), 1)
        seen = await self._play(again, verdict_again)
        return self._referee.apart(verdict, outcome, seen, ghosts, word_for_word=whole)

    async def _differs(self, stored: Stored) -> list[str]:
        """Whether an upload reads back as other bytes."""
        strangers = self._game.places.strangers
        key = b"" if strangers is None else b"Authorization: Bearer %b\r\n" % strangers.keys[Sender.RIGHT][0]
        raw = b"GET %b HTTP/1.1\r\nHost: %b\r\n%bConnection: close\r\n\r\n" % (stored.path, self._referee.host, key)
        case = Case(pieces=(raw,), ending=Ending.KEEP)
        outcome = await self._play(case, judge(raw))
        if [answer.status for answer in outcome.answers] != [200]:
            return [
                f"an acknowledged upload cannot be read: {[answer.status for answer in outcome.answers]} {outcome.trouble}"
            ]
        return [] if outcome.answers[0].body == stored.body else ["an upload reads back as other bytes than h11 read"]


async def play(
    address: tuple[str, int],
    case: Case,
    verdict: Verdict,
    *,
    tls: ssl.SSLContext | None = None,
    way: tuple[str, int] | None = None,
) -> Outcome:
    """Send a case and read what comes back, until it is all that can come.

    In TLS nobody closes one direction alone: there a server that said its last word waits until its client leaves.
    """
    reader, writer = await connect(*address, local_addr=way, ssl=tls)
    half_closes = tls is None
    unfinished = verdict.end is End.INCOMPLETE
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
            if half_closes and (case.ending is Ending.HALF_CLOSE or unfinished):
                writer.write_eof()
        except OSError:
            # It answered and closed before it had all: what it said is still there to be read.
            pass
        if not half_closes:
            enough = len(verdict.methods) if verdict.end is End.REFUSED else len(verdict.requests)
            outcome = await _read(reader, verdict, to_the_end=False, enough=enough)
            return replace(outcome, ended=True)
        return await _read(reader, verdict, to_the_end=case.ending is Ending.HALF_CLOSE or verdict.end is not End.CLEAN)
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _read(reader: KeptReader, verdict: Verdict, *, to_the_end: bool, enough: int = -1) -> Outcome:
    """The answers as h11 reads them as a client; those behind `enough`, if it is not negative, are not waited for."""
    answers: list[Answer] = []
    connection = _client(verdict.methods[0] if verdict.methods else b"GET")
    head: h11.Response | None = None
    body = b""
    ended = False

    def outcome(trouble: str = "") -> Outcome:
        return Outcome(answers=tuple(answers), ended=ended, trouble=trouble, reset=reader.reset is not None)

    while enough:
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
            if len(answers) == enough or (enough > 0 and answers[-1].last):
                return outcome()
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
            ended = not data
            if ended and reader.reset is not None:
                return outcome("a reset in the middle of an answer" if head else "")
            connection.receive_data(data)
        elif event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            return outcome()
    return outcome()


def _client(method: bytes) -> h11.Connection:
    """A client that sent a request of this method, as far as the reading of its answer goes."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(
        h11.Request(method=b"HEAD" if method == b"HEAD" else b"GET", target=b"/", headers=[(b"host", b"x")])
    )
    connection.send(h11.EndOfMessage())
    return connection


# --- who looks meanwhile ---


class Watch:
    """Looks once a second whether what is hidden is as it was, and what the frontend takes."""

    def __init__(self, pid: int, keeper: Keeper | None) -> None:
        self._pid = pid
        self._keeper = keeper
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)
        self.memory_mib = [anonymous_mib(pid)]
        self.descriptors = [self._open()]
        self.found: list[str] = []

    def _open(self) -> int:
        return len(list(Path(f"/proc/{self._pid}/fd").iterdir()))

    def _look(self) -> None:
        while True:
            try:
                self.memory_mib.append(anonymous_mib(self._pid))
                self.descriptors.append(self._open())
                if self._keeper is not None and len(self.found) < 10:
                    self.found += self._keeper.changed()
            except Exception as error:
                self.found.append(f"what is hidden could not be looked at: {type(error).__name__}: {error}")
                return
            if self._over.wait(WATCH_EVERY_S):
                return

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def grown(self) -> list[str]:
        """Whether memory or descriptors are not flat."""
        found: list[str] = []
        fifth = max(1, len(self.memory_mib) // 5)
        growth = min(self.memory_mib[-fifth:]) - max(self.memory_mib[:fifth])
        if growth > GROWTH_MAX_MIB:
            seen = self.memory_mib[:: max(1, fifth // 4)]
            found.append(f"the frontend has {growth:.0f} MiB more at the end than in the beginning: {seen}")
        if max(self.descriptors) > self.descriptors[0] + CONNECTIONS * MOST_PROCESSES + DESCRIPTORS_MAX:
            found.append(f"the frontend had {self.descriptors[0]} descriptors, and up to {max(self.descriptors)}")
        return found


MOST_PROCESSES = 4
BLOB_SIZES = (0, 1, 10, 300, 5000, 70_000)
SPENDABLE = 30


def fuzz(cluster: LocalCluster, *, requests: int, seed: int, processes: int = 1) -> Tally:
    """Play cases against the first frontend, and look at what it says of itself afterwards.

    Where the cluster asks for keys, something is hidden in it first. With `processes` the cases come from so many.
    """
    source = random.Random(seed)
    frontend = cluster.frontends()[0]
    pid = cluster.pid(frontend.name)
    assert pid is not None and processes <= MOST_PROCESSES
    # Before that an id that nobody holds is answered with 503, and rightly so.
    eventually(
        lambda: all(each["serving"] for node in cluster.nodes() for each in page(node.admin_url, "/partitions")),
        "every replica may say that a blob is absent",
    )
    strangers: Strangers | None = None
    keeper: Keeper | None = None
    own: dict[str, str] = {}
    tls = trusted(cluster)
    if cluster.directory.joinpath("admin.key").exists():
        strangers, keeper = prepare(cluster, source)
        own = {"Authorization": f"Bearer {strangers.keys[Sender.RIGHT][0].decode()}"}
    logged = {member.name: len(member.log.read_text("utf-8")) for member in cluster.members}

    def put(body: bytes) -> bytes:
        return call(frontend.url, "POST", "/", body, own, tls=tls).blob_id.encode()

    blobs = {b"/" + put(body): body for body in (source.randbytes(size) for size in BLOB_SIZES)}
    places = Places(
        host=f"{frontend.host}:{frontend.port}".encode(),
        readable=[path[1:] for path in blobs],
        spendable=[put(b"%d" % number) for number in range(SPENDABLE)],
        strangers=strangers,
        hidden=None if strangers is None else strangers.hidden,
    )
    games = [
        Game(
            address=(frontend.host, frontend.port),
            requests=requests // processes,
            seed=seed,
            number=number,
            places=places,
            blobs=blobs,
            authority=str(cluster.directory / "certs" / "authority.crt") if tls is not None else "",
        )
        for number in range(processes)
    ]
    tally = Tally()
    began = time.monotonic()
    with Watch(pid, keeper) as watch:
        for played in _played(games):
            tally.add(played)
    tally.seconds, tally.memory_mib = time.monotonic() - began, watch.memory_mib
    tally.after += [*watch.found, *watch.grown(), *_ill(cluster, logged)]
    return tally


def _played(games: Sequence[Game]) -> Iterator[Tally]:
    if len(games) == 1:
        yield games[0].played()
        return
    with ProcessPoolExecutor(len(games), mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(Game.played, games)


def _ill(cluster: LocalCluster, logged: Mapping[str, int]) -> list[str]:
    """What the processes logged that they should not have, and what the first frontend did not give back."""
    found = [
        f"{member.name}: {line}"
        for member in cluster.members
        for line in member.log.read_text("utf-8")[logged[member.name] :].splitlines()
        if _alarming(line)
    ]
    admin = cluster.frontends()[0].admin_url
    try:
        eventually(lambda: call(admin, "GET", "/readyz").status == 200, "the frontend is well afterwards")
        for name in ("ambry_frontend_connections", "ambry_frontend_requests_in_flight"):
            eventually(lambda name=name: metric(admin, name) == 0, f"{name} is 0 afterwards")  # type: ignore[misc]
    except AssertionError as never:
        found.append(str(never))
    return found


def _alarming(line: str) -> bool:
    return '"level":"error"' in line or '"exception"' in line or "Traceback" in line


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.support.http_fuzz")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1, help=f"that send, at most {MOST_PROCESSES}")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--no-auth", action="store_true")
    parser.add_argument("--examples", type=int, default=2, help="shown of each kind of finding")
    arguments = parser.parse_args(argv)
    with (
        tempfile.TemporaryDirectory() as directory,
        running_cluster(Path(directory), datacenters=1, auth=not arguments.no_auth, tls=arguments.tls) as cluster,
    ):
        tally = fuzz(cluster, requests=arguments.requests, seed=arguments.seed, processes=arguments.processes)
    print(tally.report(arguments.examples))
    print(tally.summary())
    return 1 if tally.findings or tally.after else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
