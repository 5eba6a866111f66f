"""Apache Spark, standalone: a master and a worker of pyspark's own jars, on loopback, for drivers of this machine."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

from deploy.directory_processes import none_outlives
from deploy.engines.jars import EngineError, Tell
from deploy.engines.processes import EngineProcess, fetched, free_ports, holds
from deploy.local_layout import HOST

WORKER_CORES = 2
WORKER_MEMORY_MB = 2_048
"""For executors, which are processes of the worker's; one asks for 1 GiB unless its driver says otherwise."""
_CLASSES = "org.apache.spark.deploy"


class SparkCluster:
    """A master and a worker that it counts on. `address` is what a driver names as its master."""

    def __init__(self, directory: Path, home: Path) -> None:
        """`home` is that of pyspark. Raises EngineError."""
        master, master_web, worker, worker_web = free_ports(4)
        self.address = f"spark://{HOST}:{master}"
        self.url = f"http://{HOST}:{master_web}"
        """Of the master's pages."""
        self.master = EngineProcess(
            "master",
            _command(home, "master.Master", "--host", HOST, "--port", str(master), "--webui-port", str(master_web)),
            directory,
            lambda: bool(fetched(f"{self.url}/json/")),
        )
        words = ["--host", HOST, "--port", str(worker), "--webui-port", str(worker_web)]
        words += ["--cores", str(WORKER_CORES), "--memory", f"{WORKER_MEMORY_MB}m"]
        self.work = directory / "work"
        """Where its executors run."""
        words += ["--work-dir", str(self.work), self.address]
        self.worker = EngineProcess("worker", _command(home, "worker.Worker", *words), directory, self._has_worker)

    def _has_worker(self) -> bool:
        """Whether the master counts on it."""
        return holds(lambda told: told.get("aliveworkers"), fetched(f"{self.url}/json/"))


def home_of_pyspark() -> Path:
    """Where pyspark is installed, which is not loaded for it. Raises EngineError."""
    found = importlib.util.find_spec("pyspark")
    if found is None or found.origin is None:
        raise EngineError("Spark comes with pyspark, which is not installed: pip install 'ambry[spark]'")
    return Path(found.origin).parent


def _command(home: Path, main: str, *words: str) -> list[str]:
    """Spark's own launcher knows which of Java's modules are to be opened; it becomes the program. Raises EngineError."""
    for needed in ("java", "bash"):
        if shutil.which(needed) is None:
            raise EngineError(f"there is no {needed} for Spark; `make engines` installs it")
    environ = [f"SPARK_HOME={home}", "SPARK_DAEMON_MEMORY=384m", f"SPARK_LOCAL_IP={HOST}"]
    return ["/usr/bin/env", *environ, "bash", str(home / "bin" / "spark-class"), f"{_CLASSES}.{main}", *words]


@contextlib.contextmanager
def spark(directory: Path, tell: Tell) -> Iterator[SparkCluster]:
    """A cluster that takes applications, in a directory of the caller's. Raises EngineError."""
    home = home_of_pyspark()
    tell(f"spark: that of {home}")
    directory.mkdir(parents=True, exist_ok=True)
    cluster = SparkCluster(directory, home)
    with contextlib.ExitStack() as running:
        # Python workers of executors are groups of their own, and end when they next look for their executor.
        running.enter_context(none_outlives(cluster.work))
        running.enter_context(cluster.master)
        running.enter_context(cluster.worker)
        yield cluster
