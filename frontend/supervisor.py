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

from ambry.address import is_loopback
from ambry.clock import Clock
from ambry.errors import AmbryError, ConfigInvalid, InternalError
from ambry.service.admin import AdminTls, start_admin
from ambry.service.listener import Socket, bind
from ambry.service.logs import get_logger
from ambry.service.notice import READY, tell_manager
from ambry.service.notice import VARIABLE as NOTICE
from ambry.service.tls import Certificates, node_tls
from ambry.service.worker import WorkerRegistry
from frontend.config import FrontendConfig, RpcAddress
from frontend.seat import HURRY, VARIABLE, Report, Seat, read_report
from frontend.sibling_pages import STOPPING, Siblings

log = get_logger()

PAUSE_MIN_S = 0.1
PAUSE_MAX_S = 5.0
WELL_AFTER_S = 10.0
"""One that ran so long begins with the shortest pause again."""
MARGIN_S = 5.0
"""Beyond the time that a drain may take, and once more when it was hurried; then a process is killed."""
EXIT_CONFIG = 2


class Slot:
    """One of the processes, and those that follow it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: asyncio.subprocess.Process | None = None
        self.life: int | None = None
        """Our end of the pipe that tells the process what to do, and by its end that nobody looks after it any more."""
        self.report: Report | None = None
        """Of the process that serves now."""
        self.served = False
        """Whether any has."""
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

    def ask_to_stop(self) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)

    def ask_to_read_again(self) -> None:
        """Pass SIGHUP on. Who does not serve yet looks at its files itself, and may not have learned the signal's meaning."""
        if self.process is not None and self.report is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """End it, whatever it does."""
        if self.process is not None:
            log.error("a process of this frontend did not end, and is killed", worker=self.number, pid=self.process.pid)
            with suppress(ProcessLookupError):
                self.process.kill()

    def hurry(self) -> None:
        if self.life is not None:
            with suppress(OSError):
                os.write(self.life, HURRY)


class Supervisor:
    """Runs `frontend.workers` processes, each by `command`."""

    def __init__(
        self,
        config: FrontendConfig,
        command: Sequence[str],
        *,
        clock: Clock,
        random_source: random.Random,
        rpc: RpcAddress | None = None,
        cluster: str = "",
    ) -> None:
        """`rpc` is where frontends of other datacenters ask them, if anywhere; operators of `cluster` may see how they are."""
        self._cluster = cluster
        self._config = config.frontend
        self._rpc = rpc
        # What others than operators are shown and asked for is the business of those who serve.
        off_loopback = not is_loopback(config.frontend.admin_host)
        self._tls = node_tls(config.node_tls) if off_loopback else None
        self._certificates = Certificates(self._tls)
        self._command = command
        self._clock = clock
        self._random = random_source
        self._slots = [Slot(number) for number in range(config.frontend.workers)]
        self._sockets: list[Socket] = []
        self._rpc_sockets: list[Socket] = []
        self._stopping = asyncio.Event()
        self._settled = asyncio.Event()
        """Every slot has served once, or none can."""
        self._failure: AmbryError | None = None

    def read_again(self) -> None:
        """Have all of them read their certificates again."""
        if self._tls is not None:
            self._certificates.read_again()
        for slot in self._slots:
            slot.ask_to_read_again()

    async def serve(self, stop: asyncio.Event, hurry: asyncio.Event) -> None:
        """Run until `stop` is set and all have drained. Raises OSError; ConfigInvalid, InternalError when one never served."""
        config = self._config
        self._sockets = bind(config.host, config.port)
        if self._rpc is not None:
            self._rpc_sockets = bind(self._rpc.host, self._rpc.port)
        siblings = Siblings(self._serving)
        admin = await start_admin(
            config.admin_host,
            config.admin_port,
            ready=lambda: self._unready(siblings),
            warnings=siblings.warnings,
            hosts=config.hosts,
            tls=None if self._tls is None else AdminTls(self._tls, self._cluster),
            pages={
                "/workers": lambda: [slot.describe() for slot in self._slots],
                "/metadata": siblings.metadata,
            },
            metrics=siblings.metrics,
        )
        watching = asyncio.create_task(siblings.watch())
        following = WorkerRegistry(clock=self._clock, random_source=self._random)
        if self._tls is not None:
            following.add("certificates", self._tls.tick)
        keeping = [asyncio.create_task(self._keep(slot)) for slot in self._slots]
        try:
            await _first(stop, self._settled)
            if self._failure is None and not stop.is_set():
                log.info("frontend ready", workers=len(self._slots))
                tell_manager(READY)
                await stop.wait()
            log.info("frontend stopping")
        finally:
            await self._stop_all(keeping, hurry)
            watching.cancel()
            await following.stop_all()
            await siblings.close()
            await admin.close()
        if self._failure is not None:
            raise self._failure

    def _serving(self) -> dict[int, int]:
        """The admin ports of those that serve."""
        return {slot.number: slot.report.admin_port for slot in self._slots if slot.report is not None}

    def _unready(self, siblings: Siblings) -> list[str]:
        """Why this frontend should get no requests: somebody who accepts cannot answer, or nobody accepts."""
        if self._stopping.is_set():
            return STOPPING
        serving = self._serving()
        starting = [f"worker {slot.number} has not served yet" for slot in self._slots if not slot.served]
        if starting or not serving:
            return starting or ["none of its processes serves"]
        said = {number: siblings.unready(number) for number in serving}
        if not all(reasons == STOPPING for reasons in said.values()):
            # One that stops by itself accepts nothing, and the others do.
            said = {number: reasons for number, reasons in said.items() if reasons != STOPPING}
        return [f"worker {number}: {reason}" for number, reasons in said.items() for reason in reasons]

    # --- keeping one ---

    async def _keep(self, slot: Slot) -> None:
        """Start a process in this slot, and another whenever it ends, until all shall stop."""
        pause_s = PAUSE_MIN_S
        while not self._stopping.is_set():
            began = self._clock.monotonic()
            try:
                how = await self._run_once(slot)
            except OSError as error:
                how = f"not started: {error}"  # no process or descriptor is to be had: a moment later one may be
            slot.report, slot.last_end = None, how
            if self._stopping.is_set():
                return
            if not any(each.served for each in self._slots):
                kind = ConfigInvalid if how == _how(EXIT_CONFIG) else InternalError
                self._failure = kind(f"worker {slot.number} ended before it served ({how}); its log has the reason")
                self._settled.set()
                return
            well = self._clock.monotonic() - began > WELL_AFTER_S
            pause_s = PAUSE_MIN_S if well else min(PAUSE_MAX_S, 2 * pause_s)
            log.error("a process of this frontend ended", worker=slot.number, how=how, again_in_s=pause_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s * (0.5 + self._random.random())):
                    await self._stopping.wait()

    async def _run_once(self, slot: Slot) -> str:
        """One process from its start to its end, and how that was. Raises OSError where there was none."""
        listening = [sock.fileno() for sock in self._sockets]
        rpc = [sock.fileno() for sock in self._rpc_sockets]
        told = report = life = -1
        hearing: asyncio.Task[None] | None = None
        try:
            told, report = os.pipe()
            life, slot.life = os.pipe()
            seat = Seat(number=slot.number, listening=listening, report=report, life=life, rpc=rpc)
            slot.process = process = await asyncio.create_subprocess_exec(
                *self._command,
                pass_fds=(*listening, *rpc, report, life),
                start_new_session=True,  # a Ctrl-C is for the supervisor, which passes it on
                env={**_without(NOTICE), VARIABLE: msgspec.json.encode(seat).decode()},
            )
            slot.starts += 1
            if self._stopping.is_set():
                slot.ask_to_stop()  # that came while it was started
            os.close(report)
            report = -1
            hearing = asyncio.create_task(self._hear(slot, told))
            return _how(await process.wait())
        finally:
            slot.process = None
            ours = [report, life, slot.life]
            if hearing is None:
                ours.append(told)
            for number in ours:
                if number is not None and number >= 0:
                    os.close(number)
            slot.life = None
            if hearing is not None:
                await hearing

    async def _hear(self, slot: Slot, told: int) -> None:
        """Wait until it says that it serves, or ends without a word."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        with os.fdopen(told, "rb") as pipe:
            transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
            try:
                said = await reader.read()
            finally:
                transport.close()
        with suppress(msgspec.DecodeError):  # it died in the middle of the word
            slot.report = read_report(said)
            slot.served = True
            log.info("worker serves", worker=slot.number, pid=slot.report.pid, admin_port=slot.report.admin_port)
        if all(each.served for each in self._slots):
            self._settled.set()

    # --- the end ---

    async def _stop_all(self, keeping: list[asyncio.Task[None]], hurry: asyncio.Event) -> None:
        """Let all drain, and hurry them when told to or when that takes too long; whoever does not end then is killed.

        The port is theirs from now on: it closes when they close it.
        """
        self._stopping.set()
        for slot in self._slots:
            slot.ask_to_stop()
        for sock in (*self._sockets, *self._rpc_sockets):
            sock.close()
        ended = asyncio.gather(*keeping, return_exceptions=True)
        hurried = asyncio.create_task(hurry.wait())
        drained_s = self._config.lame_duck_s + self._config.drain_timeout_s + MARGIN_S
        await asyncio.wait((ended, hurried), timeout=drained_s, return_when=asyncio.FIRST_COMPLETED)
        for slot in self._slots:
            slot.hurry()
        await asyncio.wait((ended,), timeout=MARGIN_S)
        for slot in self._slots:
            slot.kill()
        for outcome in await ended:
            if isinstance(outcome, BaseException):
                log.error("a process of this frontend was not looked after", exc_info=outcome)
        hurried.cancel()


async def _first(*events: asyncio.Event) -> None:
    """Until one of them is set."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


def _without(name: str) -> dict[str, str]:
    """The environment but for one variable."""
    return {each: value for each, value in os.environ.items() if each != name}


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    known = {each.value: each.name for each in signal.Signals}
    return f"signal {known.get(-code, -code)}"
