"""Published models: scores from the store by one range each, and from the cache without any request."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ambry import AmbryClient
from ambry.errors import DataCorrupt, InvalidRequest
from ambry.ml import models
from ambry.ml.models.parts import files_of
from ambry.ml.photon.examples import INTERCEPT, examples_of
from ambry.ml.photon.layout import read_model, write_model
from ambry.ml.photon.models import PhotonModel, Task
from ambry.ml.photon.serving import open_scorer
from tests.support.blob_cache import flipped, rewritten
from tests.support.photon_models import many_entities, told

MODEL = many_entities(300, features=4)
FEATURES = {("action", "kind-0"): 2.0, ("action", "kind-2"): -1.0, ("unknown", ""): 9.0}


def expected(entity: str, offset: float = 0.0, features: Any = FEATURES) -> float:
    rows = examples_of([features], [0.0], offset=[offset], ids={"memberId": [entity]})
    return float(MODEL.scores(rows)[0])


class Counted:
    """Counts what a client reads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ranges: list[Any] = []
        get_bytes = AmbryClient.get_bytes

        def counted(client: AmbryClient, ref: Any, **options: Any) -> bytes:
            self.ranges.append(options["range"])
            return get_bytes(client, ref, **options)

        monkeypatch.setattr(AmbryClient, "get_bytes", counted)


@pytest.mark.parametrize("models_per_part", [10_000, 7])
def test_each_entity_costs_one_range_and_none_from_the_cache(
    client: AmbryClient, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models_per_part: int
) -> None:
    write_model(tmp_path / "model", MODEL, models_per_part=models_per_part)
    # What it is, its files say.
    assert models.publish(client, name, tmp_path / "model").manifest.kind == "photon"
    scorer = open_scorer(client, name)
    read = Counted(monkeypatch)
    for entity in ("member-0", "member-7", "member-299"):
        read.ranges.clear()
        assert scorer.score({"memberId": entity}, FEATURES) == pytest.approx(expected(entity), abs=1e-12)
        [(start, stop)] = read.ranges
        assert stop - start < 300
    read.ranges.clear()
    assert scorer.score({"memberId": "nobody"}, FEATURES, offset=1.0) == pytest.approx(
        expected("nobody", 1.0), abs=1e-12
    )
    scorer.fetch()
    for number in range(300):
        entity = f"member-{number}"
        assert scorer.score({"memberId": entity}, FEATURES) == pytest.approx(expected(entity), abs=1e-12)
        assert scorer.coefficients("per-member", entity) == MODEL.random["per-member"].of(entity)
    assert read.ranges == []


def cut(path: Path) -> None:
    rewritten(path, path.read_bytes()[:-9])


def swapped(path: Path) -> None:
    """With its neighbour, which may be as long."""
    names = sorted(path.parent.iterdir())
    other = names[names.index(path) - 1]
    ours, others = path.read_bytes(), other.read_bytes()
    rewritten(path, others)
    rewritten(other, ours)


@pytest.mark.parametrize("damage", [flipped, cut, swapped])
def test_what_the_cache_has_of_a_model_is_fetched_again_where_it_changed(
    client: AmbryClient, name: str, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """An index with a bit that flipped found no models of entities; a coefficient of a fixed effect was another one."""
    write_model(tmp_path / "model", MODEL, models_per_part=100)
    version = models.publish(client, name, tmp_path / "model", kind="photon")
    open_scorer(client, name).fetch()
    entities = [f"member-{number}" for number in range(300)]
    said = {entity: pytest.approx(expected(entity), abs=1e-12) for entity in entities}
    for part in version.manifest.parts:
        damage(client.cached_path(part.id))
        scorer = open_scorer(client, name)
        assert {each: scorer.score({"memberId": each}, FEATURES) for each in entities[::50]} == {
            each: said[each] for each in entities[::50]
        }, part.path
        scorer.fetch()
        assert {each: scorer.score({"memberId": each}, FEATURES) for each in entities} == said, part.path
        damage(client.cached_path(part.id))
        assert told(models.open(client, name).load()) == told(MODEL), part.path


def test_a_record_that_changed_after_it_was_mapped_is_asked_for(
    client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = models.publish(client, name, MODEL)
    scorer = open_scorer(client, name).fetch()
    [part] = [each for each in version.manifest.parts if "per-member/coefficients" in each.path]
    path = client.cached_path(part.id)
    rewritten(path, bytes(path.stat().st_size))
    read = Counted(monkeypatch)
    assert scorer.score({"memberId": "member-3"}, FEATURES) == pytest.approx(expected("member-3"), abs=1e-12)
    assert len(read.ranges) == 1


def test_a_model_is_published_as_it_is_and_loaded_whole(client: AmbryClient, name: str) -> None:
    made = models.publish(client, name, MODEL, metrics={"auc": 0.9})
    assert made.manifest.kind == "photon"
    assert told(models.open(client, name).load()) == told(MODEL)
    again = models.publish(client, name, MODEL, metrics={"auc": 0.9})
    assert again.digest == made.digest


def test_scores_are_by_shard_and_task(client: AmbryClient, name: str) -> None:
    poisson = replace(MODEL, task=Task.POISSON, random={"r": replace(MODEL.random["per-member"], shard="own")})
    models.publish(client, name, poisson)
    scorer = open_scorer(client, name)
    own = {("action", "kind-1"): 3.0, INTERCEPT: 1.0}
    rows = examples_of({"features": [FEATURES], "own": [own]}, [0.0], ids={"memberId": ["member-3"]})
    found = scorer.predict({"memberId": "member-3"}, FEATURES, by_shard={"own": own})
    assert found == pytest.approx(float(poisson.predict(rows)[0]), rel=1e-12)
    assert scorer.task is Task.POISSON
    assert scorer.effects == {"r": 300}


def test_what_is_not_there_is_a_sentence(client: AmbryClient, name: str) -> None:
    models.publish(client, name, MODEL)
    scorer = open_scorer(client, name)
    assert scorer.coefficients("global")[INTERCEPT] == MODEL.fixed["global"].means[0]
    # A number, as ids of a snapshot may be, is its text.
    assert scorer.score({"memberId": 3}, FEATURES) == scorer.score({"memberId": "3"}, FEATURES)
    for call, said in (
        (lambda: scorer.coefficients("per-member", "nobody"), "no model for the memberId 'nobody' among 300"),
        (lambda: scorer.coefficients("per-member", 3), "no model for the memberId '3' among 300"),
        (lambda: scorer.coefficients("x"), "has no effect 'x'; it has global, per-member"),
        (lambda: scorer.score({"jobId": "1"}, {}), "scores by memberId, and no memberId is said"),
        (lambda: scorer.predict({"memberId": "1"}, {"km": 3.0}), r"not 'km'; say \('km', ''\)"),  # type: ignore[dict-item]
        (lambda: scorer.score({"memberId": "1"}, {}, by_shard={"x": {("a", 1): 1.0}}), "a pair of texts"),  # type: ignore[dict-item]
    ):
        with pytest.raises(InvalidRequest, match=said):
            call()


def test_a_model_of_another_kind_or_without_an_index_is_refused(client: AmbryClient, name: str, tmp_path: Path) -> None:
    models.publish(client, name, {"x.txt": b"1"})
    with pytest.raises(InvalidRequest, match="no model of Photon's"):
        open_scorer(client, name)
    write_model(tmp_path / "model", MODEL)
    (tmp_path / "model/random-effect/per-member/index.arrow").unlink()
    models.publish(client, f"{name}-raw", tmp_path / "model", kind="photon")
    with pytest.raises(InvalidRequest, match="no index of the entities of 'per-member'"):
        open_scorer(client, f"{name}-raw")
    models.publish(client, f"{name}-read", read_model(tmp_path / "model"))
    assert open_scorer(client, f"{name}-read").effects == {"per-member": 300}


def test_records_that_are_not_what_the_index_says_are_not_scored(
    client: AmbryClient, name: str, tmp_path: Path
) -> None:
    """An index of one model beside the parts of another."""
    ours, other = tmp_path / "ours", tmp_path / "other"
    write_model(ours, MODEL)
    write_model(other, many_entities(300, features=4, seed=9))
    index = "random-effect/per-member/index.arrow"
    shutil.copyfile(other / index, ours / index)
    # A directory is looked at before it is stored, and files are taken as they are.
    with pytest.raises(InvalidRequest, match=r"index.arrow is not what .*model-metadata.json says"):
        models.publish(client, name, ours)
    models.publish(client, name, files_of(ours), kind="photon")
    scorer = open_scorer(client, name)
    for _ in range(2):
        with pytest.raises(DataCorrupt, match="are not what the index says"):
            scorer.score({"memberId": "member-3"}, FEATURES)
        scorer.fetch()
    (ours / "random-effect/per-member/coefficients/part-00000.avro").write_bytes(b"Obj\x01")
    models.publish(client, f"{name}-short", files_of(ours), kind="photon")
    with pytest.raises(DataCorrupt, match="which the part has not"):
        open_scorer(client, f"{name}-short").score({"memberId": "member-3"}, FEATURES)


def test_a_model_of_fixed_effects_alone_has_no_entities(client: AmbryClient, name: str) -> None:
    models.publish(client, name, PhotonModel(task=Task.LINEAR, fixed=MODEL.fixed))
    scorer = open_scorer(client, name)
    assert scorer.entity_kinds == ()
    assert scorer.score({}, {}) == MODEL.fixed["global"].means[0]


def test_an_intercept_of_a_row_is_what_it_is_to_a_batch(client: AmbryClient, name: str) -> None:
    models.publish(client, name, MODEL)
    scorer = open_scorer(client, name)
    for value in (0.0, 1.0):
        told = {**FEATURES, INTERCEPT: value}
        assert scorer.score({"memberId": "member-7"}, told) == pytest.approx(expected("member-7", 0.0, told), abs=1e-12)
    for features, by_shard in (({INTERCEPT: 5.0}, {}), (FEATURES, {"own": {INTERCEPT: 5.0}})):
        with pytest.raises(InvalidRequest, match="of a row is 5, and that is what the intercept of a model is called"):
            scorer.score({"memberId": "member-7"}, features, by_shard=by_shard)
