"""Every document that lies in the store can have been written by anybody: it is read, or refused in words."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from ambry.errors import AmbryError
from ambry.ids import BlobId
from ambry.ml.experiments import exposures
from ambry.ml.experiments.document import Arm, Experiment, parse_experiment
from ambry.ml.features.urn import Reference
from ambry.ml.health.thresholds import parse_thresholds
from ambry.ml.models.manifest import ModelManifest, ModelPart, parse_manifest
from ambry.ml.tracking.notes import ModelNotes
from ambry.ml.training.checkpoints import CheckpointFile, CheckpointMark
from ambry.ml.training.jobs import StoredTree, named_job, parse_job
from ambry.ml.vocab.document import VocabProposal, VocabReview, published_version
from ambry.streams import state
from ambry.streams.windows import parse_actions

ID = BlobId.parse("AQEAAQAAAAEAAAABAAAAAQGiHx3Y6Hfsni_riUFMNDyZsBUQ")
TREE = StoredTree(kind="sources", id="a" * 48, sha256="0" * 64, size=10)
JOB = named_job({"script": "t.py", "sources": TREE, "environment": replace(TREE, kind="listed")})
PROPOSAL = VocabProposal(
    dimension=Reference.parse("flagship/titles-1-0"),
    names=("chef", "cook"),
    author="ada",
    reason="asked for",
    created_ms=1_700_000_000_000,
)
REVIEW = VocabReview(
    proposal=PROPOSAL.id, verdict="accepted", names=("chef",), author="bo", reason="yes", created_ms=1_700_000_000_001
)
DEEP = 200_000
HOSTILE = (
    b"", b"\xff\xfe", b"null", b"1", b'"a"', b"[]", b"[1]", b"{}", b"[" * DEEP, b'{"format":' * DEEP, b"9" * 5000, b"1e999",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 10**30, 10**400, float("inf"), float("nan"), "", "a", "\ud800", "x" * 300, [], [1], [[]], [None], {},
    {"a": 1}, {"": None},
)  # fmt: skip


def as_text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: parse(data.decode("utf-8", "replace"))


def exposure(line: bytes) -> object:
    return exposures._parsed(line, "an exposure", 1)


def line_of_actions(line: bytes) -> object:
    return parse_actions(str(ID), line)


DOCUMENTS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "model": (
        parse_manifest,
        ModelManifest(
            kind="files",
            parts=(ModelPart("a.bin", ID, 3, "0" * 64),),
            framework={"numpy": "2.0"},
            features=("urn:li:(flagship,clicks,1,0)",),
            metrics={"auc": 0.5},
            params={"depth": [3]},
            snapshot="members@1",
            parent="",
            code="git:abc",
        ).encode(),
    ),
    "experiment": (
        parse_experiment,
        Experiment(
            name="ranker", arms=(Arm("control", 0.5, "m@1"), Arm("new", 0.5, "m@2")), salt="9f86d081884c7d65"
        ).encode(),
    ),
    "exposure": (exposure, b'{"unit": 17, "arm": "control", "at": 1700000000000, "attributes": {"country": "de"}}'),
    "notes": (ModelNotes.parse, ModelNotes(description="d", tags={"a": "b"}, created_ms=5).encode()),
    "checkpoint": (
        CheckpointMark.parse,
        CheckpointMark(step=10, files={"a": CheckpointFile(ID, 3)}, said={"loss": 0.5}).encode(),
    ),
    "job": (
        lambda data: parse_job(data).code(),
        replace(JOB, earlier=({**JOB.origin(), "sources_sha256": "1" * 64},)).encode(),
    ),
    "proposal": (VocabProposal.parse, PROPOSAL.encode()),
    "review": (lambda data: VocabReview.parse(data, PROPOSAL), REVIEW.encode()),
    "acceptance": (lambda data: published_version(data, "here"), b'{"version": "1.1.0"}'),
    "state of a publisher": (
        lambda data: state.decode(data, "state"),
        state.encode(state.PublisherState(cluster="c", topic="t", token="k")).encode(),
    ),
    "action": (line_of_actions, b'{"member": 17, "action": "Click", "at": 1764244800000}'),
    "thresholds": (as_text(parse_thresholds), b""),
}


def places(said: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    children: Any = said.items() if isinstance(said, dict) else enumerate(said) if isinstance(said, list) else ()
    for key, value in children:
        yield from places(value, (*path, key))


def changed(said: Any, path: tuple[Any, ...], value: object) -> Any:
    if not path:
        return value
    said = copy.deepcopy(said)
    at = said
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return said


def refused_or_read(parse: Callable[[bytes], object], data: bytes) -> None:
    try:
        parse(data)
    except AmbryError as error:
        assert str(error)
    except Exception as error:
        raise AssertionError(f"{data[:300]!r} is neither read nor refused") from error


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_document_itself_is_read(name: str) -> None:
    parse, data = DOCUMENTS[name]
    parse(data)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_is_none_is_refused_in_words(name: str) -> None:
    for data in HOSTILE:
        refused_or_read(DOCUMENTS[name][0], data)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_any_field_can_be_anything_and_can_lack(name: str) -> None:
    parse, data = DOCUMENTS[name]
    said = json.loads(data or b"{}")
    for path in places(said):
        for value in VALUES:
            refused_or_read(parse, json.dumps(changed(said, path, value)).encode())
        if path and isinstance(path[-1], str):
            whole = copy.deepcopy(said)
            at = whole
            for key in path[:-1]:
                at = at[key]
            del at[path[-1]]
            refused_or_read(parse, json.dumps(whole).encode())
