from __future__ import annotations

import numpy as np
import pytest

from ambry.ml.photon.examples import Examples, examples_of
from ambry.ml.photon.models import Task
from tests.support.photon_models import drawn_rows


@pytest.fixture(params=list(Task))
def task(request: pytest.FixtureRequest) -> Task:
    return Task(request.param)


@pytest.fixture
def rows(task: Task) -> Examples:
    """300 rows of 20 members, with offsets and weights."""
    return drawn_rows(task, 300, 20)


@pytest.fixture
def two() -> Examples:
    """A feature that is another one twice."""
    made = np.random.default_rng(3).normal(size=50)
    told = [{("a", ""): value, ("b", ""): 2 * value} for value in made.tolist()]
    return examples_of(told, made)
