"""Whether all workers are to begin again: not where they failed as before, and nothing came of it between.

A failure is the script's own where its process ended by an exit code, and by an error of Python's own about a script and its
data. It is the same as one before where the code and what was raised are, and there is no newer checkpoint: the script is where
it was, and does there what it did. Who is killed says nothing of the next time, and neither does what other workers, the
network, the store, the disk, the memory or a library may have caused: such jobs are started as often as they may be.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ambry.errors import AmbryError
from ambry.ml.training.launchers.launch import MENDED, Launch, LaunchFailed
from ambry.ml.training.node import EXIT_NODE

RAISED_MAX = 1_000
"""Characters of what was raised."""
_EXIT_CODE_MAX = 128
"""What is above is how a shell tells a signal (sh(1p), 2.8.2)."""
_OWN = re.compile(
    r"(?:Syntax|Indentation|Tab|Import|ModuleNotFound|Name|UnboundLocal|Attribute|Type|Key|Index|Value|ZeroDivision|Assertion|"
    r"NotImplemented|Recursion|FileNotFound|FileExists|IsADirectory|NotADirectory|UnicodeDecode|UnicodeEncode)Error(?::|$)"
)
"""A RuntimeError is none of them: libraries raise it of shapes that do not fit, and of a GPU or a peer that is away."""
_MAY_PASS = re.compile(
    # The store, other workers, and the network between all of them.
    r"ambry[. ]|connect|\bpeer|socket|address|network|http|grpc|\bssl|\bdns|name resolution|resolve host|gloo|nccl|\bmpi\b|"
    r"\bdist\w*error|rendezvous|store->|monitored ?barrier|"
    # A wait, and what was ended by others.
    r"time[d ]*out|deadline|unavailable|temporar|interrupted|aborted|cancel|blocking|pipe|\breset\b|refused|\bbusy\b|\block|"
    r"signal|SIG[A-Z]{3}|killed|terminated|exited unexpectedly|process ?pool|\bdied\b|"
    # The machine.
    r"memory|\boom\b|\berrno\b(?! (?:2|13|17|20|21)\b)|no space|\bdisk\b|quota|too many|resource|\bgpu|cuda",
    re.IGNORECASE,
)
"""What may be otherwise the next time, though the words are the same. A script that is wrong, and says one of these, is started
once or twice too often.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedAttempt:
    """How all workers came to their end: by the first of them that failed."""

    said: str
    """For people."""
    code: int = 0
    """With which its process ended; negative of a signal, 0 where nobody says it."""
    raised: str = ""
    """What its last traceback said, in a line; empty where it had none."""


class LaunchAttempts:
    """Those of one launch."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._before: set[tuple[str, int, str, int | None]] = set()

    def again(self, failed: FailedAttempt) -> None:
        """Tell that all workers begin again. Raises LaunchFailed where that is in vain."""
        if vain := self.in_vain(failed):
            raise LaunchFailed(vain)
        self._launch.tell(f"{failed.said}; all workers are started again")

    def in_vain(self, failed: FailedAttempt, worker: str = "") -> str:
        """Why no restart is of use, with what to do; empty where one may be. Asked once for each attempt, or for each `worker`
        of it.
        """
        is_own = 0 < failed.code <= _EXIT_CODE_MAX and failed.code != EXIT_NODE and failed.raised != ""
        if not is_own or not _OWN.match(failed.raised) or _MAY_PASS.search(failed.raised):
            return ""
        try:
            step = self._launch.newest()
        except AmbryError:  # The store does not say whether there is a newer one.
            return ""
        this = (worker, failed.code, failed.raised, step)
        if this not in self._before:
            self._before.add(this)
            return ""
        newer = "no checkpoint" if step is None else f"no newer checkpoint than that of step {step}"
        return (
            f"{failed.said}; an attempt before ended so, and there is {newer}, so that no restart is of use; {MENDED}"
        )
