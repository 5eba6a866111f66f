"""`ambry snapshot`: the features of many entities at a point in time, written, listed and read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ambry.cli.arguments import OUTPUT, ChosenCluster, as_pairs, as_time, connecting
from ambry.cli.output import remark, show_fields, show_rows, tell_done, when
from ambry.errors import InvalidRequest
from ambry.path_option import LocalPath

if TYPE_CHECKING:
    from ambry.client.sync.client import AmbryClient
    from ambry.ml.snapshots.matching import MatchedColumns
    from ambry.ml.snapshots.reading import Snapshot


@click.group()
def snapshot() -> None:
    """Snapshots: the typed features of many entities at one point in time, as a version that never changes.

    DATASET is NAME or ambry://account/container/NAME; SNAPSHOT one of its versions, DATASET@1764201600000, DATASET@ALIAS or
    DATASET alone for the newest. A FILE is .parquet, .arrow, .csv or .jsonl.

    \b
    ambry snapshot write members.parquet members --definitions features --entity member
    ambry snapshot read members --key 17 --key 42
    ambry snapshot as-of members 2026-11-27
    """


@snapshot.command()
@click.argument("file", type=LocalPath(exists=True, dir_okay=False, path_type=Path))
@click.argument("dataset")
@connecting
@click.option("--definitions", required=True, metavar="VERSIONS", help="What `ambry features publish` published.")
@click.option("--entity", required=True, metavar="COLUMN", help="The column with the keys.")
@click.option(
    "--as-of", callback=as_time, metavar="TIME", help="The point in time; UTC where no zone is said.  [default: now]"
)
@click.option("--feature", "urns", multiple=True, metavar="NAME", help="One of them; all of the namespace, if none is.")
@click.option(
    "--column", "columns", multiple=True, callback=as_pairs, metavar="NAME=COLUMN", help="What its column is."
)
@click.option("--format", "file_format", type=click.Choice(["arrow", "parquet"]), default="arrow", show_default=True)
@click.option("--allow-missing", is_flag=True, help="Leave out the features that have no column.")
@click.option("--allow-empty", is_flag=True, help="Write a snapshot of no entities where FILE has no rows.")
@OUTPUT
def write(
    file: Path,
    dataset: str,
    cluster: ChosenCluster,
    definitions: str,
    entity: str,
    as_of: datetime | None,
    urns: Sequence[str],
    columns: dict[str, str],
    file_format: Any,
    allow_missing: bool,
    allow_empty: bool,
    output: str,
) -> None:
    """Write the features that FILE has of entities as a snapshot; print its version, the milliseconds since 1970.

    Each feature has a column of its name, or of the one that --column says; NAME is a feature's name, or its URN. What is
    left over on either side is told, and a feature without a column is refused unless --allow-missing.

    Rows are in any order, and as many as there are. In CSV and JSON a tensor is nested lists, where each axis has a length, or
    its cells: [[key, ..., value], ...], or {"key": value} over one axis. A key is a name of the vocabulary, or an index; where
    no cell is, there is 0. In CSV, keys of entities are numbers where each is written as a whole number is, and otherwise
    the texts that stand there, such as 0003.
    """
    from ambry.ml.features.publishing import load
    from ambry.ml.places import version_of
    from ambry.ml.snapshots.files import columns_of_file, rows_of_file
    from ambry.ml.snapshots.matching import match_columns
    from ambry.ml.snapshots.writing import write_snapshot

    with cluster.connect() as client:
        loaded = load(client, version_of(definitions))
        matched = match_columns(loaded.metadata, columns_of_file(file), entity, urns, columns)
        if not allow_missing:
            matched.check_whole()
        kinds = matched.kinds
        made = write_snapshot(
            client,
            dataset,
            rows_of_file(file, kinds, entity),
            [kind.urn for kind in kinds.values()],
            metadata=loaded,
            entity=entity,
            as_of=as_of or client.store_time(),
            columns={str(kind.urn): name for name, kind in kinds.items()},
            file_format=file_format,
            allow_empty=allow_empty,
        )
    if not cluster.quiet:
        _tell_left_out(matched)
    tell_done(output, made.version, version=made.version, id=str(made.id), rows=made.rows, size=made.size)


@snapshot.command("ls")
@click.argument("dataset")
@connecting
@OUTPUT
def list_snapshots(dataset: str, cluster: ChosenCluster, output: str) -> None:
    """List the snapshots of DATASET with the point in time of each, oldest first."""
    from ambry.ml.datasets import check_schema
    from ambry.ml.snapshots.writing import SCHEMA

    with cluster.connect() as client:
        check_schema(client.dataset(dataset), SCHEMA, "snapshots")
        show_rows(
            client.versions(dataset),
            output,
            ["VERSION", "AS OF", "SIZE", "ID"],
            lambda entry: [entry.version, when(_time_of(entry.version)), str(entry.size), str(entry.id)],
            lambda entry: {
                "version": entry.version,
                "as_of": _time_of(entry.version).isoformat(timespec="milliseconds"),
                "size": entry.size,
                "id": str(entry.id),
            },
        )


@snapshot.command()
@click.argument("place", metavar="SNAPSHOT")
@connecting
@OUTPUT
def show(place: str, cluster: ChosenCluster, output: str) -> None:
    """Say what SNAPSHOT is of: entities, features, point in time, and which definitions."""
    with cluster.connect() as client, _opened(client, place) as opened:
        about = opened.about
        schema = opened.schema
        show_fields(
            {
                "version": opened.info.version,
                "id": str(opened.info.id),
                "as_of": about.as_of.isoformat(timespec="milliseconds"),
                "entity": f"{about.entity} ({schema.field(about.entity).type})",
                "rows": opened.rows,
                "size": opened.info.size,
                "batches": opened.batch_count,
                "definitions": about.definitions,
                "sha256": about.digest,
                "features": {str(urn): _type_of(schema.field(opened.column(urn))) for urn in opened.urns},
            },
            output,
        )


@snapshot.command()
@click.argument("place", metavar="SNAPSHOT")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@connecting
@click.option("--key", "keys", multiple=True, metavar="KEY", help="An entity; all of them, if none is said.")
@click.option("--to", type=LocalPath(dir_okay=False, path_type=Path), metavar="FILE", help="Write them to a file.")
@OUTPUT
def read(
    place: str, names: Sequence[str], cluster: ChosenCluster, keys: Sequence[str], to: Path | None, output: str
) -> None:
    """Read the features NAME (or URN), or all, of some entities or of all; who is not there has the default, or nothing.

    Of a few entities the ranges are fetched that they lie in, and of all the whole snapshot, which is kept in the cache.
    """
    from ambry.ml.features.urn import find_urn
    from ambry.ml.snapshots.files import plain_rows, write_file

    with cluster.connect() as client, _opened(client, place) as opened:
        wanted = [str(find_urn(name, opened.urns)) for name in names] or [str(urn) for urn in opened.urns]
        if keys:
            table = opened.read(wanted, _typed_keys(opened, keys))
            schema, batches = table.schema, iter(table.to_batches())
        else:
            schema, batches = opened.table(wanted).schema, opened.batches(wanted)
        if to is not None:
            count = write_file(to, schema, batches)
            tell_done(output, str(to), file=str(to), rows=count)
            return
        rows: Iterator[dict[str, Any]] = plain_rows(schema, batches)
        show_rows(rows, output, schema.names, lambda row: [_text(value) for value in row.values()], lambda row: row)


@snapshot.command("as-of")
@click.argument("dataset")
@click.argument("time", callback=as_time)
@connecting
@OUTPUT
def as_of(dataset: str, time: datetime, cluster: ChosenCluster, output: str) -> None:
    """Print the newest snapshot of TIME or before: what was known then."""
    from ambry.ml.places import in_dataset
    from ambry.ml.snapshots.reading import version_as_of

    with cluster.connect() as client:
        found = version_as_of(client, in_dataset(dataset), time)
    at = _time_of(found.version)
    tell_done(output, found.version, version=found.version, as_of=at.isoformat(timespec="milliseconds"))


def _opened(client: AmbryClient, place: str) -> Snapshot:
    from ambry.ml.snapshots.reading import open_snapshot

    return open_snapshot(client, place)


def _tell_left_out(matched: MatchedColumns) -> None:
    for names, words in (
        (matched.missing, "features without a column, left out"),
        (matched.unused, "columns that are no feature, left out"),
    ):
        if names:
            remark(f"{words}: {', '.join(map(str, names))}")


def _typed_keys(opened: Snapshot, keys: Sequence[str]) -> list[Any]:
    """Raises InvalidRequest for what is no number where entities are."""
    if str(opened.schema.field(opened.about.entity).type) == "string":
        return list(keys)
    numbers: list[int] = []
    for key in keys:
        try:
            numbers.append(int(key))
        except ValueError:
            raise InvalidRequest(f"{key[:40]!r} is no key; the entities of {opened.place} are whole numbers") from None
    return numbers


def _type_of(field: Any) -> str:
    from ambry.ml.snapshots.described import type_of

    described = type_of(field)
    return "" if described is None else described.sized


def _time_of(version: str) -> datetime:
    return datetime.fromtimestamp(int(version) / 1000, UTC)


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
