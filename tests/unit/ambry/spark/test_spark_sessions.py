"""Sessions for commands: which master is meant, and what an executor without files is to whoever runs the command.

What else Spark fails with: tests/integration/test_spark_photon.py.
"""

from __future__ import annotations

from unittest.mock import MagicMock

import pytest

from ambry.ml.training.launchers.launch import LaunchFailed
from ambry.spark import sessions
from ambry.spark.sessions import local_with_tries, spark_session
from tests.unit.ambry.ml.training.launchers.test_launchers_spark import CRASHED


@pytest.mark.parametrize(
    ("master", "meant"),
    [
        ("", "local[*,4]"),
        ("local", "local[1,4]"),
        ("local[2]", "local[2,4]"),
        ("local[2,1]", "local[2,1]"),
        ("yarn", "yarn"),
        ("spark://host:7077", "spark://host:7077"),
    ],
)
def test_a_machine_tries_tasks_again_unless_it_is_told_otherwise(master: str, meant: str) -> None:
    assert local_with_tries(master) == meant


def test_who_loses_executors_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    raised = type("Py4JJavaError", (Exception,), {"__module__": "py4j.protocol"})
    for name in ("PYSPARK_PYTHON", "PYTHONWARNINGS"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(sessions, "needed", lambda name: MagicMock(__file__="/env/pyspark/__init__.py"))
    monkeypatch.setattr(sessions, "register", lambda session: None)
    with (
        pytest.raises(LaunchFailed) as failed,
        spark_session("rows", master="yarn", workers=2, settings={}, hadoop_conf=None, tell=print),
    ):
        raise raised(CRASHED)
    assert str(failed.value) == (
        "Spark (yarn) failed: executor 6 on localhost cannot run Python: it has lost its files, as it does when its "
        "NodeManager is killed, or has too little memory (spark.executor.memoryOverhead); nothing was published: run the "
        "command again"
    )
