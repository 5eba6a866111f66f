"""The files of a checkpoint as torch's own `FileSystemWriter` writes them, each one straight into the store.

It takes the place of that writer's `fs`, of which these are the methods that it calls. Several of its threads write at a time,
and what fails in one of them torch does not hear of: it would call the checkpoint saved. So it is kept here, for `check`.
A copy of each file stays on this machine, for a worker that is started again here (cache_draft.py).
"""

from __future__ import annotations

import io
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from ambry.client.cache import BlobCache
from ambry.client.cache_draft import CacheDraft
from ambry.client.sync.client import AmbryClient
from ambry.ids import BlobId
from ambry.ml.training.checkpoints import CheckpointFile, CheckpointFolder

BLOCK_SIZE = 8 << 20
_METADATA = ".metadata"


class _Both(io.RawIOBase):
    """What is written goes to the store, and to a copy here."""

    def __init__(self, stream: Any, draft: CacheDraft) -> None:
        self._stream = stream
        self._draft = draft

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        count: int = self._stream.write(data)
        self._draft.write(data)
        return count

    def tell(self) -> int:
        told: int = self._stream.tell()
        return told


class StoreFiles:
    """The files that one worker writes of the checkpoint of a step."""

    def __init__(self, client: AmbryClient, folder: CheckpointFolder, step: int, cache: BlobCache) -> None:
        self._client = client
        self._cache = cache
        self._folder = folder
        self._step = step
        self._lock = threading.Lock()
        self._small: dict[str, bytes] = {}
        self._failure: BaseException | None = None
        self.files: dict[str, CheckpointFile] = {}
        """What is durable."""
        self.drafts: dict[BlobId, CacheDraft] = {}
        """Their copies, which are the caller's to let into the cache, or to close."""

    def check(self) -> None:
        """Raises what a file failed with."""
        if self._failure is not None:
            raise self._failure

    @contextmanager
    def create_stream(self, path: str, mode: str) -> Generator[Any]:
        """A file to write; in the store when it is closed. Metadata gets there when it has its last name."""
        if _METADATA in path:
            buffer = io.BytesIO()
            yield buffer
            self._small[path] = buffer.getvalue()
            return
        draft = CacheDraft(self._cache)
        try:
            with self._client.open(self._folder.file_name(self._step, path), "wb", block_size=BLOCK_SIZE) as stream:
                yield _Both(stream, draft)
            with self._lock:
                self.files[path] = CheckpointFile(stream.info.id, stream.info.size)
                self.drafts[stream.info.id] = draft
        except BaseException as error:
            draft.close()
            self._failure = self._failure or error
            raise

    def concat_path(self, path: str, suffix: str) -> str:
        return f"{path}/{suffix}" if path else suffix

    def init_path(self, path: str) -> str:
        return path

    def mkdir(self, path: str) -> None:
        """Names need no directories."""

    def exists(self, path: str) -> bool:
        """Nothing is there: the place of a step is made empty before."""
        return False

    def rename(self, path: str, new_path: str) -> None:
        """Of metadata, which is written last."""
        body = self._small.pop(path)
        info = self._client.put(body, name=self._folder.file_name(self._step, new_path))
        self.files[new_path] = CheckpointFile(info.id, info.size)
        draft = self.drafts[info.id] = CacheDraft(self._cache)
        draft.write(body)
