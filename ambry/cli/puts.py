"""`ambry put`: files become blobs, large ones in parts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ambry.cli.arguments import ChosenCluster, as_duration, as_pairs, as_size, complete_file, connecting, shows
from ambry.cli.content_types import guessed
from ambry.cli.failures import report_one
from ambry.cli.output import expiry, of_size, progress_bar, remark, show_table, standard_input, to_json
from ambry.client.model import BlobInfo
from ambry.client.refs import SCHEME, NameRef, name_place, shown, uri_part
from ambry.errors import AmbryError

if TYPE_CHECKING:
    from ambry.client.sync.client import AmbryClient


def as_part_size(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """A size as of `as_size` that parts of a file may have."""
    from ambry.client.sections import PART_BYTES_MIN

    size = as_size(ctx, param, value)
    if size is None or size < PART_BYTES_MIN:
        raise click.BadParameter(f"{value!r} is too small; parts have 1M and more")
    return size


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", shell_complete=complete_file)
@connecting
@click.option(
    "--ttl", callback=as_duration, default="forever", show_default=True, help="Time to live: 3600, 12h, 7d, forever."
)
@click.option("--content-type", help="Stored with the blob.")
@click.option("--meta", metavar="K=V", callback=as_pairs, multiple=True, help="User metadata; may be repeated.")
@click.option("--filename", help="Stored with the blob instead of the file's own name.")
@click.option("--durability", type=click.Choice(["memory", "disk", "geo"]), help="What the acknowledgement must mean.")
@click.option(
    "--idempotency-key", metavar="KEY", help="Makes repeated puts of one file one; no other put has the same."
)
@click.option("--name", metavar="NAME", help="What to call it; several files take a NAME/ that ends with a slash.")
@click.option("--if-absent", is_flag=True, help="Only where there is no such name; else it points to the new blob.")
@click.option("--if-match", metavar="ETAG", help="Only where the name points to the blob with this ETag.")
@click.option(
    "--part-size", callback=as_part_size, default="8M", show_default=True, help="Bytes of a part: 1M and more."
)
@click.option("--parallel", type=click.IntRange(1, 32), default=4, show_default=True, help="Parts at a time.")
@click.option("--no-resume", is_flag=True, help="Start over instead of going on with what arrived of a large file.")
@shows("table", "json", "id", default=None)
def put(
    files: Sequence[str],
    cluster: ChosenCluster,
    name: str | None,
    if_absent: bool,
    if_match: str | None,
    ttl: int | None,
    content_type: str | None,
    meta: dict[str, str],
    filename: str | None,
    durability: str | None,
    idempotency_key: str | None,
    part_size: int,
    parallel: int,
    no_resume: bool,
    output: str | None,
) -> int:
    """Store files, each as a new blob; `-` is the standard input.

    A file of two parts and more is sent in parts. Where that breaks off, the same command goes on from there, after a kill
    and on another day: FILE.ambry-upload remembers it, and parts that arrived are compared with the file.

    \b
    ambry put model.safetensors
    ambry put model.safetensors --name risk/fraud
    ambry put *.parquet --name features/2026-11-27/
    """
    if "-" in files and sys.stdin is None:
        raise click.UsageError("the standard input is closed, and - would read it")
    if idempotency_key is not None and len(files) > 1:
        raise click.UsageError("an idempotency key is of one put; give one file")
    called = names_of(files, name)
    stored: list[tuple[str, BlobInfo]] = []
    printing = output or ("table" if sys.stdout.isatty() else "id")
    code = 0
    with cluster.connect() as client:
        for file, own in zip(files, called, strict=True):
            said: dict[str, Any] = {
                "name": own,
                "if_absent": if_absent,
                "if_match": if_match,
                "ttl": ttl,
                "content_type": content_type,
                "metadata": meta,
                "filename": filename,
                "durability": durability,
                "idempotency_key": idempotency_key,
            }
            if content_type is None:
                said["content_type"] = guessed(filename or file)
            try:
                if file == "-":
                    info = put_pipe(client, said)
                else:
                    info = put_one(
                        client, Path(file), said, part_size, parallel, resume=not no_resume, quiet=cluster.quiet
                    )
            except (AmbryError, OSError) as error:
                # The other files do not depend on this one.
                code = report_one(error, file if len(files) > 1 else "", code)
                continue
            stored.append((file, info))
            if printing != "table":
                click.echo(str(info.id) if printing == "id" else to_json(info, file=file))
        if printing == "table" and stored:
            rows = [[str(i.id), str(i.size), expiry(i), *named(client, i), each] for each, i in stored]
            show_table(["ID", "SIZE", "EXPIRES", *(["NAME"] if name is not None else []), "FILE"], rows)
    return code


def put_pipe(client: AmbryClient, said: dict[str, Any]) -> BlobInfo:
    """The standard input. Under a name it goes part by part, each of which can be sent again."""
    name, key = said["name"], said["idempotency_key"]
    if name is None or key is not None:
        return client.put(standard_input(), **said)
    from ambry.client.copying import put_stream

    more = {word: value for word, value in said.items() if word not in ("name", "idempotency_key")}
    place = name_place(name, account=client.default_account, container=client.default_container)
    return put_stream(client, standard_input(), place, **more)


def put_one(
    client: AmbryClient, file: Path, said: dict[str, Any], part_size: int, parallel: int, *, resume: bool, quiet: bool
) -> BlobInfo:
    """One file; a large one in parts, of which it says what is there already."""
    from ambry.client.model import TransferConfig

    def resuming(there: int, size: int | None) -> None:
        if not quiet and size is not None:
            remark(f"resuming {file.name}: {of_size(there, size)} is there")

    transfer = TransferConfig(part_size=part_size, threshold=2 * part_size, max_concurrency=parallel)
    with progress_bar(str(file), quiet) as progress:
        return client.put_file(file, resume=resume, transfer=transfer, progress=progress, resuming=resuming, **said)


def names_of(files: Sequence[str], name: str | None) -> list[str | None]:
    """What each of several files is called: a name that ends with a slash has the files' own names behind it."""
    if name is None:
        return [None] * len(files)
    if not name.endswith("/"):
        if len(files) > 1:
            raise click.UsageError("one name is for one file; a NAME/ that ends with a slash takes several")
        return [name]
    if "-" in files:
        raise click.UsageError(
            "the standard input has no name of its own to stand behind the slash; say the whole NAME"
        )
    own = [Path(file).name for file in files]
    if twice := next((each for each in own if own.count(each) > 1), None):
        raise click.UsageError(f"two of the files are called {twice!r}, and would get one name")
    return [name + (uri_part(each) if name.startswith(SCHEME) else each) for each in own]


def named(client: AmbryClient, info: BlobInfo) -> list[str]:
    """The name of a blob that was put under one, as it can be pasted."""
    if not info.name:
        return []
    ref = NameRef(info.name, info.account, info.container)
    return [shown(ref, account=client.default_account, container=client.default_container)]
