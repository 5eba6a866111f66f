"""The commands that fetch blobs into files, and that change how long they live: get, ttl, undelete."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ambry.cli.arguments import AS_JSON, OUTPUT, RANGE, ChosenCluster, as_duration, connecting, place
from ambry.cli.local_files import is_folder, write_special
from ambry.cli.many import Fetching
from ambry.cli.output import copy, own_name, printable, progress_bar, show_info, standard_output, tell_done
from ambry.client.model import BlobInfo, ByteRange, Progress
from ambry.client.refs import PinnedName, Ref, found_as, id_in
from ambry.ids import BlobId
from ambry.path_option import FILE_OUT, LocalPath
from ambry.special_file import is_special

if TYPE_CHECKING:
    from ambry.client.sync.client import AmbryClient

TO_FILE = click.option(
    "-o", "--output", "path", metavar="FILE", type=FILE_OUT, help="Where to write; - is the standard output."
)


@click.command()
@click.argument("blobs", nargs=-1, required=True, metavar="BLOB...")
@connecting
@TO_FILE
@click.option(
    "--output-dir",
    metavar="DIR",
    type=LocalPath(file_okay=False),
    help="Where to write one or several, each into a file of its own.",
)
@RANGE
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
@click.option("--no-resume", is_flag=True, help="Start over instead of continuing a .part file.")
@AS_JSON
def get(
    blobs: Sequence[str],
    cluster: ChosenCluster,
    path: str | None,
    output_dir: str | None,
    byte_range: ByteRange | None,
    overwrite: bool,
    no_resume: bool,
    as_json: bool,
) -> int:
    """Download blobs into files: those they were put from, or else ones called like their names or their ids.

    BLOB is an id, a name, or an ambry://account/container/name. The file appears when it is whole and verified. An
    interrupted download goes on where it stopped.

    \b
    ambry get risk/fraud -o model.safetensors
    ambry get ambry://team/models/fraud -o - | head -c 100
    ambry get ID ID risk/fraud --output-dir models
    """
    if path is not None and (output_dir is not None or len(blobs) > 1):
        raise click.UsageError("-o is one file for one blob; --output-dir takes several")
    if byte_range is not None and (output_dir is not None or len(blobs) > 1):
        raise click.UsageError("a range is of one blob, into one file: give -o FILE")
    if path is not None and (path.endswith("/") or is_folder(path)):
        raise click.UsageError(f"{printable(path)} is a folder; --output-dir {printable(path)} writes into it")
    with cluster.connect() as client:
        if output_dir is not None or len(blobs) > 1:
            for each in blobs:
                place(client, each)  # A typing mistake in the last one is noticed before anything is done.
            fetching = Fetching(
                client,
                Path(output_dir or "."),
                overwrite=overwrite,
                resume=not no_resume,
                quiet=cluster.quiet,
                in_json=as_json,
            )
            return fetching.run(blobs)
        (blob,) = blobs
        if path == "-":
            with client.get(blob, range=byte_range) as reader:
                copy(reader, standard_output())
            return 0
        quiet = cluster.quiet
        fetch(client, blob, path, byte_range, overwrite=overwrite, resume=not no_resume, quiet=quiet, in_json=as_json)
    return 0


@click.command()
@click.argument("blob", metavar="BLOB")
@click.argument("duration", callback=as_duration)
@connecting
@OUTPUT
def ttl(
    blob: str,
    duration: int | None,
    cluster: ChosenCluster,
    output: str,
) -> None:
    """Let a blob live longer: DURATION is 3600, 12h, 7d or forever. A life is never shortened."""
    with cluster.connect() as client:
        info = client.update_ttl(blob, duration)
    if not cluster.quiet:
        show_info(info, output)


@click.command()
@click.argument("blob", metavar="BLOB")
@connecting
@OUTPUT
def undelete(blob: str, cluster: ChosenCluster, output: str) -> None:
    """Bring a deleted blob back, or a name with its blob, within the retention window."""
    with cluster.connect() as client:
        client.undelete(blob)
    tell_done(output, action="undeleted", blob=blob)


def fetch(
    client: AmbryClient,
    ref: Ref,
    path: str | None,
    byte_range: ByteRange | None,
    *,
    overwrite: bool,
    resume: bool,
    quiet: bool,
    in_json: bool,
) -> BlobInfo:
    """A blob, or a range of it, into a file; what it is."""
    info = client.head(ref)
    found, file = found_as(info), Path(own_name(info, quiet) if path is None else path)
    if is_special(str(file)):
        with client.get(found, range=byte_range) as reader:
            write_special(str(file), reader.iter_chunks())
        return info
    with progress_bar(file.name, quiet) as progress:
        if byte_range is None:
            size = save(client, found, file, overwrite=overwrite, resume=resume, progress=progress)
        else:
            size = save_range(client, found, byte_range, file, overwrite=overwrite, progress=progress)
    if in_json:
        click.echo(json.dumps({"file": str(file), "id": str(info.id), "size": size}))
    elif not quiet:
        click.echo(f"{printable(str(file))} ({size} bytes)", err=True)
    return info


def save(
    client: AmbryClient,
    found: BlobId | PinnedName,
    path: Path,
    *,
    overwrite: bool,
    resume: bool,
    progress: Progress | None,
) -> int:
    """A blob into a file; its size."""
    return client.get_file(found, path, overwrite=overwrite, resume=resume, progress=progress).size


def save_range(
    client: AmbryClient,
    found: BlobId | PinnedName,
    byte_range: ByteRange,
    path: Path,
    *,
    overwrite: bool,
    progress: Progress | None,
) -> int:
    """A range into a file, which appears when it is whole; the range's size."""
    from ambry.client.part_file import PartFile
    from ambry.clock import system_random

    unique = system_random().randbytes(16).hex()
    part = PartFile(path, id_in(found), overwrite=overwrite, unique=unique, resume=False)
    try:
        with client.get(found, range=byte_range) as reader:
            total = reader.remaining
            for chunk in reader.iter_chunks():
                part.write(chunk)
                if progress is not None:
                    progress(part.size, total)
        part.commit()
    finally:
        part.abandon(keep=False)
    return part.size
