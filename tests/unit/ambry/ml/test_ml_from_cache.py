"""What lies in the cache is opened or linked before it goes, whoever makes room there meanwhile."""

from __future__ import annotations

import errno
import os
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ambry import AmbryClient, CacheConfig
from ambry.errors import TooLarge
from ambry.ml import models
from ambry.ml.from_cache import copy_to, held_directory, link_to, used_at_once
from ambry.ml.models import loading
from tests.support.blob_cache import files_in


def make_room(client: AmbryClient) -> None:
    """As another process does it."""
    client._cache_in(None).shrink(0)


def test_a_file_that_goes_before_it_is_opened_is_fetched_again(client: AmbryClient, url: str, tmp_path: Path) -> None:
    blob = client.put(b"bytes").id
    with AmbryClient([url], cache=CacheConfig(directory=tmp_path)) as own:
        left = [3]

        def read(path: Path) -> bytes:
            if left[0]:
                left[0] -= 1
                make_room(own)
            return path.read_bytes()

        assert used_at_once(own, blob, read) == b"bytes"
        left[0] = 1_000
        with pytest.raises(
            TooLarge, match=r"went 10 times from the cache .* before it was opened: others make room there"
        ):
            used_at_once(own, blob, read)

        def lacks(path: Path) -> None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "another file")

        with pytest.raises(FileNotFoundError, match="another file"):
            used_at_once(own, blob, lacks)


def test_a_file_that_goes_and_comes_again_in_one_moment_is_used(client: AmbryClient, url: str, tmp_path: Path) -> None:
    """Whoever fetched it again had it back before it was looked at, and the file was told as one that is not there."""
    blob = client.put(b"bytes").id
    with AmbryClient([url], cache=CacheConfig(directory=tmp_path)) as own:
        calls = count()

        def read(path: Path) -> bytes:
            if next(calls) == 0:
                make_room(own)
                try:
                    return path.read_bytes()
                finally:
                    own.cached_path(blob)
            return path.read_bytes()

        assert used_at_once(own, blob, read) == b"bytes" and next(calls) == 2


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_where_there_can_be_no_link_there_is_a_copy(
    client: AmbryClient, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    blob = client.put(b"bytes").id
    with AmbryClient([url], cache=CacheConfig(directory=tmp_path / "cache")) as own:
        used_at_once(own, blob, partial(link_to, tmp_path / "link"))
        path = own.cached_path(blob)
        assert path.samefile(tmp_path / "link")
        with pytest.raises(FileExistsError):
            link_to(tmp_path / "link", path)

        def refuse(*_: object, **__: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("os.link", refuse)
        link_to(tmp_path / "copy", path)
        copy_to(tmp_path / "other", path)
        make_room(own)
    assert {each.read_bytes() for each in tmp_path.iterdir() if each.is_file()} == {b"bytes"}


def test_links_are_made_on_the_disk_of_the_cache_unless_nothing_can_be_written_there(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with AmbryClient([url], cache=CacheConfig(directory=tmp_path / "cache")) as own:
        with held_directory(own, "test") as made:
            assert made.parent == tmp_path / "cache/held"
        assert not made.exists() and (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
        (tmp_path / "temporary").mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
        monkeypatch.setattr("os.access", lambda *_: False)
        with held_directory(own, "test") as made:
            assert made.parent == tmp_path / "temporary"


@pytest.mark.parametrize("max_bytes", [100, 900, 5_000])
def test_a_model_whose_parts_do_not_fit_the_cache_together_is_loaded(
    client: AmbryClient, url: str, name: str, tmp_path: Path, max_bytes: int
) -> None:
    """Each of them did, and loading it said that its files are corrupt."""
    pytest.importorskip("safetensors.numpy").save_file({"a": np.ones(128, "f4")}, tmp_path / "a.safetensors")
    pytest.importorskip("safetensors.numpy").save_file({"b": np.ones(128, "f4")}, tmp_path / "b.safetensors")
    parts = {each: (tmp_path / each).read_bytes() for each in ("a.safetensors", "b.safetensors")}
    models.publish(client, name, parts, kind="safetensors")
    with AmbryClient([url], cache=CacheConfig(directory=tmp_path / "cache", max_bytes=5_000)) as own:
        opened = models.open(own, name)
    with AmbryClient([url], cache=CacheConfig(directory=tmp_path / "cache", max_bytes=max_bytes)) as own:
        opened = type(opened)(own, opened.place, opened.id, opened.manifest)
        assert sorted(opened.load()) == ["a", "b"]
        with opened.directory() as directory:
            make_room(own)
            assert {each: (directory / each).read_bytes() for each in parts} == parts
    assert not [path for path in files_in(tmp_path / "cache") if path.startswith("held")]


def test_a_model_is_opened_and_loaded_while_others_make_room(
    client: AmbryClient, url: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.publish(client, name, {"a.bin": b"a" * 100, "b.bin": b"b" * 100})
    with AmbryClient([url], cache=CacheConfig(directory=tmp_path)) as own:
        found, times = own.cached_path, [0]

        def gone(*asked: Any, **said: Any) -> Path:
            path = found(*asked, **said)
            times[0] += 1
            if times[0] % 2:
                make_room(own)
            return path

        monkeypatch.setattr(own, "cached_path", gone)
        opened = models.open(own, name)
        for links in (True, False):
            with opened.directory(links=links) as directory:
                make_room(own)
                assert (directory / "a.bin").read_bytes() + (
                    directory / "b.bin"
                ).read_bytes() == b"a" * 100 + b"b" * 100


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_goes_as_soon_as_it_is_linked_is_linked_once(
    client: AmbryClient, url: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """Its size was looked at behind the link, fetched again for that, and linked again, where a link was: FileExistsError."""
    models.publish(client, name, {"a.bin": b"a" * 100})
    placed = link_to if links else copy_to
    with AmbryClient([url], cache=CacheConfig(directory=tmp_path)) as own:

        def place(target: Path, path: Path) -> None:
            placed(target, path)
            make_room(own)

        monkeypatch.setattr(loading, placed.__name__, place)
        with models.open(own, name).directory(links=links) as directory:
            assert (directory / "a.bin").read_bytes() == b"a" * 100
