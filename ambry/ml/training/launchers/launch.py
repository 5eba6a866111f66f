"""What all launchers are given, and how a process of theirs is followed."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ambry.errors import AmbryError
from ambry.ml.training.jobs import TrainingJob
from ambry.ml.training.launchers.printed import lines_of, printed
from ambry.ml.training.launchers.supervisor import END_TIMEOUT_S, NOT_STARTED, NOT_STARTED_SAYS, supervised
from ambry.ml.training.unpacking import REFUSED

MENDED = "mend that, and submit the job again"
AGAIN = "submit the job again to go on from its newest checkpoint, where it has one"
ANEW = "it saved no checkpoint: mend what it failed by, and submit the job again, which begins at step 0"
"""In the place of AGAIN, of a job that has nothing to go on from."""
TERM_TIMEOUT_S = 15.0
_TRACEBACK = "Traceback (most recent call last):"
_CLASS = r"((?:(?:[^\W\d]\w*|<locals>)\.)+[^\W\d]\w*|[A-Z]\w*)"
_ENDS_TRACEBACK = re.compile(_CLASS + r"(:( .*)?)?$", re.DOTALL)
_RAISED = re.compile(r"[A-Za-z_][\w.]*(Error|Exception): \S")
"""Where the traceback began before the lines that are kept, or there is none."""
_TORCHRUNS_OWN = "ChildFailedError:"
"""It says nothing but that a worker failed."""
_IN_GROUP = re.compile(r"( {2,})(?:\| ?|\+ (?=Exception Group ))")
"""Before each line of an ExceptionGroup; deeper before those of what it has."""
_OF_GROUP = re.compile(r"\(\d+ sub-exceptions?\)$")
_BEFORE = re.compile(r"(?:worker (\d{1,9}): |([a-z]\w* \d{1,9}): )?(?:\[rank(\d+)\]: ?)?")
OF_WORKER = re.compile(r"worker \d{1,9}: ")
"""Before each line of a worker."""
SAID_MAX = 2_000
"""Characters of a sentence, from which on no line is added to it."""
LINES_KEPT = 200
"""Of what a launcher said last, for the sentence that says why it failed."""


class LaunchFailed(AmbryError):
    """A training job did not end well. The message says which part, as far as its launcher tells."""

    def __init__(self, message: str, *, goes_on: bool = False) -> None:
        """`goes_on`: the same job, submitted again as it is, goes on from its newest checkpoint, which `run_job` says."""
        super().__init__(message)
        self.goes_on = goes_on


class LauncherEnded(Exception):
    """The process of a launcher ended with another exit code than 0. `lines` are the last ones that it printed."""

    def __init__(self, code: int, lines: Sequence[str]) -> None:
        how = f"was ended by {signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
        super().__init__(how)
        self.code = code
        self.lines = tuple(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A job on its way. `directory` holds its bundle, and takes what a launcher writes; it is gone when the job has ended."""

    job: TrainingJob
    directory: Path
    bundle: Path
    environ: Mapping[str, str]
    max_restarts: int
    newest: Callable[[], int | None]
    """The step of the newest checkpoint, as the store says it. Raises AmbryError."""
    tell: Callable[[str], None]
    """Takes what is said of the job, a line at a time."""
    show: Callable[[str], None]
    """Takes the lines that workers print."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPlan:
    """What is to be launched, before anything of it is stored."""

    workers: int
    environ: Mapping[str, str]
    """Of the workers."""
    python: str = ""
    """Of this machine, with which they begin; empty where that comes out of the store."""


class Launcher(Protocol):
    """Starts the workers of a job and follows them to their end."""

    def check(self, plan: LaunchPlan) -> None:
        """Refuse what can never run from this machine. Raises what `run` would; of itself a launcher refuses nothing."""
        return

    def run(self, launch: Launch) -> None:
        """Return when all workers have ended well. Raises LaunchFailed, with the reason, and leaves no process behind."""


def output_of(
    command: Sequence[str],
    environ: Mapping[str, str],
    directory: Path | None = None,
    started: Callable[[int], None] | None = None,
    umask: int = -1,
    whose: re.Pattern[str] | None = None,
    death: signal.Signals = signal.SIGTERM,
) -> Iterator[str]:
    """Run a launcher, and give the lines that it and its workers print, until it ends.

    Who is left of its workers then is ended. Very long lines are given in pieces, each of which begins with what `whose` finds
    at the begin of the line. It ends with all that it started, in sessions of their own too, when whoever reads stops, for an
    interrupt or an error, and when this process dies, by the signal `death` (supervisor.py, whose process id `started` is
    told, and which SIGTERM asks for the same). Its `umask` is ours where none is said.
    Raises LauncherEnded where its exit code is not 0, and LaunchFailed where it cannot be started.
    """
    last: deque[str] = deque(maxlen=LINES_KEPT)
    failed = f"{command[0]}{NOT_STARTED_SAYS}"
    try:
        process = subprocess.Popen(
            supervised(command, death, TERM_TIMEOUT_S),
            env=dict(environ),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            umask=umask,
            start_new_session=True,  # nosec B603 # a launcher of ours, with a job of the user
        )
    except OSError as error:  # Such as a command that is too long.
        raise LaunchFailed(f"{failed}{error}; {MENDED}") from None
    try:
        if started is not None:
            started(process.pid)
        for line in lines_of(printed(process), whose):
            if line:
                last.append(line)
            yield line
        code = process.wait()
    finally:
        _end(process)
    if code == NOT_STARTED and last and last[-1].startswith(failed):
        raise LaunchFailed(f"{last[-1]}; {MENDED}")
    if code:
        raise LauncherEnded(code, last)


def signal_name(number: int) -> str:
    """Such as SIGKILL; those of real time have none of their own."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a supervisor with all that it has: that asks first, and then takes force."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(TERM_TIMEOUT_S + 2 * END_TIMEOUT_S)
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _whose(line: str) -> tuple[str, str]:
    """The rank of the worker that printed a line, or what else of TonY's it is (`chief 0`), and what it printed; the first is
    empty where the line does not say.
    """
    found = _BEFORE.match(line)
    return (found[1] or found[2] or found[3] or "", line[found.end() :].rstrip()) if found else ("", line.rstrip())


def refusal_in(line: str) -> str:
    """Of a line of a worker that ends by what is refused for good, the sentence, with what to do; empty of any other line."""
    _, text = _whose(line)
    if not text.startswith(REFUSED):
        return ""
    said = text.removeprefix(REFUSED)[:SAID_MAX]
    return f"what a worker asked is refused for good, and no restart is of use: {said}; {MENDED}"


class LastWords:
    """What the last traceback raised, of whatever class, or the last sentence of the node, as lines come; of one worker where
    they tell whose they are. One sentence of each worker is kept, until it has printed LINES_KEPT lines more: it went on.

    It is one line: of one that ends with a colon, with the next one, and of an ExceptionGroup, with the first that it has.
    """

    def __init__(self, rank: str = "") -> None:
        self._rank = rank
        self._said: dict[str, str] = {}
        self._since: dict[str, int] = {}
        self._within: set[str] = set()

    def hear(self, line: str) -> None:
        whose, text = _whose(line)
        if self._rank and whose not in ("", self._rank):
            return
        text, depth = _ungrouped(text)
        self._since[whose] = self._since.get(whose, 0) + 1
        if self._since[whose] > LINES_KEPT:
            self._said.pop(whose, None)
        before = self._said.get(whose, "")
        if depth > 2 and _OF_GROUP.search(before):
            if _ENDS_TRACEBACK.match(text):
                self._said[whose] = f"{before}: {text}"
        elif depth <= 2 and text.strip().removeprefix("Exception Group ") == _TRACEBACK:
            self._within.add(whose)
            self._said.pop(whose, None)  # What was raised before is not why it ended.
        elif whose in self._within and _ENDS_TRACEBACK.match(text):
            self._within.discard(whose)
            if not text.endswith(_TORCHRUNS_OWN):
                self._say(whose, text)
        elif before.endswith(":") and text.strip() and len(before) < SAID_MAX:
            self._said[whose] = f"{before} {text.strip()}"
        elif depth == 0 and (text.startswith("ambry train: ") or _RAISED.match(text.strip())):
            self._say(whose, text.strip())

    def _say(self, whose: str, text: str) -> None:
        self._said.pop(whose, None)  # The last one to say something is the last here.
        self._said[whose] = text
        self._since[whose] = 0

    def __str__(self) -> str:
        """With `: ` before it; empty where nobody said why."""
        found = next(reversed(self._said.values()), "")
        return f": {found}" if found else ""


def last_words(lines: Iterable[str], rank: str = "") -> str:
    """Those of lines that are here."""
    heard = LastWords(rank)
    for line in lines:
        heard.hear(line)
    return str(heard)


def _ungrouped(text: str) -> tuple[str, int]:
    """A line without what stands before it in an ExceptionGroup, and how deep that is, in characters; 0 outside."""
    found = _IN_GROUP.match(text)
    return (text[found.end() :], len(found[1])) if found else (text, 0)
