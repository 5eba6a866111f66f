"""Several sources as one, and what is refused before anything is served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import lmdb
import pyarrow as pa
import pytest
from pyarrow import parquet

from ambry.errors import InvalidRequest
from ambry.ml.features.availability import WrongSource
from ambry.ml.features.definitions import Availability
from ambry.ml.features.metadata import FeatureMetadata, FeatureNotDefined
from ambry.ml.features.reading import parse_definitions
from ambry.ml.sources.lmdb import LmdbSource, _enlarging, write_lmdb
from ambry.ml.sources.parquet import ParquetSource
from ambry.ml.sources.store import FeatureStore

TEXT = """\
age: {valType: INT, availability: BOTH, default: -1}
clicks: {valType: LONG, availability: ONLINE, default: 0}
income: {valType: DOUBLE, availability: OFFLINE}
"""
METADATA = FeatureMetadata.of([parse_definitions(TEXT, "n"), parse_definitions("age: {valType: STRING}", "m")])
AGE, CLICKS, INCOME = (f"urn:li:(n,{name},1,0)" for name in ("age", "clicks", "income"))
OTHER_AGE = "urn:li:(m,age,1,0)"


@pytest.fixture
def online(tmp_path: Path) -> Iterator[LmdbSource]:
    rows = {"member": [1, 2], "age": [10, 20], "clicks": [3, 4], "income": [0.5, 1.5]}
    write_lmdb(tmp_path / "online", rows, [AGE, CLICKS, INCOME], metadata=METADATA, entity="member")
    with LmdbSource(tmp_path / "online", METADATA) as source:
        yield source


@pytest.fixture
def offline(tmp_path: Path) -> ParquetSource:
    table = pa.table({"id": [2, 3], "age": ["two", "three"], "n_age": [21, 31], "income": [2.5, 3.5], "clicks": [7, 8]})
    parquet.write_table(table, tmp_path / "offline.parquet")
    columns = {AGE: "n_age", OTHER_AGE: "age"}
    return ParquetSource(str(tmp_path / "offline.parquet"), METADATA, entity="id", columns=columns)


def test_each_feature_comes_from_its_source(online: LmdbSource, offline: ParquetSource) -> None:
    store = FeatureStore(METADATA, {"n": online, "m": offline, INCOME: offline})
    answer = store.read([INCOME, OTHER_AGE, CLICKS, AGE], [3, 1, 2])
    assert answer.to_pydict() == {
        "id": [3, 1, 2],
        "income": [3.5, None, 2.5],
        "urn:li:(m,age,1,0)": ["three", None, "two"],
        "clicks": [0, 3, 4],
        "urn:li:(n,age,1,0)": [-1, 10, 20],
    }
    assert store.resolve(INCOME) == METADATA.tensor_type(INCOME)


@pytest.mark.parametrize("named", ["urn", "namespace"])
def test_what_must_not_be_served_is_refused_before_it_is(
    online: LmdbSource, offline: ParquetSource, named: str
) -> None:
    for urn, source in ((INCOME, online), (CLICKS, offline)):
        words = r"is (OFFLINE|ONLINE), and its source \w+\('.*'\) is (OFFLINE|ONLINE); ask another source"
        with pytest.raises(WrongSource, match=words):
            FeatureStore(METADATA, {urn if named == "urn" else "n": source}).reader([urn])
    assert FeatureStore(METADATA, {"n": online}).resolve(AGE)
    assert FeatureStore(METADATA, {"n": offline}).resolve(AGE)


def test_a_source_of_both_sides_serves_everything(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"id": [1], "income": [2.5], "clicks": [7]}), tmp_path / "x.parquet")
    both = ParquetSource(str(tmp_path / "x.parquet"), METADATA, entity="id", availability=Availability.BOTH)
    assert FeatureStore(METADATA, {"n": both}).read([INCOME, CLICKS], [1]).to_pylist() == [
        {"id": 1, "income": 2.5, "clicks": 7}
    ]


def test_a_feature_that_nobody_has_is_refused_when_a_reader_is_made(online: LmdbSource, offline: ParquetSource) -> None:
    with pytest.raises(FeatureNotDefined, match="there is no source for urn:li:\\(m,age,1,0\\)"):
        FeatureStore(METADATA, {"n": online}).reader([OTHER_AGE])
    with pytest.raises(FeatureNotDefined, match="is neither a URN nor a namespace"):
        FeatureStore(METADATA, {"nn": online})
    with pytest.raises(FeatureNotDefined, match="is not in"):
        FeatureStore(METADATA, {OTHER_AGE: online})
    with pytest.raises(InvalidRequest, match="name at least one URN"):
        FeatureStore(METADATA, {"n": online}).reader([])
    with pytest.raises(InvalidRequest, match="is asked for twice"):
        FeatureStore(METADATA, {"n": online}).reader([AGE, AGE])


def test_a_source_that_knows_a_feature_as_something_else_is_refused(tmp_path: Path) -> None:
    """A tensor of the other type would be served without a word."""
    other = FeatureMetadata.of([parse_definitions("age: {valType: DOUBLE}", "n")])
    parquet.write_table(pa.table({"id": [1], "age": [2.5]}), tmp_path / "x.parquet")
    source = ParquetSource(str(tmp_path / "x.parquet"), other, entity="id")
    with pytest.raises(WrongSource, match="is INT, and DOUBLE in its source ParquetSource"):
        FeatureStore(METADATA, {AGE: source})


def test_a_source_is_closed_when_its_readers_are_done(online: LmdbSource) -> None:
    closing = Thread(target=online.close)
    with online._begin():
        closing.start()
        closing.join(0.05)
        assert closing.is_alive()
    closing.join()
    with pytest.raises(InvalidRequest, match="was closed; open another"):
        online.read([AGE], [1])


def test_a_map_that_another_process_enlarged_is_written_on() -> None:
    sizes: list[int] = []

    class Environment:
        set_mapsize = sizes.append

    def put() -> None:
        if not sizes:
            raise lmdb.MapResizedError("")

    _enlarging(Environment(), put)
    assert sizes == [0]
