"""Which files are meant, settled before the first one is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ambry.ml.extras import needed
from ambry.ml.sources.first_version import avro_files
from ambry.ml.stored_files import FileOfStore, in_store


def settled_files(places: Iterable[str], options: Callable[[], Mapping[str, Any]]) -> tuple[str | FileOfStore, ...]:
    """Places as they are said; of the store each file, with the blob that it is now, in one request for a thousand.

    `options` are those of `ambry://`, asked for once and only where it is among them. Raises InvalidRequest for a directory
    without files, BlobNotFound, AccessDenied.
    """
    found: list[str | FileOfStore] = []
    told: Mapping[str, Any] | None = None
    for place in places:
        if not in_store(place):
            found.append(place)
            continue
        told = options() if told is None else told
        if "::" in place:
            found.append(FileOfStore(place, told))
            continue
        files = avro_files(place, told)
        filesystem, _ = needed("fsspec.core").url_to_fs(place, **told)
        found += [
            FileOfStore(file, told, details) for file, details in zip(files, filesystem.infos(files), strict=True)
        ]
    return tuple(found)
