"""Training data in Photon's Avro: into sparse rows and back, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.errors import InvalidRequest
from ambry.ml.photon.examples import INTERCEPT, FeatureIndex, examples_of
from ambry.ml.photon.reading import read_examples, write_examples
from tests.support.photon_models import FEATURES, TEXTS, VALUES

TRIPLE = {
    "type": "record",
    "name": "F",
    "fields": [
        {"name": "name", "type": "string"},
        {"name": "term", "type": ["null", "string"]},
        {"name": "value", "type": "double"},
    ],
}


def write(path: Path, records: list[dict[str, Any]], *fields: dict[str, Any]) -> Path:
    told = [{"name": "features", "type": {"type": "array", "items": TRIPLE}}, *fields]
    with path.open("wb") as file:
        fastavro.writer(file, {"type": "record", "name": "R", "fields": told}, records)
    return path


LABEL = {"name": "label", "type": ["null", "double", "int", "string"]}
MAP = {"name": "metadataMap", "type": ["null", {"type": "map", "values": "string"}]}
WEIGHT = {"name": "weight", "type": ["null", "double"]}


def bag(*triples: tuple[str, str | None, float]) -> list[dict[str, Any]]:
    return [{"name": name, "term": term, "value": value} for name, term, value in triples]


def test_records_become_rows(tmp_path: Path) -> None:
    path = write(
        tmp_path / "x.avro",
        [
            {"features": bag(("a", "", 1.0), ("b", "x", 2.0)), "label": 1.0, "metadataMap": {"member": "7"}, "weight": 2.0},
            {"features": bag(("a", None, 3.0)), "label": 0, "metadataMap": {"member": "8"}, "weight": None},
        ],
        LABEL, MAP, WEIGHT,
    )  # fmt: skip
    found = read_examples(path, ids=["member"])
    assert found.shard("features").index.features == (("a", ""), ("b", "x"))
    assert found.shard("features").matrix.toarray().tolist() == [[1, 2], [3, 0]]
    assert found.response.tolist() == [1, 0]
    assert found.weight.tolist() == [2, 1]
    assert found.offset.tolist() == [0, 0]
    assert found.entities("member").tolist() == ["7", "8"]
    assert found.uids == ("0", "1")


def test_a_directory_is_all_its_files_and_an_index_fixes_the_columns(tmp_path: Path) -> None:
    for name in ("part-1.avro", "part-0.avro"):
        write(tmp_path / name, [{"features": bag((name, "", 1.0), ("a", "", 5.0)), "label": 1.0}], LABEL)
    whole = read_examples(tmp_path)
    assert whole.shard("features").index.features == (("a", ""), ("part-0.avro", ""), ("part-1.avro", ""))
    assert whole.shard("features").matrix.toarray().tolist() == [[5, 1, 0], [5, 0, 1]]
    fixed = read_examples(tmp_path, indexes={"features": FeatureIndex((("a", ""),))})
    assert fixed.shard("features").matrix.toarray().tolist() == [[5], [5]]


def test_a_shard_may_be_several_bags(tmp_path: Path) -> None:
    more = {"name": "more", "type": {"type": "array", "items": "F"}}
    record = {"features": bag(("a", "", 1.0)), "more": bag(("b", "", 2.0)), "label": 1.0}
    path = write(tmp_path / "x.avro", [record], more, LABEL)
    found = read_examples(path, bags={"both": ["features", "more"], "one": ["more"]})
    assert found.shard("both").matrix.toarray().tolist() == [[1, 2]]
    assert found.shard("one").index.features == (("b", ""),)


@pytest.mark.parametrize(
    ("record", "options", "said"),
    [
        ({"features": bag(("a", "", 1.0), ("a", None, 2.0)), "label": 1.0}, {}, "the feature 'a' stands twice in row 0"),
        ({"features": bag(("a", "", np.nan)), "label": 1.0}, {}, "'a' of row 0 (uid '0') in 'features' is nan"),
        ({"features": [], "label": None}, {}, "record 0: it has no response"),
        ({"features": [], "label": "yes"}, {}, "record 0: the response is 'yes', and no number"),
        ({"features": [], "label": 1.0}, {"ids": ["member"]}, "it has no id 'member'"),
        ({"features": [], "label": 1.0}, {"response": "y"}, "no field 'y'; they have features, label"),
        ({"features": [], "label": 1.0}, {"bags": {"x": ["more"]}}, "no field 'more'"),
        ({"features": [], "label": 1.0}, {"bags": {"x": ["label"]}}, "record 0"),
    ],
)  # fmt: skip
def test_what_is_not_as_photon_writes_it_is_a_sentence(
    tmp_path: Path, record: dict[str, Any], options: dict[str, Any], said: str
) -> None:
    path = write(tmp_path / "x.avro", [record], LABEL)
    with pytest.raises(InvalidRequest) as refused:
        read_examples(path, **options)
    assert said in refused.value.message


def test_rows_without_a_response_are_for_scoring(tmp_path: Path) -> None:
    path = write(tmp_path / "x.avro", [{"features": [], "label": None}], LABEL)
    assert np.isnan(read_examples(path, labelled=False).response).all()
    bare = write(tmp_path / "y.avro", [{"features": []}])
    assert len(read_examples(bare, labelled=False)) == 1
    with pytest.raises(InvalidRequest, match="neither response nor label"):
        read_examples(bare)


def test_a_text_that_avro_does_not_hold_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no text that Avro holds"):
        write_examples(tmp_path / "x.avro", examples_of([{("\ud800", ""): 1.0}], [1.0]))
    assert list(tmp_path.iterdir()) == []


def test_no_file_at_all_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"there is no \.avro in"):
        read_examples(tmp_path)
    with pytest.raises(InvalidRequest, match="no file is named"):
        read_examples([])


@given(st.lists(st.tuples(st.dictionaries(FEATURES, VALUES, max_size=4), st.floats(0, 1e9), VALUES, TEXTS), max_size=6))
def test_there_and_back_is_the_same(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    path = tmp_path_factory.mktemp("rows") / "x.avro"
    # No row has another intercept.
    told = [{each: 1.0 if each == INTERCEPT else value for each, value in row[0].items()} for row in rows]
    made = examples_of(
        {"features": told, "more": told},
        [row[2] for row in rows],
        weight=[row[1] for row in rows],
        offset=[row[2] for row in rows],
        ids={"member": [row[3] for row in rows]},
        uids=[f"u{number}" for number in range(len(rows))],
    )
    write_examples(path, made)
    found = read_examples(path, bags={"features": ["features"], "more": ["more"]}, ids=["member"])
    for name, shard in made.shards.items():
        assert (found.shard(name).over(shard.index) != shard.matrix).nnz == 0
    for what in ("response", "weight", "offset"):
        assert getattr(found, what).tolist() == getattr(made, what).tolist()
    assert found.ids["member"].tolist() == made.ids["member"].tolist()
    assert found.uids == made.uids


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("bytes", b"\xff", "the id 'member' is b'\\xff', and neither a text nor a whole number"),
        ({"type": "array", "items": "string"}, ["a"], "the id 'member' is \\['a'\\], and neither"),
        ("boolean", True, "the id 'member' is True, and neither"),
        ("double", 1.0, "the id 'member' is 1.0, and neither"),
    ],
)
def test_an_id_is_a_text_or_a_whole_number(tmp_path: Path, kind: Any, value: Any, said: str) -> None:
    record = {"features": bag(("a", "", 1.0)), "label": 1.0, "member": value}
    path = write(tmp_path / "x.avro", [record], LABEL, {"name": "member", "type": kind})
    with pytest.raises(InvalidRequest, match=said.replace("b'\\xff'", r"b'\\xff'")):
        read_examples(path, ids=["member"])
    with pytest.raises(InvalidRequest, match="the uid 'member' is"):
        read_examples(path, uid="member")
    whole = write(tmp_path / "y.avro", [{**record, "member": 7}], LABEL, {"name": "member", "type": "long"})
    assert read_examples(whole, ids=["member"]).entities("member").tolist() == ["7"]


@pytest.mark.parametrize(("field", "value"), [("name", None), ("term", 0), ("term", 1), ("name", 3)])
def test_names_and_terms_are_texts(tmp_path: Path, field: str, value: Any) -> None:
    """A null name was the feature `None`, the term 0 an empty one."""
    fields = [{"name": "name", "type": ["null", "string", "int"]}, {"name": "term", "type": ["null", "string", "int"]}]
    triple = {"type": "record", "name": "G", "fields": [*fields, {"name": "value", "type": "double"}]}
    record = {"features": [], "label": 1.0, "other": [{"name": "a", "term": "t", "value": 1.0, field: value}]}
    path = write(tmp_path / "x.avro", [record], LABEL, {"name": "other", "type": {"type": "array", "items": triple}})
    with pytest.raises(InvalidRequest, match=f"the {field} of .* is {value}, and no text"):
        read_examples(path, bags={"features": ["other"]})


def test_a_weight_or_an_offset_that_was_said_is_there(tmp_path: Path) -> None:
    """What nobody called so was 1, or 0, in every row."""
    place = write(
        tmp_path / "rows.avro", [{"features": [], "label": 1.0, "heft": 2.5}], LABEL, {**WEIGHT, "name": "heft"}
    )
    assert read_examples(place, weight="heft").weight.tolist() == [2.5]
    assert read_examples(place).weight.tolist() == read_examples(place, weight="").weight.tolist() == [1.0]
    with pytest.raises(InvalidRequest, match="hefty"):
        read_examples(place, weight="hefty")
    with pytest.raises(InvalidRequest, match="hefty"):
        read_examples(place, offset="hefty")
