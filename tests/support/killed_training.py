"""Training jobs whose parts are killed: a script that says where it is, moments of chance, and what is whole afterwards."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ambry import AmbryClient, BlobNotFound
from ambry.ml import models, training
from ambry.ml.models.manifest import parse_manifest
from deploy.engines.processes import JAVA_OPTIONS
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
STEPS, EVERY = 60, 10
REACHED_S = 420.0
SPARK_BEGINS = {f"spark.{who}.extraJavaOptions": " ".join(JAVA_OPTIONS) for who in ("driver", "executor", "yarn.am")}
"""Of a Spark that is to begin often, and computes nothing itself."""


def spark_on_yarn(staging: Path) -> dict[str, str]:
    """The same with a driver on loopback, and what all nodes read in a directory that they share."""
    local = {f"spark.driver.{what}": "127.0.0.1" for what in ("host", "bindAddress")}
    return {**SPARK_BEGINS, **local, "spark.yarn.stagingDir": f"file://{staging}"}


_CHANGES = {
    "            die_once(said, step, rank, world)\n": """\
            mark(said, rank, job, 2 * step)
            time.sleep(float(os.environ["PACE_S"]))
""",
    "                checkpoints.save(step + 1,": """\
                mark(said, rank, job, 2 * step + 1)
                checkpoints.save(step + 1,""",
    "def main() -> None:\n": """\
def mark(said: argparse.Namespace, rank: int, job: Any, at: int) -> None:
    path = said.once.with_name(f"{said.once.name}-{rank}")
    path.with_suffix(".new").write_text(f"{os.getpid()} {job.role.start} {at}")
    path.with_suffix(".new").replace(path)


def main() -> None:
    if os.environ.get("HELPED"):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", *sys.argv], start_new_session=True)
""",
    "import signal\n": "import signal\nimport subprocess\nimport sys\nimport time\n",
}


def write_script(path: Path) -> Path:
    """The demonstration's script, whose workers say at which step they are, and take their time. With HELPED each has a process
    of its own, which does not end by itself.
    """
    text = (ROOT / "deploy/demos/train_digits.py").read_text("utf-8")
    for old, new in _CHANGES.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


@dataclass(frozen=True, slots=True)
class Moment:
    """When somebody is killed: before a step, or so long after a checkpoint began to be saved."""

    at: int
    delay_s: float = 0.0

    def __str__(self) -> str:
        step, saves = divmod(self.at, 2)
        return f"{self.delay_s:.2f} s into the checkpoint of step {step + 1}" if saves else f"at step {step}"


def moment_of(chance: random.Random, first: int, last: int) -> Moment:
    """Between two steps; every third time while a checkpoint is saved."""
    if chance.random() < 1 / 3:
        saved = chance.choice([step for step in range(first, last + 1) if step % EVERY == 0])
        return Moment(2 * saved - 1, chance.uniform(0, 0.15))
    return Moment(2 * chance.choice([step for step in range(first, last + 1) if step % EVERY]))


@dataclass(slots=True)
class Marks:
    """What the workers of a job said last, each in a file of its own."""

    once: Path
    workers: int
    _ended: int = -1
    """The start of those that were killed: who comes in their place starts later."""

    def forget(self, *, restarted: bool = False) -> None:
        """Whoever is there now does not count any more; what follows is `restarted` by its launcher, or by nobody yet."""
        found = self._read(self.workers - 1)
        self._ended = found[1] if restarted and found is not None else -1
        if not restarted:
            for rank in range(self.workers):
                self._file(rank).unlink(missing_ok=True)

    def reach(self, moment: Moment, over: Callable[[], bool]) -> list[int]:
        """Wait until the last worker of a new start is there, and all others are; the processes of all workers, by rank; none
        where all is over."""

        def there() -> bool:
            found = [each for each in self._all() if each[1] > self._ended]
            return over() or (len(found) == self.workers and found[-1][2] >= moment.at)

        eventually(there, f"the workers are {moment}", timeout_s=REACHED_S, interval_s=0.005)
        if over():
            return []
        time.sleep(moment.delay_s)  # Not for anything: it is the moment.
        return [each[0] for each in self._all()]

    def _all(self) -> list[tuple[int, int, int]]:
        return [each for rank in range(self.workers) if (each := self._read(rank)) is not None]

    def _read(self, rank: int) -> tuple[int, int, int] | None:
        try:
            pid, start, at = map(int, self._file(rank).read_text().split())
        except FileNotFoundError:
            return None
        return pid, start, at

    def _file(self, rank: int) -> Path:
        return self.once.with_name(f"{self.once.name}-{rank}")


def above(pid: int, program: str) -> int:
    """The nearest process above another one that runs such a program."""
    while True:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        if Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].endswith(program.encode()):
            return pid


def processes_with(word: str | Path, program: str = "", *, where: Path | None = None) -> list[int]:
    """Those with such a word in their command, of a program, and with a path in their environment; not this one."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            command = (each / "cmdline").read_bytes()
            environ = (each / "environ").read_bytes() if where is not None else b""
        except OSError:
            continue  # It ended.
        if (
            os.fsencode(word) in command
            and command.split(b"\0")[0].endswith(program.encode())
            and (where is None or os.fsencode(where) in environ)
            and int(each.name) != os.getpid()
        ):
            found.append(int(each.name))
    return found


def published(client: AmbryClient, name: str) -> bool:
    """Whether the model of a job has a version."""
    try:
        return bool(list(client.versions(f"{name}-model")))
    except BlobNotFound:
        return False


def check_whole(client: AmbryClient, name: str, digest: str = "") -> None:
    """What is seen of a job is whole: its checkpoints, what was handed in, and its one version, or none without a `digest`."""
    folder = training.CheckpointFolder(client, f"training/{name}/checkpoints")
    for step in folder.steps():
        for path, file in folder.mark_of(step).files.items():
            assert client.head(file.id).size == file.size, (step, path)
    try:
        handed_in = client.get_bytes(f"training/{name}/model.json")
    except BlobNotFound:
        assert not digest
    else:
        assert len(parse_manifest(handed_in).parts) == 1
    if not digest:
        assert not published(client, name)
        return
    assert [entry.version for entry in client.versions(f"{name}-model")] == ["1.0.0"]
    stored = models.open(client, f"{name}-model")
    assert stored.manifest.params["parameters"] == digest and len(stored.load(framework="torch")) == 4
    assert folder.latest() == STEPS
