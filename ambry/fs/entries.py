"""What fsspec is told of entries, and of how far a transfer is."""

from __future__ import annotations

from typing import Any

from fsspec.callbacks import Callback

from ambry.client.model import BlobInfo, Progress
from ambry.client.names import NameEntry
from ambry.fs.paths import Where

Info = dict[str, Any]
"""`name`, `size` in bytes, `type`; of a file `id`, `created` and `mtime` too."""


def file_info(path: str, info: BlobInfo) -> Info:
    return {
        "name": path,
        "size": info.size,
        "type": "file",
        "id": info.id,
        "created": info.created,
        "mtime": info.created,
        "ETag": info.etag,
        "checksum": info.checksum,
        "content_type": info.content_type,
        "metadata": dict(info.metadata),
    }


def entry_info(where: Where, entry: NameEntry) -> Info:
    path = f"{where.account}/{where.container}/{entry.name}"
    if entry.is_prefix:
        return directory_info(path.rstrip("/"))
    return {
        "name": path,
        "size": entry.size,
        "type": "file",
        "id": entry.id,
        "created": entry.modified,
        "mtime": entry.modified,
    }


def directory_info(path: str) -> Info:
    return {"name": path, "size": 0, "type": "directory"}


def progress_of(callback: Callback) -> Progress:
    def told(done: int, total: int | None) -> None:
        if total is not None and callback.size != total:
            callback.set_size(total)
        callback.absolute_update(done)

    return told
