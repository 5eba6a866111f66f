"""The versions of a model with their metrics and aliases, the moves of an alias, and what two versions have apart."""

from __future__ import annotations

from typing import Any

import pytest

from ambry import AccessDenied, AmbryClient, BlobNotFound
from ambry.client.model import BatchResult
from ambry.ml import models
from ambry.ml.models import histories


def _two(client: AmbryClient, name: str) -> tuple[models.PublishedModel, models.PublishedModel]:
    first = models.publish(client, name, {"x.txt": b"1", "gone.txt": b"g"}, metrics={"auc": 0.5}, note="first")
    second = models.publish(
        client,
        name,
        {"x.txt": b"2", "new.txt": b"n"},
        metrics={"auc": 0.75, "loss": 1.5},
        params={"depth": 3},
        parent=first,
        features=["urn:li:(n,a,1,0)"],
    )
    return first, second


def test_versions_say_their_metrics_and_aliases(client: AmbryClient, name: str) -> None:
    first, second = _two(client, name)
    client.put_version(name, b"no model", "2.0.0")
    models.promote(client, second)
    models.promote(client, second, "challenger")
    found = list(models.versions(client, name))
    assert [(each.version, dict(each.metrics), sorted(each.aliases)) for each in found] == [
        ("1.0.0", {"auc": 0.5}, []),
        ("1.1.0", {"auc": 0.75, "loss": 1.5}, ["challenger", "champion"]),
        ("2.0.0", {}, []),
    ]
    assert [(each.place, each.id, each.digest) for each in found[:2]] == [
        (each.place, each.id, each.digest) for each in (first, second)
    ]
    assert found[2].manifest is None
    assert [each.version for each in models.versions(client, second)] == ["1.0.0", "1.1.0", "2.0.0"]
    with pytest.raises(BlobNotFound):
        list(models.versions(client, f"{name}-nowhere"))


def test_long_lists_are_read_in_pieces(client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [models.publish(client, name, {"x.txt": b"x"}, note=f"{number}") for number in range(5)]
    sizes: list[int] = []
    get_many = AmbryClient.get_many

    def counted(self: AmbryClient, refs: Any, **options: Any) -> Any:
        sizes.append(len(refs))
        return get_many(self, refs, **options)

    monkeypatch.setattr(AmbryClient, "get_many", counted)
    monkeypatch.setattr(histories, "READ_MAX", 2)
    assert [each.digest for each in models.versions(client, name)] == [each.digest for each in made]
    assert sizes == [2, 2, 1]
    sizes.clear()
    monkeypatch.setattr(histories, "READ_BYTES_MAX", 1)
    assert [each.digest for each in models.versions(client, name)] == [each.digest for each in made]
    assert sizes == [1, 1, 1, 1, 1]


def test_a_key_that_reads_no_ids_lists_them_too(
    client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _two(client, name)

    def denied(self: AmbryClient, refs: Any, **_: Any) -> list[BatchResult]:
        return [BatchResult(id=None, error=AccessDenied("this key reads names alone")) for _ in refs]

    monkeypatch.setattr(AmbryClient, "get_many", denied)
    assert [each.metrics["auc"] for each in models.versions(client, name)] == [0.5, 0.75]


def test_moves_are_told_by_name_alias_version_and_digest(client: AmbryClient, name: str) -> None:
    first, second = _two(client, name)
    models.promote(client, first, why="a")
    models.promote(client, second, why="b")
    models.promote(client, first, "other", why="c")
    models.roll_back(client, name, why="d")

    def told(place: Any, *alias: str) -> list[str]:
        return [move.why for move in models.history(client, place, *alias)]

    assert told(name) == ["d", "b", "a"]
    assert (told(name, "other"), told(f"{name}@other"), told(f"{name}@champion")) == (["c"], ["c"], ["d", "b", "a"])
    assert (told(first), told(f"{name}@1.1.0"), told(f"{name}@sha256:{second.digest}")) == (["d", "a"], ["b"], ["b"])
    with pytest.raises(BlobNotFound):
        told(f"{name}@nobody")


def test_what_two_versions_have_apart_is_told(client: AmbryClient, name: str) -> None:
    first, second = _two(client, name)
    parts = [{part.path: part.sha256 for part in made.manifest.parts} for made in (first, second)]
    assert [(each.what, each.before, each.after) for each in models.diff(client, first, f"{name}@1.1.0")] == [
        ("parts.gone.txt", parts[0]["gone.txt"], None),
        ("parts.new.txt", None, parts[1]["new.txt"]),
        ("parts.x.txt", parts[0]["x.txt"], parts[1]["x.txt"]),
        ("features", None, ["urn:li:(n,a,1,0)"]),
        ("metrics.auc", 0.5, 0.75),
        ("metrics.loss", None, 1.5),
        ("params.depth", None, 3),
        ("parent", None, f"{name}@1.0.0"),
        ("note", "first", None),
    ]
    assert models.diff(client, second, second) == []
