"""A frontend that knows names, one for the tests of a module, and a client of it; a module may have others by these names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ambry import AmbryClient
from tests.support.named_frontend import named_frontend


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with named_frontend(tmp_path_factory.mktemp("meta") / "meta.sqlite") as running:
        yield running


@pytest.fixture
def client(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AmbryClient]:
    monkeypatch.setenv("AMBRY_CACHE_DIR", str(tmp_path / "cache"))
    with AmbryClient([url]) as made:
        yield made
