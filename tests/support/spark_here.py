"""A session of Spark on this machine, quiet, that knows `ambry`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

QUICK_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto"
"""Of a JVM that lives for a minute: what it compiles well it has no time to use."""


@contextmanager
def spark_here(directory: Path) -> Iterator[Any]:
    """Two threads, and a task is tried four times. Spark has one session at a time in a process: the end stops it."""
    from pyspark.sql import SparkSession

    from ambry.spark import register

    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    builder = SparkSession.builder.master("local[2,4]")
    for name, value in {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.ui.liveUpdate.period": "0",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "700m",
        "spark.driver.extraJavaOptions": QUICK_JAVA,
        "spark.local.dir": str(directory),
        "spark.sql.shuffle.partitions": "2",
    }.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    register(session)
    try:
        yield session
    finally:
        session.stop()
