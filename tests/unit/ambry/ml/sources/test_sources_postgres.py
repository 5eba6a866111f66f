"""Features in a table of PostgreSQL: of every type, and the same as out of a snapshot. Skips where there is no server."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from ambry import AmbryClient, InvalidRequest
from ambry.ml.features.definitions import ValueType
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.snapshots.reading import open_snapshot
from ambry.ml.snapshots.writing import write_snapshot
from ambry.ml.sources.snapshot import SnapshotSource
from ambry.ml.sources.sql import SqlSource, write_sql
from tests.support.postgres import PostgresProcess, why_impossible

sqlalchemy = pytest.importorskip("sqlalchemy", reason="sqlalchemy is not installed: make venv")
pytest.importorskip("psycopg", reason="psycopg is not installed: make services")

WHEN = datetime(2026, 11, 27, 12, tzinfo=UTC)
METADATA = FeatureMetadata.of(
    [
        parse_definitions(
            "".join(
                f"{kind.value.lower()}{'s' if dims else ''}: {{valType: {kind.value}, dims: [{dims}]}}\n"
                for kind in ValueType
                for dims in ("", "days-1-0, seen-1-0")
            )
            + "days: {type: discrete : {size: 3}}\nseen: {type: discrete}\n",
            "n",
        )
    ]
)
VALUES: dict[ValueType, list[Any]] = {
    ValueType.INT: [0, -(1 << 31), (1 << 31) - 1],
    ValueType.LONG: [0, -(1 << 63), (1 << 63) - 1],
    ValueType.FLOAT: [0.1, -3e38, float("inf")],
    ValueType.DOUBLE: [0.1, 1e300, 5e-324, float("-inf")],
    ValueType.STRING: ["", "é,%2C%", "x" * 3_000, "😀\n"],
    ValueType.BOOLEAN: [True, False],
    ValueType.BYTES: [b"", b"\x00\xff", b"x" * 3_000],
}


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresProcess]:
    if why := why_impossible():
        pytest.skip(why)
    made = PostgresProcess()
    try:
        made.start()
        made.make_database("features")
        yield made
    finally:
        made.close()


@pytest.fixture
def engine(server: PostgresProcess) -> Iterator[Any]:
    made = sqlalchemy.create_engine(server.url("features").replace("postgresql:", "postgresql+psycopg:", 1))
    yield made
    made.dispose()


def rows_of(chance: random.Random, members: list[Any]) -> dict[str, list[Any]]:
    rows: dict[str, list[Any]] = {"member": members}
    for kind in ValueType:
        values = VALUES[kind]
        if kind is ValueType.FLOAT:
            values = [float(np.float32(value)) for value in values]
        rows[kind.value.lower()] = [chance.choice([None, *values]) for _ in members]
        rows[f"{kind.value.lower()}s"] = [
            chance.choice([None, [], [(0, 7, chance.choice(values)), (2, (1 << 31) - 1, chance.choice(values))]])
            for _ in members
        ]
    return rows


@pytest.mark.parametrize("keys", ["numbers", "texts"])
def test_postgresql_gives_the_answer_of_a_snapshot(client: AmbryClient, engine: Any, keys: str) -> None:
    chance = random.Random(11)
    numbers = [-(1 << 63), (1 << 63) - 1, *chance.sample(range(10_000), 1_198)]
    members: list[Any] = numbers if keys == "numbers" else [f"m{number}é" for number in numbers]
    rows = rows_of(chance, members)
    settings: dict[str, Any] = {"metadata": METADATA, "entity": "member"}
    assert write_sql(engine, keys, rows, METADATA.urns, **settings) == len(members)
    write_snapshot(client, f"postgres-{keys}", rows, METADATA.urns, as_of=WHEN, **settings)
    source = SqlSource(engine, keys, METADATA, entity="member")
    asked = [*chance.sample(members, 1_100), members[0], 77_777 if keys == "numbers" else "nobody"]
    expected = SnapshotSource(open_snapshot(client, f"postgres-{keys}", metadata=METADATA)).read(METADATA.urns, asked)
    answer = source.read(METADATA.urns, asked)
    assert answer.schema.equals(expected.schema, check_metadata=True)
    for name in expected.column_names:
        assert answer.column(name).combine_chunks().equals(expected.column(name).combine_chunks()), name


def test_what_postgresql_cannot_hold_leaves_no_table(engine: Any) -> None:
    settings: dict[str, Any] = {"metadata": METADATA, "entity": "member"}
    urn = next(urn for urn in METADATA.urns if urn.name == "string")
    with pytest.raises(InvalidRequest, match="stands twice"):
        write_sql(engine, "twice", {"member": [1, 1], "string": ["a", "b"]}, [urn], **settings)
    with pytest.raises(InvalidRequest, match="does not take a value of the rows for 'nul'"):
        write_sql(engine, "nul", {"member": [1], "string": ["a\0b"]}, [urn], **settings)
    assert not set(sqlalchemy.inspect(engine).get_table_names()) & {"twice", "nul"}
    too_long = {"member": ["a" * 300], "string": ["a"]}
    with pytest.raises(InvalidRequest, match="does not take a value"):
        write_sql(engine, "long", too_long, [urn], **settings)
    write_sql(engine, "found", {"member": ["a"], "string": ["a"]}, [urn], **settings)
    with pytest.raises(InvalidRequest, match="one of the keys"):
        SqlSource(engine, "found", METADATA, entity="member").read([urn], ["a\0"])
    write_sql(engine, "there", {"member": [1], "string": ["a"]}, [urn], **settings)
    with pytest.raises(InvalidRequest, match="there is a table 'there'"):
        write_sql(engine, "there", {"member": [1], "string": ["a"]}, [urn], **settings)
