"""A file of the file system: reading asks for ranges of one blob, writing makes another one when it is closed."""

from __future__ import annotations

import errno
import io
import warnings
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from fsspec.caching import register_cache
from fsspec.spec import AbstractBufferedFile

from ambry.client.ahead import InOrder
from ambry.client.copying import said_by
from ambry.client.model import SaidOfBlob, Timeout
from ambry.client.sync.client import AmbryClient
from ambry.client.sync.writing import SyncWriting
from ambry.client.unwinding import PublishedOnClose
from ambry.fs.ahead import GrowingAhead

if TYPE_CHECKING:
    from ambry.fs.filesystem import AmbryFileSystem

BLOCK_SIZE = 8 << 20
OF_UPLOADS = frozenset(("ttl", "content_type", "metadata", "filename", "durability", "timeout"))
"""What may be said of a file that is written, as `AmbryClient.start_upload` takes it."""

register_cache(GrowingAhead)


class AmbryFile(PublishedOnClose, AbstractBufferedFile):  # type: ignore[misc]
    """Opened for reading, it reads the blob that the name pointed to then, whatever the name points to later.

    Opened for writing, nothing is seen of it before it is closed; then the name points to the new blob. Where an exception
    leaves the `with` block that it was opened in, and where nobody closes it, nothing is kept. Blobs have no end that can be
    written on: "ab" reads what is there, and makes a blob of both,
    with what was said of it.
    """

    def __init__(
        self,
        fs: AmbryFileSystem,
        path: str,
        mode: str,
        *,
        details: Mapping[str, Any] | None = None,
        block_size: int | None = None,
        autocommit: bool = True,
        cache_type: str = GrowingAhead.name,
        cache_options: dict[str, Any] | None = None,
        size: int | None = None,
        **said: Any,
    ) -> None:
        """`details`: what `fs.info` says of one that is read. `said`: of one that is written, see OF_UPLOADS; the `timeout` is
        of one that is read, too.

        Raises TypeError for what is not among them, and not when all is written.
        """
        if mode != "rb" and (unknown := sorted(said.keys() - OF_UPLOADS)):
            raise TypeError(
                f"a file is not written with {', '.join(unknown)}, but with {', '.join(sorted(OF_UPLOADS))}"
            )
        self._client: AmbryClient = fs.client
        self._found = fs.found
        self._name = None if mode == "rb" else fs.name_of(path)
        self._note_opener()
        if details is not None:
            self._details = details
            size = details["size"]
        self._writing: SyncWriting | None = None
        is_compared = self._client._verify != "never"  # pyright: ignore[reportPrivateUsage]
        seen: Mapping[str, Any] = details if details is not None and is_compared else {}
        self._timeout: Timeout | None = said.get("timeout")
        self._order = InOrder(seen.get("size", 0), seen.get("checksum", ""), seen.get("ETag", ""))
        self._if_match: str | None = None
        self.kwargs: dict[str, Any]
        self.buffer: io.BytesIO
        super().__init__(
            fs,
            path,
            mode=mode,
            block_size=block_size or BLOCK_SIZE,
            autocommit=autocommit,
            cache_type=cache_type,
            cache_options=cache_options,
            size=size,
            **said,
        )
        if mode == "ab":
            self._begin_with_what_is_there()

    # --- reading ---

    def _fetch_range(self, start: int, end: int) -> bytes:
        data = self._client.get_bytes(self._found(self.details), range=(start, end), timeout=self._timeout)
        if unsettled := self._order.passed(start, data):
            found = self._found(self.details)
            self._client._read_again(found, unsettled, self._timeout)  # pyright: ignore[reportPrivateUsage]
        return data

    # --- writing ---

    def _begin_with_what_is_there(self) -> None:
        if self._name is None:
            return
        try:
            with self._client.get(self._name) as reader:
                self._if_match = reader.info.etag
                self.kwargs = {**said_by(self._client, reader.info), **self.kwargs}
                for piece in reader.iter_chunks():
                    self.write(piece)
        except FileNotFoundError:
            pass

    def _initiate_upload(self) -> None:
        if self._name is None:
            raise OSError(errno.EBADF, "the file is open for reading", self.path)
        self._writing = SyncWriting(
            self._client,
            self._name,
            self.blocksize,
            if_absent=self.mode == "xb",
            if_match=self._if_match,
            timeout=self._timeout,
            said=cast(SaidOfBlob, {name: value for name, value in self.kwargs.items() if name != "timeout"}),
        )

    def _upload_chunk(self, final: bool = False) -> bool:
        """Send what fills parts, which have one size so that readers can tell whether all is right, and at the end all."""
        if self._writing is not None:
            sent = 0
            with self.buffer.getbuffer() as data:
                while len(data) - sent >= self._writing.part_size:
                    with data[sent : sent + self._writing.part_size] as part:
                        self._writing.write_part(part)
                        sent += len(part)
                with data[sent:] as rest:
                    if final:
                        self._writing.end(rest)
                    left = b"" if final else bytes(rest)
            self.blocksize = self._writing.part_size
            if not final:
                self.offset += sent
                self.buffer = io.BytesIO()
                self.buffer.write(left)
                return False  # What is left stays in the buffer.
        if final and self.autocommit:
            self.commit()
        return True

    def commit(self) -> None:
        """Publish what was written: on return it is as durable as its container says, and the name points to it.

        Raises FileExistsError for a file opened with "x" where there is one meanwhile, PreconditionFailed for one opened with
        "a" that another one was put in the place of.
        """
        if self._writing is not None:
            self._writing.publish()

    def discard(self) -> None:
        """Nothing of what was written is kept."""
        self.closed = True
        if self._writing is not None:
            self._writing.discard()

    def close(self) -> None:
        if not self.closed and self.mode != "rb" and self._is_given_up():
            if self._is_dropped:
                self._warn()
            self.discard()
            return
        try:
            super().close()
        except BaseException:
            if self.mode != "rb":
                self.discard()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self.mode != "rb" and not self.closed:
            self.discard()
        else:
            self.close()

    def __del__(self) -> None:
        if self.closed or self.mode == "rb":
            return
        self._warn()
        self.discard()

    def _warn(self) -> None:
        warnings.warn(
            f"{self.path} was never closed: nothing of it is kept", ResourceWarning, source=self, stacklevel=3
        )
