"""Which files are meant, settled before the first one is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from ambry.ml.extras import needed
from ambry.ml.sources.first_version import avro_files
from ambry.ml.stored_files import FileOfStore, in_store, options_of


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
        found += [FileOfStore(file, told) for file in avro_files(place, options_of(place, told))]
    named = [file for file in found if isinstance(file, FileOfStore) and "::" not in file.place]
    if not named:
        return tuple(found)
    filesystem, _ = needed("fsspec.core").url_to_fs(named[0].place, **named[0].options)
    infos = filesystem.infos([file.place for file in named])
    settled = {file.place: replace(file, details=info) for file, info in zip(named, infos, strict=True)}
    return tuple(file if isinstance(file, str) else settled.get(file.place, file) for file in found)
