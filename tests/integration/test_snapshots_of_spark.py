"""Frames of Spark itself become snapshots: scalars, dense, sparse and vectors, partition by partition.

An engine: it skips where pyspark, or a Java for it, is not installed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from ambry import AmbryClient
from ambry.ml import snapshots
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from tests.support.spark_here import spark_here

pytestmark = pytest.mark.engine
pytest.importorskip("pyspark", reason="pyspark is not installed; `make engines` does it")
if shutil.which("java") is None:
    pytest.skip("there is no java; `make engines` installs it", allow_module_level=True)

TEXT = """\
age: {valType: INT, default: -1}
name: {valType: STRING}
week: {valType: FLOAT, dims: [days-1-0]}
actions: {valType: INT, dims: [kinds-1-0, seen-1-0]}
days: {type: discrete : {size: 3}}
seen: {type: discrete}
kinds: {type: categorical : {idMappingFile: "kinds.csv"}}
// (kinds.csv)
0, OUT_OF_VOCAB
1, Comment
2, Click
"""
METADATA = FeatureMetadata.of([parse_definitions(TEXT, "n")])
URNS = [f"urn:li:(n,{name},1,0)" for name in ("age", "name", "week", "actions")]
MEMBERS = 4_000
SCHEMA = (
    "member long, age int, name string, week array<float>, actions array<struct<kinds: string, seen: int, value: int>>"
)


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with spark_here(tmp_path_factory.mktemp("spark")) as made:
        yield made


def row(member: int) -> tuple[Any, ...]:
    cells = [("Click", member % 5, member), ("Reshare", 1, 7)] if member % 3 else None
    name = None if member % 11 == 4 else f"m{member}"
    return member, None if member % 7 == 2 else member % 90, name, [member / 2, 0.0, 1.0], cells


def test_a_frame_of_spark_becomes_a_snapshot(spark: Any, dc1: str) -> None:
    frame = spark.createDataFrame([row(member) for member in range(MEMBERS)], SCHEMA).repartition(5)
    settings: dict[str, Any] = {"metadata": METADATA, "entity": "member"}
    with AmbryClient([dc1]) as client:
        for place, rows in enumerate((frame, frame.toLocalIterator(), frame.toPandas())):
            noon = datetime(2026, 11, 27, 12, place, tzinfo=UTC)
            written = snapshots.write(client, "of-spark", rows, URNS, as_of=noon, **settings)
            assert written.rows == MEMBERS
            with snapshots.open(client, f"of-spark@{written.version}", metadata=METADATA) as snapshot:
                table = snapshot.table(URNS)
            assert table.column("member").to_pylist() == list(range(MEMBERS))
            wanted = [row(member) for member in range(MEMBERS)]
            assert table.column("age").to_pylist() == [each[1] for each in wanted]
            assert table.column("name").to_pylist() == [each[2] for each in wanted]
            assert table.column("week").to_pylist() == [each[3] for each in wanted]
            ids = {"Click": 2, "Reshare": 0}
            told = [
                None if cells is None else {(cell["kinds"], cell["seen"]): cell["value"] for cell in cells}
                for cells in table.column("actions").to_pylist()
            ]
            assert told == [
                None if each[4] is None else {(ids[kind], seen): value for kind, seen, value in each[4]}
                for each in wanted
            ]


def test_vectors_of_spark_are_dense(spark: Any, dc1: str) -> None:
    from pyspark.ml.linalg import Vectors

    rows = [(member, Vectors.dense([member, 0.5, 1.0])) for member in range(50)]
    rows += [(member, Vectors.sparse(3, [1], [2.0])) for member in range(50, 60)]
    frame = spark.createDataFrame(rows, ["member", "week"])
    with AmbryClient([dc1]) as client:
        noon = datetime(2026, 11, 27, 12, tzinfo=UTC)
        snapshots.write(client, "vectors", frame, [URNS[2]], metadata=METADATA, entity="member", as_of=noon)
        with snapshots.open(client, "vectors", metadata=METADATA) as snapshot:
            week = snapshot.table([URNS[2]]).column("week").to_pylist()
    assert week == [[member, 0.5, 1.0] for member in range(50)] + [[0.0, 2.0, 0.0]] * 10
