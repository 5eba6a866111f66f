"""A directory of definitions under source control: one directory per namespace, `*.conf` and the vocabularies beside them.

features/flagship/feed.conf             namespace flagship
features/flagship/feedActions.csv
features/ads/bids/bids.conf             namespace ads.bids
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ambry.client.tree_walk import walk_tree
from ambry.errors import InvalidRequest
from ambry.ml.features.definitions import Definitions
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions, with_vocabularies
from ambry.ml.features.text import TEXT_CHARACTERS_MAX, DefinitionInvalid, TextPlace

SUFFIX = ".conf"
FILES_MAX = 10_000


def read_tree(root: Path) -> FeatureMetadata:
    """All that is defined below `root`, or in the one file that it is. Raises DefinitionInvalid, InvalidRequest, OSError."""
    return FeatureMetadata.of(_definitions(root, path) for path in _paths(root))


def check_tree(root: Path) -> list[DefinitionInvalid]:
    """What is wrong below `root`: the first fault of each file, or what files say against each other; none if it is whole.

    Raises InvalidRequest where nothing is defined at all, OSError.
    """
    faults: list[DefinitionInvalid] = []
    read: list[Definitions] = []
    for path in _paths(root):
        try:
            read.append(_definitions(root, path))
        except DefinitionInvalid as error:
            faults.append(error)
    if not faults:
        try:
            FeatureMetadata.of(read)
        except DefinitionInvalid as error:
            faults.append(error)
    return faults


def _paths(root: Path) -> list[Path]:
    """Raises InvalidRequest, FileNotFoundError."""
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise FileNotFoundError(f"there is no directory {root}")
    paths = sorted(_below(root))
    if not paths:
        raise InvalidRequest(f"nothing is defined below {root}; definitions stand in files named NAME{SUFFIX}")
    return paths


def _below(root: Path) -> Iterator[Path]:
    """Hidden directories are passed over. Raises InvalidRequest for a tree that is too large to be one, OSError."""
    count = 0
    for path in walk_tree(root, skip=_is_hidden, cluster=_passed_over):
        if not path.name.endswith(SUFFIX) or _is_hidden(path.name) or not path.is_file():
            continue
        count += 1
        if count > FILES_MAX:
            raise InvalidRequest(f"below {root} are more than {FILES_MAX} files named *{SUFFIX}; name the tree itself")
        yield path


def _passed_over(cluster: Path) -> None:
    """The directory of a local cluster defines nothing."""


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _definitions(root: Path, path: Path) -> Definitions:
    inside = path.relative_to(root) if path != root else Path(path.name)
    namespace = ".".join(inside.parts[:-1]) or None
    definitions = parse_definitions(_text(path, str(inside)), namespace, str(inside))

    def vocabulary(file: str) -> str | None:
        beside = path.parent / file
        return _text(beside, str(inside.parent / file)) if beside.is_file() else None

    return with_vocabularies(definitions, vocabulary)


def _text(path: Path, shown: str) -> str:
    """Raises DefinitionInvalid, OSError."""
    with path.open("rb") as file:
        data = file.read(TEXT_CHARACTERS_MAX + 1)
    if len(data) > TEXT_CHARACTERS_MAX:
        raise DefinitionInvalid(f"a file of more than {TEXT_CHARACTERS_MAX} bytes is not read", TextPlace(shown))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise DefinitionInvalid("this is not UTF-8", TextPlace(shown, line, column)) from None
