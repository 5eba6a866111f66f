"""What a version of a model says: canonical, and believed only as far as it can be read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.errors import InvalidRequest
from ambry.ids import BlobId
from ambry.ml.models.manifest import ModelManifest, ModelPart, parse_manifest

ID = BlobId.parse("AQEAAQAAAAEAAAABAAAAAQGiHx3Y6Hfsni_riUFMNDyZsBUQ")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
PATHS = st.from_regex(r"[a-z0-9_]{1,8}(/[a-z0-9_]{1,8}){0,2}\.[a-z]{1,4}", fullmatch=True)
PARTS = st.builds(ModelPart, PATHS, st.just(ID), st.integers(0, 2**50), st.from_regex(r"[0-9a-f]{64}", fullmatch=True))
MANIFESTS = st.builds(
    ModelManifest,
    kind=st.sampled_from(["safetensors", "files", "onnx"]),
    parts=st.lists(PARTS, min_size=1, max_size=4, unique_by=lambda part: part.path).map(
        lambda parts: tuple(sorted(parts, key=lambda part: part.path))
    ),
    framework=st.dictionaries(TEXTS, TEXTS, max_size=2),
    features=st.lists(TEXTS, max_size=2).map(tuple),
    metrics=st.dictionaries(TEXTS, st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9), max_size=2),
    params=st.dictionaries(TEXTS, st.none() | st.booleans() | TEXTS, max_size=2),
    snapshot=TEXTS,
    parent=TEXTS,
    code=TEXTS,
)


@given(MANIFESTS)
def test_a_manifest_is_read_as_it_was_written(manifest: ModelManifest) -> None:
    assert parse_manifest(manifest.encode()) == manifest
    assert parse_manifest(manifest.encode()).digest == manifest.digest


@given(MANIFESTS, st.randoms(use_true_random=False))
def test_the_order_in_which_things_are_said_is_no_part_of_the_document(manifest: ModelManifest, chance: Any) -> None:
    parts = chance.sample(manifest.parts, len(manifest.parts))
    params = {name: manifest.params[name] for name in chance.sample(sorted(manifest.params), len(manifest.params))}
    assert replace(manifest, parts=tuple(parts), params=params).encode() == manifest.encode()


@given(MANIFESTS)
def test_the_digest_is_that_of_the_bytes(manifest: ModelManifest) -> None:
    """It was that of what had been read, so documents that said more than was read had the same."""
    data = manifest.encode()
    assert parse_manifest(data).digest == hashlib.sha256(data).hexdigest()
    said = json.loads(data)
    said["parts"][0]["mode"] = "x"
    for other in (
        data + b"\n",
        json.dumps(json.loads(data), sort_keys=True).encode(),
        data[:-1] + b',"more":1}',
        data[:-1] + b',"format":1}',
        json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(),
    ):
        with pytest.raises(InvalidRequest, match="not written as manifests are"):
            parse_manifest(other)


PART = ModelPart("m.onnx", ID, 3, "0" * 64)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"format":1}',
        b"[" * 100_000,
        ModelManifest(kind="onnx", parts=(PART,)).encode().replace(b'"m.onnx"', b'"../m.onnx"'),
        ModelManifest(kind="onnx", parts=(PART,)).encode().replace(b'"onnx"', b'"magic"'),
        ModelManifest(kind="onnx", parts=(PART,)).encode().replace(b'"size":3', b'"size":"3"'),
        ModelManifest(kind="onnx", parts=(PART,)).encode().replace(str(ID).encode(), b"x"),
    ],
)
def test_what_is_no_manifest_is_told(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match="this is no model"):
        parse_manifest(data)


def test_a_later_format_is_told() -> None:
    with pytest.raises(InvalidRequest, match="format 2"):
        parse_manifest(b'{"format":2}')
    with pytest.raises(InvalidRequest, match="no model"):
        parse_manifest(b'{"format":"x"}')


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "magic"}, "a model is safetensors"),
        ({"parts": ()}, "1 to 10000 parts"),
        ({"parts": (PART, PART)}, "the same path"),
        ({"metrics": {"auc": float("nan")}}, "the metric 'auc'"),
        ({"metrics": {"auc": True}}, "the metric 'auc'"),
        ({"params": {"rate": float("nan")}}, "the param 'rate'"),
        ({"params": {"deep": {"rate": [float("inf")]}}}, "the param 'deep'"),
        ({"params": {"x": {1, 2}}}, "the param 'x' is not JSON"),
        ({"params": {"x": "\ud800"}}, "the param 'x' is not JSON"),
        ({"code": None}, "code is a text"),
        (
            {"parts": (PART, ModelPart("m.onnx/data/w", ID, 3, "0" * 64))},
            "'m.onnx' is a part of the model, and so no dir",
        ),
    ],
)
def test_what_no_model_can_be(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        ModelManifest(**{"kind": "onnx", "parts": (PART,), **change})


@pytest.mark.parametrize("path", ["", "/m", "../m", "a/../m", "a//m", "a\\m", "a\nm", "."])
def test_a_part_lies_below_its_model(path: str) -> None:
    with pytest.raises(InvalidRequest):
        ModelPart(path, ID, 3, "0" * 64)


def test_more_than_a_manifest_has_is_refused_when_it_is_written() -> None:
    """It was published, and could not be opened."""
    with pytest.raises(InvalidRequest, match="at most 16777216"):
        ModelManifest(kind="onnx", parts=(PART,), params={"x": "x" * (16 << 20)}).encode()


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
JSON = st.recursive(LEAVES, lambda some: st.lists(some, max_size=3) | st.dictionaries(TEXTS, some, max_size=3))
NAMES = ("kind", "parts", "framework", "features", "metrics", "params", "snapshot", "code", "note", "format")


@given(MANIFESTS, st.dictionaries(st.sampled_from(NAMES), JSON, max_size=2))
def test_any_document_is_a_manifest_of_texts_or_refused(manifest: ModelManifest, changed: dict[str, Any]) -> None:
    """One with `features: [1]` was read, and was a traceback wherever a feature is a text."""
    said = {**json.loads(manifest.encode()), **changed}
    data = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    try:
        found = parse_manifest(data)
    except InvalidRequest:
        return
    assert all(isinstance(urn, str) for urn in found.features) and isinstance(found.framework, dict)
    assert all(isinstance(each, str) for pair in found.framework.items() for each in pair)
    assert isinstance(found.params, dict) and isinstance(found.metrics, dict)


def test_features_are_texts() -> None:
    for features in ((1,), (None,), ("urn:li:(n,a,1,0)", ["x"])):
        with pytest.raises(InvalidRequest, match="features are texts"):
            ModelManifest(kind="onnx", parts=(PART,), features=features)  # type: ignore[arg-type]
