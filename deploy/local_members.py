"""The processes of a cluster's members: which run, which this process started, how each is, how it ended.

A member is running when the pid recorded for it in cluster.json is a process that was started with its config file.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from deploy import local_processes as processes
from deploy.local_directory import LocalDirectory
from deploy.local_layout import LocalClusterError, Member
from deploy.local_processes import Process, wait_until

# Longer than the drain_timeout_s of both services, so that a healthy process is never killed in its drain.
TERM_TIMEOUT_S = 15.0
KILL_TIMEOUT_S = 10.0

State = Literal["ready", "not ready", "paused", "down"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One process as it is now; `detail` says why it is not ready, the others are those of Readiness."""

    member: Member
    state: State
    pid: int | None
    detail: str = ""
    closed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    started_for: int | None = None
    """How long it has had a processor, in clock ticks, of one that does not answer yet: it moves while it starts."""


class MemberProcesses:
    """Starts, finds, stops and describes them. Where it writes cluster.json the caller holds the directory's lock."""

    def __init__(self, files: LocalDirectory, report: Callable[[str], None]) -> None:
        self._files = files
        self._report = report
        # The latest process of each name that this object started.
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._log_starts: dict[str, int] = {}

    def find(self, member: Member) -> Process | None:
        """The member's process, if it runs."""
        pid = self._files.describe().pids().get(member.name)
        if pid is None:
            return None
        child = self._children.get(member.name)
        if child is not None:
            child.poll()  # reaps it if it ended
        return processes.find(pid, member.config)

    def own(self, members: Iterable[Member]) -> list[Member]:
        """Those whose latest process was started by this object."""
        return [member for member in members if member.name in self._children]

    def exit_code(self, member: Member, process: Process) -> int | None:
        """How a process that is gone ended (negative: the signal), if this object started it."""
        child = self._children.get(member.name)
        return child.returncode if child is not None and child.pid == process.pid else None

    def spawn(self, member: Member, *, die_with_parent: bool) -> None:
        """Start it and record its pid. Raises LocalClusterError where that cannot be written: it does not run then."""
        self._log_starts[member.name] = member.log.stat().st_size if member.log.exists() else 0
        child = processes.spawn(
            member.role,
            member.config,
            self._files.shape.settings(member.role),
            log=member.log,
            die_with_parent=die_with_parent,
        )
        self._children[member.name] = child
        try:
            self._files.record({**self._files.describe().pids(), member.name: child.pid})
        except OSError as cause:
            # Nobody would find it again, to stop it.
            child.kill()
            child.wait()
            raise LocalClusterError(
                f"cannot write down that {member.name} runs, in {self._files.path}: {cause.strerror}"
            ) from cause

    def stop(self, group: Sequence[Member], term_timeout_s: float = TERM_TIMEOUT_S) -> list[str]:
        """TERM, wait, and KILL what is left; returns the names that ran."""
        running = [(member, process) for member in group if (process := self.find(member))]
        for _, process in running:
            process.send(signal.SIGTERM)
            if process.state() in ("T", "t"):
                # It acts on the signal only when it runs again.
                process.send(signal.SIGCONT)
        wait_until(lambda: not any(process.alive for _, process in running), term_timeout_s)
        for member, process in running:
            if process.alive:
                self._report(
                    f"{member.name} still runs {term_timeout_s:.0f} s after TERM: killing it; its log: {member.log}"
                )
                process.send(signal.SIGKILL)
        for member, process in running:
            if not self.gone(member, process, KILL_TIMEOUT_S):
                raise LocalClusterError(f"{member.name} (pid {process.pid}) does not go away, even after KILL")
        return [member.name for member, _ in running]

    def gone(self, member: Member, process: Process, timeout_s: float) -> bool:
        """Wait until it is gone; whether it is."""
        gone = wait_until(lambda: not process.alive, timeout_s, 0.005)
        child = self._children.get(member.name)
        if gone and child is not None and child.pid == process.pid:
            child.wait()  # it ended: this only reaps it
        return gone

    def status(self, member: Member) -> Status:
        """The member as it is now; asks it whether it is ready."""
        process = self.find(member)
        if process is None:
            return Status(member=member, state="down", pid=None)
        if process.state() in ("T", "t"):
            return Status(member=member, state="paused", pid=process.pid, detail="paused by a signal; CONT wakes it")
        found = processes.readiness(member.readiness_urls)
        state: State = "not ready" if found.detail else "ready"
        return Status(
            member=member,
            state=state,
            pid=process.pid,
            detail=found.detail,
            closed=found.closed,
            warnings=found.warnings,
            started_for=None if found.answered else process.cpu_ticks,
        )

    def obituary(self, member: Member, pid: int | None = None) -> str:
        """How it ended, with the last lines of its log unless it ended well."""
        child = self._children.get(member.name)
        # Another command may have started a later process of this name, whose end nobody here knows.
        known = child is not None and pid in (None, child.pid)
        code = processes.exit_code(child) if child is not None and known else None
        ended = f"{member.name} {processes.how_it_ended(code)}"
        return f"{ended}; its log: {member.log}" if code == 0 else "\n".join([ended, *self.last_words(member)])

    def last_words(self, member: Member) -> list[str]:
        """The last lines that its latest process wrote."""
        lines = processes.tail(member.log, start=self._log_starts.get(member.name, 0))
        said = [f"  the last lines of its log {member.log}:", *(f"    {line}" for line in lines)]
        return said if lines else [f"  its log {member.log} is empty"]
