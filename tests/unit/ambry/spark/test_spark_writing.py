"""What the writer of Spark settles before a task begins; whole writes are in tests/integration/test_spark.py."""

from __future__ import annotations

import pickle
import re
import resource
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pyarrow as pa
import pytest

pytest.importorskip("pyspark", reason="pyspark is not installed; `make engines` does it")

from pyspark.sql.types import IntegerType, LongType, StructField, StructType

from ambry import AmbryClient, BlobNotFound, InvalidRequest
from ambry.client.refs import VersionRef
from ambry.ml import models, snapshots
from ambry.ml.features import publishing
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.spark.writing import AmbryWriter, part_file, write_options
from tests.support.named_frontend import named_frontend

METADATA = FeatureMetadata.of([parse_definitions("age: {valType: INT}\nrides: {valType: INT}\n", "n")])
SAID = {"definitions": "features", "entity": "rider"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AmbryClient]:
    with named_frontend(tmp_path_factory.mktemp("store") / "meta.sqlite") as url, AmbryClient([url]) as made:
        publishing.publish(made, "features", METADATA)
        yield made


def writer(client: AmbryClient, *columns: str, **said: str) -> AmbryWriter:
    schema = StructType([StructField("rider", LongType()), *(StructField(column, IntegerType()) for column in columns)])
    return AmbryWriter(client, "riders", write_options({**SAID, **said}), schema)


@pytest.mark.parametrize("said", [SAID, {}])
def test_a_frame_is_no_version_of_a_dataset_of_another_kind(client: AmbryClient, said: dict[str, str]) -> None:
    """It became the newest version of a model."""
    if not client.exists(VersionRef("weights")):
        models.publish(client, "weights", {"w": numpy.arange(3.0)})
    schema = StructType([StructField("rider", LongType()), StructField("age", IntegerType())])
    with pytest.raises(InvalidRequest, match="the versions of 'weights' are of the kind model, and this one would be"):
        AmbryWriter(client, "weights", write_options(said), schema)


@pytest.mark.parametrize(
    ("columns", "said", "told"),
    [
        (("agee", "rides"), {}, r"no column for urn:li:\(n,age,1,0\) \(is it 'agee'\?\)\. .*the option features which"),
        (("rides",), {}, r"no column for urn:li:\(n,age,1,0\)\. "),
        (("agee",), {}, "no feature of the definitions has a column here; there are rider, agee. A column is called"),
        (("age", "rides"), {"entity": "driver"}, "no column is called 'driver', as the option entity says; there are"),
        (("rides",), {"features": "urn:li:(n,age,1,0)"}, "no column is called 'age', as the option features says"),
        (("age",), {"features": "years"}, "the option features: "),
    ],
)
def test_no_feature_is_left_out_in_silence(
    client: AmbryClient, columns: tuple[str, ...], said: dict[str, str], told: str
) -> None:
    with pytest.raises(InvalidRequest, match=told):
        writer(client, *columns, **said)


def test_columns_that_are_no_feature_are_told_and_features_may_be_chosen(client: AmbryClient) -> None:
    with pytest.warns(UserWarning, match="columns that are no feature, left out: colour, size"):
        writer(client, "age", "rides", "colour", "size")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = writer(client, "age", "rides")
        some = writer(client, "rides", features="urn:li:(n,rides,1,0)")
    options: Any = whole._options
    assert options.features == ("urn:li:(n,age,1,0)", "urn:li:(n,rides,1,0)")
    assert options.definitions == "features@1.0.0"
    assert some._options.features == ("urn:li:(n,rides,1,0)",)


@pytest.mark.parametrize("name", ["age-2-0", "urn:li:(jobs,clicks,1,0)"])
def test_a_column_with_the_long_name_of_a_feature_passes_and_is_written(client: AmbryClient, name: str) -> None:
    """As the sentence about the short one advises."""
    several = FeatureMetadata.of(
        [
            parse_definitions('age: {valType: INT}\nage: {version: "2.0", valType: INT}', "n"),
            *(parse_definitions("clicks: {valType: INT}", space) for space in ("feed", "jobs")),
        ]
    )
    publishing.publish(client, "several", several)
    short = "age" if name.startswith("age") else "clicks"
    with pytest.raises(
        InvalidRequest, match=f"call it '[^']*' or '{re.escape(name)}'.*, or say with the option features"
    ):
        writer(client, short, definitions="several")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = writer(client, name, definitions="several")
    task = made.write(
        iter([pa.record_batch({"rider": pa.array([1, 2], pa.int64()), name: pa.array([7, 8], pa.int32())})])
    )
    made.commit([task])
    with snapshots.open(client, "riders") as snapshot:
        assert [str(urn) for urn in snapshot.urns] == ["urn:li:(n,age,2,0)" if short == "age" else name]
        assert snapshot.read(snapshot.urns, [2]).column(1).to_pylist() == [8]


def test_definitions_that_are_not_there_are_told_before_a_task_begins(client: AmbryClient) -> None:
    with pytest.raises(BlobNotFound):
        writer(client, "age", "rides", definitions="none")


def stored_rows(made: AmbryWriter, *riders: int) -> list[Any]:
    columns = {
        "rider": pa.array(riders, pa.int64()),
        "age": pa.array(riders, pa.int32()),
        "rides": pa.array(riders, pa.int32()),
    }
    return [made.write(iter([pa.record_batch(columns)]))]


@pytest.mark.parametrize("said", [{}, {"as_of": "2026-11-27T12:00:00Z"}, {"format": "parquet"}])
def test_a_snapshot_that_is_committed_again_has_the_version_it_had(client: AmbryClient, said: dict[str, str]) -> None:
    """It was another one of the time of the second commit, or a sentence about parts that were not there."""
    name = f"again-{'-'.join(said) or 'plain'}"
    schema = StructType(
        [StructField("rider", LongType()), *(StructField(each, IntegerType()) for each in ("age", "rides"))]
    )
    made = AmbryWriter(client, name, write_options({**SAID, **said}), schema)
    tasks = stored_rows(made, 1, 2)
    for _ in range(3):
        # Spark has each commit in a process of its own, to which the writer goes pickled.
        pickle.loads(pickle.dumps(made)).commit(tasks)
        assert len(list(client.versions(name))) == 1
        assert not list(client.list(f"{name}.parts/")) and not list(client.list(f"{name}.commits/"))
    made.abort(tasks)
    with snapshots.open(client, name) as snapshot:
        assert snapshot.read(snapshot.urns, [2]).column(1).to_pylist() == [2]
    assert not list(client.list(f"{name}.commits/"))
    # Another job of the same name makes the next one.
    if "as_of" not in said:
        other = AmbryWriter(client, name, write_options({**SAID, **said}), schema)
        other.commit(stored_rows(other, 3))
        assert len(list(client.versions(name))) == 2


def test_a_snapshot_whose_parts_are_gone_says_what_to_do(client: AmbryClient) -> None:
    made = writer(client, "age", "rides")
    tasks = stored_rows(made, 1)
    client.delete(tasks[0].name)
    with pytest.raises(
        BlobNotFound, match=r"a part of this job is gone .* more than 7 days, .* Nothing is published here; look"
    ):
        made.commit(tasks)
    assert not list(client.list("riders.commits/"))


def test_a_snapshot_that_is_refused_leaves_no_part_and_no_list(client: AmbryClient) -> None:
    made = writer(client, "age", "rides")
    with pytest.raises(InvalidRequest, match="twice"):
        made.commit(stored_rows(made, 7, 7))
    assert not list(client.list("riders.parts/")) and not list(client.list("riders.commits/"))


@pytest.mark.parametrize("group_size", [1, 64 << 20], ids=["in a group", "at the end"])
def test_a_part_for_which_there_is_no_room_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, group_size: int
) -> None:
    """pyarrow asked for the footer of what it could not write, and that was all that anybody was told."""
    monkeypatch.setattr("ambry.spark.writing.GROUP_SIZE", group_size)
    schema = pa.schema([("a", pa.float64())])
    batches = [pa.record_batch([pa.array(numpy.random.default_rng(1).random(50_000))], schema=schema)] * 5
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            part_file(tmp_path / "part.parquet", schema, iter(batches))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
