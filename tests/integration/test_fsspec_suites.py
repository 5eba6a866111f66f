"""fsspec's own suites for file systems, unmodified, against real processes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem, make_path_posix
from fsspec.tests import abstract

from ambry.fs import AmbryFileSystem


class Fixtures(abstract.AbstractFixtures):  # type: ignore[misc]
    @pytest.fixture
    def fs(self, dc1: str) -> AmbryFileSystem:
        found: AmbryFileSystem = fsspec.filesystem("ambry", endpoints=[dc1])
        return found

    @pytest.fixture
    def fs_path(self, fs: AmbryFileSystem) -> Iterator[str]:
        yield f"default/default/{uuid.uuid4().hex}"

    @pytest.fixture
    def supports_empty_directories(self, request: pytest.FixtureRequest) -> bool:
        """Those that were made stay when they are empty; those that nobody made go with their last file."""
        return "same_name_prefix" not in request.node.name

    @pytest.fixture
    def local_fs(self) -> LocalFileSystem:
        return LocalFileSystem(auto_mkdir=True)

    @pytest.fixture
    def local_path(self, tmp_path: object) -> str:
        return str(make_path_posix(str(tmp_path)))


class TestCopy(abstract.AbstractCopyTests, Fixtures):  # type: ignore[misc]
    pass


class TestGet(abstract.AbstractGetTests, Fixtures):  # type: ignore[misc]
    pass


class TestOpen(abstract.AbstractOpenTests, Fixtures):  # type: ignore[misc]
    pass


class TestPipe(abstract.AbstractPipeTests, Fixtures):  # type: ignore[misc]
    pass


class TestPut(abstract.AbstractPutTests, Fixtures):  # type: ignore[misc]
    pass
