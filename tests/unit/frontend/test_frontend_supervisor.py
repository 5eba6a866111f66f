"""Several processes on one port, played by a stub; tests/integration/test_frontend_workers.py has real ones."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ambry.clock import SystemClock
from ambry.errors import ConfigInvalid, InternalError
from frontend import supervisor
from frontend.config import FrontendConfig, FrontendSection
from frontend.seat import VARIABLE
from frontend.supervisor import Supervisor
from tests.support.captured_log import capture_log, said
from tests.support.http_frontend import Answer, HttpFrontend
from tests.support.ports import free_ports

T = TypeVar("T")
STUB = Path(__file__).parents[2] / "support/stub_worker.py"


async def met(ask: Callable[[], Awaitable[T]], wanted: Callable[[T], bool]) -> T:
    """Ask until the answer is as wanted."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(OSError):
                if wanted(answer := await ask()):
                    return answer
            await asyncio.sleep(0.02)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    port: int
    admin: HttpFrontend
    made: Supervisor
    task: asyncio.Task[None]
    stop: asyncio.Event
    hurry: asyncio.Event

    async def ask(self, words: bytes = b"hello") -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(words)
        answer = (await reader.read()).decode()
        writer.close()
        return answer

    async def page(self, path: str) -> Answer:
        return await self.admin.call("GET", path)

    async def workers(self) -> list[dict[str, Any]]:
        return list((await self.page("/workers")).json())

    async def serving(self, count: int) -> list[dict[str, Any]]:
        """Wait until so many serve."""
        return await met(self.workers, lambda found: sum(each["serving"] for each in found) == count)


@contextlib.asynccontextmanager
async def supervised(*arguments: str, workers: int = 2) -> AsyncIterator[Running]:
    port, admin_port = free_ports(2)
    config = FrontendConfig(frontend=FrontendSection(port=port, admin_port=admin_port, workers=workers))
    made = Supervisor(
        config, (sys.executable, str(STUB), *arguments), clock=SystemClock(), random_source=random.Random(1)
    )
    stop, hurry = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(made.serve(stop, hurry))
    admin: Any = HttpFrontend(cluster=None, port=admin_port)  # type: ignore[arg-type]
    try:
        yield Running(port=port, admin=admin, made=made, task=task, stop=stop, hurry=hurry)
    finally:
        stop.set()
        hurry.set()
        with contextlib.suppress(ConfigInvalid, InternalError):
            await task


async def listening(frontend: Running) -> None:
    await met(lambda: frontend.page("/healthz"), lambda page: page.status == 200)


async def test_all_accept_on_one_port_and_one_admin_port_speaks_for_them() -> None:
    async with supervised(workers=3) as frontend:
        await listening(frontend)
        found = await frontend.serving(3)
        assert [each["worker"] for each in found] == [0, 1, 2]
        pids = {each["pid"] for each in found}
        assert {int((await frontend.ask()).split()[1]) for _ in range(10)} <= pids
        await met(lambda: frontend.page("/readyz"), lambda page: page.status == 200)
        text = (await frontend.page("/metrics")).body.decode()
        assert {f'stub_served_total{{worker="{number}"}} 1.0' for number in range(3)} <= set(text.splitlines())


async def test_who_dies_is_replaced_and_meanwhile_the_others_answer() -> None:
    async with supervised() as frontend:
        await listening(frontend)
        before = await frontend.serving(2)
        os.kill(before[0]["pid"], signal.SIGKILL)
        for _ in range(20):
            assert await frontend.ask()
        found = await met(lambda: frontend.serving(2), lambda found: found[0]["pid"] != before[0]["pid"])
        assert (found[0]["starts"], found[0]["last_end"]) == (2, "signal SIGKILL")
        assert found[1] == before[1]


async def test_all_that_serve_are_told_to_read_their_files_again_and_nobody_ends() -> None:
    async with supervised() as frontend:
        await listening(frontend)
        before = await frontend.serving(2)
        assert (await frontend.ask()).endswith(" 0")
        frontend.made.read_again()
        told: set[str] = set()
        while len(told) < 2:
            number, _, hangups = (await frontend.ask()).split()
            if hangups == "1":
                told.add(number)
        assert await frontend.workers() == before


async def test_all_are_asked_to_stop_and_waited_for() -> None:
    async with supervised("late") as frontend:
        await listening(frontend)
        pids = [each["pid"] for each in await frontend.serving(2)]
        frontend.stop.set()
        await frontend.task
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.parametrize(("how", "kind"), [("never", InternalError), ("config", ConfigInvalid)])
async def test_one_that_never_serves_ends_all_with_the_reason(how: str, kind: type[Exception]) -> None:
    async with supervised(how) as frontend:
        with pytest.raises(kind, match=r"worker \d ended before it served"):
            await frontend.task


async def test_who_ends_again_and_again_is_waited_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    events = capture_log(monkeypatch, supervisor)
    monkeypatch.setattr(supervisor, "PAUSE_MIN_S", 0.01)
    monkeypatch.setattr(supervisor, "PAUSE_MAX_S", 0.05)
    async with supervised(workers=1) as frontend:
        await listening(frontend)
        for starts in (2, 3, 4, 5):
            await frontend.serving(1)
            with contextlib.suppress(ConnectionError):
                await frontend.ask(b"die")
            await met(frontend.workers, lambda found, starts=starts: found[0]["starts"] >= starts)  # type: ignore[misc]
    pauses = [event["again_in_s"] for event in said(events, "a process of this frontend ended")]
    assert pauses[:4] == [0.02, 0.04, 0.05, 0.05]


class Spawning:
    """asyncio's way to start a process, which a test may hold up or let fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failures: list[OSError] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.begun = 0
        self._real = asyncio.create_subprocess_exec
        monkeypatch.setattr(asyncio, "create_subprocess_exec", self)

    async def __call__(self, *arguments: Any, **options: Any) -> asyncio.subprocess.Process:
        self.begun += 1
        if self.failures:
            raise self.failures.pop()
        process = await self._real(*arguments, **options)
        await self.go_on.wait()
        return process


async def test_no_process_to_be_had_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    spawning = Spawning(monkeypatch)
    async with supervised(workers=1) as frontend:
        await listening(frontend)
        (before,) = await frontend.serving(1)
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        spawning.failures = [OSError(errno.EAGAIN, "no process")]
        os.kill(before["pid"], signal.SIGKILL)
        await met(frontend.workers, lambda found: "not started" in found[0]["last_end"])
        (after,) = await frontend.serving(1)
        assert after["pid"] != before["pid"]
        assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors + 1


async def test_a_shortage_of_descriptors_leaves_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one pipe was to be had and not a second, the first stayed open, with every try again."""
    async with supervised(workers=1) as frontend:
        await listening(frontend)
        (before,) = await frontend.serving(1)
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        real, failures = os.pipe, iter([False, True] * 3)

        def pipe() -> tuple[int, int]:
            if next(failures, False):
                raise OSError(errno.EMFILE, "no descriptor")
            return real()

        monkeypatch.setattr(supervisor, "PAUSE_MAX_S", 0.01)
        monkeypatch.setattr(os, "pipe", pipe)
        os.kill(before["pid"], signal.SIGKILL)
        (after,) = await met(frontend.workers, lambda found: found[0]["serving"] and found[0]["pid"] != before["pid"])
        assert after["last_end"] == "not started: [Errno 24] no descriptor"
        assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors + 1


async def test_no_process_to_be_had_at_the_start_ends_it() -> None:
    with pytest.MonkeyPatch.context() as patch:
        spawning = Spawning(patch)
        spawning.failures = [OSError(errno.EAGAIN, "no process")] * 2
        async with supervised() as frontend:
            with pytest.raises(InternalError, match="not started"):
                await frontend.task


async def test_a_stop_amid_a_start_is_heard_by_who_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    spawning = Spawning(monkeypatch)
    spawning.go_on.clear()
    async with supervised() as frontend:
        await listening(frontend)
        async with asyncio.timeout(20):
            while spawning.begun < 2:  # noqa: ASYNC110  what is waited for tells nobody
                await asyncio.sleep(0.01)
        frontend.stop.set()
        await met(lambda: frontend.page("/readyz"), lambda page: "stopping" in page.body.decode())
        spawning.go_on.set()
        async with asyncio.timeout(20):
            await frontend.task


async def test_one_that_does_not_end_is_killed_and_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    events = capture_log(monkeypatch, supervisor)
    monkeypatch.setattr(supervisor, "MARGIN_S", 0.3)
    async with supervised() as frontend:
        await listening(frontend)
        stopped, other = await frontend.serving(2)
        os.kill(stopped["pid"], signal.SIGSTOP)
        frontend.stop.set()
        frontend.hurry.set()
        async with asyncio.timeout(20):
            await frontend.task
        assert not Path(f"/proc/{stopped['pid']}").exists() and not Path(f"/proc/{other['pid']}").exists()
    assert [event["pid"] for event in said(events, "a process of this frontend did not end, and is killed")] == [
        stopped["pid"]
    ]


async def test_from_the_stop_on_the_port_is_the_processes_alone() -> None:
    async with supervised("late") as frontend:
        await listening(frontend)
        await frontend.serving(2)
        frontend.stop.set()
        # The stub has closed nothing yet: what keeps the port is its copy alone, and that goes with it.
        await frontend.task
        with pytest.raises(ConnectionError):
            await frontend.ask()


async def test_signals_of_any_number_have_a_name() -> None:
    assert supervisor._how(-9) == "signal SIGKILL"
    assert supervisor._how(-35) == "signal 35"
    assert supervisor._how(2) == "exit code 2"


def test_the_stub_knows_its_seat_by_the_name_that_real_ones_do() -> None:
    assert VARIABLE in STUB.read_text()
