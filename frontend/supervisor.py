"""Several processes of one frontend on one port: `frontend.workers`.

The supervisor owns the listening sockets and hands them to processes that each are a whole frontend. A connection waits in the
one queue that all of them accept from: when a process dies, those that it had not accepted are served by the others, which
a socket for each (SO_REUSEPORT) would reset. It starts again what ends, after a pause that grows while that goes on, lets all
drain when it is asked to stop, and its admin port speaks for all of them. When it dies itself they end at once.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from ambry.clock import Clock
from ambry.errors import AmbryError, ConfigInvalid, InternalError
from ambry.service.admin import start_admin
from ambry.service.listener import Socket, bind
from ambry.service.logs import get_logger
from frontend.config import FrontendConfig
from frontend.seat import VARIABLE, Report, Seat, read_report
from frontend.sibling_pages import Siblings

log = get_logger()

PAUSE_MIN_S = 0.1
PAUSE_MAX_S = 5.0
WELL_AFTER_S = 10.0
"""One that ran so long begins with the shortest pause again."""
EXIT_CONFIG = 2


class Slot:
    """One of the processes, and those that follow it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: asyncio.subprocess.Process | None = None
        self.report: Report | None = None
        """Of the process that serves now."""
        self.starts = 0
        self.last_end = ""

    def describe(self) -> dict[str, Any]:
        return {
            "worker": self.number,
            "pid": None if self.process is None else self.process.pid,
            "serving": self.report is not None,
            "admin_port": None if self.report is None else self.report.admin_port,
            "starts": self.starts,
            "last_end": self.last_end,
        }


class Supervisor:
    """Runs `frontend.workers` processes, each by `command`."""

    def __init__(
        self, config: FrontendConfig, command: Sequence[str], *, clock: Clock, random_source: random.Random
    ) -> None:
        self._config = config.frontend
        self._command = command
        self._clock = clock
        self._random = random_source
        self._slots = [Slot(number) for number in range(config.frontend.workers)]
        self._sockets: list[Socket] = []
        self._stopping = False
        self._settled = asyncio.Event()
        """Every slot has served once, or one cannot."""
        self._failure: AmbryError | None = None

    async def serve(self, stop: asyncio.Event, hurry: asyncio.Event) -> None:
        """Run until `stop` is set and all have drained. Raises OSError; ConfigInvalid, InternalError when one never served."""
        config = self._config
        self._sockets = bind(config.host, config.port)
        siblings = Siblings(config.admin_host, lambda: self._serving())
        # Held open by this process alone: the others read its end when that is gone.
        life, mine = os.pipe()
        admin = await start_admin(
            config.admin_host,
            config.admin_port,
            ready=lambda: self._unready(siblings),
            hosts=config.hosts,
            pages={"/workers": lambda: [slot.describe() for slot in self._slots]},
            metrics=siblings.metrics,
        )
        keeping = [asyncio.create_task(self._keep(slot, life)) for slot in self._slots]
        looking = asyncio.create_task(siblings.watch())
        try:
            ended = asyncio.create_task(stop.wait())
            failed = asyncio.create_task(self._settled.wait())
            await asyncio.wait((ended, failed), return_when=asyncio.FIRST_COMPLETED)
            if self._failure is None:
                log.info("frontend ready", workers=len(self._slots)) if not stop.is_set() else None
                await stop.wait()
            log.info("frontend stopping")
        finally:
            self._stopping = True
            await self._stop_all(keeping, hurry)
            looking.cancel()
            for task in (ended, failed):
                task.cancel()
            await siblings.close()
            await admin.close()
            for sock in self._sockets:
                sock.close()
            os.close(life)
            os.close(mine)
        if self._failure is not None:
            raise self._failure

    def _serving(self) -> dict[int, int]:
        """The admin ports of those that serve."""
        return {slot.number: slot.report.admin_port for slot in self._slots if slot.report is not None}

    def _unready(self, siblings: Siblings) -> list[str]:
        """Why this frontend should get no requests: somebody who accepts cannot answer, or nobody accepts."""
        if self._stopping:
            return ["stopping"]
        serving = self._serving()
        if not serving:
            return ["none of its processes serves"]
        return [f"worker {number}: {reason}" for number in serving for reason in siblings.unready(number)]

    # --- keeping one ---

    async def _keep(self, slot: Slot, life: int) -> None:
        """Start a process in this slot, and another whenever it ends, until all shall stop."""
        pause_s = PAUSE_MIN_S
        while not self._stopping:
            began = self._clock.monotonic()
            code = await self._run_once(slot, life)
            if self._stopping:
                return
            ran_s = self._clock.monotonic() - began
            slot.last_end = _how(code)
            if slot.starts == 1 and slot.report is None:
                kind = ConfigInvalid if code == EXIT_CONFIG else InternalError
                self._failure = kind(
                    f"worker {slot.number} ended before it served ({_how(code)}); its log has the reason"
                )
                self._settled.set()
                return
            slot.report = None
            pause_s = PAUSE_MIN_S if ran_s > WELL_AFTER_S else min(PAUSE_MAX_S, 2 * pause_s)
            log.error("a process of this frontend ended", worker=slot.number, how=_how(code), again_in_s=pause_s)
            await asyncio.sleep(pause_s * (0.5 + self._random.random()))

    async def _run_once(self, slot: Slot, life: int) -> int:
        """One process from its start to its end; its exit code, negative for a signal."""
        told, report = os.pipe()
        listening = [sock.fileno() for sock in self._sockets]
        seat = Seat(number=slot.number, listening=listening, report=report, life=life)
        process = await asyncio.create_subprocess_exec(
            *self._command,
            pass_fds=(*listening, report, life),
            start_new_session=True,  # a Ctrl-C is for the supervisor, which passes it on
            env={**os.environ, VARIABLE: msgspec.json.encode(seat).decode()},
        )
        os.close(report)
        slot.process, slot.starts = process, slot.starts + 1
        hearing = asyncio.create_task(self._hear(slot, told))
        try:
            return await process.wait()
        finally:
            slot.process = None
            await hearing

    async def _hear(self, slot: Slot, told: int) -> None:
        """Wait until it says that it serves, or ends without a word."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(told, "rb"))
        try:
            said = await reader.read()
        finally:
            transport.close()
        if said:
            slot.report = read_report(said)
            log.info("worker serves", worker=slot.number, pid=slot.report.pid, admin_port=slot.report.admin_port)
        if all(each.report is not None for each in self._slots):
            self._settled.set()

    # --- the end ---

    async def _stop_all(self, keeping: list[asyncio.Task[None]], hurry: asyncio.Event) -> None:
        """Let all drain; hurry them when told to."""
        self._signal_all()
        ended = asyncio.gather(*keeping, return_exceptions=True)
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait((ended, hurried), return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            self._signal_all()
        await ended
        hurried.cancel()

    def _signal_all(self) -> None:
        for slot in self._slots:
            if slot.process is not None:
                with suppress(ProcessLookupError):
                    slot.process.send_signal(signal.SIGTERM)


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
