"""The commands that show blobs: cat, head, tail and stat."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ambry.cli.arguments import RANGE, ChosenCluster, as_size, connecting, shows
from ambry.cli.failures import report_one
from ambry.cli.output import copy, show_info, standard_output
from ambry.client.model import ByteRange
from ambry.errors import AmbryError, RangeNotSatisfiable

SHOWS = shows("table", "json", "id")


@click.command()
@click.argument("blobs", nargs=-1, required=True, metavar="BLOB...")
@connecting
@RANGE
def cat(blobs: Sequence[str], cluster: ChosenCluster, byte_range: ByteRange | None) -> None:
    """Write blobs, which are named as for `ambry get`, to the standard output, one after the other."""
    if byte_range is not None and len(blobs) > 1:
        raise click.UsageError("a range is of one blob")
    out = standard_output()
    with cluster.connect() as client:
        for blob in blobs:
            with client.get(blob, range=byte_range) as reader:
                copy(reader, out)


@click.command()
@click.argument("blobs", nargs=-1, required=True, metavar="BLOB...")
@connecting
@click.option("-c", "--bytes", "count", callback=as_size, metavar="N", help="Write the first N bytes instead: 100, 8K.")
@SHOWS
def head(blobs: Sequence[str], cluster: ChosenCluster, count: int | None, output: str) -> int:
    """Show what blobs are, as `ambry stat` does; with -c, write their first bytes.

    \b
    ambry head -c 8 ambry://team/models/fraud | xxd
    """
    if count is None:
        return _show(blobs, cluster, output)
    return _write(blobs, cluster, ByteRange(0, count))


@click.command()
@click.argument("blobs", nargs=-1, required=True, metavar="BLOB...")
@connecting
@click.option("-c", "--bytes", "count", callback=as_size, required=True, metavar="N", help="So many: 100, 8K, 1M.")
def tail(blobs: Sequence[str], cluster: ChosenCluster, count: int) -> int:
    """Write the last bytes of blobs, which are all that is read of them."""
    return _write(blobs, cluster, ByteRange(-count))


@click.command()
@click.argument("blobs", nargs=-1, required=True, metavar="BLOB...")
@connecting
@SHOWS
def stat(blobs: Sequence[str], cluster: ChosenCluster, output: str) -> int:
    """Show what blobs are: size, dates, digest, metadata. They are named as for `ambry get`."""
    return _show(blobs, cluster, output)


def _show(blobs: Sequence[str], cluster: ChosenCluster, output: str) -> int:
    code = 0
    with cluster.connect() as client:
        for number, blob in enumerate(blobs):
            try:
                info = client.head(blob)
            except (AmbryError, OSError) as error:
                code = report_one(error, blob if len(blobs) > 1 else "", code)
                continue
            if output == "table" and number:
                click.echo()
            show_info(info, output)
    return code


def _write(blobs: Sequence[str], cluster: ChosenCluster, byte_range: ByteRange) -> int:
    out = standard_output()
    with cluster.connect() as client:
        for blob in blobs:
            try:
                with client.get(blob, range=byte_range) as reader:
                    copy(reader, out)
            except RangeNotSatisfiable as error:
                if error.size != 0:
                    raise
                # Of nothing, the first bytes are none.
    return 0
