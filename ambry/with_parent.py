"""Programs that end with whoever started them, however that ends. Linux: prctl(2), PR_SET_PDEATHSIG.

The program asks for that itself, in an interpreter of its own that becomes it, and the request is kept: a preexec_fn may
deadlock where the parent has threads. The parent may have died before the request, hence the look at getppid. To the kernel the
parent is the *thread* that forked: whoever starts such a program from a thread that ends before it, loses it with that thread.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

_BECOME = """
import ctypes, os, sys
parent, number, *command = sys.argv[1:]
ctypes.CDLL(None).prctl(1, int(number))
if os.getppid() == int(parent):
    os.execvp(command[0], command)
"""


def with_parent(command: Sequence[str], number: signal.Signals) -> list[str]:
    """What to start in place of `command`: the kernel sends it a signal when the process that called this dies."""
    return [sys.executable, "-I", "-S", "-c", _BECOME, str(os.getpid()), str(int(number)), *command]
