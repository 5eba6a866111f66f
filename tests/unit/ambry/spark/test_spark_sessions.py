"""Sessions for commands: which master is meant. What Spark fails with: tests/integration/test_spark_photon.py."""

from __future__ import annotations

import pytest

from ambry.spark.sessions import local_with_tries


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
