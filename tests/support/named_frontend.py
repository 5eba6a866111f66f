"""A frontend with a metadata store in a thread of this process, for clients that block; and a link to it that loses answers."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ambry.clock import SystemClock
from frontend.access.verified import Access
from tests.support.fake_cluster import make_cluster
from tests.support.http_frontend import http_frontend
from tests.support.masters import TroubledProvider
from tests.support.metadata_stores import opened, sqlite_store
from tests.support.threaded_server import ThreadedServer

SECRET = bytes(range(32))
"""Signs URLs."""


@contextmanager
def named_frontend(path: Path, provider: TroubledProvider | None = None, access: Access | None = None) -> Iterator[str]:
    """Its URL. Blobs are at fake peers, names in a file at `path`; with a `provider` there are keys of containers.

    Without `access` nobody is asked for a key.
    """
    started = threading.Event()
    made: list[str] = []
    stop: list[asyncio.Event] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        cluster = make_cluster(((3,),) * 4, clock=SystemClock())
        async with (
            opened(sqlite_store(path)) as store,
            http_frontend(cluster, metadata=store, provider=provider, access=access, url_secret=SECRET) as frontend,
        ):
            made.append(f"http://127.0.0.1:{frontend.port}")
            stop.append(asyncio.Event())
            loops.append(asyncio.get_running_loop())
            started.set()
            await stop[0].wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    try:
        assert started.wait(30), "the frontend did not start"
        yield made[0]
    finally:
        loops[0].call_soon_threadsafe(stop[0].set)
        thread.join(30)


class LosingLink(ThreadedServer):
    """Passes everything on to `url`, but for the answers that it was told to lose: there it breaks the connection."""

    def __init__(self, url: str) -> None:
        self._target = int(url.rpartition(":")[2])
        self._lock = threading.Lock()
        self._lose: list[str] = []
        self.lost: list[str] = []
        """The request lines whose answers were lost."""
        self.seen: list[str] = []
        """The first lines of all requests."""
        self.then: Callable[[], object] = lambda: None
        """What happens between such an answer and the end of its connection."""
        self.alter: Callable[[bytes], bytes] = lambda data: data
        """What becomes of the bytes of answers."""
        self._ends: set[socket.socket] = set()
        super().__init__()

    @property
    def url(self) -> str:
        return f"http://{self.authority}"

    def lose(self, method: str) -> None:
        """The next answer to a request of this method. What the request asked for is done."""
        self._lose.append(method)

    def break_all(self) -> None:
        """Break every connection, at both ends."""
        with self._lock:
            ends = list(self._ends)
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _serve(self, near: socket.socket, number: int) -> None:
        far = socket.create_connection(("127.0.0.1", self._target))
        with self._lock:
            self._ends |= {near, far}
        said: list[bytes] = [b""]
        back = threading.Thread(target=self._answer, args=(near, far, said), daemon=True)
        back.start()
        with suppress(OSError):
            while data := near.recv(1 << 16):
                if b" HTTP/1.1\r\n" in data[:8192]:
                    said[0] = data.partition(b"\r\n")[0]
                    self.seen.append(said[0].decode("latin-1"))
                far.sendall(data)
        for end in (near, far):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        back.join()
        with self._lock:
            self._ends -= {near, far}
        near.close()
        far.close()

    def _is_to_be_lost(self, line: str) -> bool:
        with self._lock:
            if not self._lose or not line.startswith(self._lose[0] + " "):
                return False
            self._lose.pop(0)
            self.lost.append(line)
            return True

    def _answer(self, near: socket.socket, far: socket.socket, said: list[bytes]) -> None:
        with suppress(OSError):
            while data := far.recv(1 << 16):
                line = said[0].decode("latin-1")
                if self._is_to_be_lost(line):
                    self.then()
                    break
                near.sendall(self.alter(data))
        for end in (near, far):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
