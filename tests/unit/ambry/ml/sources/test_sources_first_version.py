"""Snapshots of the first version become typed ones, row by row, from a directory and from URLs."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import fastavro
import fsspec
import pytest

from ambry import AmbryClient, BlobNotFound, InvalidRequest, VersionRef
from ambry.ml import snapshots
from ambry.ml.features import publishing
from ambry.ml.sources.avro import NamesMet, write_avro
from ambry.ml.sources.first_version import avro_files, import_avro
from ambry.ml.sources.name_term_value import triple_schema
from tests.support.first_version import METADATA, URNS, WHEN, rows


def write(place: str) -> None:
    """In the order that a job leaves them, with what an engine leaves beside them."""
    write_avro(f"{place}/part-1.avro", rows(range(50)), URNS, metadata=METADATA, entity="member")
    write_avro(f"{place}/part-0.avro", rows(range(50, 120)), URNS, metadata=METADATA, entity="member")
    with fsspec.open(f"{place}/_SUCCESS", "wb") as mark:
        mark.write(b"")
    write_avro(f"{place}/_tmp.avro", rows(range(3)), URNS, metadata=METADATA, entity="member")


@pytest.mark.parametrize("where", ["path", "file", "memory"])
def test_a_directory_is_one_snapshot_equal_row_by_row(
    client: AmbryClient, name: str, tmp_path: Path, where: str
) -> None:
    place = {"path": str(tmp_path), "file": f"file://{tmp_path}", "memory": f"memory://{name}/deep"}[where]
    write(place)
    publishing.publish(client, f"{name}-features", METADATA)
    loaded = publishing.load(client, f"{name}-features")
    made = import_avro(client, place, name, iter(URNS), metadata=loaded, entity="member", as_of=WHEN)
    assert made.rows == 120 and made.version == str(int(WHEN.timestamp() * 1000))
    snapshots.write(client, f"{name}-same", rows(range(120)), URNS, metadata=loaded, entity="member", as_of=WHEN)
    with snapshots.open(client, name) as moved, snapshots.open(client, f"{name}-same") as same:
        assert moved.table().to_pylist() == same.table().to_pylist()
        assert moved.schema.equals(same.schema)


def test_one_file_is_itself_and_an_empty_directory_is_refused(tmp_path: Path) -> None:
    file = str(tmp_path / "x.bin")
    write_avro(file, rows(range(3)), URNS, metadata=METADATA, entity="member")
    assert avro_files(file) == [file]
    with pytest.raises(InvalidRequest, match=r"there is no \.avro in"):
        avro_files(str(tmp_path))


@pytest.mark.parametrize("place", ["zip://", "zip://rows", "zip://rows/", "zip", "simplecache::zip"])
def test_the_files_of_an_archive_are_places_within_it(tmp_path: Path, place: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("b.avro", "a.avro", "rows/c.avro"):
            archive.writestr(name, "x")
    found = avro_files(f"{place}::file://{tmp_path}/a.zip")
    names = ["c.avro"] if "rows" in place else ["a.avro", "b.avro"]
    assert [each.partition("::file")[0].rpartition("/")[2] for each in found] == names
    for each in found:
        with fsspec.open(each) as file:
            assert file.read() == b"x"


def test_a_snapshot_of_nulls_alone_is_refused_where_no_record_has_a_feature(
    client: AmbryClient, name: str, tmp_path: Path
) -> None:
    """Files of other names came in as a version in which nobody has a value, and as the newest one."""
    publishing.publish(client, f"{name}-features", METADATA)
    said: Any = {"metadata": publishing.load(client, f"{name}-features"), "entity": "member", "as_of": WHEN}
    triple = triple_schema("Triple")
    triple["fields"][2] = {"name": "value", "type": ["null", "double"]}
    bag = {"type": "array", "items": triple}
    schema = {
        "type": "record",
        "name": "R",
        "fields": [{"name": "member", "type": "long"}, {"name": "features", "type": bag}],
    }
    for file in ("a.avro", "b.avro"):
        for bags in ([], [{"name": "agee", "term": "", "value": 1.0}]):
            with (tmp_path / file).open("wb") as out:
                fastavro.writer(out, schema, [{"member": ord(file[0]), "features": bags}])
    words = f"none of 2 records has any of the features .*age.* in the field 'features' of {tmp_path}/a.avro and 1 more"
    with pytest.raises(InvalidRequest, match=words):
        import_avro(client, str(tmp_path), name, URNS, **said)
    with pytest.raises(BlobNotFound):
        client.head(VersionRef(name))
    # One that is there, and null for all, is what the files say.
    with (tmp_path / "b.avro").open("wb") as out:
        fastavro.writer(out, schema, [{"member": 2, "features": [{"name": "age", "term": "", "value": None}]}])
    assert import_avro(client, str(tmp_path), name, URNS, **said).rows == 2
    # So is a file of ours in which nobody has a value: it says of which features it is.
    nobody = {"member": [1], "age": [None], "week": [None]}
    write_avro(tmp_path / "ours.avro", nobody, URNS, metadata=METADATA, entity="member")
    assert import_avro(client, str(tmp_path / "ours.avro"), f"{name}-ours", URNS, **said).rows == 1


def test_names_that_are_no_feature_are_remembered_in_bounded_memory() -> None:
    met = NamesMet()
    for start in range(0, 5_000, 700):
        met.note({f"n{number}" for number in range(start, start + 700)} | {"a"}, {"urn": "a", "other": "b"})
    assert len(met.strange) == NamesMet.REMEMBERED_MAX and met.features == {"urn"}


@pytest.mark.parametrize("scheme", ["", "file://", "local://"])
def test_a_pipe_among_the_files_of_a_directory_is_told_and_not_waited_for(tmp_path: Path, scheme: str) -> None:
    write(str(tmp_path))
    os.mkfifo(tmp_path / "part-2.avro")
    with pytest.raises(InvalidRequest, match=r"/part-2\.avro is no file; put a file there, or take it away"):
        avro_files(f"{scheme}{tmp_path}")
    # Who names it means it.
    assert avro_files(f"{scheme}{tmp_path}/part-2.avro") == [f"{scheme}{tmp_path}/part-2.avro"]
