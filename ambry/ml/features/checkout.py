"""Published definitions as files again: a whole tree, or the names that vocabularies of a tree lack.

Definitions have two homes, a tree under source control and the versions that are published, and some changes begin in the
versions: an edit of a vocabulary is accepted there. The tree takes these names by having rows appended, so that comments and
the order of its files stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ambry.errors import AlreadyExists, InvalidRequest
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.package import DEFINITIONS_FILE
from ambry.ml.features.tree import read_tree
from ambry.ml.features.vocabulary import Vocabulary, format_rows, format_vocabulary
from ambry.ml.features.writing import format_definitions
from ambry.ml.files import written_path


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedNames:
    """Rows that a vocabulary of a tree was given."""

    path: Path
    names: tuple[str, ...]


def write_tree(metadata: FeatureMetadata, root: Path) -> list[Path]:
    """Write definitions as files below `root`, and return which. Files that say the same already stay.

    Raises AlreadyExists for a file that says something else, before anything is written; InvalidRequest for a namespace that
    cannot be a directory, OSError.
    """
    files: dict[Path, str] = {}
    for namespace, definitions in metadata.namespaces.items():
        directory = root / _directory(namespace)
        files[directory / DEFINITIONS_FILE] = format_definitions(definitions)
        for name, vocabulary in definitions.vocabularies.items():
            files[directory / _file(name)] = format_vocabulary(vocabulary)
    for path, text in files.items():
        if path.exists() and path.read_bytes() != text.encode():
            raise AlreadyExists(f"{path} is there and says something else; write to another directory, and compare")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, text)
    return list(files)


def add_published_names(metadata: FeatureMetadata, root: Path) -> list[AddedNames]:
    """Append to the vocabularies of the tree at `root` the names that they have in `metadata`. Returns what was added.

    Raises InvalidRequest, before anything is written, where an id has another name in the tree, and where the vocabulary stands
    within a file of definitions; DefinitionInvalid, OSError.
    """
    tree = read_tree(root)
    added: list[tuple[AddedNames, str]] = []
    for namespace, definitions in metadata.namespaces.items():
        known: Mapping[str, Vocabulary] = (
            tree.namespaces[namespace].vocabularies if namespace in tree.namespaces else {}
        )
        for name, published in definitions.vocabularies.items():
            mine = known.get(name)
            if mine is None:
                continue
            lacking = [id for id in published.ids if id not in mine.name_of]
            for id in published.ids:
                if (here := mine.name_of.get(id, published.name_of[id])) != published.name_of[id]:
                    raise InvalidRequest(
                        f"{namespace}/{name}: id {id} is {here!r} here and {published.name_of[id]!r} where it is published; "
                        f"give names that are yours alone the ids after {max(published.ids)}"
                    )
            if not lacking:
                continue
            path = root / _directory(namespace) / _file(name)
            if not path.is_file():
                raise InvalidRequest(
                    f"{namespace}/{name} stands within a file of definitions; add the rows there, or move it to {path}"
                )
            before = path.read_text("utf-8")
            text = f"{before}{'' if before.endswith(chr(10)) else chr(10)}{format_rows(published, lacking)}"
            names = tuple(published.name_of[id] for id in lacking)
            added.append((AddedNames(path=path, names=names), text))
    for each, text in added:
        _write(each.path, text)
    return [each for each, _ in added]


def _write(path: Path, text: str) -> None:
    """The whole file, or what was there before."""
    with written_path(path) as part:
        part.write_text(text, "utf-8", newline="\n")


def _directory(namespace: str) -> Path:
    """As tree.py reads it."""
    return Path(*(_file(part) for part in namespace.split(".")))


def _file(name: str) -> str:
    """Raises InvalidRequest for what is no name of a file here: whoever published it may have meant another place."""
    if not name or name.startswith(".") or any(character in name for character in "/\\:\0"):
        raise InvalidRequest(f"{name!r} cannot be the name of a file or directory")
    return name
