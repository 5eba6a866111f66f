from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import ambry
from tests.support.named_frontend import named_frontend
from tests.support.stub_frontend import StubFrontend


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StubFrontend]:
    """A frontend that the environment names, also for commands that run as processes; the current directory is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("PYTHONPATH", str(Path(ambry.__file__).parents[1]))
    with StubFrontend() as running:
        monkeypatch.setenv("AMBRY_ENDPOINTS", running.url)
        yield running


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A frontend with a metadata store."""
    with named_frontend(tmp_path_factory.mktemp("meta") / "meta.sqlite") as running:
        yield running


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Two that know nothing of each other."""
    path = tmp_path_factory.mktemp("meta")
    with named_frontend(path / "a.sqlite") as one, named_frontend(path / "b.sqlite") as other:
        yield one, other


@pytest.fixture
def here(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with the cluster in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("AMBRY_ENDPOINTS", url)
    return tmp_path
