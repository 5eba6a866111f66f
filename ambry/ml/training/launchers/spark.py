"""Spark: the workers of a job are the tasks of one barrier stage, on one machine or on YARN."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ambry.errors import InvalidRequest
from ambry.ml.extras import needed
from ambry.ml.training.launchers.attempts import FailedAttempt, LaunchAttempts
from ambry.ml.training.launchers.launch import (
    OF_WORKER,
    Launch,
    LauncherEnded,
    LaunchFailed,
    LaunchPlan,
    output_of,
)
from ambry.ml.training.launchers.spark_driver import FAILED, TOLD, TRIED
from ambry.ml.training.launchers.spark_room import ROOM
from ambry.ml.training.unpacking import naming

LOOPBACK = "127.0.0.1"
ROOM_S = 1
"""How often Spark looks whether there is room for all workers at once: of itself each 15 s, though executors come in 2."""
ROOM_TIMEOUT_S = 900
"""Within this there has to be: of itself 600, as YARN takes until it notes that a machine is dead, and begins elsewhere.
Workers wait as long for each other before they begin: of itself a year."""
_LOCAL = re.compile(r"local(?:\[(\d+)(?:, *\d+)?\])?")
_NOISE = re.compile(
    r"^WARNING: |^Setting default log level|^To adjust logging level|^Using Spark's default log4j|"
    r"^\d\d/\d\d/\d\d \d\d:\d\d:\d\d (INFO|WARN|ERROR) |^:: |^\s*$|"
    r"^\s+at [\w.$/]+[.<(]|^\s+\.\.\. \d+ more|^(Caused by: )?(java|scala|org|py4j)\.[\w.$]+(Exception|Error)\b"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SparkLauncher:
    """Spark, wherever `master` says."""

    master: str = ""
    """local[...], yarn, spark://host:port; empty is this machine, with a thread for each worker."""
    hadoop_conf: Path | None = None
    """Of YARN."""
    settings: Mapping[str, str] = field(default_factory=dict)

    def check(self, plan: LaunchPlan) -> None:
        """Raises InvalidRequest, ModuleNotFoundError where pyspark is not installed."""
        check_room(self.master, plan.workers)
        check_settings(self.settings)
        needed("pyspark")

    def run(self, launch: Launch) -> None:
        """Raises LaunchFailed, InvalidRequest, and ModuleNotFoundError where pyspark is not installed."""
        check_room(self.master, launch.job.workers)
        jars = Path(needed("pyspark").__file__).parent / "jars"
        settings = {**masters_on_yarn(launch.max_restarts), **self.settings} if self.master == "yarn" else self.settings
        conf = spark_conf(
            master=self.master, workers=launch.job.workers, name=launch.job.job, jars=jars, settings=settings
        )
        told = {
            "conf": conf,
            "workers": launch.job.workers,
            "max_restarts": launch.max_restarts,
        }
        with naming(document := launch.directory / "spark.json"):
            document.write_text(json.dumps(told), "utf-8")
        environ = {**launch.environ, "PYSPARK_PYTHON": launch.job.python or sys.executable}
        environ.setdefault("PYTHONWARNINGS", "ignore::FutureWarning")  # Of pyspark, about pandas.
        if self.hadoop_conf is not None:
            environ["HADOOP_CONF_DIR"] = str(self.hadoop_conf)
        command = [sys.executable, "-m", "ambry.ml.training.launchers.spark_driver", str(launch.directory)]
        began, attempts, failed = time.monotonic(), LaunchAttempts(launch), None
        launch.tell(f"Spark begins, on {conf['spark.master']}; workers start when there is room for all of them")
        try:
            for line in output_of(command, environ, whose=OF_WORKER):
                if line.startswith(TOLD):
                    launch.tell(line.removeprefix(TOLD))
                elif line.startswith(TRIED):
                    attempts.again(FailedAttempt(**json.loads(line.removeprefix(TRIED))))
                elif line.startswith(FAILED):
                    told = json.loads(line.removeprefix(FAILED))
                    failed = LaunchFailed(told["why"], goes_on=told["goes_on"])
                elif not _NOISE.match(line):
                    launch.show(line)
        except LauncherEnded as ended:
            raise failed or LaunchFailed(f"the driver {ended}: {' '.join(ended.lines[-1:])}", goes_on=True) from None
        launch.tell(f"all workers ended well after {time.monotonic() - began:.0f} s")


def check_room(master: str, workers: int) -> None:
    """Raises InvalidRequest for a machine that never runs all workers of a barrier stage at once."""
    if (local := _LOCAL.fullmatch(master)) and int(local[1] or 1) < workers:
        raise InvalidRequest(
            f"{master} runs {local[1] or 1} of {workers} workers at once; say --master local[{workers}]"
        )


def check_settings(settings: Mapping[str, str]) -> None:
    """Raises InvalidRequest for those that are not Spark's."""
    if wrong := [each for each in settings if not each.startswith("spark.")]:
        raise InvalidRequest(f"{wrong[0]!r} is no setting of Spark; they begin with spark.")


def masters_on_yarn(restarts: int) -> dict[str, str]:
    """Settings of a job that may lose its master so often, each of which begins all workers again; YARN allows no more than its
    own `yarn.resourcemanager.am.global.max-attempts`.

    Spark takes the smaller one of the two for the last, with which it removes what masters are begun with.
    """
    masters = str(restarts + 1)
    return {"spark.yarn.maxAppAttempts": masters, "spark.hadoop.yarn.resourcemanager.am.max-attempts": masters}


def spark_conf(*, master: str, workers: int, name: str, jars: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """Spark's configuration of a job; `settings` come last. Raises InvalidRequest for settings that are not Spark's."""
    check_settings(settings)
    told = {
        "spark.app.name": name,
        "spark.master": master or f"local[{workers}]",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.executor.instances": str(workers),
        "spark.executor.cores": "1",
        "spark.executor.memory": "512m",
        "spark.executor.memoryOverhead": "2g",
        "spark.driver.memory": "512m",
        f"{ROOM}.interval": f"{ROOM_S}s",
        f"{ROOM}.maxFailures": str(ROOM_TIMEOUT_S // ROOM_S),
        "spark.barrier.sync.timeout": f"{ROOM_TIMEOUT_S}s",
    }
    if master == "yarn":
        told |= {"spark.yarn.jars": f"local:{jars}/*", "spark.yarn.am.memory": "384m"}
    if not master or master.startswith("local"):
        told |= {"spark.driver.host": LOOPBACK, "spark.driver.bindAddress": LOOPBACK}
    # By that is seen whether tasks of a stage run (spark_room.py).
    return {**told, **settings, "spark.ui.liveUpdate.period": "0"}
