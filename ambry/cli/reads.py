"""The commands that show blobs: cat, head, tail and stat."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ambry.cli.arguments import RANGE, ChosenCluster, as_size_max, connecting, shows
from ambry.cli.failures import report_one
from ambry.cli.output import copy, show_info, standard_output
from ambry.client.model import ByteRange
from ambry.errors import AmbryError, RangeNotSatisfiable

SHOWS = shows("table", "json", "id")


@click.command()
@click.argument("blobs", nargs=-1, required=True, metavar="BLOB...")
@connecting
@RANGE
def cat(blobs: Sequence[str], cluster: ChosenCluster, byte_range: ByteRange | None) -> int:
    """Write blobs, which are named as for `ambry get`, to the standard output, one after the other."""
    if byte_range is not None and len(blobs) > 1:
        raise click.UsageError("a range is of one blob")
    return _write(blobs, cluster, byte_range)


@click.command()
@click.argument("blobs", nargs=-1, required=True, metavar="BLOB...")
@connecting
@click.option(
    "-c", "--bytes", "count", callback=as_size_max, metavar="N", help="Write the first N bytes instead: 100, 8K."
)
@SHOWS
def head(blobs: Sequence[str], cluster: ChosenCluster, count: int | None, output: str) -> int:
    """Show what blobs are, as `ambry stat` does; with -c, write their first bytes.

    \b
    ambry head -c 8 ambry://team/models/fraud | xxd
    """
    if count is None:
        return _show(blobs, cluster, output)
    return _write(blobs, cluster, ByteRange(0, count or 1), nothing=count == 0)


@click.command()
@click.argument("blobs", nargs=-1, required=True, metavar="BLOB...")
@connecting
@click.option("-c", "--bytes", "count", callback=as_size_max, required=True, metavar="N", help="So many: 100, 8K, 1M.")
def tail(blobs: Sequence[str], cluster: ChosenCluster, count: int) -> int:
    """Write the last bytes of blobs, which are all that is read of them."""
    return _write(blobs, cluster, ByteRange(-count or -1), nothing=count == 0)


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


def _write(blobs: Sequence[str], cluster: ChosenCluster, byte_range: ByteRange | None, *, nothing: bool = False) -> int:
    """Each to the standard output; what fails keeps none of the others. With `nothing` they are only looked at."""
    out = standard_output()
    code = 0
    with cluster.connect() as client:
        for blob in blobs:
            try:
                if nothing:
                    client.head(blob)
                    continue
                with client.get(blob, range=byte_range) as reader:
                    copy(reader, out)
            except (AmbryError, OSError) as error:
                # Of an empty blob the first bytes, and the last, are none.
                if not isinstance(error, RangeNotSatisfiable) or error.size != 0 or not _takes_none(byte_range):
                    code = report_one(error, blob if len(blobs) > 1 else "", code)
    return code


def _takes_none(byte_range: ByteRange | None) -> bool:
    """Whether a range is of so many bytes at the beginning or at the end."""
    return byte_range is not None and (byte_range.start <= 0)
