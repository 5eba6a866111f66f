"""`ambry features`: definitions of typed features, checked, compared, published and looked up."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ambry.cli.arguments import OUTPUT, ChosenCluster, as_time, connecting, shows
from ambry.cli.failures import EXIT_HELD_BACK, report_one
from ambry.cli.local_files import exists
from ambry.cli.output import remark_unless, show_fields, show_rows, tell_done
from ambry.errors import BlobNotFound
from ambry.path_option import LocalPath
from ambry.rest.versions import numbers_of

if TYPE_CHECKING:
    from ambry.client.sync.client import AmbryClient
    from ambry.ml.features.axes import Axis, TensorType
    from ambry.ml.features.compatibility import DefinitionChange
    from ambry.ml.features.metadata import FeatureMetadata

TREE = click.argument("tree", type=LocalPath(exists=True, path_type=Path))


@click.group()
def features() -> None:
    """Typed features: what they are called, over which dimensions they lie, and which values they have.

    TREE is a directory with one directory per namespace, in which *.conf and the vocabularies lie, or one such file.
    VERSIONS is the dataset that they are published to, NAME or ambry://account/container/NAME; with @1.2.0, @ and an alias, or
    @sha256:DIGEST, one version of it.

    \b
    ambry features check definitions/
    ambry features publish definitions/ features
    ambry features get features definitions/ --vocabularies
    ambry features show features historicalActionsInFeed
    """


@features.command()
@TREE
@OUTPUT
def check(tree: Path, output: str) -> None:
    """Say what is wrong in TREE, with file, line and column; or what it defines, and its digest."""
    from ambry.ml.features.package import digest
    from ambry.ml.features.tree import check_tree, read_tree

    code = 0
    for fault in check_tree(tree):
        code = report_one(fault, "", code)
    if code:
        sys.exit(code)
    metadata = read_tree(tree)
    show_fields(
        {
            "namespaces": list(metadata.namespaces),
            "features": len(metadata.urns),
            "dimensions": len(list(metadata.dimensions())),
            "sha256": digest(metadata),
        },
        output,
    )


@features.command()
@TREE
@click.argument("versions")
@connecting
@click.option("--version", metavar="X.Y.Z", help="Its number, if it is to be higher than the changes ask for.")
@click.option("--dry-run", is_flag=True, help="Say what would be published, and publish nothing.")
@OUTPUT
def publish(tree: Path, versions: str, cluster: ChosenCluster, version: str | None, dry_run: bool, output: str) -> None:
    """Publish TREE as the next version of VERSIONS, unless that would break who reads them; print which it is.

    Words raise the last part of the version, what is added the middle one, what is gone the first. An id of a vocabulary keeps
    its name for ever, and a version of a feature or dimension its type and its dims: who needs others defines another version.
    """
    from ambry.ml.features import publishing
    from ambry.ml.features.package import digest
    from ambry.ml.features.tree import read_tree

    metadata = read_tree(tree)
    with cluster.connect() as client:
        if dry_run:
            latest, changes = _changes(client, versions, metadata)
            number = publishing.FIRST_VERSION
            if latest is not None:
                number = publishing.next_version(latest, changes, version) if changes else latest
            made = publishing.PublishedFeatures(
                dataset=versions,
                version=number,
                digest=digest(metadata),
                changes=tuple(changes),
                is_new=number != latest,
            )
        else:
            made = publishing.publish(client, versions, metadata, version=version)
    if not cluster.quiet and output != "json":
        for change in made.changes:
            click.echo(f"{change.level.name.ljust(5)}  {change.words}", err=True)
        if not made.is_new:
            click.echo(f"ambry: version {made.version} says all that already", err=True)
    tell_done(
        output,
        made.version,
        version=made.version,
        sha256=made.digest,
        new=made.is_new,
        changes=[_plain_change(change) for change in made.changes],
    )


@features.command()
@click.argument("tree", metavar="TREE")
@click.argument("versions")
@connecting
@OUTPUT
def diff(tree: str, versions: str, cluster: ChosenCluster, output: str) -> None:
    """Say what TREE changes beside VERSIONS, and which part of the version each change raises.

    The exit code is 8 where it would break who reads them. In the place of TREE may stand published definitions: of two
    versions of one dataset, what the later one changed.

    \b
    ambry features diff definitions/ features
    ambry features diff features@1.0.0 features@1.2.0
    """
    from ambry.ml.features.compatibility import Level, compare
    from ambry.ml.features.publishing import load
    from ambry.ml.features.tree import read_tree
    from ambry.ml.place_errors import file_or_version
    from ambry.ml.places import dataset_text, version_of

    published = not exists(tree)
    if published and "/" in tree.removeprefix("ambry://") and not tree.startswith("ambry://"):
        raise click.BadParameter(f"there is no file or directory {tree!r}", param_hint="TREE")
    with cluster.connect() as client:
        if published:
            with file_or_version(tree):
                after = load(client, tree)
            before = load(client, versions)
            same = dataset_text(version_of(after.place)) == dataset_text(version_of(before.place))
            if same and numbers_of(after.version) < numbers_of(before.version):
                after, before = before, after
            changes = compare(before.metadata, after.metadata)
        else:
            _, changes = _changes(client, versions, read_tree(Path(tree)), must_be_there=True)
    show_rows(changes, output, ["PART", "CHANGE"], lambda change: [change.level.name, change.words], _plain_change)
    if any(change.level is Level.REFUSED for change in changes):
        sys.exit(EXIT_HELD_BACK)


@features.command("import")
@click.argument("place")
@click.argument("dataset")
@connecting
@click.option("--definitions", required=True, metavar="VERSIONS", help="What `ambry features publish` published.")
@click.option("--entity", required=True, metavar="FIELD", help="The field with the keys.")
@click.option("--as-of", required=True, callback=as_time, metavar="TIME", help="The point in time that they are of.")
@click.option("--feature", "urns", multiple=True, metavar="NAME", help="One of them; all that are defined, if none is.")
@click.option("--bag", default="features", show_default=True, metavar="FIELD", help="The field with the features.")
@click.option("--format", "file_format", type=click.Choice(["arrow", "parquet"]), default="arrow", show_default=True)
@OUTPUT
def import_features(
    place: str,
    dataset: str,
    cluster: ChosenCluster,
    definitions: str,
    entity: str,
    as_of: Any,
    urns: tuple[str, ...],
    bag: str,
    file_format: Any,
    output: str,
) -> None:
    """Move a snapshot of the first version, Avro of names, terms and values, into DATASET; print its version.

    PLACE is a file, a directory of .avro files, or a URL of either that fsspec opens. hdfs:// is read through WebHDFS, at the
    web port of the name node.

    \b
    ambry features import hdfs://namenode/features/members/2026-11-27 members \\
        --definitions features --entity member --as-of 2026-11-27
    """
    from ambry.ml.features.publishing import load
    from ambry.ml.features.urn import find_urn
    from ambry.ml.listed import listed
    from ambry.ml.places import version_of
    from ambry.ml.sources.avro import NamesMet
    from ambry.ml.sources.first_version import NAMED_MAX, import_avro
    from ambry.ml.sources.settled import settled_files

    met = NamesMet()
    with cluster.connect() as client:
        loaded = load(client, version_of(definitions))
        asked = [find_urn(urn, loaded.metadata.urns) for urn in urns] or loaded.metadata.urns
        made = import_avro(
            client,
            settled_files([place], cluster.storage_options),
            dataset,
            asked,
            metadata=loaded,
            entity=entity,
            as_of=as_of,
            bag=bag,
            file_format=file_format,
            met=met,
        )
    for names, words in (
        ([str(urn) for urn in asked if str(urn) not in met.features], "features that no record has, without a value"),
        (sorted(met.strange), "names that are no feature, left out"),
    ):
        if names:
            remark_unless(cluster.quiet, f"{words}: {listed(names, NAMED_MAX)}")
    tell_done(output, made.version, version=made.version, id=str(made.id), rows=made.rows, size=made.size)


@features.command()
@click.argument("versions")
@click.argument("tree", type=LocalPath(file_okay=False, path_type=Path))
@click.option("--vocabularies", is_flag=True, help="Only append to the vocabularies of TREE the names that they lack.")
@connecting
@OUTPUT
def get(versions: str, tree: Path, vocabularies: bool, cluster: ChosenCluster, output: str) -> None:
    """Write VERSIONS as files below TREE; nothing that says something else is written over.

    \b
    ambry features get features definitions/
    ambry features get features definitions/ --vocabularies   # after an edit was accepted
    """
    from ambry.ml.features.checkout import add_published_names, write_tree
    from ambry.ml.features.publishing import load
    from ambry.ml.places import version_of

    with cluster.connect() as client:
        metadata = load(client, version_of(versions)).metadata
    if not vocabularies:
        written = [str(path) for path in write_tree(metadata, tree)]
        show_rows(written, output, ["FILE"], lambda path: [path], lambda path: {"path": path})
        return
    show_rows(
        add_published_names(metadata, tree),
        output,
        ["FILE", "ADDED"],
        lambda each: [str(each.path), ", ".join(each.names)],
        lambda each: {"path": str(each.path), "added": list(each.names)},
    )


@features.command()
@click.argument("versions")
@click.argument("name", required=False)
@connecting
@OUTPUT
def show(versions: str, name: str | None, cluster: ChosenCluster, output: str) -> None:
    """List the features of VERSIONS, or say what the one is that has this NAME, or URN."""
    from ambry.ml.features.publishing import load
    from ambry.ml.features.urn import find_urn
    from ambry.ml.places import version_of

    with cluster.connect() as client:
        metadata = load(client, version_of(versions)).metadata
    if name is not None:
        show_fields(_plain_type(metadata, metadata.tensor_type(find_urn(name, metadata.urns))), output)
        return
    kinds = [metadata.tensor_type(each) for each in metadata.urns]
    show_rows(
        kinds,
        output,
        ["TYPE", "AVAILABLE", "SHAPE", "URN"],
        lambda kind: [kind.value_type.value, kind.availability.value, _shape(kind.axes), str(kind.urn)],
        lambda kind: _plain_type(metadata, kind),
    )


@features.command()
@TREE
@click.argument("name")
@click.argument("version")
@click.option(
    "-o", "--directory", type=LocalPath(file_okay=False, path_type=Path), default=Path(), help="Where to write it."
)
@shows("path", "json", default="path")
def wheel(tree: Path, name: str, version: str, directory: Path, output: str) -> None:
    """Build TREE as the Python package NAME, so that `pip install` declares a dependency on its features; print the file.

    \b
    ambry features wheel definitions/ flagship-features 1.2.0
    """
    from ambry.ml.features.tree import read_tree
    from ambry.ml.features.wheel import write_wheel

    written = str(write_wheel(read_tree(tree), name, version, directory))
    tell_done(output, written, path=written)


def _changes(
    client: AmbryClient, versions: str, metadata: FeatureMetadata, *, must_be_there: bool = False
) -> tuple[str | None, list[DefinitionChange]]:
    """Beside the newest version, or the one that is said; (None, []) where there is none."""
    from ambry.ml.features.publishing import changes_after, load
    from ambry.ml.places import dataset_text, version_of

    place = version_of(versions)
    try:
        latest = load(client, place)
    except BlobNotFound:
        if must_be_there:
            raise
        return None, []
    return latest.version, changes_after(client, dataset_text(place), latest, metadata)


def _plain_change(change: DefinitionChange) -> dict[str, str]:
    return {"part": change.level.name, "change": change.words}


def _plain_type(metadata: FeatureMetadata, kind: TensorType) -> dict[str, Any]:
    default = kind.default
    return {
        "urn": str(kind.urn),
        "type": kind.value_type.value,
        "availability": kind.availability.value,
        "shape": [axis.size for axis in kind.axes],
        "dims": {axis.name: f"{axis.dimension} ({_axis(axis)})" for axis in kind.axes},
        "default": default.hex() if isinstance(default, bytes) else default,
        "doc": metadata.feature(kind.urn).doc,
    }


def _axis(axis: Axis) -> str:
    from ambry.ml.listed import listed

    if axis.vocabulary is not None:
        return f"categorical: {listed(axis.vocabulary.names[1:], 5)}"
    kind = type(axis.kind).__name__.lower().removesuffix("key")
    return kind if axis.size is None else f"{kind}: {axis.size}"


def _shape(axes: tuple[Axis, ...]) -> str:
    return " x ".join("?" if axis.size is None else str(axis.size) for axis in axes) or "scalar"
