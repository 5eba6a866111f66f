"""torchrun: the workers of one machine, all of which are started again when one of them ends badly."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack

from ambry.ml.training.bundle import DOCUMENT
from ambry.ml.training.environments import PYTHON_TIMEOUT_S
from ambry.ml.training.launchers.attempts import RAISED_MAX, FailedAttempt, LaunchAttempts
from ambry.ml.training.launchers.launch import (
    LINES_KEPT,
    OF_WORKER,
    Launch,
    LauncherEnded,
    LaunchFailed,
    LaunchPlan,
    last_words,
    output_of,
    refusal_in,
    signal_name,
)
from ambry.ml.training.node import EXIT_NODE, OF_THIS_PYTHON, node_environment, python_of, read_job
from ambry.ml.training.roles import LAUNCHER, PARENT, PEERS
from ambry.ml.training.unpacking import NodeFailed

BEFORE_LINE = "\nworker ${rank}: "
"""What torchrun writes before each line: what a worker printed without an end of the line has none there either, and the next
line would be behind it."""
_NOISE = re.compile(r"worker \d+: (\s*$|.*socket\.cpp:)")
PEERS_BYTES_MAX = 120_000
"""No variable of a process has more than 131,071 bytes with its name (execve(2), MAX_ARG_STRLEN): one set of 4,096 fits."""
ADDRESS_SETS_MAX = 8
"""For so many restarts each has addresses of its own, and then they come again."""
_FAILED = re.compile(r"failed \(exitcode: (-?\d+)\) local_rank: (\d+)")


class TorchrunLauncher:
    """One machine."""

    def check(self, plan: LaunchPlan) -> None:
        """Raises LaunchFailed where the Python of the workers is not here, or has no torch."""
        if not plan.python:
            return
        environ = {name: value for name, value in plan.environ.items() if name not in OF_THIS_PYTHON}
        try:
            python = python_of({"python": plan.python}, environ)
        except NodeFailed as error:
            raise LaunchFailed(str(error)) from None
        _require_torch(python, environ)

    def run(self, launch: Launch) -> None:
        """Raises LaunchFailed."""
        began = time.monotonic()
        document = launch.bundle.parent / DOCUMENT
        try:
            job = read_job(document)
            environ = node_environment(document, job, launch.environ)
            python = python_of(job, environ)
        except (NodeFailed, OSError) as error:
            raise LaunchFailed(str(error)) from None
        _require_torch(python, environ)
        environ |= {
            LAUNCHER: "torchrun",
            PEERS: addresses(launch.job.workers, launch.max_restarts),
        }
        environ.setdefault("OMP_NUM_THREADS", "1")
        # Else all restarts share one store, in which a worker finds the address of a rank 0 that is dead (torch 2.13:
        # "Gloo connectFullMesh failed"), and whether one restart or all of them are used up is chance.
        environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
        environ["TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE"] = BEFORE_LINE
        for line in self._followed(launch, torchrun_command(python, launch), environ):
            launch.show(line)
        launch.tell(f"all workers ended well after {time.monotonic() - began:.0f} s")

    def _followed(self, launch: Launch, command: Sequence[str], environ: dict[str, str]) -> Iterable[str]:
        """What workers print, each line with whose it is; of what torchrun says of itself, how they ended is told where all of
        them begin again, which it does without a word. One that fails again and again alike is ended.
        """
        attempts, left = LaunchAttempts(launch), launch.max_restarts
        said: deque[str] = deque(maxlen=LINES_KEPT)
        """In this attempt: all that its workers printed comes before how they ended."""
        try:
            # Asked to end while nobody reads what it prints, torchrun waits for its own threads for ever.
            for line in output_of(command, environ, whose=OF_WORKER, death=signal.SIGKILL):
                said.append(line)
                if (found := _failed_in(line)) is not None:
                    if left > 0:
                        attempts.again(failed_attempt(found[2], int(found[1]), said))
                    left -= 1
                    said.clear()
                if OF_WORKER.match(line) and not _NOISE.match(line):
                    yield line
                    if refused := refusal_in(line):
                        raise LaunchFailed(refused)
        except LauncherEnded as ended:
            raise LaunchFailed(reason_of(ended, launch), goes_on=True) from None


def torchrun_command(python: str, launch: Launch) -> list[str]:
    """What starts the workers, each of which is told by whom: torchrun that is killed ends none of them itself."""
    return [
        *("/bin/sh", "-c", f'export {PARENT}=$$; exec "$@"', "torchrun"),
        *(python, "-u", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(launch.job.workers)),
        *("--max-restarts", str(launch.max_restarts), "--monitor-interval", "0.2"),
        *("--tee", "3", "--log-dir", str(launch.directory / "torchrun"), str(launch.bundle)),
    ]


def _failed_in(line: str) -> re.Match[str] | None:
    """Which worker failed first, of a line of torchrun's own: a script may run one itself, whose workers are none of ours."""
    return None if OF_WORKER.match(line) else _FAILED.search(line)


def failed_attempt(rank: str, code: int, lines: Iterable[str]) -> FailedAttempt:
    """One in which that worker failed first, by what was printed in it."""
    words = "" if code < 0 else last_words(lines, rank)[:RAISED_MAX]  # Who was killed said nothing, and others much.
    return FailedAttempt(said=f"worker {rank} {how_it_ended(code)}{words}", code=code, raised=words.removeprefix(": "))


def how_it_ended(code: int) -> str:
    """Of a worker."""
    if code < 0:
        return f"was ended by {signal_name(-code)}"
    return "could not begin" if code == EXIT_NODE else f"ended with exit code {code}"


def reason_of(ended: LauncherEnded, launch: Launch) -> str:
    """Why a job failed, from what torchrun said last: which worker, how, and what it printed of it."""
    failed = [(at, found) for at, line in enumerate(ended.lines) if (found := _failed_in(line)) is not None]
    if not failed or ended.code < 0:  # What it said of workers then is of those that it started again.
        return f"torchrun {ended}{'' if ended.code < 0 else last_words(ended.lines)}"
    found = failed[-1][1]
    code, rank = int(found[1]), found[2]
    of_this_try = ended.lines[failed[-2][0] + 1 :] if len(failed) > 1 else ended.lines
    said = "" if code < 0 else last_words(of_this_try, rank)  # Who was killed said nothing of it, and others much.
    tries = f" after {launch.max_restarts} restarts" if launch.max_restarts else ""
    return f"worker {rank} {how_it_ended(code)}{tries}{said}"


def addresses(workers: int, max_restarts: int) -> str:
    """Where workers of TensorFlow listen, of each restart others: somebody may have taken a port before a worker has it."""
    sets: list[list[int]] = []
    fit = PEERS_BYTES_MAX // (workers * len("127.0.0.1:65535,"))
    for _ in range(max(1, min(max_restarts + 1, ADDRESS_SETS_MAX, fit))):
        sets.append(free_ports(workers, {port for each in sets for port in each}))
    return ";".join(",".join(f"127.0.0.1:{port}" for port in each) for each in sets)


def free_ports(count: int, but: Collection[int] = ()) -> list[int]:
    """Ports that nobody listens at now, for TensorFlow, and none of others. So many files are open meanwhile."""
    found: list[int] = []
    with ExitStack() as held:
        while len(found) < count:
            each = held.enter_context(socket.socket())
            each.bind(("127.0.0.1", 0))
            if (port := each.getsockname()[1]) not in but:
                found.append(port)
    return found


_LACKS_TORCH = 71
"""Python ends with 1 of itself where it cannot begin, as with a PYTHONHOME that is none."""


def _require_torch(python: str, environ: dict[str, str]) -> None:
    """Raises LaunchFailed."""
    code = f"import importlib.util, sys; sys.exit(0 if importlib.util.find_spec('torch') else {_LACKS_TORCH})"
    command = [python, "-c", code]
    try:
        looked = subprocess.run(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PYTHON_TIMEOUT_S,
            check=False,  # nosec B603 # the Python of the job
        )
    except subprocess.TimeoutExpired:
        raise LaunchFailed(
            f"{python} did not say within {PYTHON_TIMEOUT_S:.0f} s whether it has torch: see whether it begins at all",
            goes_on=True,
        ) from None
    except OSError as error:
        # Without a name it is about this process, such as its descriptors.
        to_do = "; name another Python with --python" if error.filename else ""
        raise LaunchFailed(f"{python} cannot be started: {error}{to_do}") from None
    if looked.returncode == _LACKS_TORCH:
        raise LaunchFailed(
            f"torchrun comes with torch, which {python} does not have: install it there, or in the environment that is sent"
        )
    if looked.returncode:
        words = looked.stderr.decode("utf-8", "replace").split("\n")
        said = next((line.strip() for line in reversed(words) if line.strip()), "")
        raise LaunchFailed(
            f"{python} {how_it_ended(looked.returncode)} before it could say whether it has torch{said and f': {said}'}; name "
            "another Python with --python, or look at what is said with --env"
        )
