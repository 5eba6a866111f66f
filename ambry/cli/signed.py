"""`ambry sign`: a URL that lets somebody without a key make one call."""

from __future__ import annotations

from datetime import timedelta

import click

from ambry.cli.arguments import OUTPUT, ChosenCluster, as_size_max, connecting
from ambry.cli.keys import AgeType
from ambry.cli.output import tell_done


@click.command()
@click.argument("method", type=click.Choice(["GET", "PUT"], case_sensitive=False))
@click.argument("ref", required=False)
@click.option("--expires", type=AgeType(ends=True), default="1h", show_default=True, metavar="AGE", help="At most 7d.")
@click.option("--max-size", callback=as_size_max, metavar="SIZE", help="The most that an upload may have.")
@click.option("--content-type", help="What an upload says to be.")
@click.option("--once", is_flag=True, help="Good for one upload.")
@click.option("--if-absent", is_flag=True, help="Writes over nothing: the name must be new.")
@connecting
@OUTPUT
def sign(
    method: str,
    ref: str | None,
    expires: timedelta,
    max_size: int | None,
    content_type: str | None,
    once: bool,
    if_absent: bool,
    cluster: ChosenCluster,
    output: str,
) -> None:
    """Print a URL that reads REF (GET), or uploads to a name (PUT), also over what that shows now unless --if-absent is said;
    without REF, to a new blob.

    Whoever has it needs no key: a browser or curl will do. It may do what your key may when it is used, and dies with that.
    """
    with cluster.connect() as client:
        url = client.presign(
            "GET" if method.upper() == "GET" else "PUT",
            ref,
            expires=expires,
            max_size=max_size,
            content_type=content_type,
            once=once,
            if_absent=if_absent,
        )
    if output == "table" and not cluster.quiet and method.upper() == "PUT":
        # It says no Content-Type, so that of the URL holds; --data-binary would say one of its own.
        # Not the URL again, which is a password: standard error goes into logs.
        click.echo("ambry: curl -T FILE 'URL' uploads to it", err=True)
    tell_done(output, url, method=method.upper(), url=url, seconds=int(expires.total_seconds()))
