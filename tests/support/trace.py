"""The path of one request through the code: `python -m tests.support.trace [put get delete replicate] [--calls]`.

A frontend and one data node run for real, each in a thread of this process, so that one profile hook sees both; for a
replicated record there is a data node in a second datacenter, and only that one is traced. When all is warm, one operation with
4 KiB is traced, from its first byte until all threads are quiet, several times over. The run with the fewest calls is shown, as
a background loop may wake up in any other.

What is counted, over the files of `ambry`, `frontend` and `datanode`:

    files      files of which a function was called
    changes    pairs of consecutive calls of one thread that lie in different files: how often somebody who follows the path has
               to turn to another file
    entries    of a file: how often the path comes into it from another
    calls      new frames. A coroutine or generator that goes on after a wait is none, nor is a comprehension.

Returns do not count, nor do libraries, nor `ambry/clock.py`: it stands for time.monotonic(), and nobody follows it there. One
data node alone shows every step once; more replicas repeat steps. Counted like this, commit 43bb4e8, which the path of a put is
held against, has 35 files and 132 changes, and comes into `blob_store` six times.

Nothing of the product is named but its two programs, `ambry/clock.py`, and keys of the configuration: `--root DIR` traces
another checkout.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dis
import functools
import http.client
import importlib
import importlib.util
import inspect
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import uvloop

from tests.support.ports import free_ports

PACKAGES = ("ambry", "frontend", "datanode")
LEFT_OUT = "ambry/clock.py"
OPERATIONS = ("put", "get", "delete", "replicate")
BODY_SIZE_BYTES = 4096
WARM_UP = 4
RUNS = 9
QUIET_S = 0.02
PATIENCE_S = 30.0
SOURCE, PULLER = "dc1-n1", "dc2-n1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One new frame: its file, relative to the checkout, and the function's name with its class."""

    file: str
    function: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What the calls of one operation add up to. `entries` is by file, `functions` counts calls by name without class."""

    calls: int
    changes: int
    entries: Mapping[str, int]
    functions: Mapping[str, int]


def tally(threads: Sequence[Sequence[Call]]) -> Tally:
    """Count the calls of several threads, those of each thread in their order."""
    entries: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    changes = 0
    for calls in threads:
        before: str | None = None
        for call in calls:
            functions[call.function.rpartition(".")[2]] += 1
            if call.file != before:
                entries[call.file] += 1
                changes += before is not None
            before = call.file
    return Tally(calls=sum(map(len, threads)), changes=changes, entries=entries, functions=functions)


class Recorder:
    """A profile hook for all threads that start after `install`; keeps the calls of those whose owner is wanted.

    The owner of a thread is the name of the thread that `run_server` made and that started it, directly or through others.
    """

    def __init__(self, root: Path) -> None:
        self._prefixes = tuple(f"{root}/{package}/" for package in PACKAGES)
        self._root = f"{root}/"
        self._owners: set[str] = set()
        self._calls: dict[threading.Thread, list[Call]] = {}
        self._last = 0.0
        self._start = threading.Thread.start

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        recorder, start = self, self._start

        def start_owned(thread: threading.Thread) -> None:
            thread.owner = recorder.owner_of(threading.current_thread()) or thread.name  # type: ignore[attr-defined]
            start(thread)

        threading.Thread.start = start_owned  # type: ignore[method-assign,assignment]
        threading.setprofile(self._hook)
        try:
            yield
        finally:
            threading.setprofile(None)
            threading.Thread.start = start  # type: ignore[method-assign]

    @staticmethod
    def owner_of(thread: threading.Thread) -> str:
        return getattr(thread, "owner", "")

    def begin(self, owners: Sequence[str]) -> None:
        self._calls = {}
        self._last = time.monotonic()
        self._owners = set(owners)

    def end(self) -> list[list[Call]]:
        """The calls by thread, once no thread has made one for a while."""
        while time.monotonic() - self._last < QUIET_S:
            time.sleep(QUIET_S / 5)
        self._owners = set()
        return [list(calls) for calls in self._calls.values()]

    def _hook(self, frame: FrameType, event: str, _argument: object) -> None:
        if event != "call" or not self._owners:
            return
        code = frame.f_code
        if not code.co_filename.startswith(self._prefixes) or code.co_name.startswith("<") or _goes_on(frame, code):
            return
        thread = threading.current_thread()
        file = code.co_filename.removeprefix(self._root)
        if file != LEFT_OUT and self.owner_of(thread) in self._owners:
            self._last = time.monotonic()
            self._calls.setdefault(thread, []).append(Call(file=file, function=code.co_qualname))


def _goes_on(frame: FrameType, code: CodeType) -> bool:
    """Whether a coroutine or generator goes on after a wait."""
    return frame.f_lasti > _first_resume(code)


@functools.cache
def _first_resume(code: CodeType) -> int:
    """Where the first call of a frame stands, bytes into its code; where it goes on after a wait lies beyond."""
    return next(each.offset for each in dis.get_instructions(code) if each.opname == "RESUME")


class _Loop(uvloop.Loop):
    """The loop of a server that is not alone in its process: signals belong to the tool."""

    def add_signal_handler(self, *_ignored: Any) -> None:  # type: ignore[override]
        pass


class Cluster:
    """A frontend of the first datacenter and one data node in each, running in threads of this process."""

    def __init__(self, directory: Path, *, nodes: Sequence[str]) -> None:
        self.directory = directory
        self._ports = iter(free_ports(2 * len(nodes) + 2))
        self.port = next(self._ports)
        layout = directory / "layout.json"
        layout.write_text(json.dumps(_layout(nodes, self._ports)), encoding="utf-8")
        frontend = {"datacenter": "dc1", "port": self.port}
        self._programs = {"frontend": functools.partial(self._program, "frontend", "f", frontend, layout)}
        for name in nodes:
            values = {"data_dir": str(directory / name)}
            self._programs[name] = functools.partial(self._program, "datanode", name, values, layout)
        self._building = threading.Lock()
        self._stops: list[tuple[asyncio.AbstractEventLoop, list[asyncio.Event]]] = []
        self._threads: list[threading.Thread] = []

    def _program(self, program: str, name: str, values: dict[str, Any], layout: Path) -> Any:
        """The coroutine function that the program would run until a signal comes."""
        section, more = (
            ("frontend", []) if program == "frontend" else ("node", ["[store]", "segment_size_bytes = 1048576"])
        )
        if program == "frontend" and importlib.util.find_spec("frontend.who") is not None:
            # Revisions that know no keys know no such section.
            more = ["[access]", "enabled = false"]
        values = {"name": name, "layout": str(layout), "admin_port": next(self._ports), **values}
        lines = [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
        path = self.directory / f"{name}.toml"
        path.write_text("\n".join([*lines, *more, "[log]", 'level = "error"', ""]), encoding="utf-8")
        module: Any = importlib.import_module(f"{program}.__main__")
        kept = []
        module.run = lambda _program, serve, **_more: kept.append(serve)
        module.main(["--config", str(path)])
        return kept[0]

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        for name, program in self._programs.items():
            thread = threading.Thread(target=self._run_server, args=(program,), name=name)
            thread.start()
            self._threads.append(thread)
        try:
            self._wait_ready()
            yield
        finally:
            for loop, events in self._stops:
                for event in events:
                    loop.call_soon_threadsafe(event.set)
            for thread in self._threads:
                thread.join(PATIENCE_S)

    def _run_server(self, program: Callable[[], Any]) -> None:
        with self._building:
            # Here, so that threads which it starts before it runs are its own.
            serve = program()

        async def main() -> None:
            # The first says stop; some revisions take a second one, for haste, which nobody here needs to be spared.
            events = [asyncio.Event() for _ in inspect.signature(serve).parameters]
            self._stops.append((asyncio.get_running_loop(), events))
            await serve(*events)

        with asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(main())

    def _wait_ready(self) -> None:
        """Until a put succeeds: a frontend may be ready while a data node still opens its replicas."""
        for _ in _patiently("the cluster is not ready"):
            with contextlib.suppress(OSError), contextlib.closing(self.connect()) as client:
                if ask(client, "GET", "/readyz").status == 200 and ask(client, "POST", "/", b"ready?").status == 201:
                    return

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)

    def wait_until_stored(self, node: str, body: bytes) -> None:
        """Wait until the bytes stand in a file of this node. Raises RuntimeError when they do not come."""
        for _ in _patiently(f"{node} does not get the blob"):
            if any(body in path.read_bytes() for path in (self.directory / node).rglob("*.segment")):
                return


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    location: str


def ask(client: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None) -> Answer:
    client.request(method, path, body, {"Content-Type": "application/octet-stream"} if body else {})
    with client.getresponse() as response:
        response.read()
        return Answer(status=response.status, location=response.headers.get("location", ""))


def _expect(answer: Answer, status: int) -> Answer:
    if answer.status != status:
        raise RuntimeError(f"the answer has status {answer.status}, not {status}")
    return answer


def _layout(nodes: Sequence[str], ports: Iterator[int]) -> dict[str, Any]:
    return {
        "cluster": "trace",
        "version": 1,
        "datacenters": [
            {"name": f"dc{index}", "id": index, "nodes": [{"name": name, "host": "127.0.0.1", "port": next(ports)}]}
            for index, name in enumerate(nodes, 1)
        ],
        "partitions": [{"id": 0, "replicas": list(nodes)}],
    }


def _patiently(trouble: str) -> Iterator[None]:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        yield
        time.sleep(0.005)
    raise RuntimeError(f"{trouble} within {PATIENCE_S:g} s")


def trace(root: Path, operation: str) -> list[list[Call]]:
    """The calls of one operation, by thread."""
    recorder = Recorder(root)
    source = random.Random(1)
    replicate = operation == "replicate"
    owners = [PULLER] if replicate else ["frontend", SOURCE]
    with tempfile.TemporaryDirectory() as directory, recorder.installed():
        cluster = Cluster(Path(directory), nodes=[SOURCE, PULLER] if replicate else [SOURCE])
        with cluster.running(), contextlib.closing(cluster.connect()) as client:
            best: list[list[Call]] = []
            for number in range(WARM_UP + RUNS):
                body = source.randbytes(BODY_SIZE_BYTES)
                if operation in ("put", "replicate"):
                    recorder.begin(owners)
                stored = _expect(ask(client, "POST", "/", body), 201)
                if replicate:
                    cluster.wait_until_stored(PULLER, body)
                elif operation == "get":
                    recorder.begin(owners)
                    _expect(ask(client, "GET", stored.location), 200)
                elif operation == "delete":
                    recorder.begin(owners)
                    _expect(ask(client, "DELETE", stored.location), 202)
                threads = recorder.end()
                if number >= WARM_UP and (not best or sum(map(len, threads)) < sum(map(len, best))):
                    best = threads
            return best


def show(operation: str, threads: Sequence[Sequence[Call]], *, calls: bool) -> None:
    counted = tally(threads)
    print(f"\n{operation}: {len(counted.entries)} files, {counted.changes} changes of file, {counted.calls} calls")
    for file, entries in sorted(counted.entries.items(), key=lambda item: (-item[1], item[0])):
        print(f"  {entries:4}  {file}")
    often = sorted(counted.functions.items(), key=lambda item: (-item[1], item[0]))
    print("  functions called most:", ", ".join(f"{name} {count}" for name, count in often[:12]))
    if calls:
        for number, thread in enumerate(threads, 1):
            print(f"  thread {number}")
            for call in thread:
                print(f"    {call.file}  {call.function}")


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.support.trace")
    parser.add_argument(
        "operations", nargs="*", metavar="OPERATION", help=f"of {', '.join(OPERATIONS)}; all if none is named"
    )
    parser.add_argument("--calls", action="store_true", help="print every call, thread by thread, in its order")
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[2], help="the checkout to trace; this one")
    arguments = parser.parse_args(argv)
    unknown = set(arguments.operations) - set(OPERATIONS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    root = arguments.root.resolve()
    sys.path.insert(0, str(root))
    for operation in arguments.operations or OPERATIONS:
        show(operation, trace(root, operation), calls=arguments.calls)


if __name__ == "__main__":
    main(sys.argv[1:])
