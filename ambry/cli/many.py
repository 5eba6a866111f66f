"""Several blobs in one command: what is small goes in batches, and each has a status of its own.

Memory is bounded, however many there are: a batch of small ones has at most BATCH_BYTES, and large ones are streamed one by
one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ambry.cli.failures import report_one
from ambry.cli.output import own_name, printable, progress_bar, to_json
from ambry.client.model import BlobInfo
from ambry.client.refs import PinnedName, Ref, found_as
from ambry.errors import AmbryError, BlobNotFound
from ambry.ids import BlobId

if TYPE_CHECKING:
    from ambry.client.sync.client import AmbryClient

PAGE = 1_000
SMALL_BYTES = 64 << 10
BATCH_BYTES = 16 << 20


def remove(client: AmbryClient, blobs: Mapping[str, Ref], *, force: bool, done: Callable[[str], None]) -> int:
    """Delete them, by what they are called, and tell `done` of each; the exit code. With `force` one that is not there is no
    failure."""
    code = 0
    for some in _pages([*blobs]):
        for blob, result in zip(some, client.delete_many([blobs[each] for each in some]), strict=True):
            if result.error is not None and not (force and isinstance(result.error, BlobNotFound)):
                code = report_one(result.error, blob, code)
            elif result.error is None:
                done(blob)
    return code


class Fetching:
    """Files in `directory`, of blobs that are named as for `ambry get`."""

    def __init__(
        self, client: AmbryClient, directory: Path, *, overwrite: bool, resume: bool, quiet: bool, in_json: bool
    ) -> None:
        self._in_json = in_json
        self._client = client
        self._directory = directory
        self._overwrite = overwrite
        self._resume = resume
        self._quiet = quiet
        self._taken: set[str] = set()
        self._code = 0

    def run(self, blobs: Sequence[str]) -> int:
        """The exit code; what fails keeps none of the others."""
        for some in _pages(blobs):
            batch: list[tuple[str, BlobInfo, Path]] = []
            held = 0
            for blob, result in zip(some, self._client.head_many(some), strict=True):
                if result.error is not None or result.info is None:
                    if result.error is not None:
                        self._code = report_one(result.error, blob, self._code)
                    continue
                info, file = result.info, self._file(result.info)
                if info.size > SMALL_BYTES:
                    self._large(blob, found_as(info), file)
                    continue
                if held + info.size > BATCH_BYTES:
                    self._small(batch)
                    batch, held = [], 0
                batch.append((blob, info, file))
                held += info.size
            self._small(batch)
        return self._code

    def _file(self, info: BlobInfo) -> Path:
        """Where a blob goes; of two that are called alike the second is called by its id."""
        name = own_name(info, self._quiet)
        if name in self._taken:
            name = str(info.id)
        self._taken.add(name)
        return self._directory / name

    def _large(self, blob: str, found: BlobId | PinnedName, file: Path) -> None:
        try:
            with progress_bar(file.name, self._quiet) as progress:
                info = self._client.get_file(
                    found, file, overwrite=self._overwrite, resume=self._resume, progress=progress
                )
        except (AmbryError, OSError) as error:
            self._code = report_one(error, blob, self._code)
        else:
            self._said(file, info)

    def _small(self, batch: Sequence[tuple[str, BlobInfo, Path]]) -> None:
        from ambry.client.part_file import write_file

        for (blob, info, file), result in zip(
            batch, self._client.get_many([found_as(info) for _, info, _ in batch]), strict=True
        ):
            try:
                if result.error is not None:
                    raise result.error
                write_file(file, info.id, result.data, overwrite=self._overwrite)
            except (AmbryError, OSError) as error:
                self._code = report_one(error, blob, self._code)
            else:
                self._said(file, info)

    def _said(self, file: Path, info: BlobInfo) -> None:
        if self._in_json:
            click.echo(to_json(info, file=str(file)))
        elif not self._quiet:
            click.echo(f"{printable(str(file))} ({info.size} bytes)", err=True)


def _pages(blobs: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(blobs), PAGE):
        yield blobs[start : start + PAGE]
