"""What the writer of Spark settles before a task begins; whole writes are in tests/integration/test_spark.py."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("pyspark", reason="pyspark is not installed; `make engines` does it")

from pyspark.sql.types import IntegerType, LongType, StructField, StructType

from ambry import AmbryClient, BlobNotFound, InvalidRequest
from ambry.ml.features import publishing
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.spark.writing import AmbryWriter, write_options
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


def test_definitions_that_are_not_there_are_told_before_a_task_begins(client: AmbryClient) -> None:
    with pytest.raises(BlobNotFound):
        writer(client, "age", "rides", definitions="none")
