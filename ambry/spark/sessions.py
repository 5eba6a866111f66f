"""A session of Spark for a command: quiet, with failures as sentences."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ambry.errors import AmbryError
from ambry.ml.extras import needed
from ambry.ml.training.launchers.launch import LaunchFailed
from ambry.ml.training.launchers.spark import spark_conf
from ambry.ml.training.launchers.spark_driver import attempt_in, lost_executor
from ambry.spark import register

TRIES = 4
"""Of a task, as on a cluster: who runs on one machine loses a worker too."""
_AGAIN = "nothing was published: run the command again"
_LOCAL = re.compile(r"local(?:\[(\d+|\*)\])?")


@contextmanager
def spark_session(
    name: str,
    *,
    master: str,
    workers: int,
    settings: Mapping[str, str],
    hadoop_conf: Path | None,
    tell: Callable[[str], None],
) -> Generator[Any]:
    """A session that knows `ambry`, and is stopped at the end. What Java says goes nowhere while all is well.

    `tell` hears that it begins, which takes long.

    Raises LaunchFailed with what Spark failed with, InvalidRequest for settings that are not its own, ModuleNotFoundError.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Of pyspark, about pandas.
        pyspark = needed("pyspark.sql")
        jars = Path(needed("pyspark").__file__).parent / "jars"
    told = {"spark.executor.memoryOverhead": "512m", **settings}
    conf = spark_conf(master=local_with_tries(master), workers=workers, name=name, jars=jars, settings=told)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYTHONWARNINGS", "ignore::FutureWarning")
    if hadoop_conf is not None:
        os.environ["HADOOP_CONF_DIR"] = str(hadoop_conf)
    builder = pyspark.SparkSession.builder
    for key, value in conf.items():
        builder = builder.config(key, value)
    with tempfile.TemporaryFile() as log, warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="pyspark")
        try:
            tell(f"Spark begins, on {conf['spark.master']}, which may take half a minute")
            with _said_to(log.fileno()):
                session = builder.getOrCreate()
            session.sparkContext.setLogLevel("OFF")
            register(session)
            try:
                yield session
            finally:
                session.stop()
        except (AmbryError, ModuleNotFoundError):
            raise
        except Exception as error:
            # Py4J's and Spark's own, of many kinds.
            if not type(error).__module__.startswith(("py4j", "pyspark")):
                raise
            log.seek(0)
            raise LaunchFailed(f"Spark ({conf['spark.master']}) failed: {_reason(error, log.read())}") from error


def local_with_tries(master: str) -> str:
    """`local[2]` of one machine as `local[2,4]`, where a task is tried again; any other as it is."""
    found = _LOCAL.fullmatch(master or "local[*]")
    return master if found is None else f"local[{found[1] or 1},{TRIES}]"


def _reason(error: Exception, log: bytes) -> str:
    if lost := lost_executor(str(error)):
        return f"{lost[:500]}; {_AGAIN}"
    said = attempt_in(str(error)).said
    if "JAVA_GATEWAY_EXITED" in said:
        last = log.decode("utf-8", "replace").strip().splitlines()
        said = f"Java did not start: {' '.join(last[-1:]) or 'is it installed? (Spark 4 needs Java 17)'}"
    return said[:500]


@contextmanager
def _said_to(file: int) -> Generator[None]:
    """What programs that are started now say on stderr goes to a file, also later."""
    sys.stderr.flush()
    before = os.dup(2)
    try:
        os.dup2(file, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
