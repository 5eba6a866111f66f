"""What lies below a directory, beside what Python's own walks give."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambry.client.tree_walk import walk_tree
from ambry.errors import InvalidRequest
from deploy.local_directory import LocalDirectory
from deploy.local_layout import Shape
from tests.support.unlisted import may_not_list


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for path in ("a", "b/c", "b/d/e", "skipped/f", ".hidden/g"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    (root / "empty").mkdir()
    (root / "nowhere").symlink_to("missing")
    (root / "b" / "again").symlink_to("..")
    return root


def test_all_but_directories_is_given_and_links_are_not_followed(tree: Path) -> None:
    expected = {path for path in tree.rglob("*") if path.is_symlink() or not path.is_dir()}
    assert len(expected) == 7
    assert set(walk_tree(tree)) == expected
    assert set(walk_tree(tree, skip={"skipped", ".hidden", "again", "a"}.__contains__)) == {
        tree / path for path in ("a", "b/c", "b/d/e", "nowhere", "b/again")
    }


@pytest.mark.parametrize("where", [".", "b", "b/d", "empty"])
def test_a_directory_that_cannot_be_listed_is_not_taken_for_an_empty_one(
    tree: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_not_list(monkeypatch, tree / where)
    with pytest.raises(PermissionError) as caught:
        list(walk_tree(tree))
    assert caught.value.filename == str(tree / where)
    if where == "empty":
        assert len(list(walk_tree(tree, skip="empty".__eq__))) == 7


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(walk_tree(tmp_path / "missing"))


def test_the_directory_that_a_local_cluster_makes_is_passed_over_and_told(tree: Path) -> None:
    """Its keys were sent with the sources of a training job."""
    before = set(walk_tree(tree))
    cluster = LocalDirectory(tree / "b" / "cluster")
    cluster.create(lambda: Shape(cluster="local"))
    told: list[Path] = []
    assert (set(walk_tree(tree, cluster=told.append)), told) == (before, [tree / "b/cluster"])
    with pytest.raises(InvalidRequest, match=r"/b/cluster is the directory of a local cluster.*is never stored"):
        list(walk_tree(tree))
