"""Relations between titles as versions of a dataset, which anything reads that reads Arrow."""

from __future__ import annotations

import io
import threading
from typing import Any

import polars
import pyarrow as pa
import pytest

from ambry import AlreadyExists, AmbryClient, BlobNotFound, DataCorrupt, InvalidRequest, UpdateConflict
from ambry.client.refs import VersionRef
from ambry.errors import Unavailable
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.publishing import publish
from ambry.ml.features.reading import parse_definitions
from ambry.ml.vocab.relations import TitleRelation, add_relations, relations_of

TEXT = """\
a: {valType: INT, dims: [titles-1-0]}
titles: {type: categorical : {idMappingFile: "titles.csv"}}
// (titles.csv)
0, OUT_OF_VOCAB
1, Software Engineer
2, Nurse
"""
SWE = TitleRelation("swe", "Software Engineer")


def test_edges_are_added_version_by_version_and_the_later_weight_counts(client: AmbryClient, name: str) -> None:
    first = add_relations(client, name, [TitleRelation("RN", "Nurse", weight=0.5), SWE])
    assert (str(first), first.edges) == (f"{name}@1", (TitleRelation("RN", "Nurse", weight=0.5), SWE))
    related = TitleRelation("Nurse", "Midwife", "related", 0.25)
    second = add_relations(client, name, [TitleRelation("RN", "Nurse"), related])
    assert relations_of(client, name) == second and second.place.version == "2"
    assert second.edges == (related, TitleRelation("RN", "Nurse"), SWE)
    assert (second.pairs(), second.pairs("related")) == (
        [("RN", "Nurse"), ("swe", "Software Engineer")],
        [("Nurse", "Midwife")],
    )
    assert relations_of(client, f"{name}@1") == first
    assert add_relations(client, name, [SWE]) == second


def test_a_store_that_is_away_is_no_damage_of_the_file(
    client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_relations(client, name, [TitleRelation("engineer", "developer", "alias", 0.5)])

    def away(*_: Any, **__: Any) -> Any:
        raise Unavailable("the store is away")

    monkeypatch.setattr(client, "cached_path", away)
    with pytest.raises(Unavailable, match=r"^the store is away$"):
        relations_of(client, name)


def test_who_is_overtaken_all_the_time_is_told(client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_late(*_: Any, **__: Any) -> None:
        raise AlreadyExists("somebody else was first")

    monkeypatch.setattr(client, "put_version", too_late)
    with pytest.raises(UpdateConflict, match=f"^others give versions to {name} all the time; nothing was changed"):
        add_relations(client, name, [SWE])


def test_polars_reads_the_file_as_it_is(client: AmbryClient, name: str) -> None:
    add_relations(client, name, [TitleRelation("größer", "Nurse", weight=0.5), SWE])
    table = polars.read_ipc(client.get_bytes(VersionRef(name)))
    assert table.rows(named=True) == [
        {"from": "größer", "to": "Nurse", "relation": "alias", "weight": 0.5},
        {"from": "swe", "to": "Software Engineer", "relation": "alias", "weight": 1.0},
    ]


def test_those_who_add_at_once_lose_nothing(client: AmbryClient, url: str, name: str) -> None:
    start = threading.Barrier(4)

    def add(number: int) -> None:
        with AmbryClient([url]) as own:
            start.wait()
            add_relations(own, name, [TitleRelation(f"nurse {number}", "Nurse")])

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [edge.source for edge in relations_of(client, name).edges] == [f"nurse {number}" for number in range(4)]
    assert [entry.version for entry in client.versions(name)] == ["1", "2", "3", "4"]


def test_targets_are_titles_of_the_vocabulary(client: AmbryClient, name: str) -> None:
    publish(client, f"{name}-features", FeatureMetadata.of([parse_definitions(TEXT, "jobs")]))
    add_relations(client, name, [SWE], definitions=f"{name}-features", dimension="titles")
    with pytest.raises(InvalidRequest, match="the vocabulary does not have 'Pilot'; propose it"):
        add_relations(
            client,
            name,
            [TitleRelation("captain", "Pilot")],
            definitions=f"{name}-features",
            dimension="jobs/titles-1-0",
        )
    assert relations_of(client, name).edges == (SWE,)


@pytest.mark.parametrize(
    ("source", "target", "relation", "weight"),
    [
        ("", "Nurse", "alias", 1.0),
        ("RN", " Nurse", "alias", 1.0),
        ("RN", "Nurse", "", 1.0),
        ("a\nb", "Nurse", "alias", 1.0),
        ("RN", "Nurse", "alias", 0.0),
        ("RN", "Nurse", "alias", float("nan")),
        ("RN", "Nurse", "alias", float("inf")),
    ],
)
def test_what_is_no_relation_is_refused(source: str, target: str, relation: str, weight: float) -> None:
    with pytest.raises(InvalidRequest):
        TitleRelation(source, target, relation, weight)


def test_what_are_no_relations_is_told(client: AmbryClient, name: str) -> None:
    with pytest.raises(BlobNotFound):
        relations_of(client, name)
    client.create_dataset(name)
    with pytest.raises(InvalidRequest, match="MONOTONIC"):
        add_relations(client, name, [SWE])
    client.put_version(name, b"not Arrow", "1.0.0")
    with pytest.raises(DataCorrupt, match="are no relations"):
        relations_of(client, name)


def file_of(columns: dict[str, list[Any]]) -> bytearray:
    types = {"from": pa.string(), "to": pa.string(), "relation": pa.string(), "weight": pa.float64()}
    schema = pa.schema([pa.field(column, kind, nullable=False) for column, kind in types.items()])
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(pa.table(columns, schema=schema))
    return bytearray(sink.getvalue())


@pytest.mark.parametrize("wrong", ["null", "weight", "offsets", "text", "torn"])
def test_a_file_of_strangers_is_refused_and_does_no_harm(client: AmbryClient, name: str, wrong: str) -> None:
    """It was mapped and believed: an offset that leads nowhere ended the process by SIGBUS."""
    columns: dict[str, list[Any]] = {"from": ["ab", "cd"], "to": ["Nurse"] * 2, "relation": ["alias"] * 2}
    data = file_of(
        {**columns, "weight": [1.0, float("nan") if wrong == "weight" else 1.0]}
        | ({"from": ["ab", None]} if wrong == "null" else {})
    )
    if wrong == "offsets":
        at = data.index(b"\0\0\0\0\2\0\0\0\4\0\0\0")
        data[at + 4 : at + 12] = (1 << 30).to_bytes(4, "little") * 2
    elif wrong == "text":
        at = data.index(b"abcd")
        data[at : at + 4] = b"\xff\xff\xff\xff"
    elif wrong == "torn":
        del data[len(data) // 2 :]
    client.create_dataset(name, "MONOTONIC")
    client.put_version(name, bytes(data), "1")
    with pytest.raises(DataCorrupt, match=f"{name}@1 are no relations"):
        relations_of(client, name)


def test_a_title_without_an_end_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="has 1001 characters, more than 1000"):
        TitleRelation("x" * 1001, "Nurse")
