"""Published definitions as files: a tree that says the same, and vocabularies that take names which were accepted meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambry import AlreadyExists, InvalidRequest
from ambry.ml.features.checkout import add_published_names, write_tree
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.package import digest
from ambry.ml.features.reading import parse_definitions
from ambry.ml.features.tree import read_tree

CONF = """\
// What members do.
actions: {valType: INT, dims: [kinds-1-0]}
kinds: {type: categorical : {idMappingFile: "kinds.csv"}}
"""
KINDS = "# by the feed team\n0, OUT_OF_VOCAB\n1, Comment\n2, Click"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for place in ("flagship", "ads/bids"):
        (tmp_path / "tree" / place).mkdir(parents=True)
        (tmp_path / "tree" / place / "feed.conf").write_text(CONF)
        (tmp_path / "tree" / place / "kinds.csv").write_text(KINDS)
    return tmp_path / "tree"


def published(kinds: str, namespace: str = "flagship") -> FeatureMetadata:
    return FeatureMetadata.of([parse_definitions(f"{CONF}// (kinds.csv)\n{kinds}\n", namespace)])


def test_a_tree_is_written_and_says_the_same(tree: Path, tmp_path: Path) -> None:
    metadata = read_tree(tree)
    written = write_tree(metadata, tmp_path / "new")
    assert {str(path.relative_to(tmp_path / "new")) for path in written} == {
        "flagship/features.conf",
        "flagship/kinds.csv",
        "ads/bids/features.conf",
        "ads/bids/kinds.csv",
    }
    assert digest(read_tree(tmp_path / "new")) == digest(metadata)
    assert write_tree(metadata, tmp_path / "new") == written


def test_nothing_is_written_over(tree: Path) -> None:
    files = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    with pytest.raises(AlreadyExists, match=r"kinds\.csv is there and says something else"):
        write_tree(read_tree(tree), tree)
    assert {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()} == files


@pytest.mark.parametrize("namespace", ["a...b", ".ssh", "a\\b"])
def test_a_namespace_leads_nowhere_else(tmp_path: Path, namespace: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot be the name of a file"):
        write_tree(published("0, OUT_OF_VOCAB", namespace), tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_accepted_names_are_appended(tree: Path) -> None:
    later = published('0, OUT_OF_VOCAB\n1, Comment\n2, Click\n3, "Share, quietly"\n7, Like')
    [added] = add_published_names(later, tree)
    assert added.names == ("Share, quietly", "Like")
    assert added.path.read_text() == f'{KINDS}\n3, "Share, quietly"\n7, Like\n'
    assert read_tree(tree).namespaces["flagship"].vocabularies["kinds.csv"].name_of[7] == "Like"
    assert (tree / "ads/bids/kinds.csv").read_text() == KINDS
    assert add_published_names(later, tree) == []


def test_names_of_the_tree_alone_stay_where_their_ids_are_free(tree: Path) -> None:
    (tree / "flagship/kinds.csv").write_text(f"{KINDS}\n9, Mine\n")
    [added] = add_published_names(published("0, OUT_OF_VOCAB\n1, Comment\n2, Click\n3, Share"), tree)
    assert added.names == ("Share",)
    assert read_tree(tree).namespaces["flagship"].vocabularies["kinds.csv"].ids == (0, 1, 2, 3, 9)


def test_an_id_with_two_names_is_told_and_nothing_written(tree: Path) -> None:
    (tree / "flagship/kinds.csv").write_text(f"{KINDS}\n3, Mine\n")
    with pytest.raises(InvalidRequest, match=r"id 3 is 'Mine' here and 'Share' .* the ids after 3"):
        add_published_names(published("0, OUT_OF_VOCAB\n1, Comment\n2, Click\n3, Share"), tree)
    assert (tree / "flagship/kinds.csv").read_text() == f"{KINDS}\n3, Mine\n"


def test_a_vocabulary_within_a_file_of_definitions_is_told(tree: Path) -> None:
    (tree / "flagship/kinds.csv").unlink()
    (tree / "flagship/feed.conf").write_text(f"{CONF}// (kinds.csv)\n0, OUT_OF_VOCAB\n")
    with pytest.raises(InvalidRequest, match="stands within a file of definitions"):
        add_published_names(published("0, OUT_OF_VOCAB\n1, Comment"), tree)
