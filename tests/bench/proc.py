"""What the kernel knows of processes: CPU time and memory, from proc(5)."""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """CPU seconds (user and system, all threads) of a process so far. Raises OSError when it is gone."""
    return parse_cpu_ticks((PROC / str(pid) / "stat").read_text("ascii", "replace")) / _TICKS_PER_S


def machine_busy_s() -> float:
    """CPU seconds that anybody on this machine has used so far, over all cores; time stolen by the host counts."""
    with (PROC / "stat").open(encoding="ascii") as stream:
        return parse_busy_ticks(stream.readline()) / _TICKS_PER_S


def memory_kib(pid: int) -> tuple[int, int]:
    """(resident now, most ever resident) of a process in KiB. Raises OSError when it is gone."""
    return parse_memory((PROC / str(pid) / "status").read_text("ascii", "replace"))


def children(pid: int) -> list[int]:
    """The processes that this one started and that run, by pid. Raises OSError when it is gone."""
    threads = sorted((PROC / str(pid) / "task").iterdir())
    return sorted(int(word) for thread in threads for word in (thread / "children").read_text("ascii").split())


def parse_cpu_ticks(text: str) -> int:
    """utime + stime of /proc/<pid>/stat."""
    # The second field is the program's name in parentheses and may hold spaces and parentheses itself.
    fields = text[text.rindex(")") + 2 :].split()
    return int(fields[11]) + int(fields[12])


def parse_busy_ticks(line: str) -> int:
    """All but idle and iowait of the first line of /proc/stat; guest time is contained in user time."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in line.split()[1:9])
    return user + nice + system + irq + softirq + steal


def parse_memory(text: str) -> tuple[int, int]:
    """(VmRSS, VmHWM) of /proc/<pid>/status, KiB."""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return int(fields["VmRSS"].split()[0]), int(fields["VmHWM"].split()[0])
