"""Two files of a model with a tensor of one name: the second one's was loaded, and the first one's was lost."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save

from ambry import AmbryClient, BlobNotFound, InvalidRequest
from ambry.client.refs import VersionRef
from ambry.ml import models
from ambry.ml.models.manifest import ModelManifest
from ambry.ml.models.parts import store_part
from ambry.ml.models.publishing import publish_manifest
from ambry.ml.models.tensor_names import check_tensor_names

ONE = save({"a": np.ones(2), "b": np.zeros(1)}, {"made": "here"})
OTHER = save({"b": np.ones(1)}, {"made": "there"})
MORE = save({"c": np.ones(1)})


def test_a_name_that_stands_twice_is_refused_when_it_is_published(client: AmbryClient, name: str) -> None:
    files = {"x.safetensors": ONE, "y/z.safetensors": OTHER}
    with pytest.raises(InvalidRequest, match=r"the tensor 'b' is in 'x.safetensors' and in 'y/z.safetensors'"):
        models.publish(client, name, files)
    with pytest.raises(BlobNotFound):
        client.dataset(name)
    made = models.publish(client, name, files, kind="files")
    assert models.open(client, made).path("y/z.safetensors").read_bytes() == OTHER


def test_a_name_that_stands_twice_is_refused_when_it_is_loaded(client: AmbryClient, name: str) -> None:
    client.create_dataset(name, "SEMANTIC")
    parts = [
        store_part(client, VersionRef(name), path, data)
        for path, data in (("x.safetensors", ONE), ("y.safetensors", OTHER))
    ]
    publish_manifest(client, name, ModelManifest(kind="safetensors", parts=tuple(parts)))
    with pytest.raises(InvalidRequest, match="the tensor 'b' is in"):
        models.open(client, name).load()


def test_names_of_their_own_are_loaded_together(client: AmbryClient, name: str) -> None:
    models.publish(client, name, {"x.safetensors": ONE, "y.safetensors": MORE, "config.json": b"{}"})
    assert sorted(models.open(client, name).load()) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\1",
        (1 << 60).to_bytes(8, "little") + b"{}",
        (101_000_000).to_bytes(8, "little"),
        (2).to_bytes(8, "little") + b"[]",
        (9).to_bytes(8, "little") + b'{"a": {}',
        (1_000_000).to_bytes(8, "little") + b"[" * 1_000_000,
        (2).to_bytes(8, "little") + b"\xff\xff",
    ],
)
def test_a_header_that_says_nothing_is_told(bad: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"'x.safetensors' is no file of safetensors"):
        check_tensor_names({"x.safetensors": bad, "y.safetensors": ONE})
