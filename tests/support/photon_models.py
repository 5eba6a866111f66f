"""Models of Photon's kind, and rows for them, drawn by hypothesis or from a seed."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from ambry.ml.photon.examples import INTERCEPT, Examples, Feature, FeatureIndex, examples_of, shard_of
from ambry.ml.photon.models import FixedModel, PhotonModel, RandomModel, Task

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
FEATURES = st.one_of(st.just(INTERCEPT), st.tuples(TEXTS, TEXTS))
VALUES = st.floats(allow_nan=False, allow_infinity=False)
COEFFICIENTS = st.dictionaries(FEATURES, VALUES, max_size=5)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,8}", fullmatch=True)
LINES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=8)


@st.composite
def fixed_models(draw: st.DrawFn) -> FixedModel:
    means = draw(COEFFICIENTS)
    variances = draw(st.none() | st.just({name: abs(value) + 1 for name, value in means.items()}))
    index = FeatureIndex(tuple(sorted(means)))
    told = None if variances is None else np.array([variances[each] for each in index.features])
    found = np.array([means[each] for each in index.features], dtype=np.float64)
    return FixedModel(shard=draw(LINES), index=index, means=found, variances=told)


@st.composite
def random_models(draw: st.DrawFn) -> RandomModel:
    told = draw(st.dictionaries(TEXTS, COEFFICIENTS, max_size=6))
    shard = shard_of(told.values())
    return RandomModel(
        entity=draw(LINES), shard=draw(LINES), index=shard.index, entities=tuple(told), means=shard.matrix
    )


@st.composite
def photon_models(draw: st.DrawFn) -> PhotonModel:
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique_by=str.lower))
    cut = draw(st.integers(0, len(names)))
    return PhotonModel(
        task=draw(st.sampled_from(Task)),
        fixed={name: draw(fixed_models()) for name in names[:cut]},
        random={name: draw(random_models()) for name in names[cut:]},
        name=draw(TEXTS),
        configurations={name: {"regularizationWeight": draw(VALUES)} for name in names[:1]},
    )


def told(model: PhotonModel) -> Any:
    """All that a model says, for a comparison: coefficients that are 0 are none."""

    def row(index: FeatureIndex, values: Any) -> dict[Feature, float]:
        return {name: value for name, value in zip(index.features, values.tolist(), strict=True) if value}

    fixed = {
        name: (each.shard, row(each.index, each.means), each.variances is not None and row(each.index, each.variances))
        for name, each in model.fixed.items()
    }
    random = {
        name: (each.entity, each.shard, {id: each.of(id) for id in each.entities})
        for name, each in model.random.items()
    }
    configurations = {name: dict(each) for name, each in model.configurations.items() if each}
    return model.task, model.name, fixed, random, configurations


def many_entities(count: int, features: int = 10, seed: int = 1) -> PhotonModel:
    """A model with one fixed effect, and a random effect of so many members."""
    made = np.random.default_rng(seed)
    names: list[Feature] = [INTERCEPT, *(("action", f"kind-{number}") for number in range(features - 1))]
    shard = shard_of([dict(zip(names, made.normal(size=features).tolist(), strict=True)) for _ in range(count)])
    ids = tuple(f"member-{number}" for number in range(count))
    random = RandomModel(entity="memberId", shard="features", index=shard.index, entities=ids, means=shard.matrix)
    fixed = FixedModel(shard="features", index=shard.index, means=made.normal(size=features))
    return PhotonModel(task=Task.LOGISTIC, fixed={"global": fixed}, random={"per-member": random}, name="many")


def drawn_rows(task: Task, count: int, members: int, seed: int = 2) -> Examples:
    """Rows of a task with two features, one of them large, members that differ, weights and offsets."""
    made = np.random.default_rng(seed)
    a, b = made.normal(size=count), 100 + 30 * made.normal(size=count)
    member = made.integers(0, members, size=count)
    offset = 0.2 * made.normal(size=count)
    score = offset + 0.5 * a - 0.01 * (b - 100) + made.normal(size=members)[member] - 0.3
    mean = task.mean(score)
    if task is Task.LINEAR:
        response = mean + made.normal(size=count)
    elif task is Task.LOGISTIC:
        response = (made.random(count) < mean).astype(float)
    else:
        response = made.poisson(mean).astype(float)
    told = [{("a", ""): x, ("b", ""): y} for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    return examples_of(
        {"features": told, "slope": [{("a", ""): x} for x in a.tolist()], "nothing": [{} for _ in told]},
        response,
        weight=made.integers(1, 4, size=count).astype(float),
        offset=offset,
        ids={"member": [f"m{each}" for each in member], "parity": [f"p{each % 2}" for each in member]},
    )
