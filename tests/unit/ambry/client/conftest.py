from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.stub_frontend import StubFrontend
from tests.support.twins import Twins


@pytest.fixture(params=["sync", "async"])
def twins(request: pytest.FixtureRequest) -> Iterator[Twins]:
    made = Twins(request.param)
    yield made
    made.close()


@pytest.fixture
def stub() -> Iterator[StubFrontend]:
    with StubFrontend() as running:
        yield running


@pytest.fixture
def other() -> Iterator[StubFrontend]:
    with StubFrontend() as running:
        yield running
