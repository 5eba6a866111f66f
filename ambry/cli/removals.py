"""`ambry rm`: blobs, names, and whole folders of names after asking."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from ambry.cli.arguments import OUTPUT, ChosenCluster, connecting, place
from ambry.cli.display import amount, counted
from ambry.cli.listing import folder_of
from ambry.cli.many import remove
from ambry.cli.output import printable, tell_done
from ambry.client.refs import SCHEME, NameRef, PinnedName, Place, Ref, found_as, found_entry, prefix_place
from ambry.errors import BlobNotFound
from ambry.ids import BlobId
from ambry.shown_urls import shown_place

if TYPE_CHECKING:
    from ambry.client.sync.client import AmbryClient


@click.command()
@click.argument("blobs", nargs=-1, required=True, metavar="BLOB...")
@connecting
@click.option("-f", "--force", is_flag=True, help="A blob that is not there is no failure.")
@click.option("-r", "--recursive", is_flag=True, help="Names with all that is below them: a is also a/...; asks first.")
@click.option("-y", "--yes", is_flag=True, help="Ask nothing.")
@click.option("--dry-run", is_flag=True, help="Tell what would be deleted, and delete nothing.")
@OUTPUT
def rm(
    blobs: Sequence[str],
    cluster: ChosenCluster,
    force: bool,
    recursive: bool,
    yes: bool,
    dry_run: bool,
    output: str,
) -> int:
    """Delete blobs; a name goes with the blob that was put under it. `ambry undelete` brings them back for a while.

    \b
    ambry rm ID team/fraud ambry://team/models/fraud
    ambry rm -r ambry://team/models/old
    """
    with cluster.connect() as client:
        wanted: dict[str, Ref] = {}
        size = 0
        if recursive:
            for blob in blobs:
                found = _below(client, blob)
                if not found and not force:
                    raise BlobNotFound(f"there is no blob or name {blob!r}, and none below it")
                # Once each, as it is now: what others put there while the question stands is not what it asks about.
                size += sum(each for ref, each in found if str(ref) not in wanted)
                wanted |= {str(ref): ref for ref, _ in found}
        else:
            for blob in blobs:
                place(client, blob)  # A typing mistake in the last one must not be noticed after deleting the first.
            wanted = {blob: blob for blob in blobs}
        if dry_run:
            for ref in wanted:
                tell_done(output, f"delete  {shown_place(ref)}", action="delete", blob=shown_place(ref))
            return 0
        if recursive and wanted and not yes:
            _ask(f"delete {counted(len(wanted), 'blob')} ({amount(size)}), with the names below {', '.join(blobs)}?")
        if len(wanted) == 1 and not recursive:
            client.delete(blobs[0], missing_ok=force)
            tell_done(output, action="deleted", blob=shown_place(blobs[0]))
            return 0
        return remove(
            client, wanted, force=force, done=lambda ref: tell_done(output, action="deleted", blob=shown_place(ref))
        )


def _below(client: AmbryClient, text: str) -> list[tuple[BlobId | PinnedName, int]]:
    """A blob or a name, and the names below it, each with what it points to and its size. A container alone is all names."""
    if text.startswith(SCHEME) or text.endswith("/"):
        what: Place = prefix_place(text, account=client.default_account, container=client.default_container)
    else:
        what = place(client, text)
    if not isinstance(what, NameRef):
        info = client.head(what)
        return [(info.id, info.size)]
    found: list[tuple[BlobId | PinnedName, int]] = []
    if what.name and not what.name.endswith("/"):
        with suppress(BlobNotFound):
            info = client.head(what)
            found.append((found_as(info), info.size))
    return found + [
        (found_entry(entry.ref, entry.id), entry.size or 0)
        for entry in client.list(str(folder_of(what)))
        if entry.id is not None
    ]


def _ask(question: str) -> None:
    """Raises click.Abort on no, click.UsageError where nobody is there to ask."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError(f"`rm -r` asks before it deletes, and nobody is there to ask; --yes does it: {question}")
    click.confirm(printable(question), abort=True, err=True)
