"""Spark itself, on this machine: snapshots, Parquet and Arrow are read in parallel, and frames become versions or nothing."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from ambry import AmbryClient, VersionRef
from ambry.ml import snapshots
from ambry.ml.avro_reading import read_avro
from ambry.ml.features import publishing
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from deploy.local_cluster import LocalCluster
from tests.golden.engine_files import GOLDEN, write_all
from tests.support.clusters import running_cluster
from tests.support.spark_here import spark_here
from tests.support.waiting import eventually

pytestmark = pytest.mark.engine
pytest.importorskip("pyspark", reason="pyspark is not installed; `make engines` does it")

ROWS = 50_000
TEXT = """\
age: {valType: INT, default: -1}
flag: {valType: BOOLEAN, default: true}
week: {valType: FLOAT, dims: [days-1-0], default: 0.5}
grid: {valType: LONG, dims: [two-1-0, days-1-0]}
bits: {valType: BOOLEAN, dims: [days-1-0]}
name: {valType: STRING}
open: {valType: INT, dims: [seen-1-0]}
days: {type: discrete : {size: 7}}
two: {type: discrete : {size: 2}}
seen: {type: discrete}
"""
AS_OF = datetime(2026, 11, 27, tzinfo=UTC)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with running_cluster(tmp_path_factory.mktemp("spark"), datacenters=1, auth=True) as running:
        yield running


@pytest.fixture
def client(own: LocalCluster) -> Iterator[AmbryClient]:
    with AmbryClient([own.frontends()[0].url], key=own.key) as made:
        yield made


@pytest.fixture(scope="module")
def options(own: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    path = tmp_path_factory.mktemp("key") / "key"
    path.touch(0o600)
    path.write_text(str(own.key))
    return {"endpoints": own.frontends()[0].url, "key_file": str(path)}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with spark_here(tmp_path_factory.mktemp("local")) as made:
        yield made


def table() -> Any:
    numbers = range(ROWS)
    return pa.table({"k": pa.array(numbers), "v": pa.array([each / 4 for each in numbers]), "w": ["x" * 20] * ROWS})


def put_parquet(client: AmbryClient, name: str) -> None:
    sink = io.BytesIO()
    parquet.write_table(table(), sink, row_group_size=5_000)
    client.put(sink.getvalue(), name=name)


def test_parquet_is_read_by_row_groups_and_columns(client: AmbryClient, session: Any, options: dict[str, str]) -> None:
    put_parquet(client, "in/a.parquet")
    place = "ambry://default/default/in/a.parquet"
    reader = session.read.format("ambry").options(**options, split_size="100000")
    whole = reader.load(place)
    assert whole.rdd.getNumPartitions() > 1
    assert sorted(whole.toArrow().column("k").to_pylist()) == list(range(ROWS))
    some = reader.option("columns", "v").load(place)
    assert some.columns == ["v"]
    assert some.selectExpr("sum(v)").collect()[0][0] == sum(range(ROWS)) / 4
    few = reader.option("columns", "k,v").option("prune", "k in (7, 12000, 12001)").load(place)
    assert few.rdd.getNumPartitions() == 2 and few.count() == 10_000
    assert sorted(row.k for row in few.where("k in (7, 12000, 12001)").collect()) == [7, 12_000, 12_001]
    assert reader.option("prune", "k == -1").load(place).collect() == []
    # What one query asks for is not what the next one of the same frame gets.
    assert whole.where("k = 7").count() == 1
    assert whole.where("k = 7").union(whole.where("k = 40000")).count() == 2
    assert whole.count() == ROWS


def test_arrow_without_an_index_is_read_too(client: AmbryClient, session: Any, options: dict[str, str]) -> None:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table().schema) as writer:
        writer.write_table(table(), max_chunksize=10_000)
    client.put(sink.getvalue(), name="in/a.arrow")
    frame = session.read.format("ambry").options(**options, columns="v,k").load("ambry://default/default/in/a.arrow")
    assert frame.columns == ["v", "k"]
    assert frame.toArrow().sort_by("k").column("v").to_pylist() == table().column("v").to_pylist()


def test_a_frame_is_one_version_that_pyarrow_reads(client: AmbryClient, session: Any, options: dict[str, str]) -> None:
    from pyspark.sql.utils import AnalysisException

    put_parquet(client, "in/b.parquet")
    frame = (
        session.read.format("ambry")
        .options(**options, split_size="200000")
        .load("ambry://default/default/in/b.parquet")
    )
    frame.write.format("ambry").mode("append").options(**options).save("out")
    (version,) = client.versions("out")
    back = session.read.format("ambry").options(**options).load("out@1")
    assert sorted(back.toArrow().column("k").to_pylist()) == list(range(ROWS))
    # Which version is meant is looked up once: what is written later changes nothing.
    newest = session.read.format("ambry").options(**options).load("out")
    frame.limit(10).write.format("ambry").mode("append").options(**options).save("out")
    assert newest.count() == ROWS
    assert session.read.format("ambry").options(**options).load("out").count() == 10
    footer = parquet.read_metadata(pa.py_buffer(client.get_bytes(version.ref)))
    ids = dict.fromkeys(footer.row_group(each).column(0).file_path for each in range(footer.num_row_groups))
    tables = [parquet.read_table(pa.py_buffer(client.get_bytes(each))) for each in ids]
    assert sum(each.num_rows for each in tables) == footer.num_rows == ROWS
    with pytest.raises(AnalysisException, match="never written over"):
        frame.write.format("ambry").mode("overwrite").options(**options).save("out")


def test_what_fails_leaves_nothing(client: AmbryClient, session: Any, options: dict[str, str]) -> None:
    frame = session.range(100).repartition(4)
    bad = frame.selectExpr("id", "if(id = 77, raise_error('of ours'), 1) as one")
    with pytest.raises(Exception, match="of ours"):
        bad.write.format("ambry").mode("append").options(**options).save("failed")
    assert not [each for each in client.datasets() if each.name == "failed"]
    left = list(client.list("failed.parts/"))
    # A task that was tried again may have left a part: it goes by itself.
    assert all(client.head(each.ref).expires is not None for each in left)


def test_what_commits_is_killed_and_a_version_has_all_its_rows_or_is_not_there(
    client: AmbryClient, session: Any, options: dict[str, str]
) -> None:
    """Spark ends such a job in another process, which deleted the parts of a version that was there."""
    from pyspark import cloudpickle

    from tests.support import dying_commits

    # Spark's workers have ambry, and not its tests.
    cloudpickle.register_pickle_by_value(dying_commits)
    session.dataSource.register(dying_commits.DyingDataSource)
    made = 0
    for dies in ("before put_version", "after put_version", "before delete", "after delete"):
        frame = session.range(0, 1_000, 1, 2)
        with pytest.raises(Exception):  # noqa: B017 # Of Py4J or Spark, by where it notices.
            frame.write.format("dying").mode("append").options(**options, dies=dies).save("dying")
        made += dies != "before put_version"
        assert len(list(client.versions("dying"))) == made, dies
        if made:
            back = session.read.format("ambry").options(**options).load("dying").toArrow()
            assert sorted(back.column("id").to_pylist()) == list(range(1_000)), dies
    # Of the first one nobody knows whether it was published: it keeps what it has, and the list, for the time of a part.
    assert len(list(client.list("dying.commits/"))) == 3 and len(list(client.list("dying.parts/"))) == 8


def test_a_task_that_is_tried_again_counts_once(
    client: AmbryClient, session: Any, options: dict[str, str], tmp_path: Path
) -> None:
    mark = str(tmp_path / "tried")

    def once(batches: Iterator[Any]) -> Iterator[Any]:
        yield from batches
        if not Path(mark).exists():
            Path(mark).touch()
            raise RuntimeError("the first try fails")

    frame = session.range(0, 1_000, 1, 2).mapInArrow(once, "id long")
    frame.write.format("ambry").mode("append").options(**options).save("tried")
    assert Path(mark).exists()
    back = session.read.format("ambry").options(**options).load("tried").toArrow()
    assert sorted(back.column("id").to_pylist()) == list(range(1_000))


def test_typed_snapshots_go_both_ways(client: AmbryClient, session: Any, options: dict[str, str]) -> None:
    publishing.publish(client, "features", FeatureMetadata.of([parse_definitions(TEXT, "n")]))
    loaded = publishing.load(client, "features")
    keys = range(5_000)
    columns: dict[str, Any] = {
        "member": list(keys),
        "age": [None if key % 7 == 0 else key for key in keys],
        "flag": [key % 2 == 0 for key in keys],
        "week": [None if key % 5 == 0 else [key + day / 7 for day in range(7)] for key in keys],
        "grid": [[[key + day] * 7 for day in range(2)] for key in keys],
        "bits": [[(key + day) % 3 == 0 for day in range(7)] for key in keys],
        "name": [f"name of {key}" for key in keys],
        "open": [[(day, key) for day in range(key % 3)] for key in keys],
    }
    urns = loaded.metadata.urns
    snapshots.write(client, "members", columns, urns, metadata=loaded, entity="member", as_of=AS_OF)
    with snapshots.open(client, "members") as snapshot:
        there = snapshot.table()
    frame = session.read.format("ambry").options(**options).load("members")
    few = frame.where("member between 10 and 12").select("member", "grid").toArrow().to_pydict()
    assert few == {"member": [10, 11, 12], "grid": columns["grid"][10:13]}
    later = {**options, "definitions": "features", "entity": "member", "as_of": "2026-11-28T00:00:00Z"}
    frame.repartition(3).write.format("ambry").mode("append").options(**later).save("members")
    with snapshots.open(client, "members") as again:
        assert again.about.as_of > AS_OF
        back = again.table()
    assert back.schema.equals(there.schema)
    assert [
        name for name in there.column_names if back.column(name).to_pylist() != there.column(name).to_pylist()
    ] == []
    assert list(client.list("members.parts/")) == []


def test_a_commit_that_is_refused_leaves_nothing_and_tasks_without_rows_store_nothing(
    client: AmbryClient, options: dict[str, str]
) -> None:
    """The writer as Spark calls it, pickled between its calls."""
    from pyspark.sql.types import LongType, StructField, StructType

    from ambry.errors import AlreadyExists, UpdateConflict
    from ambry.spark.source import AmbryDataSource

    schema = StructType([StructField("id", LongType())])

    def rows(first: int) -> Iterator[Any]:
        yield pa.record_batch({"id": pa.array(range(first, first + 500))})

    writer = pickle.loads(pickle.dumps(AmbryDataSource({**options, "path": "straight"}).writer(schema, False)))
    messages = [writer.write(rows(0)), writer.write(iter([])), writer.write(rows(500)), None]
    assert len(list(client.list("straight.parts/"))) == 2
    pickle.loads(pickle.dumps(writer)).commit(messages)
    there = {each.name for each in client.list("straight.")}
    assert len(there) == 2 and all(client.head(each.ref).expires is None for each in client.list("straight."))
    reader = AmbryDataSource({**options, "path": "straight", "split_size": "1000"}).reader(schema)
    found = pa.Table.from_batches([batch for part in reader.partitions() for batch in reader.read(part)])
    assert len(reader.partitions()) == 2 and found.column("id").to_pylist() == list(range(1_000))
    with pytest.raises(AlreadyExists, match=r"straight@1 is there.*say another version"):
        AmbryDataSource({**options, "path": "straight", "version": "1"}).writer(schema, False)
    again = AmbryDataSource({**options, "path": "straight", "version": "3"}).writer(schema, False)
    messages = [again.write(rows(0))]
    client.put_version("straight", b"of another job", "4")
    with pytest.raises(UpdateConflict, match="only rise"):
        again.commit(messages)
    again.abort(messages)
    client.delete(VersionRef("straight", "4"))
    assert {each.name for each in client.list("straight.")} == there


def test_columns_that_cannot_be_kept_are_refused_before_a_task_begins(options: dict[str, str]) -> None:
    from pyspark.sql import types

    from ambry.errors import InvalidRequest
    from ambry.spark.source import AmbryDataSource

    long = types.StructField("a", types.LongType())
    months = types.StructField("m", types.YearMonthIntervalType())
    void = types.NullType()
    none = types.StructField("q", void, nullable=False)
    for fields, said in (
        ([], "the frame has no columns"),
        ([long, long], "2 columns are called 'a'"),
        ([long, months], "the column 'm' is interval year to month, which Arrow or Parquet has not"),
        ([types.StructField("s", types.StructType([]))], "the column 's' is struct<>, which"),
        ([types.StructField("x", types.ArrayType(void, False))], "the column 'x' is array<void>, which"),
        (
            [types.StructField("m", types.MapType(types.StringType(), void, False))],
            "the column 'm' is map<string,void>, ",
        ),
        ([types.StructField("s", types.StructType([none]))], "the column 's' is struct<q:void>, which"),
        ([long, none], "the column 'q' is void, which"),
    ):
        with pytest.raises(InvalidRequest, match=said):
            AmbryDataSource({**options, "path": "odd"}).writer(types.StructType(fields), False)


@pytest.mark.parametrize(
    "path", ["../x", "a b", "x@1", "x@latest", "x.parts/y", "x" * 300, "ambry://default/default/a b"]
)
def test_a_name_that_no_dataset_can_have_is_refused_before_a_task_begins(options: dict[str, str], path: str) -> None:
    """It was told by the commit, when all rows had been stored."""
    from pyspark.sql.types import LongType, StructField, StructType

    from ambry.errors import InvalidRequest
    from ambry.spark.source import AmbryDataSource

    schema = StructType([StructField("id", LongType())])
    with pytest.raises(InvalidRequest):
        AmbryDataSource({**options, "path": path}).writer(schema, False)


def test_a_version_that_is_none_is_refused_before_a_task_begins(client: AmbryClient, options: dict[str, str]) -> None:
    from pyspark.sql.types import LongType, StructField, StructType

    from ambry.errors import InvalidRequest
    from ambry.spark.source import AmbryDataSource

    schema = StructType([StructField("id", LongType())])
    client.create_dataset("semantic", "SEMANTIC")
    for path, version in (("unmade", "nonsense"), ("unmade", "1.2.3"), ("semantic", "7"), ("semantic", "@champion")):
        with pytest.raises(InvalidRequest, match=f"'{version}' is no version of a dataset of the schema"):
            AmbryDataSource({**options, "path": path, "version": version}).writer(schema, False)
    for path, version in (("unmade", "7"), ("unmade", "latest"), ("semantic", "1.2.3"), ("semantic", "MINOR")):
        AmbryDataSource({**options, "path": path, "version": version}).writer(schema, False)
    typed = {**options, "path": "semantic", "definitions": "features", "entity": "id"}
    with pytest.raises(InvalidRequest, match="snapshots take a dataset whose versions are TIMESTAMP"):
        AmbryDataSource(typed).writer(schema, False)
    assert "unmade" not in {each.name for each in client.datasets()}


def test_a_key_stands_in_no_plan_and_is_refused_as_an_option(
    own: LocalCluster, client: AmbryClient, session: Any, options: dict[str, str]
) -> None:
    put_parquet(client, "in/c.parquet")
    frame = session.read.format("ambry").options(**options).load("ambry://default/default/in/c.parquet")
    plan = frame._jdf.queryExecution().toString()
    assert str(own.key) not in plan
    with pytest.raises(Exception, match="would stand in plans"):
        session.read.format("ambry").option("key", str(own.key)).load("out")
    with pytest.raises(Exception, match="no column 'nobody'; there are k, v, w"):
        session.read.format("ambry").options(**options, columns="nobody").load("ambry://default/default/in/c.parquet")


def test_what_spark_has_not_is_refused_with_its_name_on_the_driver(
    client: AmbryClient, options: dict[str, str]
) -> None:
    """Java told of decimals without a column, and a number of 5,000 digits was Python's ValueError."""
    from ambry.errors import InvalidRequest
    from ambry.spark.source import AmbryDataSource

    sink = io.BytesIO()
    with pa.ipc.new_file(sink, pa.schema([("k", pa.int64()), ("d", pa.list_(pa.decimal256(50, 2)))])):
        pass
    place = {**options, "path": f"ambry+id://{client.put(sink.getvalue()).id}"}
    with pytest.raises(InvalidRequest, match=r"the column 'd' is list<item: decimal256\(50, 2\)>, which Spark has not"):
        AmbryDataSource(place).schema()
    slim = {**place, "columns": "k"}
    for number in ("9" * 5_000, "0", "1e6", "-1"):
        with pytest.raises(InvalidRequest, match="split_size is a number of bytes"):
            AmbryDataSource({**slim, "split_size": number}).reader(AmbryDataSource(slim).schema())


def test_times_of_96_bits_are_those_that_spark_reads_itself(
    client: AmbryClient, session: Any, options: dict[str, str], tmp_path: Path
) -> None:
    """INT96 is what Spark writes by default. In a session of another zone, those in lists and structs were hours off."""
    asked = ["unix_micros(t)", "unix_micros(l[0])", "unix_micros(s.t)", "unix_micros(m['k'])", "cast(s as string)"]
    before = session.conf.get("spark.sql.session.timeZone")
    session.conf.set("spark.sql.session.timeZone", "America/New_York")
    try:
        rows = session.sql(
            "select t, array(t) l, named_struct('n', 1, 't', t) s, map('k', t) m from values (timestamp'2020-01-01 00:00:00'),"
            " (timestamp'9999-12-31 23:59:59.999999'), (timestamp'0001-01-01 00:00:00'), (null) as v(t)"
        )
        rows.coalesce(1).write.parquet(str(tmp_path / "there"))
        [path] = (tmp_path / "there").glob("*.parquet")
        assert parquet.read_metadata(path).schema.column(0).physical_type == "INT96"
        client.put(path, name="in/96.parquet")
        here = session.read.format("ambry").options(**options).load("in/96.parquet")
        there = session.read.parquet(str(path))
        assert here.dtypes == there.dtypes
        assert here.selectExpr(*asked).collect() == there.selectExpr(*asked).collect()
        assert here.where("t is null").count() == 1
    finally:
        session.conf.set("spark.sql.session.timeZone", before)


def test_files_that_engines_wrote_are_made_again_with_the_same_values(session: Any, tmp_path: Path) -> None:
    """Those of tests/golden/engines, which are read without an engine."""
    write_all(session, tmp_path)
    made = sorted(path.name for path in tmp_path.iterdir())
    assert set(made) == {path.name for path in GOLDEN.iterdir()} - {"webhdfs.json", "features-spark.avro"}
    for name in made:
        there, here = GOLDEN / name, tmp_path / name
        if name.endswith(".parquet"):
            tables = [parquet.read_table(path) for path in (there, here)]
            groups = [parquet.read_metadata(path).num_row_groups for path in (there, here)]
            codecs = [parquet.read_metadata(path).row_group(0).column(0).compression for path in (there, here)]
            assert tables[0].equals(tables[1]) and groups[0] == groups[1] and codecs[0] == codecs[1], name
        else:
            files = [read_avro(io.BytesIO(path.read_bytes())) for path in (there, here)]
            told = [(each.schema, each.metadata["avro.codec"], list(each.records)) for each in files]
            assert told[0] == told[1], name


def test_a_stage_whose_room_is_gone_after_spark_looked_for_it_is_cancelled(session: Any, tmp_path: Path) -> None:
    """One of two threads is taken, which Spark's look counts: the stage waited for it while its application lived."""
    from ambry.ml.training.launchers.spark_room import NoRoom, RoomWatch

    context, free, told = session.sparkContext, tmp_path / "free", list[str]()

    def hold(_: int) -> None:
        import os
        import time

        while not os.path.exists(path):  # noqa: PTH110 # by value, in a process of Spark
            time.sleep(0.02)

    def barrier() -> Any:
        return context.parallelize(range(2), 2).barrier().mapPartitions(lambda _: iter([1])).collect()

    def active() -> list[int]:
        tracker = context.statusTracker()
        return [tracker.getStageInfo(each).numActiveTasks for each in tracker.getActiveStageIds()]

    path = str(free)
    with ThreadPoolExecutor(1) as beside:
        busy = beside.submit(lambda: context.parallelize([0], 1).foreach(hold))
        try:
            eventually(lambda: active() == [1], "the thread is taken", timeout_s=60)
            with (
                pytest.raises(NoRoom, match="no room for all 2 workers"),
                RoomWatch(context, 2, 1, told.append, look_s=0.1),
            ):
                barrier()
            assert not busy.done() and len(told) == 1
        finally:
            free.touch()
        busy.result()
    with RoomWatch(context, 2, 1, told.append, look_s=0.1):
        assert barrier() == [1, 1]
