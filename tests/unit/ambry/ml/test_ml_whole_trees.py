"""Whoever stores or reads a directory has all of it, or says what cannot be listed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ambry import AmbryClient
from ambry.errors import InvalidRequest
from ambry.ml.features.tree import read_tree
from ambry.ml.models.parts import files_of
from ambry.ml.photon.layout import read_model
from ambry.ml.training.checkpoints import CheckpointFolder
from ambry.ml.training.packing import pack_sources, pack_wheels
from tests.support.unlisted import may_not_list

READ: dict[str, Callable[[Path, AmbryClient], Any]] = {
    "a model": lambda root, client: files_of(root),
    "sources": lambda root, client: pack_sources(root, root.parent / "packed.zip"),
    "wheels": lambda root, client: pack_wheels(root / "inner", root.parent / "packed.zip"),
    "definitions": lambda root, client: read_tree(root),
    "a checkpoint": lambda root, client: CheckpointFolder(client, "ambry://default/default/whole-trees").put(1, root),
    "coefficients": lambda root, client: read_model(root),
}


@pytest.mark.parametrize("what", READ)
def test_what_cannot_be_listed_is_told(
    what: str, tmp_path: Path, client: AmbryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was taken for empty, and half of a directory was stored as the whole of it."""
    root = tmp_path / "tree"
    unreadable = root / ("fixed-effect/f/coefficients" if what == "coefficients" else "inner")
    unreadable.mkdir(parents=True)
    (unreadable / "a.conf").write_text("")
    (root / "b.bin").write_bytes(b"b")
    if what == "coefficients":
        (unreadable.parent / "id-info").write_text("global")
    may_not_list(monkeypatch, unreadable)
    with pytest.raises(PermissionError) as caught:
        READ[what](root, client)
    assert caught.value.filename == str(unreadable)


@pytest.mark.parametrize("what", ["a model", "a checkpoint"])
def test_the_directory_of_a_local_cluster_is_stored_by_nobody(what: str, tmp_path: Path, client: AmbryClient) -> None:
    """It has the keys of an administrator."""
    (tmp_path / "tree/ambry").mkdir(parents=True)
    for name in ("shape.json", "admin.key"):
        (tmp_path / "tree/ambry" / name).write_text(name)
    with pytest.raises(
        InvalidRequest, match="/tree/ambry is the directory of a local cluster, with its keys, and is never"
    ):
        READ[what](tmp_path / "tree", client)


def test_hidden_directories_of_definitions_need_not_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    may_not_list(monkeypatch, tmp_path / ".git")
    with pytest.raises(InvalidRequest, match="nothing is defined below"):
        read_tree(tmp_path)


def test_a_checkpoint_with_a_link_that_leads_nowhere_is_refused_before_anything_is_stored(
    tmp_path: Path, client: AmbryClient
) -> None:
    """The link was left out, and the mark said that the checkpoint is whole."""
    (tmp_path / "index").write_bytes(b"i")
    (tmp_path / "data").symlink_to("missing")
    folder = CheckpointFolder(client, "ambry://default/default/whole-trees-2")
    with pytest.raises(InvalidRequest, match="data is no file, and no link to one"):
        folder.put(1, tmp_path)
    assert folder.files() == {}


def test_a_name_that_is_not_utf_8_is_not_packed(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    odd = b"caf\xe9.py".decode("utf-8", "surrogateescape")
    (root / odd).write_bytes(b"")
    for only in (None, odd):
        with pytest.raises(InvalidRequest, match=r"'caf\\udce9\.py' is not UTF-8"):
            pack_sources(root, tmp_path / "packed.zip", only)
