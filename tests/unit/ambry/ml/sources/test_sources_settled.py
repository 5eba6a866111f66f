"""Files of the store are those of the cluster that is meant, as they were when they were looked up."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("fsspec", reason="pip install 'ambry[fsspec]'")

from ambry import AmbryClient
from ambry.ml.files import opened
from ambry.ml.sources.settled import settled_files
from ambry.ml.stored_files import FileOfStore
from tests.support.named_frontend import named_frontend


def test_a_file_is_read_from_its_cluster_as_it_was_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with named_frontend(tmp_path / "a") as meant, named_frontend(tmp_path / "b") as other:
        monkeypatch.setenv("AMBRY_ENDPOINTS", other)
        with AmbryClient(other) as client:
            client.put(b"of another cluster", name="d/x.avro")
        with AmbryClient(meant) as client:
            blob = client.put(b"meant", name="d/x.avro")
            place = f"ambry://{client.default_account}/{client.default_container}/d"
            asked = []

            def options() -> dict[str, str]:
                asked.append(1)
                return {"endpoints": meant}

            places = ("here.avro", place, f"ambry+id://{blob.id}", f"simplecache::{place}/x.avro")
            said, below, by_id, chained = settled_files(places, options)
            assert said == "here.avro" and len(asked) == 1
            assert isinstance(below, FileOfStore) and str(below) == f"{place}/x.avro" and below.id == str(blob.id)
            client.put(b"later", name="d/x.avro")
            for file in (below, by_id, pickle.loads(pickle.dumps(below))):
                with opened(file) as read:
                    assert read.read() == b"meant"
            with opened(chained) as read:
                assert read.read() == b"later"
            client.put(b"another", name="d/y.avro")
            client.put(b"none", name="d/y.txt")
            found = settled_files([f"simplecache::{place}"], options)
            assert [str(each) for each in found] == [f"simplecache::{place}/{name}.avro" for name in "xy"]
            for file, data in zip(found, (b"later", b"another"), strict=True):
                with opened(file) as read:
                    assert read.read() == data
            with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
                archive.writestr("rows/x.avro", b"packed")
            client.put(tmp_path / "z.zip", name="z.zip")
            beside = place.rpartition("/")[0]
            [packed] = settled_files([f"zip://rows::{beside}/z.zip"], options)
            with opened(packed) as read:
                assert read.read() == b"packed"
