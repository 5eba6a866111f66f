"""A process in as much of a unit's sandbox as can be had without systemd: bubblewrap for what it sees, seccomp for its calls.

Of the unit (deploy/systemd) it takes SystemCallFilter, which `systemd-analyze` spells out and libseccomp makes a filter of,
and MemoryDenyWriteExecute, which is prctl(PR_SET_MDWE) here. The user is none of this machine, has no capability, and sees
everything read-only but for its own directory.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from deploy.local_layout import Member

ROOT = Path(__file__).resolve().parents[2]
UID = 64_100
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_DENY_WRITE_EXECUTE = """
import ctypes, os, sys
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):
    sys.exit("PR_SET_MDWE is not to be had")
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""PR_SET_MDWE with PR_MDWE_REFUSE_EXEC_GAIN: it stays over an execve(2)."""


def unit(role: str) -> dict[str, list[str]]:
    """The settings of a role's unit, each with its values in their order."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "deploy" / "systemd" / f"ambry-{role}@.service").read_text("utf-8").splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def why_not() -> str:
    """Why there is no such sandbox on this machine; empty where there is."""
    for program in ("bwrap", "systemd-analyze"):
        if shutil.which(program) is None:
            return f"there is no {program} on this machine"
    if ctypes.util.find_library("seccomp") is None:
        return "there is no libseccomp on this machine"
    tried = subprocess.run(
        ["bwrap", "--unshare-user", "--ro-bind", "/", "/", sys.executable, "-c", _DENY_WRITE_EXECUTE, "-c", "0"],
        capture_output=True,
        text=True,
        check=False,
    )
    return tried.stderr.strip()


def calls_of(filters: Sequence[str]) -> set[str]:
    """The system calls that lines of SystemCallFilter leave: sets and names, those behind a ~ taken away."""
    allowed: set[str] = set()
    for line in filters:
        names = {name for each in line.removeprefix("~").split() for name in _spelled_out(each)}
        allowed = allowed - names if line.startswith("~") else allowed | names
    return allowed


def _spelled_out(name: str) -> set[str]:
    if not name.startswith("@"):
        return {name}
    told = subprocess.check_output(["systemd-analyze", "syscall-filter", "--no-pager", name], text=True)
    lines = [line.strip() for line in told.splitlines()[1:]]
    return {found for line in lines if line and not line.startswith("#") for found in _spelled_out(line)}


def filter_of(calls: set[str]) -> int:
    """A file with a seccomp filter that answers all other calls EPERM; whoever gets it closes it."""
    library = ctypes.CDLL(ctypes.util.find_library("seccomp"))
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(_ERRNO | errno.EPERM))
    for name in sorted(calls):
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # others are of other machines
            assert library.seccomp_rule_add(context, _ALLOW, number, 0) == 0, name
    with tempfile.TemporaryFile() as file:
        assert library.seccomp_export_bpf(context, file.fileno()) == 0
        library.seccomp_release(context)
        file.seek(0)
        return os.dup(file.fileno())


def start(member: Member, *more: str, **environment: str) -> subprocess.Popen[str]:
    """`python -m <role>` of a member, with `more` to set."""
    sets = [item for each in more for item in ("--set", each)]
    return run(member, ["-m", member.role, "--config", str(member.config), *sets], **environment)


def run(member: Member, arguments: Sequence[str], **environment: str) -> subprocess.Popen[str]:
    """Python in the sandbox of a member, which may write to its own directory alone."""
    calls = filter_of(calls_of(unit(member.role)["SystemCallFilter"]))
    shown = [item for path in (ROOT, member.directory.parent) for item in ("--ro-bind", str(path), str(path))]
    command = [
        "bwrap", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--uid", str(UID), "--gid", str(UID),
        "--cap-drop", "ALL", "--new-session", "--die-with-parent", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev",
        "--tmpfs", "/tmp", *shown, "--bind", str(member.directory), str(member.directory), "--seccomp", str(calls),
        sys.executable, "-c", _DENY_WRITE_EXECUTE, *arguments,
    ]  # fmt: skip
    try:
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            pass_fds=[calls],
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        )
    finally:
        os.close(calls)
