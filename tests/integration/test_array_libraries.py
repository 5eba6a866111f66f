"""dask, zarr, universal_pathlib and datasets, unmodified, with files in the store (`make libraries` installs them)."""

from __future__ import annotations

import pickle
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.slow
FRAME = pd.DataFrame(
    {"a": range(10_000), "b": [f"text {each}" for each in range(10_000)], "kind": [0, 1, 2, 3] * 2_500}
)


def library(name: str) -> Any:
    return pytest.importorskip(name, reason=f"{name} is not installed; `make libraries` does it")


@pytest.fixture
def options(dc1: str) -> dict[str, Any]:
    return {"endpoints": [dc1]}


@pytest.fixture
def at() -> str:
    return f"ambry://default/default/arrays/{uuid.uuid4().hex}"


def test_dask_writes_and_reads_frames(options: dict[str, Any], at: str) -> None:
    frames = library("dask.dataframe")
    parts = frames.from_pandas(FRAME, npartitions=4)
    parts.to_parquet(f"{at}/a", storage_options=options)
    parts.to_parquet(f"{at}/a", storage_options=options, overwrite=True)
    read = frames.read_parquet(f"{at}/a", storage_options=options)
    assert read.npartitions == 4
    for scheduler in ("threads", "processes"):
        assert read.a.sum().compute(scheduler=scheduler) == FRAME.a.sum()
    parts.to_parquet(f"{at}/kinds", storage_options=options, partition_on=["kind"])
    one = frames.read_parquet(f"{at}/kinds", storage_options=options, filters=[("kind", "==", 3)])
    assert len(one) == 2_500
    parts.to_csv(f"{at}/c/*.csv.gz", index=False, compression="gzip", storage_options=options)
    text = frames.read_csv(f"{at}/c/*.csv.gz", compression="gzip", blocksize=None, storage_options=options)
    pd.testing.assert_frame_equal(text.compute().reset_index(drop=True), FRAME, check_dtype=False)


def test_dask_reads_one_file_by_blocks(options: dict[str, Any], at: str) -> None:
    frames, bags = library("dask.dataframe"), library("dask.bag")
    FRAME.to_csv(f"{at}/x.csv", index=False, storage_options=options)
    read = frames.read_csv(f"{at}/x.csv", blocksize=20_000, storage_options=options)
    assert read.npartitions > 5
    assert read.a.sum().compute() == FRAME.a.sum()
    bags.from_sequence(["a", "b", "c"], npartitions=3).to_textfiles(f"{at}/t/*.txt", storage_options=options)
    assert bags.read_text(f"{at}/t/*.txt", storage_options=options).map(str.strip).compute() == ["a", "b", "c"]


def test_zarr_and_dask_arrays(options: dict[str, Any], at: str) -> None:
    zarr, arrays = library("zarr"), library("dask.array")
    whole = np.arange(250_000, dtype="f4").reshape(500, 500)
    group = zarr.open_group(f"{at}/g.zarr", mode="w", storage_options=options)
    made = group.create_array("x", shape=whole.shape, chunks=(100, 100), dtype="f4")
    made[:] = whole
    made.attrs["unit"] = "m"
    sharded = group.create_array("s", shape=whole.shape, chunks=(50, 50), shards=(250, 250), dtype="f4")
    sharded[:] = whole
    zarr.consolidate_metadata(group.store)
    read = zarr.open_group(f"{at}/g.zarr", mode="r", storage_options=options)
    assert np.array_equal(read["x"][90:210, 5:7], whole[90:210, 5:7])
    assert np.array_equal(read["s"][90:210, 5:7], whole[90:210, 5:7]), "by ranges of a shard"
    assert read["x"].attrs["unit"] == "m"
    del group["s"]
    left = zarr.open_group(f"{at}/g.zarr", mode="r", storage_options=options, use_consolidated=False)
    assert sorted(left.array_keys()) == ["x"]
    arrays.from_array(whole, chunks=(100, 100)).to_zarr(f"{at}/d.zarr", storage_options=options)
    assert np.array_equal(arrays.from_zarr(f"{at}/d.zarr", storage_options=options).compute(), whole)


def test_paths_that_are_objects(options: dict[str, Any], at: str) -> None:
    upath = library("upath")
    place = upath.UPath(at, **options)
    (place / "a.txt").write_text("hello")
    (place / "b c").write_bytes(b"b")
    (place / "deep" / "d.txt").write_text("d")
    assert (place / "a.txt").read_text() == "hello"
    assert sorted(each.name for each in place.iterdir()) == ["a.txt", "b c", "deep"]
    assert [each.name for each in place.rglob("*.txt")] in (["a.txt", "d.txt"], ["d.txt", "a.txt"])
    assert (place / "a.txt").stat().st_size == 5 and place.is_dir() and (place / "a.txt").is_file()
    assert str(place / "a.txt") == f"{at}/a.txt" and (place / "a.txt").suffix == ".txt"
    with pytest.raises(FileNotFoundError):
        (place / "none").read_bytes()
    (place / "a.txt").rename(place / "z.txt")
    assert not (place / "a.txt").exists() and (place / "z.txt").read_text() == "hello"
    assert pickle.loads(pickle.dumps(place)) == place
    (place / "z.txt").unlink()
    place.rmdir(recursive=True)
    assert not place.exists()


def test_datasets_of_hugging_face(options: dict[str, Any], at: str, tmp_path: Path) -> None:
    datasets = library("datasets")
    FRAME.to_parquet(f"{at}/train.parquet", storage_options=options)
    cache = {"cache_dir": str(tmp_path / "cache"), "storage_options": options}
    whole = datasets.load_dataset("parquet", data_files=f"{at}/train.parquet", **cache)["train"]
    assert whole.num_rows == len(FRAME) and whole[7] == {"a": 7, "b": "text 7", "kind": 3}
    stream = datasets.load_dataset(
        "parquet", data_files={"train": f"{at}/*.parquet"}, streaming=True, storage_options=options
    )["train"]
    assert sum(row["a"] for row in stream.take(100)) == 4_950
    whole.save_to_disk(f"{at}/saved", storage_options=options, num_shards=3)
    saved = datasets.load_from_disk(f"{at}/saved", storage_options=options)
    assert saved["a"][-1] == 9_999
    for kind in ("json", "csv"):
        getattr(whole, f"to_{kind}")(f"{at}/out.{kind}", storage_options=options)
        assert datasets.load_dataset(kind, data_files=f"{at}/out.{kind}", **cache)["train"].num_rows == len(FRAME)
