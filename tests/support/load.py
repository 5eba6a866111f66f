"""A bounded load of many clients, and a history of what each call was answered.

Every client is a thread with one kept connection (http.client) and a seeded random source of its own. Content follows from
a seed (tests/support/content.py), so nothing is kept but ids; every body read back is compared with it.

History: one JSON line per call and one per answer, in the file that is named. `outcome` is ok, fail (the server said that
nothing happened), or info: a change that timed out, broke off or met a 5xx may have happened, and stays open for ever.
"""

from __future__ import annotations

import http.client
import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from tests.support.content import content
from tests.support.replica_reader import Stored
from tests.support.rest import connect

CALL_TIMEOUT_S = 15.0
SIZES_SMALL = ((6, 0, 4096), (3, 4096, 200_000), (1, 200_000, 1_500_000))
"""(weight, least, most): sizes in bytes."""
SIZES_MIXED = (*SIZES_SMALL, (1, 4_100_000, 10_000_000))
READ_FAILURES = (404, 410)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A call that was not answered as it should be; times are monotonic seconds."""

    started_at: float
    ended_at: float
    f: str
    status: int
    detail: str
    blob: str = ""


class History:
    """The JSON lines; the nemesis writes its own into the same file."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()

    def write(self, **pairs: Any) -> None:
        line = json.dumps(pairs)
        with self._lock:
            if not self._file.closed:
                self._file.write(line + "\n")

    def nemesis(self, event: str, target: str) -> None:
        self.write(f="nemesis", event=event, target=target, t_ns=time.monotonic_ns())

    def close(self) -> None:
        with self._lock:
            self._file.close()


class Load:
    """Clients that write, read and, if asked to, delete, until it is stopped; a context manager.

    `urls` are taken in turn by the clients. `pace_s` is the longest pause between two calls of a client. Of what was
    acknowledged, `stored` has everything alive and `deleted` everything whose delete was acknowledged; `unsure` holds the
    ids of blobs whose delete may or may not have happened.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        seed: int,
        history: Path,
        clients: int = 8,
        sizes: Sequence[tuple[int, int, int]] = SIZES_SMALL,
        reads: float = 0.3,
        deletes: float = 0.0,
        durability: str = "disk",
        pace_s: float = 0.02,
    ) -> None:
        self.history = History(history)
        self.stored: dict[str, Stored] = {}
        self.deleted: dict[str, Stored] = {}
        self.unsure: set[str] = set()
        self.failures: list[Failure] = []
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.bytes_written = 0
        self._urls = list(urls)
        self._seed = seed
        self._clients = clients
        self._sizes = list(sizes)
        self._reads = reads
        self._deletes = deletes
        self._durability = durability
        self._pace_s = pace_s
        self._content_seeds = itertools.count(seed << 20)
        self._op_ids = itertools.count(1)
        self._mine: dict[str, list[str]] = {}  # url -> ids acknowledged there
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._changed = threading.Condition(self._lock)
        self._threads: list[threading.Thread] = []
        self._crashed: list[BaseException] = []

    def __enter__(self) -> Self:
        self._threads = [
            threading.Thread(target=self._run, args=(number,), name=f"load-{number}", daemon=True)
            for number in range(self._clients)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if error is None:
            self.check()

    def stop(self) -> None:
        """End after the calls that are on their way."""
        self._stop.set()
        deadline = time.monotonic() + 3 * CALL_TIMEOUT_S
        for thread in self._threads:
            thread.join(max(0.1, deadline - time.monotonic()))
        alive = [thread.name for thread in self._threads if thread.is_alive()]
        self.history.close()
        assert not alive, f"clients that do not end: {alive}"

    def check(self) -> None:
        """Nothing wrong was ever read, and no client broke."""
        assert not self._crashed, self._crashed
        assert not self.wrong, self.wrong[:5]

    def wait_stored(self, count: int, *, timeout_s: float = 30.0) -> None:
        """Until `count` further blobs have been acknowledged."""
        with self._changed:
            wanted = len(self.stored) + len(self.deleted) + count
            arrived = self._changed.wait_for(lambda: len(self.stored) + len(self.deleted) >= wanted, timeout=timeout_s)
        assert arrived, f"{count} more blobs were not acknowledged within {timeout_s:g} s; {self.summary()}"

    def run_for(self, seconds: float) -> None:
        """Let it run: the load itself is what is wanted, there is nothing to wait for but time."""
        self._stop.wait(seconds)

    def failed_since(self, moment: float, f: str | None = None) -> list[Failure]:
        """Calls that began after `moment` (monotonic) and did not succeed."""
        with self._lock:
            return [one for one in self.failures if one.started_at >= moment and f in (None, one.f)]

    def summary(self) -> str:
        with self._lock:
            counts = ", ".join(f"{name} {count}" for name, count in sorted(self.outcomes.items()))
            return (
                f"{len(self.stored)} blobs alive, {len(self.deleted)} deleted, {self.bytes_written:,} bytes; {counts}"
            )

    # --- one client ---

    def _run(self, number: int) -> None:
        source = random.Random(self._seed * 1000 + number)
        url = self._urls[number % len(self._urls)]
        connection = connect(url, CALL_TIMEOUT_S)
        try:
            while not self._stop.is_set():
                if not self._one(number, url, connection, source):
                    connection.close()
                    connection = connect(url, CALL_TIMEOUT_S)
                self._stop.wait(source.random() * self._pace_s)
        except BaseException as error:
            self._crashed.append(error)
            raise
        finally:
            connection.close()

    def _one(self, number: int, url: str, connection: http.client.HTTPConnection, source: random.Random) -> bool:
        """One call; False when the connection must not be used again."""
        draw = source.random()
        if draw < self._deletes:
            blob = self._claim(source)
            if blob is not None:
                return self._delete(number, url, connection, blob)
        elif draw < self._deletes + self._reads:
            blob = self._pick(source, url)
            if blob is not None:
                return self._get(number, url, connection, blob)
        return self._put(number, url, connection, source)

    def _pick(self, source: random.Random, url: str) -> Stored | None:
        """A blob that was acknowledged at this very frontend: its datacenter must give it back at once."""
        with self._lock:
            mine = self._mine.get(url)
            if not mine:
                return None
            return self.stored.get(mine[source.randrange(len(mine))])

    def _claim(self, source: random.Random) -> Stored | None:
        """A blob to delete, out of reach of the readers from now on."""
        with self._lock:
            if len(self.stored) < 20:
                return None
            blob_id = next(itertools.islice(self.stored, source.randrange(min(len(self.stored), 200)), None))
            return self.stored.pop(blob_id)

    def _call(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
    ) -> tuple[int, str, bytes, bool, str]:
        """Status (0 for none), Location, body, whether the connection is still good, what went wrong."""
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            answer = response.read()
            location = response.headers.get("Location", "").removeprefix("/")
            return response.status, location, answer, not response.will_close, ""
        except (OSError, http.client.HTTPException) as error:
            return 0, "", b"", False, f"{type(error).__name__}: {error}"

    def _put(self, number: int, url: str, connection: http.client.HTTPConnection, source: random.Random) -> bool:
        _, least, most = source.choices(self._sizes, weights=[weight for weight, _, _ in self._sizes])[0]
        size, seed = source.randrange(least, most), next(self._content_seeds)
        body = content(seed, size)
        op = self._began(number, url, "put", value={"seed": seed, "len": size})
        headers = {"x-ambry-service-id": "load", "x-ambry-durability": self._durability}
        status, blob_id, answer, good, error = self._call(connection, "POST", "/", body, headers)
        blob = Stored(id=blob_id, seed=seed, size=size, durability=self._durability)
        if status == 201:
            with self._changed:
                self.stored[blob_id] = blob
                self._mine.setdefault(url, []).append(blob_id)
                self.bytes_written += size
                self._changed.notify_all()
        self._ended(op, "put", blob_id, status, 201, answer, error, digest=blob.digest if blob_id else "")
        return good

    def _get(self, number: int, url: str, connection: http.client.HTTPConnection, blob: Stored) -> bool:
        op = self._began(number, url, "get", id=blob.id)
        status, _, answer, good, error = self._call(connection, "GET", f"/{blob.id}", None, {})
        if status == 200 and answer != content(blob.seed, blob.size):
            self.wrong.append(f"{blob.id}: a get was answered with other bytes")
        if status in READ_FAILURES and blob.id in self.stored and blob.id not in self.unsure:
            self.wrong.append(f"{blob.id}: a get of an acknowledged blob was answered with {status} {answer[:200]!r}")
        if status not in READ_FAILURES:
            # Another client may have deleted it while it was read; that one is not a failure.
            self._ended(op, "get", blob.id, status, 200, answer if status != 200 else b"", error)
        return good

    def _delete(self, number: int, url: str, connection: http.client.HTTPConnection, blob: Stored) -> bool:
        op = self._began(number, url, "delete", id=blob.id)
        status, _, answer, good, error = self._call(connection, "DELETE", f"/{blob.id}", None, {})
        with self._changed:
            if status == 202:
                self.deleted[blob.id] = replace(blob, deleted=True)
            else:
                self.unsure.add(blob.id)
            self._changed.notify_all()
        self._ended(op, "delete", blob.id, status, 202, answer, error)
        return good

    # --- history ---

    def _began(self, number: int, url: str, f: str, **pairs: Any) -> tuple[int, float]:
        op = next(self._op_ids)
        self.history.write(op_id=op, client=number, url=url, f=f, t_inv_ns=time.monotonic_ns(), **pairs)
        return op, time.monotonic()

    def _ended(
        self,
        op: tuple[int, float],
        f: str,
        blob_id: str,
        status: int,
        wanted: int,
        answer: bytes,
        error: str,
        **pairs: Any,
    ) -> None:
        number, started_at = op
        outcome = "ok" if status == wanted else "fail"
        if outcome == "fail" and f != "get" and (status == 0 or (status >= 500 and status != 507)):
            outcome = "info"
        self.history.write(
            op_id=number, f=f, id=blob_id, outcome=outcome, status=status, t_ret_ns=time.monotonic_ns(), **pairs
        )
        with self._lock:
            self.outcomes[f"{f} {outcome}"] += 1
            if outcome != "ok":
                detail = error or answer[:500].decode("utf-8", "replace")
                self.failures.append(
                    Failure(
                        started_at=started_at,
                        ended_at=time.monotonic(),
                        f=f,
                        status=status,
                        detail=detail,
                        blob=blob_id,
                    )
                )
